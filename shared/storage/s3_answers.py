"""What a store answers, in our words."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3_client import timestamp

SHA256: Final = "sha256"
"""The metadata that holds the checksum of what was sent."""
NOBODYS_HEADER: Final = "x-amz-meta-nobodys"
_SHA256_HEADER: Final = f"x-amz-meta-{SHA256}"


def folder_vanished(key: str) -> StoreUnavailable:
    """A write was answered "no such key".

    Stores that keep keys as paths remove a folder with its last object, at times while another is being put there.
    """
    return StoreUnavailable("s3", f"the store lost the folder of {key!r} while writing into it")


def require(is_there: bool, what: str) -> None:
    """Refuse a success that says nothing of what was asked for, as a proxy's page does: it read as an empty listing."""
    if not is_there:
        raise StoreUnavailable("s3", f"asked for {what}, got an answer without it; is the endpoint an S3 store?")


def bare(etag: str) -> str:
    """An ETag without its quotes."""
    return etag.strip('"')


def time_of(header: str | None) -> datetime:
    """Of a header `Date`; ours, where there is none."""
    return timestamp(header) if header else datetime.now(UTC)


def info_of_headers(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    """Of an answer to GET or HEAD, also for a range. Raises StoreUnavailable for one that describes nothing."""
    require(headers.keys() >= {"ETag", "Content-Length", "Last-Modified"}, "an object's description")
    whole = headers.get("Content-Range", "").rpartition("/")[2]
    metadata = {SHA256: headers[_SHA256_HEADER]} if _SHA256_HEADER in headers else {}
    return ObjectInfo(
        key=key,
        size_bytes=int(whole or headers["Content-Length"]),
        etag=bare(headers["ETag"]),
        modified_at=timestamp(headers["Last-Modified"]),
        sha256=recorded_sha256(headers.get("x-amz-checksum-sha256", ""), metadata),
        content_type=headers.get("Content-Type"),
        is_nobodys=NOBODYS_HEADER in headers,
    )


def recorded_sha256(counted: str, metadata: Mapping[str, str]) -> str | None:
    """Prefer the checksum that the store itself counted over the one that a client wrote beside the object."""
    try:
        raw = base64.b64decode(counted, validate=True)
    except binascii.Error:  # of several parts: "<base64>-<count>", which is no hash of the content
        raw = b""
    return raw.hex() if len(raw) == 32 else metadata.get(SHA256)
