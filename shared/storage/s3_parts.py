"""Uploads in parts: large files and streams, several parts at a time, joined once all arrived and are right."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from shared.seeing_through import to_its_end
from shared.storage.errors import ChecksumMismatch, ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3_answers import SHA256, bare, require, time_of
from shared.storage.s3_client import HashedBody
from shared.storage.s3_connection import S3Connection

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, MultipartUploadTypeDef

_UPLOADS_PAGE: Final = 1000
_CLEANUP_SECONDS: Final = 10.0

_logger: Final = logging.getLogger(__name__)


async def put_in_parts(
    connection: S3Connection,
    slots: asyncio.Semaphore,
    key: str,
    read_part: Callable[[], Awaitable[bytes]],
    sha256: str | None,
    content_type: str,
) -> ObjectInfo:
    """Store what `read_part` gives until it gives nothing; each part in memory holds one of the slots.

    Raises ChecksumMismatch when the whole is not `sha256`. What was sent of an upload that fails is aborted.
    """
    metadata = {} if sha256 is None else {SHA256: sha256}
    request = connection.client.create_multipart_upload(
        Bucket=connection.bucket, Key=key, ContentType=content_type, Metadata=metadata
    )
    begun = await connection.exchange("BEGIN PARTS", key, request)
    require(bool(begun.get("UploadId")), "an upload in parts")
    upload = _PartUpload(connection, slots, key, begun["UploadId"])
    try:
        await upload.send(read_part)
        if sha256 is not None and sha256 != upload.sha256:
            raise ChecksumMismatch(key, sha256, upload.sha256)
        return await to_its_end(upload.join(content_type))
    except BaseException:
        if not upload.is_joined:
            await upload.abort()
        raise


async def abort_unfinished(connection: S3Connection, begun_before: datetime, limit: int) -> int:
    """Abort at most `limit` uploads that began before then; returns how many."""
    aborted = 0
    async for begun in _unfinished(connection):
        if aborted == limit:
            break
        if begun["Initiated"] < begun_before:
            request = connection.client.abort_multipart_upload(
                Bucket=connection.bucket, Key=begun["Key"], UploadId=begun["UploadId"]
            )
            # Finished, or aborted by another replica, since it was listed.
            with suppress(ObjectNotFound):
                await connection.exchange("ABORT PARTS", begun["Key"], request)
            aborted += 1
    return aborted


async def _unfinished(connection: S3Connection) -> AsyncIterator[MultipartUploadTypeDef]:
    key_marker = id_marker = ""
    while True:
        request = connection.client.list_multipart_uploads(
            Bucket=connection.bucket, KeyMarker=key_marker, UploadIdMarker=id_marker, MaxUploads=_UPLOADS_PAGE
        )
        page = await connection.exchange("LIST UPLOADS", "", request)
        require("IsTruncated" in page, "a listing of uploads")
        for begun in page.get("Uploads", []):
            yield begun
        following = page.get("NextKeyMarker", ""), page.get("NextUploadIdMarker", "")
        # A listing that does not move on would give the same page for ever.
        if not page["IsTruncated"] or following == (key_marker, id_marker):
            return
        key_marker, id_marker = following


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    data: bytes
    sha256: str


class _PartUpload:
    """One upload: what was read so far, and what the store called it. It ends where it began."""

    def __init__(self, connection: S3Connection, slots: asyncio.Semaphore, key: str, upload_id: str) -> None:
        self._connection = connection
        self._slots = slots
        self._key = key
        self._id = upload_id
        self._etags: dict[int, str] = {}
        self._size_bytes = 0
        self._count = 0
        self._hash = hashlib.sha256()
        self.is_joined = False

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def send(self, read_part: Callable[[], Awaitable[bytes]]) -> None:
        try:
            async with asyncio.TaskGroup() as sending:
                while part := await self._next(read_part):
                    task = sending.create_task(self._send_one(part))
                    # Here and not in the task, which may be cancelled before it ever runs.
                    task.add_done_callback(lambda _: self._slots.release())
                    del part
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def join(self, content_type: str) -> ObjectInfo:
        request = self._connection.client.complete_multipart_upload(
            Bucket=self._connection.bucket,
            Key=self._key,
            UploadId=self._id,
            MultipartUpload={"Parts": self._ordered_parts()},
        )
        answer = await self._connection.exchange("JOIN PARTS", self._key, request)
        require("ETag" in answer, "the joining of parts")
        self.is_joined = True
        written_at = time_of(answer["ResponseMetadata"]["HTTPHeaders"].get("date"))
        return ObjectInfo(self._key, self._size_bytes, bare(answer["ETag"]), written_at, self.sha256, content_type)

    async def abort(self) -> None:
        """Free what the store keeps of an upload that will not be finished."""
        request = self._connection.client.abort_multipart_upload(
            Bucket=self._connection.bucket, Key=self._key, UploadId=self._id
        )
        try:
            async with asyncio.timeout(_CLEANUP_SECONDS):
                await self._connection.exchange("ABORT PARTS", self._key, request)
        except (StoreUnavailable, StoreRefused, ObjectNotFound, TimeoutError) as error:
            _logger.warning("Parts of %s stay in bucket %s: %s", self._key, self._connection.bucket, error)

    async def _next(self, read_part: Callable[[], Awaitable[bytes]]) -> _Part | None:
        """Read a part while holding a slot, which passes to whoever sends it."""
        await self._slots.acquire()
        try:
            if data := await read_part():
                return await asyncio.to_thread(self._add, data)
        except BaseException:
            self._slots.release()
            raise
        self._slots.release()
        return None

    def _add(self, data: bytes) -> _Part:
        """Number and hash the next part; blocks."""
        self._hash.update(data)
        self._size_bytes += len(data)
        self._count += 1
        return _Part(self._count, data, hashlib.sha256(data).hexdigest())

    async def _send_one(self, part: _Part) -> None:
        request = self._connection.client.upload_part(
            Bucket=self._connection.bucket,
            Key=self._key,
            UploadId=self._id,
            PartNumber=part.number,
            Body=HashedBody(part.data, part.sha256),
        )
        answer = await self._connection.exchange("PUT PART", self._key, request, len(part.data), part.sha256)
        self._etags[part.number] = answer["ETag"]

    def _ordered_parts(self) -> list[CompletedPartTypeDef]:
        return [{"PartNumber": number, "ETag": self._etags[number]} for number in range(1, self._count + 1)]
