"""What an S3 store's answers mean, without I/O."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from shared.storage.errors import InsufficientSpace, ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.object_store import ObjectInfo

SHA256_HEADER: Final = "x-amz-meta-sha256"
CHECKSUM_ERRORS: Final = {"XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch"}

_NAMESPACE: Final = re.compile(rb"""\sxmlns=["'][^"']*["']""")
_BUSY_STATUSES: Final = {408, 425, 429}
_BUSY_CODES: Final = {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "OperationAborted"}
_NO_SPACE_CODES: Final = {"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}
_CREDENTIAL_CODES: Final = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
}
_CONFLICT_CODES: Final = {"XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "XMinioInvalidObjectName"}
# A store that keeps keys as paths says so in a 500: without telling it apart, such a key would look like an outage.
_CONFLICT_CAUSES: Final = ("cause(not a directory)", "cause(is a directory)")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A refusal as the store words it; `code` is empty where the answer has no body, as to HEAD."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Part of a listing."""

    objects: list[ObjectInfo]
    is_truncated: bool


def parse_error(status: int, body: bytes) -> ErrorAnswer:
    """Read an error document; an answer that is none, such as a proxy's page, has no code."""
    try:
        root = _parse(body)
    except ElementTree.ParseError:
        return ErrorAnswer(status, "", body[:200].decode(errors="replace"))
    return ErrorAnswer(status, _text(root, "Code"), _text(root, "Message"))


def is_error(body: bytes) -> bool:
    """Whether a 200 says inside that it failed after all, as long copies and completions may."""
    try:
        return _parse(body).tag == "Error"
    except ElementTree.ParseError:
        return True


def error_of(answer: ErrorAnswer, bucket: str, key: str) -> Exception:
    """The error that a caller should see."""
    said = f"the store answered {answer.status} {answer.code} {answer.message}".strip()
    if answer.status == 507 or answer.code in _NO_SPACE_CODES:
        return InsufficientSpace("s3", f"{said}; free some space in bucket {bucket!r} or raise its quota")
    if answer.code in _CONFLICT_CODES or answer.message.endswith(_CONFLICT_CAUSES):
        return StoreRefused("key_conflict", f"{said}; {key!r} can't also be the folder of another key")
    if answer.status >= 500 or answer.status in _BUSY_STATUSES or answer.code in _BUSY_CODES:
        return StoreUnavailable("s3", said)
    if answer.code == "NoSuchBucket":
        return StoreRefused("no_such_bucket", f"{said}: make the bucket {bucket!r} or correct its name")
    if answer.code == "NoSuchKey":
        return ObjectNotFound(key, "s3")
    if answer.code in _CREDENTIAL_CODES:
        return StoreRefused("wrong_credentials", f"{said}: check access key, secret key and region")
    if answer.code == "RequestTimeTooSkewed":
        return StoreRefused("clock_skewed", f"{said}: set this machine's clock right")
    if answer.status in {401, 403}:
        return StoreRefused("access_denied", f"{said}: grant these credentials the right to bucket {bucket!r}")
    return StoreRefused("store_refused", f"{said}: {key!r}")


def info_of_headers(key: str, headers: Mapping[str, str], size_bytes: int) -> ObjectInfo:
    """Describe an object by the headers that come with it."""
    modified_at = headers.get("Last-Modified") or headers.get("Date")
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=headers.get("ETag", "").strip('"'),
        modified_at=parsedate_to_datetime(modified_at) if modified_at else datetime.now(UTC),
        sha256=_checksum(headers),
        content_type=headers.get("Content-Type"),
    )


def _checksum(headers: Mapping[str, str]) -> str | None:
    """Prefer the checksum that the store itself counted over the one that a client wrote beside the object."""
    counted = headers.get("x-amz-checksum-sha256", "")
    try:
        raw = base64.b64decode(counted, validate=True)
    except binascii.Error:  # of several parts: "<base64>-<count>", which is no hash of the content
        raw = b""
    return raw.hex() if len(raw) == 32 else headers.get(SHA256_HEADER)


def parse_listing(body: bytes) -> ListingPage:
    """Read one page of a listing that was asked for with escaped keys."""
    root = _parse(body)
    if root.tag != "ListBucketResult":
        raise StoreUnavailable("s3", f"asked for a listing, got <{root.tag}>")
    is_escaped = _text(root, "EncodingType") == "url"
    objects = [_listed(one, is_escaped) for one in root.iter("Contents")]
    return ListingPage(objects, _text(root, "IsTruncated") == "true")


def _listed(one: ElementTree.Element, is_escaped: bool) -> ObjectInfo:
    key = _text(one, "Key")
    return ObjectInfo(
        key=unquote_plus(key) if is_escaped else key,
        size_bytes=int(_text(one, "Size")),
        etag=_text(one, "ETag").strip('"'),
        modified_at=datetime.fromisoformat(_text(one, "LastModified")),
    )


def parse_upload_id(body: bytes) -> str:
    """Read the id of an upload in parts that was just begun."""
    upload_id = _text(_parse(body), "UploadId")
    if not upload_id:
        raise StoreUnavailable("s3", "the store began an upload in parts without an id")
    return upload_id


def completion(etags: list[str]) -> bytes:
    """Body that joins the parts 1, 2, … of an upload."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
        for number, etag in enumerate(etags, start=1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def etag_of(body: bytes) -> str:
    """ETag in the answer to a copy or a completion."""
    return _text(_parse(body), "ETag").strip('"')


def _parse(body: bytes) -> ElementTree.Element:
    # Stores disagree on the namespace and it says nothing: without it every name is plain.
    return ElementTree.fromstring(_NAMESPACE.sub(b"", body, count=1))


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(name) or ""
