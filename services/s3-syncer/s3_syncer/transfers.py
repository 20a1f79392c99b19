"""What each operation does to the files of one medium: I/O over disk and bucket, nothing recorded here.

Every operation may be done twice and converges. None removes anything: what may go is told, and goes once the record
that no longer names it is committed, so that no record ever names a file that is gone.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from s3_syncer import errors
from s3_syncer.jobs import Medium, Outcome, Removal, StoreName
from s3_syncer.planning import distinct, renamed
from shared.events import StoredFile, SyncOperation
from shared.messaging.errors import PermanentError
from shared.storage.errors import ObjectNotFound
from shared.storage.keys import media_prefix, validated
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore, digest


class Order(Protocol):
    """What is asked of a medium; a job is one."""

    @property
    def operation(self) -> SyncOperation: ...
    @property
    def delete_source(self) -> bool: ...
    @property
    def rename_prefix(self) -> tuple[str, str] | None: ...


class Found(Enum):
    """What lies under a file's key."""

    ABSENT = auto()
    SAME = auto()
    OTHER = auto()


class Transfers:
    """Carries out orders between local disk and the bucket, if there is one."""

    def __init__(self, disk: LocalDiskStore, bucket: ObjectStore | None) -> None:
        self._disk = disk
        self._bucket = bucket

    async def carry_out(self, order: Order, medium: Medium) -> Outcome:
        """Raises PermanentError and TransientError of one file, StoreUnavailable when a store is away."""
        match order.operation:
            case SyncOperation.UPLOAD_TO_S3:
                return await self._copy(medium, self._disk, self.bucket, order.delete_source)
            case SyncOperation.DOWNLOAD_FROM_S3:
                return await self._copy(medium, self.bucket, self._disk, order.delete_source)
            case SyncOperation.DELETE_S3:
                return await self._delete(medium, self.bucket, self._disk)
            case SyncOperation.DELETE_LOCAL:
                return await self._delete(medium, self._disk, self.bucket)
            case SyncOperation.HARD_DELETE:
                return await self._delete_everything(medium)
            case SyncOperation.RENAME:
                return await self._rename(medium, order.rename_prefix)

    @property
    def bucket(self) -> ObjectStore:
        """Raises PermanentError where none is configured."""
        if self._bucket is None:
            raise errors.not_configured()
        return self._bucket

    async def remove(self, removal: Removal) -> None:
        """Remove one file; removing it twice is no error."""
        store = self._disk if removal.store == "disk" else self.bucket
        await store.delete(removal.key)

    async def check(self) -> None:
        """Return when both stores answer; raises StoreUnavailable or StoreRefused."""
        await self._disk.check()
        if self._bucket is not None:
            await self._bucket.check()

    # --- operations -----------------------------------------------------------------------------------------------

    async def _copy(self, medium: Medium, source: ObjectStore, target: ObjectStore, delete_source: bool) -> Outcome:
        files = distinct(medium.files)
        if not files:
            raise PermanentError("no_files", "nothing is stored of this medium any more")
        bytes_moved = 0
        absent = await _absent(target, medium, files)
        for file in files:
            bytes_moved += await self._copy_file(file, source, target, is_absent=file.key in absent)
        after = medium.placed(**{_flag(target): True})
        removals: list[Removal] = []
        if delete_source:
            for file in files:
                # Read back, not asked for: the store's record of a checksum is no proof of its bytes.
                if not await _holds(target, file.key, file):
                    raise errors.copy_differs(file.key, target.name)
            after = after.placed(**{_flag(source): False})
            removals = await _present(source, files)
        return Outcome(medium, after, bytes_moved, tuple(removals))

    async def _copy_file(self, file: StoredFile, source: ObjectStore, target: ObjectStore, *, is_absent: bool) -> int:
        """Copy one file and return the bytes that were moved; 0 when the copy is there already."""
        match Found.ABSENT if is_absent else await _found(target, file.key, file):
            case Found.SAME:
                return 0
            case Found.OTHER:
                raise errors.conflict(file.key, target.name)
            case Found.ABSENT:
                pass
        try:
            # Both stores refuse bytes that are not those of the checksum: the bucket counts it of what it received.
            if source is self._disk:
                stored = await target.put_file(
                    file.key, self._disk.path_of(file.key), sha256=file.sha256, content_type=file.mime_type
                )
            else:
                async with source.open(file.key) as opened:
                    stored = await target.put_stream(
                        file.key, opened.chunks, sha256=file.sha256, content_type=file.mime_type
                    )
        except ObjectNotFound as error:
            raise errors.source_missing(file.key, source.name) from error
        if stored.size_bytes != file.size_bytes:
            raise errors.copy_differs(file.key, target.name)
        return stored.size_bytes

    async def _delete(self, medium: Medium, store: ObjectStore, other: ObjectStore) -> Outcome:
        files = distinct(medium.files)
        present = await _present(store, files)
        going = {removal.key for removal in present}
        for file in files:
            if file.key in going and not await _holds(other, file.key, file):
                raise errors.last_copy(file.key, other.name)
        return Outcome(medium, medium.placed(**{_flag(store): False}), removals=tuple(present))

    async def _delete_everything(self, medium: Medium) -> Outcome:
        files = distinct(medium.files)
        removals: set[Removal] = set()
        for store in self._stores_of(medium):
            removals.update(await _present(store, files))
            # Further revisions, and what an interrupted rendering left.
            async for info in store.list(media_prefix(medium.media_id)):
                removals.add(Removal(_name(store), info.key))
        after = medium.placed(files=(), on_disk=False, in_bucket=False)
        return Outcome(medium, after, removals=tuple(sorted(removals, key=lambda one: (one.store, one.key))))

    async def _rename(self, medium: Medium, prefix: tuple[str, str] | None) -> Outcome:
        if prefix is None:
            raise PermanentError("prefix_missing", "rename needs the old and the new prefix")
        files = renamed(medium.files, prefix)
        pairs = {old.key: (old, new) for old, new in zip(medium.files, files, strict=True) if old.key != new.key}
        bytes_moved, removals = 0, []
        for old, new in pairs.values():
            validated(new.key)
            for store in self._stores_of(medium):
                is_recorded = medium.on_disk if store is self._disk else medium.in_bucket
                bytes_moved += await _copy_within(store, old, new, is_recorded)
                removals.append(Removal(_name(store), old.key))
        return Outcome(medium, medium.placed(files=files), bytes_moved, tuple(removals))

    def _stores_of(self, medium: Medium) -> list[ObjectStore]:
        stores: list[ObjectStore] = [self._disk]
        if self._bucket is not None or medium.in_bucket:
            stores.append(self.bucket)
        return stores


async def _copy_within(store: ObjectStore, old: StoredFile, new: StoredFile, is_recorded: bool) -> int:
    match await _found(store, new.key, old):
        case Found.OTHER:
            raise errors.conflict(new.key, store.name)
        case Found.SAME:
            return 0
        case Found.ABSENT:
            pass
    if await store.stat(old.key) is None:
        if is_recorded:
            raise errors.source_missing(old.key, store.name)
        return 0
    stored = await store.copy(old.key, new.key)
    if not await _holds(store, new.key, old):
        raise errors.copy_differs(new.key, store.name)
    return stored.size_bytes


async def _absent(store: ObjectStore, medium: Medium, files: list[StoredFile]) -> set[str]:
    """Keys of which the store holds nothing, asked for in one listing of the medium's folder.

    A folder that holds more than this medium is not listed, and a single file is asked for by itself.
    """
    folder = f"{files[0].key.rpartition('/')[0]}/"
    keys = {file.key for file in files if file.key.startswith(folder)}
    if len(keys) < 2 or str(medium.media_id) not in folder:
        return set()
    return keys - {info.key async for info in store.list(folder)}


async def _found(store: ObjectStore, key: str, file: StoredFile) -> Found:
    """Compare what lies under a key with what the file should be."""
    info = await store.stat(key)
    if info is None:
        return Found.ABSENT
    if info.size_bytes != file.size_bytes:
        return Found.OTHER
    sha256 = info.sha256 or (await digest(store, key)).sha256
    return Found.SAME if sha256 == file.sha256 else Found.OTHER


async def _holds(store: ObjectStore, key: str, file: StoredFile) -> bool:
    """Whether the stored bytes, read back, are the file's."""
    try:
        read = await digest(store, key)
    except ObjectNotFound:
        return False
    return (read.size_bytes, read.sha256) == (file.size_bytes, file.sha256)


async def _present(store: ObjectStore, files: list[StoredFile]) -> list[Removal]:
    return [Removal(_name(store), file.key) for file in files if await store.stat(file.key) is not None]


def _name(store: ObjectStore) -> StoreName:
    return "disk" if store.name == "disk" else "s3"


def _flag(store: ObjectStore) -> str:
    return "on_disk" if store.name == "disk" else "in_bucket"
