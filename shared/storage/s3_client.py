"""The AWS client as this system wants it: patient for a known time, and tried once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.handlers import add_expect_header

from shared.storage.s3_signing import Signer
from shared.storage.settings import S3Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

PRESIGNED_MAX_SECONDS: Final = 7 * 24 * 3600

_SIGNER_OF_HASHED_BODIES: Final = "s3v4-hashed-body"


class HashedBody(io.BytesIO):
    """Bytes to send whose SHA-256 (hex) is known already: it is what gets signed, and what the store checks."""

    def __init__(self, data: bytes, sha256: str) -> None:
        super().__init__(data)
        self.sha256 = sha256


class _SignerOfHashedBodies(S3SigV4Auth):
    """Signs the checksum that was meant.

    The signer it extends would hash each body anew, on the event loop, and so always sign what is sent instead.
    """

    def payload(self, request: AWSRequest) -> str:
        body = request.data
        return body.sha256 if isinstance(body, HashedBody) else super().payload(request)


AUTH_TYPE_MAPS[_SIGNER_OF_HASHED_BODIES] = _SignerOfHashedBodies


def s3_client(settings: S3Settings) -> AbstractAsyncContextManager[S3Client]:
    """A client with its own pool of connections; connects to nothing before its first request."""
    return _session().create_client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key.get_secret_value(),
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        config=AioConfig(
            connect_timeout=settings.connect_seconds,
            read_timeout=settings.answer_seconds,
            max_pool_connections=settings.connections,
            # Nothing is tried twice, but on a kept connection that the store had closed: the HTTP client sees to that.
            retries={"mode": "standard", "total_max_attempts": 1},
            # Stores that are not Amazon's refuse checksum headers that they don't know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # Written by us and checked by mypy: checking each call again, and naming everything that the client runs
            # on in every request, would be a tenth of its work.
            parameter_validation=False,
            user_agent="mediabus",
        ),
    )


@lru_cache(maxsize=1)
def _session() -> AioSession:
    """One for all clients: it reads the descriptions of the API, which takes most of the time of making a client."""
    session = get_session()
    # The client's own parser guesses the format, which takes half the time of reading a listing.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=timestamp)
    return session


def send_hashed_bodies(client: S3Client) -> None:
    """Let the client send HashedBody as what it is, without asking the store first whether it may."""
    events = client.meta.events
    events.unregister("before-call.s3", add_expect_header)
    # The types of `register` know no handlers that answer.
    events.register("choose-signer.s3.UploadPart", _choose_signer)  # type: ignore[arg-type]


def _choose_signer(signature_version: str, **_: Any) -> str | None:
    # A presigned request has no body yet.
    return None if signature_version.endswith("-query") else _SIGNER_OF_HASHED_BODIES


def presigned_url(
    settings: S3Settings,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    expires_in_seconds: int,
    wishes: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """`url` with a signature that lets anyone send it, by this method and with exactly these headers.

    `wishes` are parameters of S3 for the answer.
    """
    if not 1 <= expires_in_seconds <= PRESIGNED_MAX_SECONDS:
        raise ValueError(f"expires_in_seconds is {expires_in_seconds}, expected 1 to {PRESIGNED_MAX_SECONDS}")
    signer = _signer(settings.access_key.get_secret_value(), settings.secret_key.get_secret_value(), settings.region)
    parts = urlsplit(url)
    # Clients leave the port out of the Host header where it is that of the scheme.
    host = parts.netloc.removesuffix(":443" if parts.scheme == "https" else ":80")
    query = signer.signed_query(method, host, parts.path, headers, expires_in_seconds, datetime.now(UTC), wishes)
    return f"{url}?{query}"


@lru_cache(maxsize=8)
def _signer(access_key: str, secret_key: str, region: str) -> Signer:
    """Lists have hundreds of addresses, and a signer derives its key once a day."""
    return Signer(access_key, secret_key, region)


def timestamp(value: str) -> datetime:
    """Of a document (ISO 8601) or of a header (RFC 5322)."""
    return datetime.fromisoformat(value) if value[:1].isdigit() else parsedate_to_datetime(value)
