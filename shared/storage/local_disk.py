"""The object store on a local or shared volume: one file per object below MEDIA_ROOT, its path being its key."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from shared.storage.atomic_file import (
    AtomicFile,
    disk_error,
    link_atomically,
    link_names,
    record_checksum,
    recorded_checksum,
    sync_directory,
)
from shared.storage.disk_walk import walk
from shared.storage.errors import ObjectNotFound, StoreUnavailable
from shared.storage.keys import TEMPORARY_PREFIX, validated, validated_prefix
from shared.storage.object_store import ObjectInfo, OpenObject, batched_bytes, content_type_of
from shared.telemetry.tracing import span

_T = TypeVar("_T")
_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_READ_CHUNK_BYTES: Final = 256 * 1024
_WRITE_BATCH_BYTES: Final = 1024 * 1024
_LISTING_PAGE: Final = 1000
_STUCK_DISK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """A local file that nobody writes to any more, and the key it gets.

    `sha256` (hex) is believed, not computed: its giver wrote the file and counted.
    """

    key: str
    path: Path
    sha256: str


class LocalDiskStore:
    """Objects as plain files that any tool can read.

    The content type is told by the key's extension. The checksum is kept in an extended attribute where the
    filesystem has them, bound to the file's time of change; elsewhere `stat` gives none and the database's holds.
    Files are replaced, never written into, so a reader sees one version to its end.

    All work runs in threads of its own (`threads` of them), so a slow disk neither blocks the loop nor starves
    others of the default pool. A cancelled call waits for its thread: nothing goes on behind the caller's back.
    """

    name = "disk"

    def __init__(self, root: Path, *, threads: int = 8) -> None:
        self.root = root
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="disk")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def path_of(self, key: str) -> Path:
        """Where the object lies, for those who read files (never write into it)."""
        return self.root / validated(key)

    async def put_bytes(
        self, key: str, data: bytes, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        return await self._put(key, sha256, lambda file: file.write(data))

    async def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        return await self._put(key, sha256, lambda file: file.copy_from(path), source=path)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        sha256: str | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        target = self.path_of(key)
        file = await self.run(target, lambda: AtomicFile(self.root, target.parent), undo=AtomicFile.discard)
        try:
            async for batch in batched_bytes(chunks, _WRITE_BATCH_BYTES):
                await self.run(target, lambda batch=batch: file.write(batch))  # type: ignore[misc]
            return await self.run(target, lambda: self._publish(file, key, target, sha256))
        finally:
            await self.run(target, file.discard, in_any_case=True)

    async def adopt(self, files: Sequence[FinishedFile]) -> None:
        """Make finished local files objects, without copying those that lie on the same filesystem; all stay in place.

        One folder is made durable once for all of its files. Raises ObjectNotFound when a file is missing; then some of
        the others may be objects.
        """
        with span("disk adopt", attributes={"disk.files": len(files)}):
            await _all([self.run(file.path, partial(_make_durable, file), missing=file.key) for file in files])
            targets = [self.path_of(file.key) for file in files]
            changed = await self.run(self.root, lambda: self._name(files, targets))
            # Side by side, since the filesystem makes one commit of what is waiting for one.
            await _all([self.run(folder, partial(sync_directory, folder)) for folder in changed])

    @asynccontextmanager
    async def open(self, key: str, *, start_byte: int = 0, end_byte: int | None = None) -> AsyncIterator[OpenObject]:
        path = self.path_of(key)
        descriptor, info = await self.run(
            path, lambda: self._open(key, path), missing=key, undo=lambda opened: os.close(opened[0])
        )
        try:
            end = info.size_bytes if end_byte is None else min(end_byte, info.size_bytes)
            yield OpenObject(info, self._chunks(path, descriptor, start_byte, end))
        finally:
            os.close(descriptor)

    async def stat(self, key: str) -> ObjectInfo | None:
        path = self.path_of(key)
        return await self.run(path, lambda: self._stat(key, path))

    async def delete(self, key: str) -> None:
        path = self.path_of(key)
        await self.run(path, lambda: self._delete(path))

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        async for page in self.pages(prefix, start_after=start_after):
            for info in page:
                yield info

    async def pages(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Give what `list` gives, many at a time."""
        validated_prefix(prefix)
        found = self._listed(prefix, start_after)
        while page := await self.run(self.root, lambda: [*islice(found, _LISTING_PAGE)]):
            yield page

    async def pages_with_temporary(
        self, prefix: str = "", *, older_than_seconds: float
    ) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Give what `list` gives and, in the same walk, what `list_temporary` gives; many at a time.

        Unfinished files go by their paths below the root, which are no keys of objects.
        """
        validated_prefix(prefix)
        found = self._listed_with_abandoned(prefix, time.time() - older_than_seconds)
        while page := await self.run(self.root, lambda: [*islice(found, _LISTING_PAGE)]):
            yield page

    async def list_temporary(self, prefix: str = "", *, older_than_seconds: float) -> AsyncIterator[Path]:
        """Give the unfinished files that nobody has written to for so long: what crashes left behind."""
        validated_prefix(prefix)
        found = self._abandoned(prefix, time.time() - older_than_seconds)
        while page := await self.run(self.root, lambda: [*islice(found, _LISTING_PAGE)]):
            for path in page:
                yield path

    async def copy(self, source_key: str, target_key: str, *, is_nobodys: bool = False) -> ObjectInfo:
        """Second name for the same bytes where the filesystem can, which costs no space; a copy elsewhere."""
        source = self.path_of(source_key)
        target = self.path_of(target_key)
        return await self.run(source, lambda: self._copy(source, target_key, target), missing=source_key)

    async def check(self) -> None:
        await self.run(self.root, self._check)

    async def run(
        self,
        path: Path,
        work: Callable[[], _T],
        *,
        missing: str | None = None,
        undo: Callable[[_T], None] | None = None,
        in_any_case: bool = False,
    ) -> _T:
        """Run blocking work on `path` in this store's threads.

        Disk errors come out as this package's; a missing file as ObjectNotFound when its key is given in `missing`.
        Cancelling waits for work that has begun, because its effect could come after the caller has cleaned up; and
        `in_any_case`, as cleaning up itself, for work that still waits for a thread, too. `undo` takes what a cancelled
        caller never gets: an open file would stay open for ever. It runs in the loop, so it has to be short.
        """
        queued = self._pool.submit(work)
        future = asyncio.wrap_future(queued)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if in_any_case or not queued.cancel():
                try:
                    await asyncio.wait([future], timeout=_STUCK_DISK_SECONDS)
                finally:
                    future.add_done_callback(partial(_leave, undo=undo))
            raise
        except OSError as error:
            if missing is not None and error.errno in _ABSENT and self.root.is_dir():
                raise ObjectNotFound(missing, self.name) from error
            raise disk_error(error, path) from error

    async def _put(
        self, key: str, sha256: str | None, fill: Callable[[AtomicFile], None], source: Path | None = None
    ) -> ObjectInfo:
        target = self.path_of(key)

        def write() -> ObjectInfo:
            file = AtomicFile(self.root, target.parent)
            try:
                fill(file)
                return self._publish(file, key, target, sha256)
            finally:
                file.discard()

        with span("disk put", attributes={"disk.key": key}):
            return await self.run(target, write, missing=str(source) if source else None)

    def _publish(self, file: AtomicFile, key: str, target: Path, sha256: str | None) -> ObjectInfo:
        return _info(key, file.publish(target, key=key, expected_sha256=sha256), file.sha256)

    def _name(self, files: Sequence[FinishedFile], targets: Sequence[Path]) -> set[Path]:
        """Give the files their names; the folders that have to be synced."""
        to_sync: set[Path] = set()
        for file, target in zip(files, targets, strict=True):
            changed = link_names(self.root, file.path, target)
            if changed is None:
                self._copy_bytes(file.path, file.key, target, file.sha256)
            to_sync.update(changed or ())
        return to_sync

    def _copy(self, source: Path, target_key: str, target: Path) -> ObjectInfo:
        status = source.lstat()
        checksum = recorded_checksum(source, status.st_mtime_ns)
        if source == target or link_atomically(self.root, source, target):
            return _info(target_key, status, checksum)
        return self._copy_bytes(source, target_key, target, checksum)

    def _copy_bytes(self, source: Path, key: str, target: Path, sha256: str | None) -> ObjectInfo:
        file = AtomicFile(self.root, target.parent)
        try:
            file.copy_from(source)
            return self._publish(file, key, target, sha256)
        finally:
            file.discard()

    def _open(self, key: str, path: Path) -> tuple[int, ObjectInfo]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            if not S_ISREG(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, "it is no file", str(path))
            return descriptor, _info(key, status, recorded_checksum(path, status.st_mtime_ns))
        except BaseException:
            os.close(descriptor)
            raise

    async def _chunks(self, path: Path, descriptor: int, start_byte: int, end_byte: int) -> AsyncIterator[bytes]:
        at = start_byte
        while at < end_byte:
            length = min(_READ_CHUNK_BYTES, end_byte - at)
            chunk = await self.run(path, lambda length=length, at=at: os.pread(descriptor, length, at))  # type: ignore[misc]
            if not chunk:
                raise StoreUnavailable("disk", f"{path} ended at byte {at}, before byte {end_byte}: it was cut")
            at += len(chunk)
            yield chunk

    def _stat(self, key: str, path: Path) -> ObjectInfo | None:
        try:
            status = path.lstat()
        except OSError as error:
            if error.errno in _ABSENT and self._root_is_there():
                return None
            raise
        if not S_ISREG(status.st_mode):
            return None
        return _info(key, status, recorded_checksum(path, status.st_mtime_ns))

    def _delete(self, path: Path) -> None:
        try:
            path.unlink()
        except OSError as error:
            if error.errno in _ABSENT and self._root_is_there():
                return
            raise
        sync_directory(path.parent)
        self._remove_empty_folders(path.parent)

    def _remove_empty_folders(self, folder: Path) -> None:
        """Remove the folders that a deletion left empty, except the first below the root: those are for ever."""
        while folder != self.root and folder.parent != self.root:
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY}:
                    return
                raise
            folder = folder.parent

    def _root_is_there(self) -> bool:
        """A missing root is an outage, not an empty store: a listing of nothing would look like the loss of all."""
        if not self.root.is_dir():
            raise StoreUnavailable("disk", f"the folder {self.root} is missing; is its volume mounted?")
        return True

    def _check(self) -> None:
        self._root_is_there()
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.root))

    def _listed(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        self._root_is_there()
        for key, entry in walk(self.root, prefix, start_after):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed since its folder was read
            yield _info(key, status, recorded_checksum(entry.path, status.st_mtime_ns))

    def _listed_with_abandoned(self, prefix: str, written_before: float) -> Iterator[ObjectInfo]:
        self._root_is_there()
        for key, entry in walk(self.root, prefix, temporary=None):
            is_temporary = entry.name.startswith(TEMPORARY_PREFIX)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not is_temporary:
                yield _info(key, status, recorded_checksum(entry.path, status.st_mtime_ns))
            elif status.st_mtime < written_before:
                yield _info(key, status, None)

    def _abandoned(self, prefix: str, written_before: float) -> Iterator[Path]:
        self._root_is_there()
        for _, entry in walk(self.root, prefix, temporary=True):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_mtime < written_before:
                yield Path(entry.path)


def _leave(done: asyncio.Future[_T], *, undo: Callable[[_T], None] | None) -> None:
    """See that nothing stays of work whose caller is gone."""
    if not done.cancelled() and done.exception() is None and undo is not None:
        undo(done.result())


async def _all(works: Sequence[Coroutine[Any, Any, _T]]) -> None:
    """Await all, then raise the first error, if any: nothing goes on behind the caller's back."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _make_durable(file: FinishedFile) -> None:
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if recorded_checksum(file.path, os.fstat(descriptor).st_mtime_ns) != file.sha256:
            record_checksum(file.path, bytes.fromhex(file.sha256))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _info(key: str, status: os.stat_result, sha256: str | None) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size_bytes=status.st_size,
        etag=f"{status.st_mtime_ns:x}-{status.st_size:x}",
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
        sha256=sha256,
        content_type=content_type_of(key),
    )
