"""The object store in a bucket of S3 or of what speaks its language, such as MinIO."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote

from aiohttp import ClientError as BrokenAnswer
from aiohttp import ClientResponse, StreamReader
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from opentelemetry.trace import SpanKind

from shared.storage.atomic_file import disk_error
from shared.storage.errors import ChecksumMismatch, ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.keys import validated, validated_prefix
from shared.storage.object_store import (
    ObjectInfo,
    OpenObject,
    batched_bytes,
    content_type_of,
)
from shared.storage.s3_client import HashedBody, presigned_url, s3_client, send_hashed_bodies, timestamp
from shared.storage.s3_errors import Refusal, error_of
from shared.storage.s3_listing import PAGE_OBJECTS, ListedPage, likely_last_key, listing_query, read_page
from shared.storage.s3_wire import BytesBody, FileBody, RefusedAnswer, SourceUnreadable, Wire, encoded
from shared.storage.settings import S3Settings
from shared.telemetry.tracing import span

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import (
        CompletedPartTypeDef,
        MultipartUploadTypeDef,
        ResponseMetadataTypeDef,
    )

_T = TypeVar("_T")
_SHA256: Final = "sha256"
_SHA256_HEADER: Final = f"x-amz-meta-{_SHA256}"
_NOBODYS_HEADER: Final = "x-amz-meta-nobodys"
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
_UPLOADS_PAGE: Final = 1000
_BUCKET_SEEN_SECONDS: Final = 5.0
_CLEANUP_SECONDS: Final = 10.0
_FOLDER_ATTEMPTS: Final = 5
_RANGE_OUTSIDE: Final = 416

_logger: Final = logging.getLogger(__name__)


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
        self._opened: _Connected | None = None
        self._stack = AsyncExitStack()
        # Whoever holds a large body in memory holds one of these: memory is bounded however many callers there are.
        self._body_slots = asyncio.Semaphore(settings.buffered_parts)
        self._bucket_seen_at = float("-inf")
        self._bucket_asked = asyncio.Lock()
        self._clock_ahead = timedelta()

    async def __aenter__(self) -> Self:
        self._opened = await self._connected(self._settings)
        return self

    async def _connected(self, settings: S3Settings) -> _Connected:
        client = await self._stack.enter_async_context(s3_client(settings))
        send_hashed_bodies(client)
        return _Connected(client, await self._stack.enter_async_context(Wire(settings)))

    @property
    def settings(self) -> S3Settings:
        return self._settings

    async def move_to(self, settings: S3Settings) -> None:
        """Speak to another place from the next request on.

        A request under way ends where it began: the client it uses is closed with this store. What takes several
        requests, such as an upload in parts, may find its first half missing and fails like one that was cut off.
        """
        self._opened = await self._connected(settings)
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
    def _connected_now(self) -> _Connected:
        if self._opened is None:
            raise RuntimeError("the S3Store is not open: use it as `async with S3Store(settings) as store`")
        return self._opened

    @property
    def _client(self) -> S3Client:
        return self._connected_now.client

    @property
    def _wire(self) -> Wire:
        return self._connected_now.wire

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
            with await asyncio.to_thread(path.open, "rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes <= self._settings.whole_file_bytes:
                    return await self._put(key, FileBody(file.fileno(), size_bytes, expected), content_type)
                return await self._put_in_parts(
                    key, lambda: asyncio.to_thread(file.read, self._settings.part_bytes), expected, content_type
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

        return await self._put_in_parts(key, read_part, sha256, content_type)

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
            yield OpenObject(_info_of_headers(key, answer.headers), _chunks(answer.content))

    async def _begin_reading(self, key: str, wanted: str | None) -> ClientResponse | None:
        """None when the wanted range lies outside the object."""
        try:
            return await self._exchange("GET", key, self._wire.get(key, wanted))
        except _RangeOutside:
            return None

    async def stat(self, key: str) -> ObjectInfo | None:
        validated(key)
        try:
            headers = await self._exchange("HEAD", key, self._wire.head(key))
        except ObjectNotFound:
            await self._require_bucket()
            return None
        except StoreRefused:
            await self.check()  # says why, which an answer to HEAD can't
            raise
        return _info_of_headers(key, headers)

    async def delete(self, key: str) -> None:
        validated(key)
        try:
            await self._exchange("DELETE", key, self._wire.delete(key))
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

    async def pages(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Give what `list` gives, many at a time; the next are asked for before these are read, and given."""
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
                said = await self._exchange("COPY", target_key, self._wire.copy(source_key, target_key, marked))
            except ObjectNotFound as error:
                if await self.stat(source_key) is not None:
                    raise _folder_vanished(target_key) from error
                raise ObjectNotFound(source_key, self.name) from error
            _require("ETag" in said, "a copy")
        return await self._existing(target_key)

    async def _marked(self, key: str) -> dict[str, str]:
        """The headers that describe an object, and the mark: a store takes all of them anew, or none."""
        headers = await self._exchange("HEAD", key, self._wire.head(key))
        kept = {name.lower(): value for name, value in headers.items()}
        described = {name: kept[name] for name in kept if name in _DESCRIPTIONS or name.startswith("x-amz-meta-")}
        return described | {_NOBODYS_HEADER: "true"}

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
        begun_before = self.clock() - timedelta(seconds=older_than_seconds)
        aborted = 0
        async for begun in self._unfinished():
            if aborted == limit:
                break
            if begun["Initiated"] < begun_before:
                request = self._client.abort_multipart_upload(
                    Bucket=self.bucket, Key=begun["Key"], UploadId=begun["UploadId"]
                )
                # Finished, or aborted by another replica, since it was listed.
                with suppress(ObjectNotFound):
                    await self._exchange("ABORT PARTS", begun["Key"], request)
                aborted += 1
        return aborted

    async def _unfinished(self) -> AsyncIterator[MultipartUploadTypeDef]:
        key_marker = id_marker = ""
        while True:
            request = self._client.list_multipart_uploads(
                Bucket=self.bucket, KeyMarker=key_marker, UploadIdMarker=id_marker, MaxUploads=_UPLOADS_PAGE
            )
            page = await self._exchange("LIST UPLOADS", "", request)
            _require("IsTruncated" in page, "a listing of uploads")
            for begun in page.get("Uploads", []):
                yield begun
            following = page.get("NextKeyMarker", ""), page.get("NextUploadIdMarker", "")
            # A listing that does not move on would give the same page for ever.
            if not page["IsTruncated"] or following == (key_marker, id_marker):
                return
            key_marker, id_marker = following

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
            request = self._wire.put(key, body, content_type, {_SHA256: body.sha256})
            try:
                headers = await _to_its_end(self._exchange("PUT", key, request, body.size_bytes, body.sha256))
            except ObjectNotFound:
                continue
            _require("ETag" in headers, "a write")
            written_at = _time_of(headers.get("Date"))
            return ObjectInfo(key, body.size_bytes, _bare(headers["ETag"]), written_at, body.sha256, content_type)
        raise _folder_vanished(key)

    async def _put_in_parts(
        self, key: str, read_part: Callable[[], Awaitable[bytes]], sha256: str | None, content_type: str | None
    ) -> ObjectInfo:
        """Send parts as they are read, several at a time, and join them once all arrived and the whole is right."""
        content_type = content_type or content_type_of(key)
        metadata = {} if sha256 is None else {_SHA256: sha256}
        request = self._client.create_multipart_upload(
            Bucket=self.bucket, Key=key, ContentType=content_type, Metadata=metadata
        )
        begun = await self._exchange("BEGIN PARTS", key, request)
        _require(bool(begun.get("UploadId")), "an upload in parts")
        upload = _PartUpload(key, begun["UploadId"])
        try:
            await self._send_parts(upload, read_part)
            if sha256 is not None and sha256 != upload.sha256:
                raise ChecksumMismatch(key, sha256, upload.sha256)
            return await _to_its_end(self._join_parts(upload, content_type))
        except BaseException:
            if not upload.is_joined:
                await self._abort(upload)
            raise

    async def _join_parts(self, upload: _PartUpload, content_type: str) -> ObjectInfo:
        request = self._client.complete_multipart_upload(
            Bucket=self.bucket,
            Key=upload.key,
            UploadId=upload.id,
            MultipartUpload={"Parts": upload.ordered_parts()},
        )
        answer = await self._exchange("JOIN PARTS", upload.key, request)
        _require("ETag" in answer, "the joining of parts")
        upload.is_joined = True
        written_at = _written_at(answer["ResponseMetadata"])
        return ObjectInfo(upload.key, upload.size_bytes, _bare(answer["ETag"]), written_at, upload.sha256, content_type)

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
        request = self._client.upload_part(
            Bucket=self.bucket,
            Key=upload.key,
            UploadId=upload.id,
            PartNumber=part.number,
            Body=HashedBody(part.data, part.sha256),
        )
        answer = await self._exchange("PUT PART", upload.key, request, len(part.data), part.sha256)
        upload.etags[part.number] = answer["ETag"]

    async def _abort(self, upload: _PartUpload) -> None:
        """Free what the store keeps of an upload that will not be finished."""
        request = self._client.abort_multipart_upload(Bucket=self.bucket, Key=upload.key, UploadId=upload.id)
        try:
            async with asyncio.timeout(_CLEANUP_SECONDS):
                await self._exchange("ABORT PARTS", upload.key, request)
        except (StoreUnavailable, StoreRefused, ObjectNotFound, TimeoutError) as error:
            _logger.warning("Parts of %s stay in bucket %s: %s", upload.key, self.bucket, error)

    async def _existing(self, key: str) -> ObjectInfo:
        info = await self.stat(key)
        if info is None:
            raise ObjectNotFound(key, self.name)
        return info

    async def _list_page(self, prefix: str, start_after: str, count: int) -> ListedPage:
        return await self._read_page(await self._ask_for_page(prefix, start_after, count))

    async def _ask_for_page(self, prefix: str, start_after: str, count: int) -> _UnreadPage:
        request = self._wire.list_objects(listing_query(prefix, start_after, count))
        answer = await self._exchange("LIST", prefix, request)
        return _UnreadPage(answer.body, _time_of(answer.headers.get("Date")) - datetime.now(UTC))

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
            await self._exchange("HEAD BUCKET", "", self._wire.head_bucket())
        except (ObjectNotFound, StoreRefused):
            await self.check()  # says why, which an answer to HEAD can't

    async def _exchange(
        self, name: str, key: str, request: Awaitable[_T], body_bytes: int = 0, sha256: str | None = None
    ) -> _T:
        """Wait for the answer to a request, within a deadline that grows with the body."""
        seconds = (
            self._settings.connect_seconds
            + self._settings.answer_seconds
            + body_bytes / self._settings.slowest_bytes_per_second
        )
        with span(f"s3 {name}", SpanKind.CLIENT, {"s3.bucket": self.bucket, "s3.key": key}):
            try:
                with _store_errors():
                    async with asyncio.timeout(seconds):
                        return await request
            except RefusedAnswer as error:
                if error.refusal.status == _RANGE_OUTSIDE:
                    raise _RangeOutside from error
                raise error_of(error.refusal, self.bucket, key, sha256) from error
            except ClientError as error:
                raise error_of(Refusal.of(error), self.bucket, key, sha256) from error


class _RangeOutside(Exception):
    """What was asked for lies behind the object's end."""


@dataclass(frozen=True, slots=True)
class _Connected:
    """The two ways to one place: for what is done often, and for all else."""

    client: S3Client
    wire: Wire


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    data: bytes
    sha256: str


class _PartUpload:
    """An upload in parts: what was read so far, and what the store called it."""

    def __init__(self, key: str, upload_id: str) -> None:
        self.key = key
        self.id = upload_id
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

    def ordered_parts(self) -> list[CompletedPartTypeDef]:
        return [{"PartNumber": number, "ETag": self.etags[number]} for number in range(1, self._count + 1)]


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


def _require(is_there: bool, what: str) -> None:
    """Refuse a success that says nothing of what was asked for, as a proxy's page does: it read as an empty listing."""
    if not is_there:
        raise StoreUnavailable("s3", f"asked for {what}, got an answer without it; is the endpoint an S3 store?")


def _bare(etag: str) -> str:
    return etag.strip('"')


def _written_at(answer: ResponseMetadataTypeDef) -> datetime:
    return _time_of(answer["HTTPHeaders"].get("date"))


def _time_of(header: str | None) -> datetime:
    return timestamp(header) if header else datetime.now(UTC)


def _info_of_headers(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    _require(headers.keys() >= {"ETag", "Content-Length", "Last-Modified"}, "an object's description")
    whole = headers.get("Content-Range", "").rpartition("/")[2]
    metadata = {_SHA256: headers[_SHA256_HEADER]} if _SHA256_HEADER in headers else {}
    return ObjectInfo(
        key=key,
        size_bytes=int(whole or headers["Content-Length"]),
        etag=_bare(headers["ETag"]),
        modified_at=timestamp(headers["Last-Modified"]),
        sha256=recorded_sha256(headers.get("x-amz-checksum-sha256", ""), metadata),
        content_type=headers.get("Content-Type"),
        is_nobodys=_NOBODYS_HEADER in headers,
    )


def recorded_sha256(counted: str, metadata: Mapping[str, str]) -> str | None:
    """Prefer the checksum that the store itself counted over the one that a client wrote beside the object."""
    try:
        raw = base64.b64decode(counted, validate=True)
    except binascii.Error:  # of several parts: "<base64>-<count>", which is no hash of the content
        raw = b""
    return raw.hex() if len(raw) == 32 else metadata.get(_SHA256)


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
    with _store_errors():
        async for chunk in body.iter_chunked(_READ_CHUNK_BYTES):
            yield chunk


@contextmanager
def _store_errors() -> Iterator[None]:
    # The last three come out of bodies as the HTTP client under the AWS client raises them.
    try:
        yield
    except (
        NoConnection,
        HTTPClientError,
        IncompleteReadError,
        ResponseParserError,
        BrokenAnswer,
        TimeoutError,
        OSError,
    ) as error:
        raise StoreUnavailable("s3", f"{type(error).__name__}: {str(error) or 'it took too long'}") from error


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
