"""The object store in a bucket of S3 or of what speaks its language, such as MinIO."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from opentelemetry.trace import SpanKind
from yarl import URL

from shared.storage import s3_answers as answers
from shared.storage.atomic_file import disk_error
from shared.storage.errors import ChecksumMismatch, ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.keys import validated, validated_prefix
from shared.storage.object_store import (
    ObjectInfo,
    OpenObject,
    batched_bytes,
    content_type_of,
)
from shared.storage.s3_signing import EMPTY_SHA256, Signer, encoded_path, encoded_query, utc_now
from shared.storage.settings import S3Settings
from shared.telemetry.tracing import span

_T = TypeVar("_T")
_LARGE_BODY_BYTES: Final = 1024 * 1024
_INLINE_HASH_BYTES: Final = 256 * 1024
_READ_CHUNK_BYTES: Final = 256 * 1024
_LISTING_PAGE: Final = 1000
_BUCKET_SEEN_SECONDS: Final = 5.0
_CLEANUP_SECONDS: Final = 10.0
_FAILED_STATUS: Final = 300
_FOLDER_ATTEMPTS: Final = 5
_NOT_FOUND: Final = 404
_RANGE_OUTSIDE: Final = 416

_logger: Final = logging.getLogger(__name__)


class S3Store:
    """Objects in one bucket, over one pool of connections; use it as `async with`, once per process.

    The store itself checks every body against its SHA-256, which is part of the signed request, and keeps it as the
    object's metadata `sha256`. Objects larger than `part_bytes` go in parts, each checked likewise; streams that
    large get no such metadata, because it has to be sent before the bytes are known.

    Nothing is tried twice here, except on a kept connection that the store had closed meanwhile: the callers'
    retries know better.
    """

    name = "s3"

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self.bucket = settings.bucket
        self._endpoint = settings.endpoint.rstrip("/")
        self._host = _host_of(self._endpoint)
        self._signer = Signer(
            settings.access_key.get_secret_value(), settings.secret_key.get_secret_value(), settings.region
        )
        self._session: aiohttp.ClientSession | None = None
        # Whoever holds a large body in memory holds one of these: memory is bounded however many callers there are.
        self._body_slots = asyncio.Semaphore(settings.buffered_parts)
        self._bucket_seen_at = float("-inf")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def put_bytes(
        self, key: str, data: bytes, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        return await self._put(validated(key), data, sha256 or await _sha256(data), content_type)

    async def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        validated(key)
        with _source_errors(path):
            loaded = await asyncio.to_thread(_load, path, _LARGE_BODY_BYTES, sha256)
            if loaded is None:
                async with self._body_slots:
                    loaded = await asyncio.to_thread(_load, path, self._settings.part_bytes, sha256)
                    if loaded is not None:
                        return await self._put(key, loaded.data, loaded.sha256, content_type)
            if loaded is None:
                return await self._put_large_file(key, path, sha256, content_type)
        return await self._put(key, loaded.data, loaded.sha256, content_type)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        sha256: str | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        validated(key)
        parts = batched_bytes(chunks, self._settings.part_bytes)
        async with self._body_slots:
            first = await anext(parts, b"")
            if len(first) < self._settings.part_bytes:
                return await self._put(key, first, sha256 or await _sha256(first), content_type)
        waiting = [first]
        del first

        async def read_part() -> bytes:
            return waiting.pop() if waiting else await anext(parts, b"")

        return await self._put_in_parts(key, read_part, sha256, content_type)

    @asynccontextmanager
    async def open(self, key: str, *, start_byte: int = 0, end_byte: int | None = None) -> AsyncIterator[OpenObject]:
        validated(key)
        headers = {"x-amz-checksum-mode": "ENABLED"}
        if start_byte or end_byte is not None:
            headers["range"] = f"bytes={start_byte}-{'' if end_byte is None else end_byte - 1}"
        if end_byte is not None and end_byte <= start_byte:
            yield OpenObject(await self._existing(key), _nothing())
            return
        with _store_errors():
            response = await self._send("GET", key, headers=headers)
        async with response:
            if response.status == _RANGE_OUTSIDE:
                yield OpenObject(await self._existing(key), _nothing())
                return
            if response.status >= _FAILED_STATUS:
                with _store_errors():
                    await self._raise(response, "GET", key)
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
            info = answers.info_of_headers(key, response.headers, int(whole or response.content_length or 0))
            yield OpenObject(info, _chunks(response))

    async def stat(self, key: str) -> ObjectInfo | None:
        try:
            headers, _ = await self._exchange("HEAD", validated(key), headers={"x-amz-checksum-mode": "ENABLED"})
        except ObjectNotFound:
            await self._require_bucket()
            return None
        except StoreRefused:
            await self.check()  # says why, which an answer to HEAD can't
            raise
        return answers.info_of_headers(key, headers, int(headers.get("Content-Length", 0)))

    async def delete(self, key: str) -> None:
        try:
            await self._exchange("DELETE", validated(key))
        except ObjectNotFound:
            return

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        validated_prefix(prefix)
        page = await self._list_page(prefix, start_after, _LISTING_PAGE)
        while True:
            for info in page.objects:
                # A merge of two listings that are not both in order would take present objects for missing ones.
                if info.key <= start_after:
                    raise StoreUnavailable("s3", f"the store lists {info.key!r} after {start_after!r}: out of order")
                start_after = info.key
                yield info
            if not page.is_truncated:
                return
            if not page.objects:
                raise StoreUnavailable("s3", f"the listing of {prefix!r} stops after {start_after!r}, unfinished")
            page = await self._list_page(prefix, start_after, _LISTING_PAGE)

    async def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        validated(target_key)
        if validated(source_key) != target_key:
            try:
                _, body = await self._exchange(
                    "PUT", target_key, headers={"x-amz-copy-source": encoded_path(self.bucket, source_key)}
                )
            except ObjectNotFound as error:
                if await self.stat(source_key) is not None:
                    raise _folder_vanished(target_key) from error
                raise ObjectNotFound(source_key, self.name) from error
            self._raise_for_error_inside(body, target_key)
        return await self._existing(target_key)

    async def check(self) -> None:
        await self._list_page("", "", 1)

    def presigned_get(self, key: str, *, expires_in_seconds: int) -> str:
        """URL with which anyone may read the object until it expires (at most 7 days)."""
        return self._presigned("GET", key, {}, expires_in_seconds)

    def presigned_put(
        self, key: str, *, content_type: str, size_bytes: int | None = None, expires_in_seconds: int
    ) -> str:
        """URL with which anyone may write the object until it expires (at most 7 days).

        The sender has to send exactly this Content-Type, and a body of exactly this size where one is given; the store
        refuses all else.
        """
        headers = {"content-type": content_type}
        if size_bytes is not None:
            headers["content-length"] = str(size_bytes)
        return self._presigned("PUT", key, headers, expires_in_seconds)

    def public_url(self, key: str) -> str | None:
        """Address for everyone; None when the bucket is not public."""
        if self._settings.public_url is None:
            return None
        return self._settings.public_url.rstrip("/") + encoded_path(validated(key))

    def _presigned(self, method: str, key: str, headers: Mapping[str, str], expires_in_seconds: int) -> str:
        endpoint = (self._settings.presign_endpoint or self._endpoint).rstrip("/")
        path = encoded_path(self.bucket, validated(key))
        query = self._signer.presigned_query(method, _host_of(endpoint), path, headers, expires_in_seconds, utc_now())
        return f"{endpoint}{path}?{query}"

    async def _put(self, key: str, data: bytes, sha256: str, content_type: str | None) -> ObjectInfo:
        headers = _object_headers(key, sha256, content_type)
        for _ in range(_FOLDER_ATTEMPTS):
            put = self._exchange("PUT", key, headers=headers, body=data, payload_sha256=sha256)
            try:
                answer, _ = await _to_its_end(put)
            except ObjectNotFound:
                continue
            return _written(key, answer, len(data), sha256, headers["content-type"])
        raise _folder_vanished(key)

    async def _put_in_parts(
        self, key: str, read_part: Callable[[], Awaitable[bytes]], sha256: str | None, content_type: str | None
    ) -> ObjectInfo:
        """Send parts as they are read, several at a time, and join them once all arrived and the whole is right."""
        headers = _object_headers(key, sha256, content_type)
        _, body = await self._exchange("POST", key, query={"uploads": ""}, headers=headers)
        upload = _PartUpload(key, answers.parse_upload_id(body))
        try:
            await self._send_parts(upload, read_part)
            if sha256 is not None and sha256 != upload.sha256:
                raise ChecksumMismatch(key, sha256, upload.sha256)
            return await _to_its_end(self._join_parts(upload, headers["content-type"]))
        except BaseException:
            if not upload.is_joined:
                await self._abort(upload)
            raise

    async def _join_parts(self, upload: _PartUpload, content_type: str) -> ObjectInfo:
        answer, body = await self._exchange(
            "POST", upload.key, query=upload.query, body=answers.completion(upload.ordered_etags())
        )
        self._raise_for_error_inside(body, upload.key)
        upload.is_joined = True
        written = _written(upload.key, answer, upload.size_bytes, upload.sha256, content_type)
        return replace(written, etag=answers.etag_of(body))

    async def _put_large_file(self, key: str, path: Path, sha256: str | None, content_type: str | None) -> ObjectInfo:
        sha256 = sha256 or await asyncio.to_thread(_sha256_of_file, path)
        with await asyncio.to_thread(path.open, "rb") as file:
            return await self._put_in_parts(
                key, lambda: asyncio.to_thread(file.read, self._settings.part_bytes), sha256, content_type
            )

    async def _send_parts(self, upload: _PartUpload, read_part: Callable[[], Awaitable[bytes]]) -> None:
        try:
            async with asyncio.TaskGroup() as sending:
                while part := await self._next_part(upload, read_part):
                    task = sending.create_task(self._send_part(upload, part))
                    # Here and not in the task, which may be cancelled before it ever runs.
                    task.add_done_callback(lambda _: self._body_slots.release())
                    del part
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _next_part(self, upload: _PartUpload, read_part: Callable[[], Awaitable[bytes]]) -> _Part | None:
        """Read a part while holding a slot, which passes to whoever sends it."""
        await self._body_slots.acquire()
        try:
            if data := await read_part():
                return await asyncio.to_thread(upload.add, data)
        except BaseException:
            self._body_slots.release()
            raise
        self._body_slots.release()
        return None

    async def _send_part(self, upload: _PartUpload, part: _Part) -> None:
        answer, _ = await self._exchange(
            "PUT",
            upload.key,
            query={**upload.query, "partNumber": str(part.number)},
            body=part.data,
            payload_sha256=part.sha256,
        )
        upload.etags[part.number] = answer.get("ETag", "").strip('"')

    async def _abort(self, upload: _PartUpload) -> None:
        """Free what the store keeps of an upload that will not be finished."""
        try:
            async with asyncio.timeout(_CLEANUP_SECONDS):
                await self._exchange("DELETE", upload.key, query=upload.query)
        except (StoreUnavailable, StoreRefused, ObjectNotFound, TimeoutError) as error:
            _logger.warning("Parts of %s stay in bucket %s: %s", upload.key, self.bucket, error)

    async def _existing(self, key: str) -> ObjectInfo:
        info = await self.stat(key)
        if info is None:
            raise ObjectNotFound(key, self.name)
        return info

    async def _list_page(self, prefix: str, start_after: str, count: int) -> answers.ListingPage:
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(count)}
        if prefix:
            query["prefix"] = prefix
        if start_after:
            query["start-after"] = start_after
        _, body = await self._exchange("GET", query=query)
        return answers.parse_listing(body)

    async def _require_bucket(self) -> None:
        """Tell a missing object from a missing bucket, which would make every object look lost.

        To HEAD a store answers 404 for both, without a word.
        """
        now = time.monotonic()
        if now - self._bucket_seen_at > _BUCKET_SEEN_SECONDS:
            await self.check()
            self._bucket_seen_at = now

    def _raise_for_error_inside(self, body: bytes, key: str) -> None:
        if answers.is_error(body):
            raise answers.error_of(answers.parse_error(200, body), self.bucket, key)

    async def _exchange(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        payload_sha256: str | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request and read its whole answer, within a deadline that grows with the body."""
        seconds = (
            self._settings.connect_seconds
            + self._settings.answer_seconds
            + len(body) / self._settings.slowest_bytes_per_second
        )
        with _store_errors(), span(f"s3 {method}", SpanKind.CLIENT, {"s3.bucket": self.bucket, "s3.key": key}):
            response = await self._send(method, key, query, headers, body, payload_sha256, seconds)
            async with response:
                if response.status >= _FAILED_STATUS:
                    await self._raise(response, method, key, payload_sha256)
                return response.headers, await response.read()

    async def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        payload_sha256: str | None = None,
        seconds: float | None = None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the S3Store is not open: use it as `async with S3Store(settings) as store`")
        path = encoded_path(self.bucket, key)
        query_text = encoded_query(query) if query else ""
        payload_sha256 = payload_sha256 or (hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256)
        signed = self._signer.signed_headers(
            method, self._host, path, query_text, payload_sha256, headers or {}, utc_now()
        )
        url = f"{self._endpoint}{path}?{query_text}" if query_text else f"{self._endpoint}{path}"
        return await self._session.request(
            method,
            URL(url, encoded=True),
            headers=signed,
            # A large body goes in pieces: the loop turns in between.
            data=io.BytesIO(body) if len(body) > _LARGE_BODY_BYTES else body or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=seconds,
                connect=self._settings.connect_seconds + self._settings.answer_seconds,
                sock_connect=self._settings.connect_seconds,
                sock_read=self._settings.answer_seconds,
            ),
        )

    async def _raise(
        self, response: aiohttp.ClientResponse, method: str, key: str, payload_sha256: str | None = None
    ) -> NoReturn:
        answer = answers.parse_error(response.status, await response.read())
        if answer.code in answers.CHECKSUM_ERRORS and payload_sha256 is not None:
            raise ChecksumMismatch(key, payload_sha256, None)
        if method == "HEAD" and response.status == _NOT_FOUND:
            raise ObjectNotFound(key, self.name)
        raise answers.error_of(answer, self.bucket, key)


@dataclass(frozen=True, slots=True)
class _Loaded:
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    data: bytes
    sha256: str


class _PartUpload:
    """An upload in parts: what was read so far, and what the store called it."""

    def __init__(self, key: str, upload_id: str) -> None:
        self.key = key
        self.query = {"uploadId": upload_id}
        self.etags: dict[int, str] = {}
        self.size_bytes = 0
        self.is_joined = False
        self._count = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, data: bytes) -> _Part:
        """Number and hash the next part; blocks."""
        self._hash.update(data)
        self.size_bytes += len(data)
        self._count += 1
        return _Part(self._count, data, hashlib.sha256(data).hexdigest())

    def ordered_etags(self) -> list[str]:
        return [self.etags[number] for number in range(1, self._count + 1)]


async def _to_its_end(request: Coroutine[Any, Any, _T]) -> _T:
    """Send a request that changes something, and see it through even when the caller is cancelled.

    Cut off half-way it could still take effect, after its caller has cleaned up. The wait ends with the request's own
    deadline.
    """
    sending = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait([sending])
        if not sending.cancelled():
            sending.exception()
        raise


def _folder_vanished(key: str) -> StoreUnavailable:
    """A write was answered "no such key".

    Stores that keep keys as paths remove a folder with its last object, at times while another is being put there.
    """
    return StoreUnavailable("s3", f"the store lost the folder of {key!r} while writing into it")


def _host_of(endpoint: str) -> str:
    """The Host header that a client sends to this base URL."""
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
        raise ValueError(f"{endpoint!r} is no S3 endpoint: expected something like https://s3.example.org:9000")
    default_port = 443 if parts.scheme == "https" else 80
    return parts.hostname if parts.port in {None, default_port} else f"{parts.hostname}:{parts.port}"


def _object_headers(key: str, sha256: str | None, content_type: str | None) -> dict[str, str]:
    headers = {"content-type": content_type or content_type_of(key)}
    if sha256 is not None:
        headers[answers.SHA256_HEADER] = sha256
    return headers


def _written(key: str, answer: Mapping[str, str], size_bytes: int, sha256: str, content_type: str) -> ObjectInfo:
    described = answers.info_of_headers(key, answer, size_bytes)
    return replace(described, sha256=sha256, content_type=content_type)


async def _sha256(data: bytes) -> str:
    if len(data) <= _INLINE_HASH_BYTES:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path, limit_bytes: int, sha256: str | None) -> _Loaded | None:
    """Read and hash a file; None when it is larger than the limit."""
    with path.open("rb", buffering=0) as file:
        data = b"" if os.fstat(file.fileno()).st_size > limit_bytes else file.read(limit_bytes + 1)
        if os.fstat(file.fileno()).st_size > limit_bytes:
            return None
    return _Loaded(data, sha256 or hashlib.sha256(data).hexdigest())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _store_errors():
        async for chunk in response.content.iter_chunked(_READ_CHUNK_BYTES):
            yield chunk


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreUnavailable("s3", f"{type(error).__name__}: {error}") from error


@contextmanager
def _source_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(str(path), "disk") from error
    except OSError as error:
        raise disk_error(error, path) from error
