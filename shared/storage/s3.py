"""The object store in a bucket of S3 or of what speaks its language, such as MinIO."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self
from urllib.parse import quote

from aiohttp import ClientResponse, StreamReader

from shared.seeing_through import to_its_end
from shared.storage.atomic_file import disk_error
from shared.storage.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.keys import validated, validated_prefix
from shared.storage.object_store import (
    ObjectInfo,
    OpenObject,
    batched_bytes,
    content_type_of,
)
from shared.storage.s3_answers import (
    NOBODYS_HEADER,
    SHA256,
    bare,
    folder_vanished,
    info_of_headers,
    require,
    time_of,
)
from shared.storage.s3_client import presigned_url
from shared.storage.s3_connection import RangeOutside, S3Connection, store_errors
from shared.storage.s3_listing import PAGE_OBJECTS, ListedPage, likely_last_key, listing_query, read_page
from shared.storage.s3_parts import abort_unfinished, put_in_parts
from shared.storage.s3_wire import BytesBody, FileBody, SourceUnreadable, encoded
from shared.storage.settings import S3Settings

_DESCRIPTIONS: Final = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
}
_LARGE_BODY_BYTES: Final = 1024 * 1024
_INLINE_HASH_BYTES: Final = 256 * 1024
_READ_CHUNK_BYTES: Final = 256 * 1024
_BUCKET_SEEN_SECONDS: Final = 5.0
_FOLDER_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class _UnreadPage:
    """What came for a page of the listing, and how far the store's clock was ahead when it came."""

    document: bytes
    clock_ahead: timedelta


class S3Store:
    """Objects in one bucket, over one pool of connections; use it as `async with`, once per process.

    The store itself checks every body against its SHA-256, which is part of the signed request, and it is kept as the
    object's metadata `sha256`. Files above `whole_file_bytes` and streams above `part_bytes` go in parts, each checked
    likewise; such streams get no such metadata, because it has to be sent before the bytes are known.

    Nothing is tried twice here, except on a kept connection that the store had closed meanwhile: the callers'
    retries know better.
    """

    name = "s3"

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self.bucket = settings.bucket
        self._presign_endpoint = settings.presign_endpoint or settings.endpoint
        self._opened: S3Connection | None = None
        self._stack = AsyncExitStack()
        # Whoever holds a large body in memory holds one of these: memory is bounded however many callers there are.
        self._body_slots = asyncio.Semaphore(settings.buffered_parts)
        self._bucket_seen_at = float("-inf")
        self._bucket_asked = asyncio.Lock()
        self._clock_ahead = timedelta()

    async def __aenter__(self) -> Self:
        self._opened = await S3Connection.opened(self._settings, self._stack)
        return self

    @property
    def settings(self) -> S3Settings:
        return self._settings

    async def move_to(self, settings: S3Settings) -> None:
        """Speak to another place from the next request on.

        A request under way, and an upload in parts, end where they began: the clients they use are closed with this
        store. What else takes several requests may find its first half missing and fails like one that was cut off.
        """
        self._opened = await S3Connection.opened(settings, self._stack)
        self._settings = settings
        self.bucket = settings.bucket
        self._presign_endpoint = settings.presign_endpoint or settings.endpoint
        self._bucket_seen_at = float("-inf")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened = None
        await self._stack.aclose()

    @property
    def _connection(self) -> S3Connection:
        if self._opened is None:
            raise RuntimeError("the S3Store is not open: use it as `async with S3Store(settings) as store`")
        return self._opened

    async def put_bytes(
        self, key: str, data: bytes, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        return await self._put(validated(key), BytesBody(data, sha256 or await _sha256(data)), content_type)

    async def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        validated(key)
        with _source_errors(path):
            loaded = await asyncio.to_thread(_load, path, _LARGE_BODY_BYTES, sha256)
            if loaded is not None:
                return await self._put(key, loaded, content_type)
            expected = await asyncio.to_thread(_sha256_of_file, path) if sha256 is None else sha256
            async with _opened(path) as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes <= self._settings.whole_file_bytes:
                    return await self._put(key, FileBody(file.fileno(), size_bytes, expected), content_type)
                return await put_in_parts(
                    self._connection,
                    self._body_slots,
                    key,
                    lambda: asyncio.to_thread(file.read, self._settings.part_bytes),
                    expected,
                    content_type or content_type_of(key),
                )

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
                return await self._put(key, BytesBody(first, sha256 or await _sha256(first)), content_type)
        waiting = [first]
        del first

        async def read_part() -> bytes:
            return waiting.pop() if waiting else await anext(parts, b"")

        content_type = content_type or content_type_of(key)
        return await put_in_parts(self._connection, self._body_slots, key, read_part, sha256, content_type)

    @asynccontextmanager
    async def open(self, key: str, *, start_byte: int = 0, end_byte: int | None = None) -> AsyncIterator[OpenObject]:
        validated(key)
        wanted = None
        if start_byte or end_byte is not None:
            wanted = f"bytes={start_byte}-{'' if end_byte is None else end_byte - 1}"
        answer = None
        if end_byte is None or end_byte > start_byte:
            answer = await self._begin_reading(key, wanted)
        if answer is None:
            yield OpenObject(await self._existing(key), _nothing())
            return
        async with answer:
            yield OpenObject(info_of_headers(key, answer.headers), _chunks(answer.content))

    async def _begin_reading(self, key: str, wanted: str | None) -> ClientResponse | None:
        """None when the wanted range lies outside the object."""
        try:
            return await self._connection.exchange("GET", key, self._connection.wire.get(key, wanted))
        except RangeOutside:
            return None

    async def stat(self, key: str) -> ObjectInfo | None:
        validated(key)
        try:
            headers = await self._connection.exchange("HEAD", key, self._connection.wire.head(key))
        except ObjectNotFound:
            await self._require_bucket()
            return None
        except StoreRefused:
            await self.check()  # says why, which an answer to HEAD can't
            raise
        return info_of_headers(key, headers)

    async def delete(self, key: str) -> None:
        validated(key)
        try:
            await self._connection.exchange("DELETE", key, self._connection.wire.delete(key))
        except ObjectNotFound:
            return

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        validated_prefix(prefix)
        while True:
            page = await self._list_page(prefix, start_after, PAGE_OBJECTS)
            following = _last_in_order(page, prefix, start_after)
            for info in page.objects:
                yield info
            if not page.has_more:
                return
            start_after = following

    async def pages(self, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Sequence[ObjectInfo], None]:
        """Give what `list` gives, many at a time; the next are asked for before these are read, and given.

        To be closed by who does not read to the end: a request may be under way.
        """
        validated_prefix(prefix)
        asked = asyncio.create_task(self._ask_for_page(prefix, start_after, PAGE_OBJECTS))
        try:
            while True:
                unread = await asked
                likely = likely_last_key(unread.document)
                if likely is not None:
                    asked = asyncio.create_task(self._ask_for_page(prefix, likely, PAGE_OBJECTS))
                page = await self._read_page(unread)
                start_after = _last_in_order(page, prefix, start_after)
                if not page.has_more:
                    yield page.objects
                    return
                if likely != start_after:
                    await _cancelled(asked)
                    asked = asyncio.create_task(self._ask_for_page(prefix, start_after, PAGE_OBJECTS))
                yield page.objects
        finally:
            await _cancelled(asked)

    async def copy(self, source_key: str, target_key: str, *, is_nobodys: bool = False) -> ObjectInfo:
        validated(target_key)
        if validated(source_key) != target_key:
            try:
                marked = await self._marked(source_key) if is_nobodys else None
                said = await self._connection.exchange(
                    "COPY", target_key, self._connection.wire.copy(source_key, target_key, marked)
                )
            except ObjectNotFound as error:
                if await self.stat(source_key) is not None:
                    raise folder_vanished(target_key) from error
                raise ObjectNotFound(source_key, self.name) from error
            require("ETag" in said, "a copy")
        return await self._existing(target_key)

    async def _marked(self, key: str) -> dict[str, str]:
        """The headers that describe an object, and the mark: a store takes all of them anew, or none."""
        headers = await self._connection.exchange("HEAD", key, self._connection.wire.head(key))
        kept = {name.lower(): value for name, value in headers.items()}
        described = {name: kept[name] for name in kept if name in _DESCRIPTIONS or name.startswith("x-amz-meta-")}
        return described | {NOBODYS_HEADER: "true"}

    async def check(self) -> None:
        await self._list_page("", "", 1)

    def clock(self) -> datetime:
        """The time by the store's own clock, as its last listing told it, to a second; ages of its objects go by it."""
        return datetime.now(UTC) + self._clock_ahead

    async def abort_unfinished(self, *, older_than_seconds: float, limit: int) -> int:
        """Abort at most `limit` uploads in parts that began so long ago: what killed processes left behind.

        Returns how many. Their parts take up space that no listing of objects shows. A store that lists none, as MinIO
        does, has a term of its own for them.
        """
        await self.check()
        return await abort_unfinished(self._connection, self.clock() - timedelta(seconds=older_than_seconds), limit)

    def presigned_get(self, key: str, *, expires_in_seconds: int, save_as: str | None = None) -> str:
        """URL with which anyone may read the object until it expires (at most 7 days).

        Browsers save what they read from it under the name `save_as`, if there is one, instead of showing it.
        """
        wishes = (
            {}
            if save_as is None
            else {"response-content-disposition": f"attachment; filename*=UTF-8''{quote(save_as, safe='')}"}
        )
        return self._presigned("GET", key, {}, expires_in_seconds, wishes)

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
        return f"{self._settings.public_url}/{encoded(validated(key))}"

    def _presigned(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        expires_in_seconds: int,
        wishes: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        url = f"{self._presign_endpoint}/{self.bucket}/{encoded(validated(key))}"
        return presigned_url(self._settings, method, url, headers, expires_in_seconds=expires_in_seconds, wishes=wishes)

    async def _put(self, key: str, body: BytesBody | FileBody, content_type: str | None) -> ObjectInfo:
        content_type = content_type or content_type_of(key)
        for _ in range(_FOLDER_ATTEMPTS):
            request = self._connection.wire.put(key, body, content_type, {SHA256: body.sha256})
            try:
                headers = await to_its_end(self._connection.exchange("PUT", key, request, body.size_bytes, body.sha256))
            except ObjectNotFound:
                continue
            require("ETag" in headers, "a write")
            written_at = time_of(headers.get("Date"))
            return ObjectInfo(key, body.size_bytes, bare(headers["ETag"]), written_at, body.sha256, content_type)
        raise folder_vanished(key)

    async def _existing(self, key: str) -> ObjectInfo:
        info = await self.stat(key)
        if info is None:
            raise ObjectNotFound(key, self.name)
        return info

    async def _list_page(self, prefix: str, start_after: str, count: int) -> ListedPage:
        return await self._read_page(await self._ask_for_page(prefix, start_after, count))

    async def _ask_for_page(self, prefix: str, start_after: str, count: int) -> _UnreadPage:
        request = self._connection.wire.list_objects(listing_query(prefix, start_after, count))
        answer = await self._connection.exchange("LIST", prefix, request)
        return _UnreadPage(answer.body, time_of(answer.headers.get("Date")) - datetime.now(UTC))

    async def _read_page(self, unread: _UnreadPage) -> ListedPage:
        page = await read_page(unread.document)
        self._clock_ahead = unread.clock_ahead
        return page

    async def _require_bucket(self) -> None:
        """Tell a missing object from a missing bucket, which would make every object look lost.

        To HEAD a store answers 404 for both, without a word.
        """
        # One asks for all who find an object missing at once.
        async with self._bucket_asked:
            if time.monotonic() - self._bucket_seen_at > _BUCKET_SEEN_SECONDS:
                await self._ask_for_bucket()
                self._bucket_seen_at = time.monotonic()

    async def _ask_for_bucket(self) -> None:
        try:
            await self._connection.exchange("HEAD BUCKET", "", self._connection.wire.head_bucket())
        except (ObjectNotFound, StoreRefused):
            await self.check()  # says why, which an answer to HEAD can't


async def _cancelled(task: asyncio.Task[_UnreadPage]) -> None:
    """Return once the task has ended, however it did: nobody wants to know."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _last_in_order(page: ListedPage, prefix: str, start_after: str) -> str:
    """The last key of a page. Raises StoreUnavailable for one that goes backwards, or leads nowhere.

    A merge of two listings that are not both in order would take present objects for missing ones.
    """
    for info in page.objects:
        if info.key <= start_after:
            raise StoreUnavailable("s3", f"the store lists {info.key!r} after {start_after!r}: out of order")
        start_after = info.key
    if page.has_more and not page.objects:
        raise StoreUnavailable("s3", f"the listing of {prefix!r} stops after {start_after!r}, unfinished")
    return start_after


async def _sha256(data: bytes) -> str:
    if len(data) <= _INLINE_HASH_BYTES:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[BufferedReader]:
    """A file to read, opened in a thread and closed in any case, also when the caller is cancelled meanwhile."""
    opening = asyncio.get_running_loop().run_in_executor(None, path.open, "rb")
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    with file:
        yield file


def _close(opening: asyncio.Future[BufferedReader]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _load(path: Path, limit_bytes: int, sha256: str | None) -> BytesBody | None:
    """Read and hash a file; None when it is larger than the limit."""
    with path.open("rb", buffering=0) as file:
        data = b"" if os.fstat(file.fileno()).st_size > limit_bytes else file.read(limit_bytes + 1)
        if os.fstat(file.fileno()).st_size > limit_bytes:
            return None
    return BytesBody(data, sha256 or hashlib.sha256(data).hexdigest())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _chunks(body: StreamReader) -> AsyncIterator[bytes]:
    with store_errors():
        async for chunk in body.iter_chunked(_READ_CHUNK_BYTES):
            yield chunk


@contextmanager
def _source_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(str(path), "disk") from error
    except SourceUnreadable as error:
        raise disk_error(error.reason, path) from error
    except OSError as error:
        raise disk_error(error, path) from error
