"""The requests that are most of the work, signed and sent straight from here: PUT and HEAD of one object, and listings.

The AWS client builds each request, and reads each answer, by a model of the whole service. That takes several times as
long as sending a small file or reading a listing by itself. Everything rarer goes through that client.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit
from urllib.request import getproxies
from xml.etree import ElementTree

import aiohttp
from aiobotocore.session import get_session
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from botocore.httpsession import get_cert_path
from multidict import CIMultiDictProxy
from yarl import URL

from shared.storage.errors import StoreUnavailable
from shared.storage.s3_errors import Refusal
from shared.storage.s3_signing import Signer, encoded_query
from shared.storage.settings import S3Settings

SHA256_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()
FILE_CHUNK_BYTES: Final = 1024 * 1024
_ERROR_BYTES: Final = 64 * 1024
_IN_ONE_WRITE_BYTES: Final = 1024 * 1024
_OPERATIONS: Final = {"PUT": "PutObject", "HEAD": "HeadObject", "GET": "ListObjectsV2"}


class RefusedAnswer(Exception):
    """The store answered, and it is no success."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.status} {refusal.code}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class FileBody:
    """An open file to send: its first `size_bytes`, of which the SHA-256 (hex) is known."""

    descriptor: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BytesBody:
    """Bytes to send whose SHA-256 (hex) is known."""

    data: bytes
    sha256: str

    @property
    def size_bytes(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a store that did what it was asked."""

    headers: CIMultiDictProxy[str]
    body: bytes


class Wire:
    """Connections of their own to one bucket; use it as `async with`. Nothing is tried twice, see `S3Store`."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._signer = Signer(
            settings.access_key.get_secret_value(), settings.secret_key.get_secret_value(), settings.region
        )
        self._host = urlsplit(settings.endpoint).netloc
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        is_secure = self._settings.endpoint.startswith("https:")
        self._opened = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.connections, ssl=await asyncio.to_thread(_trust) if is_secure else True
            ),
            # How long an answer may take, the caller knows: it depends on the body.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_seconds),
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            headers={"User-Agent": "mediabus"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Asking the environment at each request takes as long as signing it.
            trust_env=bool(getproxies()),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def put(
        self, key: str, body: BytesBody | FileBody, content_type: str, metadata: Mapping[str, str]
    ) -> CIMultiDictProxy[str]:
        """Store a body, which the store checks against the signed checksum; returns the headers of the answer.

        Raises RefusedAnswer, SourceUnreadable, StoreUnavailable for what is no store's answer, and what aiohttp raises.
        """
        headers = {"content-type": content_type, **{f"x-amz-meta-{name}": value for name, value in metadata.items()}}
        if isinstance(body, BytesBody):
            # In one piece while it is small: every further piece is a system call and a turn of the loop.
            data: Any = body.data if body.size_bytes <= _IN_ONE_WRITE_BYTES else io.BytesIO(body.data)
            return (await self._request("PUT", self._path_of(key), body.sha256, headers, data)).headers
        payload = _FilePayload(body)
        try:
            return (await self._request("PUT", self._path_of(key), body.sha256, headers, payload)).headers
        except aiohttp.ClientError as error:
            if payload.failure is not None:
                raise SourceUnreadable(payload.failure) from error
            raise

    async def head(self, key: str) -> CIMultiDictProxy[str]:
        """Headers that describe an object. Raises like `put`."""
        headers = {"x-amz-checksum-mode": "ENABLED"}
        return (await self._request("HEAD", self._path_of(key), SHA256_OF_NOTHING, headers)).headers

    async def head_bucket(self) -> None:
        """Return when the bucket is there. Raises like `put`."""
        await self._request("HEAD", self._bucket_path, SHA256_OF_NOTHING, {})

    async def list_objects(self, parameters: Mapping[str, str]) -> Answer:
        """Ask the bucket for a page of its listing. Raises like `put`."""
        return await self._request("GET", self._bucket_path, SHA256_OF_NOTHING, {}, query=encoded_query(parameters))

    @property
    def _bucket_path(self) -> str:
        return f"/{self._settings.bucket}"

    def _path_of(self, key: str) -> str:
        return f"{self._bucket_path}/{encoded(key)}"

    async def _request(
        self, method: str, path: str, sha256: str, headers: Mapping[str, str], data: Any = None, query: str = ""
    ) -> Answer:
        if self._opened is None:
            raise RuntimeError("the Wire is not open: use it as `async with`")
        signed = self._signer.signed(method, self._host, path, headers, sha256, datetime.now(UTC), query)
        url = URL(f"{self._settings.endpoint}{path}{query and '?'}{query}", encoded=True)
        async with self._opened.request(method, url, headers=signed, data=data, allow_redirects=False) as answer:
            if answer.status == 200:
                return Answer(answer.headers, await answer.read())
            raise RefusedAnswer(_refusal(method, answer.status, await answer.content.read(_ERROR_BYTES)))


class SourceUnreadable(Exception):
    """The file that was being sent could not be read to its end."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _FilePayload(Payload):
    """A file, read in threads as it is sent; begins anew when it is sent again."""

    def __init__(self, body: FileBody) -> None:
        super().__init__(body)
        self._body = body
        self._size = body.size_bytes
        self.failure: OSError | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file is sent, not decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        at = 0
        while at < self._body.size_bytes:
            at += await self._write_some(writer, at)

    async def _write_some(self, writer: AbstractStreamWriter, at: int) -> int:
        wanted = min(FILE_CHUNK_BYTES, self._body.size_bytes - at)
        try:
            chunk = await asyncio.to_thread(os.pread, self._body.descriptor, wanted, at)
        except OSError as error:
            self.failure = error
            raise
        if not chunk:
            self.failure = OSError(None, f"it ended at byte {at}, before byte {self._body.size_bytes}: it was cut")
            raise self.failure
        await writer.write(chunk)
        return len(chunk)


def encoded(key: str) -> str:
    """A key as it stands in an address."""
    return quote(key, safe="/~")


def _refusal(method: str, status: int, document: bytes) -> Refusal:
    """What a store says of its refusal. Raises StoreUnavailable for a page of somebody else, such as a proxy."""
    operation = _OPERATIONS[method]
    if not document:
        return Refusal(operation, status, str(status), "")
    try:
        said = {_bare_tag(element.tag): element.text or "" for element in ElementTree.fromstring(document)}
    except ElementTree.ParseError as error:
        raise StoreUnavailable("s3", f"answered {status} with no document of a store: {document[:80]!r}") from error
    return Refusal(operation, status, said.get("Code", str(status)), said.get("Message", ""))


def _bare_tag(tag: str) -> str:
    return tag.rpartition("}")[2]


def _trust() -> ssl.SSLContext:
    """The authorities that the AWS client trusts too; blocks."""
    return ssl.create_default_context(cafile=get_session().get_config_variable("ca_bundle") or get_cert_path(True))
