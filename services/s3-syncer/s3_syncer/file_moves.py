"""The I/O of single steps over staging, disk and bucket; every one of them may be done twice and converges."""

from __future__ import annotations

import hashlib

from s3_syncer import errors
from s3_syncer.file_steps import (
    Found,
    Intent,
    StepRecord,
    changed_source,
    copied,
    planned_copy,
    planned_removal,
    without_source,
)
from shared.events import FileAt, FilePlace, FileStep, FileStepResult
from shared.storage.errors import ChecksumMismatch, ObjectNotFound
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectInfo, ObjectStore, content_type_of, digest


class FileMoves:
    """Looks at, copies, removes and puts back single files.

    Methods raise PermanentError and TransientError of one file, and what the stores raise when they are away.
    """

    def __init__(self, disk: LocalDiskStore, bucket: ObjectStore | None, staging: ObjectStore) -> None:
        self._disk = disk
        self._bucket = bucket
        self._staging = staging

    async def look(self, step: FileStep) -> StepRecord:
        """What is left to do; changes nothing."""
        target = await self._read(step.target)
        if step.source is None:
            return planned_removal(step, target)
        if step.sha256 is not None and target is not None and target.sha256 == step.sha256:
            return planned_copy(step, step.sha256, target)
        source: Found | ObjectInfo | None
        if step.sha256 is None:
            source = await self._read(step.source)
        else:
            # Whether it holds the bytes that the step names is seen when it is read to be copied.
            source = await self._store(step.source.place).stat(step.source.key)
        if source is None:
            return without_source(step)
        if step.etag not in (None, source.etag):
            return changed_source(step)
        return planned_copy(step, step.sha256 or source.sha256, target)

    async def carry_out(self, step: FileStep, record: StepRecord, aside: FileAt | None) -> StepRecord:
        """Do what the record says is left, unless it was done before; `aside` is where former bytes are kept."""
        match record.intent:
            case Intent.COPY | Intent.REPLACE:
                return await self._copy(step, record, aside)
            case Intent.REMOVE:
                return await self._remove(step, record, aside)
            case Intent.NOTHING | Intent.REFUSED:
                return record

    async def undo(self, step: FileStep, record: StepRecord, aside: FileAt | None) -> None:
        """Bring the target back to what it was; what others have put there since is left alone."""
        found = await self._read(step.target)
        match record.intent:
            case Intent.COPY if found is not None and found.sha256 == record.sha256:
                await self._store(step.target.place).delete(step.target.key)
            case Intent.REPLACE if aside is not None and found is not None and found.sha256 == record.sha256:
                await self._put_back(aside, step.target, record)
            case Intent.REMOVE if aside is not None and found is None:
                await self._put_back(aside, step.target, record)
            case _:
                pass
        if aside is not None:
            await self.drop(aside)

    async def drop(self, file: FileAt) -> None:
        """Remove a file of this service's own; removing it twice is no error."""
        await self._store(file.place).delete(file.key)

    async def _copy(self, step: FileStep, record: StepRecord, aside: FileAt | None) -> StepRecord:
        assert step.source is not None
        assert record.sha256 is not None
        found = await self._read(step.target)
        if found is not None and found.sha256 == record.sha256:
            # Made before this task died: the record says that it was not there when the task began.
            return copied(record, found)
        if found is not None and found.sha256 != record.before_sha256:
            raise errors.conflict(step.target.key, step.target.place)
        if found is not None and aside is not None:
            await self._transfer(step.target, aside, found.sha256)
            await self._verified(aside, found.sha256)
        await self._transfer(step.source, step.target, record.sha256, is_nobodys=step.is_nobodys)
        return copied(record, await self._verified(step.target, record.sha256))

    async def _remove(self, step: FileStep, record: StepRecord, aside: FileAt | None) -> StepRecord:
        store = self._store(step.target.place)
        info = await store.stat(step.target.key)
        if info is not None:
            if info.etag != record.before_etag:
                raise errors.changed(step.target.key, step.target.place)
            if aside is not None and record.before_sha256 is not None:
                await self._transfer(step.target, aside, record.before_sha256)
                await self._verified(aside, record.before_sha256)
            await store.delete(step.target.key)
        return record.ended(FileStepResult(status="done"))

    async def _put_back(self, aside: FileAt, target: FileAt, record: StepRecord) -> None:
        # Without it the step had not come to changing its target.
        if (kept := await self._read(aside)) is not None and kept.sha256 == record.before_sha256:
            await self._transfer(aside, target, kept.sha256)
            await self._verified(target, kept.sha256)

    async def _transfer(self, source: FileAt, target: FileAt, sha256: str, *, is_nobodys: bool = False) -> None:
        """Write the target. The bytes are those of the checksum, or nothing is written."""
        reading, writing = self._store(source.place), self._store(target.place)
        content_type = content_type_of(target.key)
        try:
            if reading is writing and (is_nobodys or content_type_of(source.key) == content_type):
                if (read := await digest(reading, source.key)).sha256 != sha256:
                    raise ChecksumMismatch(source.key, sha256, read.sha256)
                await writing.copy(source.key, target.key, is_nobodys=is_nobodys)
            elif reading is self._disk:
                path = self._disk.path_of(source.key)
                await writing.put_file(target.key, path, sha256=sha256, content_type=content_type)
            else:
                async with reading.open(source.key) as opened:
                    await writing.put_stream(target.key, opened.chunks, sha256=sha256, content_type=content_type)
        except ObjectNotFound as error:
            raise errors.source_missing(source.key, source.place) from error

    async def _verified(self, target: FileAt, sha256: str) -> Found:
        """Read the copy back: what a store says of a checksum is no proof of its bytes."""
        found = await self._read(target)
        if found is None or found.sha256 != sha256:
            raise errors.copy_differs(target.key, target.place)
        return found

    async def _read(self, file: FileAt) -> Found | None:
        """What the bytes are, and the tag of the very bytes that were read; None where there is no file."""
        hashed, size_bytes = hashlib.sha256(), 0
        try:
            async with self._store(file.place).open(file.key) as opened:
                async for chunk in opened.chunks:
                    hashed.update(chunk)
                    size_bytes += len(chunk)
        except ObjectNotFound:
            return None
        return Found(size_bytes, opened.info.etag, hashed.hexdigest())

    def _store(self, place: FilePlace) -> ObjectStore:
        match place:
            case FilePlace.DISK:
                return self._disk
            case FilePlace.STAGING:
                return self._staging
            case FilePlace.BUCKET:
                if self._bucket is None:
                    raise errors.not_configured()
                return self._bucket
