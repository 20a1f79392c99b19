"""Requests of single objects and listings, signed and sent straight from here.

The AWS client builds each request, and reads each answer, by a model of the whole service. That takes several times as
long as sending a small file or reading a listing by itself. What is rare goes through that client: uploads in parts.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
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
_DONE: Final = {200, 204, 206}


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
class _Request:
    """`operation` is what errors know it by, `path` is encoded, `headers` are those beside what every request has."""

    operation: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str = SHA256_OF_NOTHING
    data: Any = None
    query: str = ""


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
        # How long an answer may take, the caller knows: it depends on the body.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_seconds)
        # But nobody waits for the whole of a body that is read piece by piece.
        self._timeout_of_reads = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_seconds, sock_read=settings.answer_seconds
        )
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        is_secure = self._settings.endpoint.startswith("https:")
        self._opened = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.connections, ssl=await asyncio.to_thread(_trust) if is_secure else True
            ),
            timeout=self._timeout,
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
            return await self._put(key, headers, body.sha256, data)
        payload = _FilePayload(body)
        try:
            return await self._put(key, headers, body.sha256, payload)
        except aiohttp.ClientError as error:
            if payload.failure is not None:
                raise SourceUnreadable(payload.failure) from error
            raise

    async def head(self, key: str) -> CIMultiDictProxy[str]:
        """Headers that describe an object. Raises like `put`."""
        headers = {"x-amz-checksum-mode": "ENABLED"}
        return (await self._answer(_Request("HeadObject", "HEAD", self._path_of(key), headers))).headers

    async def get(self, key: str, wanted: str | None) -> aiohttp.ClientResponse:
        """Begin to read an object, or the bytes that are `wanted` of it (the value of a Range header).

        The caller reads the body and closes the answer. Between two pieces the store may be silent for as long as it
        may be before an answer. Raises like `put`.
        """
        headers = {} if wanted is None else {"range": wanted}
        return await self._begun(_Request("GetObject", "GET", self._path_of(key), headers))

    async def copy(
        self, source_key: str, target_key: str, description: Mapping[str, str] | None = None
    ) -> Mapping[str, str]:
        """Copy an object with its metadata, or with the headers that describe it now.

        Returns what the store says of the copy. Raises like `put`.
        """
        headers = {"x-amz-copy-source": self._path_of(source_key)}
        if description is not None:
            headers |= {**description, "x-amz-metadata-directive": "REPLACE"}
        answer = await self._answer(_Request("CopyObject", "PUT", self._path_of(target_key), headers))
        kind, said = _read("CopyObject", 200, answer.body)
        if kind == "Error":
            # To a copy that takes long a store answers 200 before it knows.
            raise RefusedAnswer(Refusal("CopyObject", 500, said.get("Code", ""), said.get("Message", "")))
        return said

    async def delete(self, key: str) -> None:
        """Remove an object. Raises like `put`."""
        await self._answer(_Request("DeleteObject", "DELETE", self._path_of(key)))

    async def head_bucket(self) -> None:
        """Return when the bucket is there. Raises like `put`."""
        await self._answer(_Request("HeadObject", "HEAD", self._bucket_path))

    async def list_objects(self, parameters: Mapping[str, str]) -> Answer:
        """Ask the bucket for a page of its listing. Raises like `put`."""
        return await self._answer(_Request("ListObjectsV2", "GET", self._bucket_path, query=encoded_query(parameters)))

    @property
    def _bucket_path(self) -> str:
        return f"/{self._settings.bucket}"

    def _path_of(self, key: str) -> str:
        return f"{self._bucket_path}/{encoded(key)}"

    async def _put(self, key: str, headers: Mapping[str, str], sha256: str, data: Any) -> CIMultiDictProxy[str]:
        request = _Request("PutObject", "PUT", self._path_of(key), headers, sha256, data)
        return (await self._answer(request)).headers

    async def _answer(self, request: _Request) -> Answer:
        async with await self._begun(request) as answer:
            return Answer(answer.headers, await answer.read())

    async def _begun(self, request: _Request) -> aiohttp.ClientResponse:
        """The answer of a store that does what it was asked, its body unread."""
        if self._opened is None:
            raise RuntimeError("the Wire is not open: use it as `async with`")
        method, path, query = request.method, request.path, request.query
        signed = self._signer.signed(
            method, self._host, path, request.headers, request.sha256, datetime.now(UTC), query
        )
        answer = await self._opened.request(
            method,
            URL(f"{self._settings.endpoint}{path}{query and '?'}{query}", encoded=True),
            headers=signed,
            data=request.data,
            allow_redirects=False,
            timeout=self._timeout_of_reads if method == "GET" else self._timeout,
        )
        if answer.status in _DONE:
            return answer
        async with answer:
            document = await read_at_most(answer.content, _ERROR_BYTES)
            raise RefusedAnswer(_refusal(request.operation, answer.status, document))


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


async def read_at_most(body: aiohttp.StreamReader, most_bytes: int) -> bytes:
    """Read to the end, or so far; a single `read` gives what has arrived, which may be half a document."""
    read = bytearray()
    while piece := await body.read(most_bytes - len(read)):
        read += piece
    return bytes(read)


def encoded(key: str) -> str:
    """A key as it stands in an address."""
    return quote(key, safe="/~")


def _refusal(operation: str, status: int, document: bytes) -> Refusal:
    """What a store says of its refusal. Raises StoreUnavailable for a page of somebody else, such as a proxy."""
    if not document:
        return Refusal(operation, status, str(status), "")
    _, said = _read(operation, status, document)
    return Refusal(operation, status, said.get("Code", str(status)), said.get("Message", ""))


def _read(operation: str, status: int, document: bytes) -> tuple[str, dict[str, str]]:
    """A small document: its kind, and its texts by their names. Raises StoreUnavailable for anything else."""
    try:
        root = ElementTree.fromstring(document.strip())
    except ElementTree.ParseError as error:
        said = f"answered {operation} with {status} and no document of a store: {document[:80]!r}"
        raise StoreUnavailable("s3", said) from error
    return _bare_tag(root.tag), {_bare_tag(element.tag): element.text or "" for element in root}


def _bare_tag(tag: str) -> str:
    return tag.rpartition("}")[2]


def _trust() -> ssl.SSLContext:
    """The authorities that the AWS client trusts too; blocks."""
    return ssl.create_default_context(cafile=get_session().get_config_variable("ca_bundle") or get_cert_path(True))
