"""Where uploads land before they are processed: a folder, or a prefix of the bucket when machines share no disk."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from shared.storage.atomic_file import AtomicFile
from shared.storage.errors import ChecksumMismatch, LimitExceeded, ObjectNotFound, StoreUnavailable
from shared.storage.keys import STAGING_PREFIX, staging_key
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectInfo, ObjectStore, batched_bytes
from shared.telemetry.tracing import span

_logger: Final = logging.getLogger(__name__)

# One hop to a thread for so many bytes: more hops cost latency, a larger batch costs memory per upload in flight.
BATCH_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that arrived whole and is durable; `sha256` is hex."""

    key: str
    size_bytes: int
    sha256: str


class StagingWriter(Protocol):
    """Takes one upload as it arrives, in bounded memory."""

    async def write(self, chunk: bytes) -> None:
        """Append. Raises LimitExceeded when the upload is larger than allowed, InsufficientSpace on a full disk."""
        ...

    async def commit(self) -> StagedFile:
        """Make what arrived durable and visible under its key."""
        ...


class Staging(Protocol):
    """Uploads between their arrival and their processing."""

    def receive(self, upload_id: UUID, *, limit_bytes: int) -> AbstractAsyncContextManager[StagingWriter]:
        """Open a writer for one upload.

        Whatever leaves the block as an exception, cancellation included, removes the file, committed or not; so
        does leaving it without a commit. Work that decides whether the file is wanted belongs inside the block.
        """
        ...

    def open(self, staged: StagedFile) -> AbstractAsyncContextManager[Path]:
        """Give the file as a local path to read (never to write or move) until the block ends.

        Raises ObjectNotFound, and ChecksumMismatch when the bytes changed on their way here.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove a staged file; removing it twice is no error."""
        ...

    def list_stale(self, *, older_than_seconds: float) -> AsyncIterator[ObjectInfo]:
        """Give staged files that arrived so long ago, ordered by key."""
        ...


class LocalStaging:
    """Staging in a folder that ingest-api and image-processor share, on one machine or one volume."""

    def __init__(self, disk: LocalDiskStore, *, batch_bytes: int = BATCH_BYTES) -> None:
        self._disk = disk
        self._batch_bytes = batch_bytes

    @asynccontextmanager
    async def receive(self, upload_id: UUID, *, limit_bytes: int) -> AsyncIterator[StagingWriter]:
        writer = _DiskWriter(self._disk, staging_key(upload_id), limit_bytes, self._batch_bytes)
        try:
            yield writer
        except BaseException:
            await writer.remove()
            raise
        await writer.discard_unfinished()

    @asynccontextmanager
    async def open(self, staged: StagedFile) -> AsyncIterator[Path]:
        found = await self._disk.stat(staged.key)
        if found is None:
            raise ObjectNotFound(staged.key, self._disk.name)
        if found.size_bytes != staged.size_bytes or (found.sha256 or staged.sha256) != staged.sha256:
            raise ChecksumMismatch(staged.key, staged.sha256, found.sha256)
        yield self._disk.path_of(staged.key)

    async def delete(self, key: str) -> None:
        await self._disk.delete(key)

    async def list_stale(self, *, older_than_seconds: float) -> AsyncIterator[ObjectInfo]:
        async for info in _older(self._disk, older_than_seconds):
            yield info


class BucketStaging:
    """Staging under a prefix of the bucket, for machines that share no disk.

    An upload is collected here first (in memory while it is small, in `scratch` when it grows) and sent as one
    object with a known checksum: nothing unfinished is ever in the bucket.
    """

    def __init__(self, bucket: ObjectStore, scratch: LocalDiskStore, *, batch_bytes: int = BATCH_BYTES) -> None:
        """`scratch` is this machine's own disk: below `staging/` it gets files that no crash needs to survive."""
        self._bucket = bucket
        self._scratch = scratch
        self._batch_bytes = batch_bytes

    @asynccontextmanager
    async def receive(self, upload_id: UUID, *, limit_bytes: int) -> AsyncIterator[StagingWriter]:
        writer = _BucketWriter(self._bucket, self._scratch, staging_key(upload_id), limit_bytes, self._batch_bytes)
        try:
            yield writer
        except BaseException:
            await writer.remove()
            raise
        await writer.discard_unfinished()

    @asynccontextmanager
    async def open(self, staged: StagedFile) -> AsyncIterator[Path]:
        root = self._scratch.root
        file = await self._scratch.run(root, lambda: _scratch_file(self._scratch), undo=AtomicFile.discard)
        try:
            async with self._bucket.open(staged.key) as opened:
                async for batch in batched_bytes(opened.chunks, self._batch_bytes):
                    await self._scratch.run(file.path, lambda batch=batch: file.write(batch))  # type: ignore[misc]
            if file.sha256 != staged.sha256:
                raise ChecksumMismatch(staged.key, staged.sha256, file.sha256)
            yield file.path
        finally:
            await self._scratch.run(file.path, file.discard, in_any_case=True)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def list_stale(self, *, older_than_seconds: float) -> AsyncIterator[ObjectInfo]:
        async for info in _older(self._bucket, older_than_seconds):
            yield info


async def _older(store: ObjectStore, older_than_seconds: float) -> AsyncIterator[ObjectInfo]:
    arrived_before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    async for info in store.list(STAGING_PREFIX):
        if info.modified_at < arrived_before:
            yield info


def _scratch_file(scratch: LocalDiskStore) -> AtomicFile:
    """Open a file that is never published: whatever a crash leaves of it is known by its temporary name."""
    return AtomicFile(scratch.root, scratch.root / STAGING_PREFIX)


class _Batch:
    """What arrived and was not written yet."""

    def __init__(self, limit_bytes: int, batch_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._batch_bytes = batch_bytes
        self._arrived_bytes = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def add(self, chunk: bytes) -> bool:
        """Take a chunk; True when it is time to write."""
        self._arrived_bytes += len(chunk)
        if self._arrived_bytes > self._limit_bytes:
            raise LimitExceeded(self._limit_bytes)
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        return self._waiting_bytes >= self._batch_bytes

    def take(self) -> bytes:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return waiting[0] if len(waiting) == 1 else b"".join(waiting)


class _DiskWriter:
    """Writes, hashes, syncs and renames in as few hops to a thread as the batch size allows."""

    def __init__(self, disk: LocalDiskStore, key: str, limit_bytes: int, batch_bytes: int) -> None:
        self._disk = disk
        self._key = key
        self._target = disk.path_of(key)
        self._batch = _Batch(limit_bytes, batch_bytes)
        self._file: AtomicFile | None = None
        self._is_committed = False

    async def write(self, chunk: bytes) -> None:
        if self._batch.add(chunk):
            data = self._batch.take()
            await self._disk.run(self._target, lambda: self._append(data))

    async def commit(self) -> StagedFile:
        data = self._batch.take()
        with span("disk put", attributes={"disk.key": self._key}):
            return await self._disk.run(self._target, lambda: self._publish(data))

    async def discard_unfinished(self) -> None:
        if self._file is not None and not self._is_committed:
            await self._disk.run(self._target, self._file.discard, in_any_case=True)

    async def remove(self) -> None:
        await self.discard_unfinished()
        if self._is_committed:
            await self._disk.delete(self._key)

    def _append(self, data: bytes) -> AtomicFile:
        self._file = self._file or AtomicFile(self._disk.root, self._target.parent)
        self._file.write(data)
        return self._file

    def _publish(self, data: bytes) -> StagedFile:
        file = self._append(data)
        file.publish(self._target, key=self._key)
        self._is_committed = True
        return StagedFile(self._key, file.size_bytes, file.sha256)


class _BucketWriter:
    """Collects an upload on this machine, then sends it as one object."""

    def __init__(
        self, bucket: ObjectStore, scratch: LocalDiskStore, key: str, limit_bytes: int, batch_bytes: int
    ) -> None:
        self._bucket = bucket
        self._scratch = scratch
        self._key = key
        self._batch = _Batch(limit_bytes, batch_bytes)
        self._file: AtomicFile | None = None
        self._is_sent = False

    async def write(self, chunk: bytes) -> None:
        if self._batch.add(chunk):
            data = self._batch.take()
            await self._scratch.run(self._scratch.root, lambda: self._append(data))

    async def commit(self) -> StagedFile:
        data = self._batch.take()
        # Set before sending: a request whose answer is lost may have been carried out all the same.
        self._is_sent = True
        if self._file is None:
            sent = await self._bucket.put_bytes(self._key, data)
        else:
            file = await self._scratch.run(self._scratch.root, lambda: self._append(data))
            sent = await self._bucket.put_file(self._key, file.path, sha256=file.sha256)
            await self._scratch.run(file.path, file.discard)
        assert sent.sha256 is not None
        return StagedFile(self._key, sent.size_bytes, sent.sha256)

    async def discard_unfinished(self) -> None:
        if self._file is not None:
            await self._scratch.run(self._file.path, self._file.discard, in_any_case=True)

    async def remove(self) -> None:
        await self.discard_unfinished()
        if not self._is_sent:
            return
        try:
            await self._bucket.delete(self._key)
        except StoreUnavailable as error:
            _logger.warning("The unwanted %s waits for the staging cleanup: %s", self._key, error)

    def _append(self, data: bytes) -> AtomicFile:
        self._file = self._file or _scratch_file(self._scratch)
        self._file.write(data)
        return self._file
