"""How a job is split and how it ends, without I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from uuid import UUID

from shared.events import StorageStatus, StoredFile, SyncJobStatus
from shared.messaging.errors import PermanentError


def has_children(total_files: int, min_files_for_batching: int) -> bool:
    """Whether a job becomes a parent; below the threshold it works on its files itself."""
    return total_files >= min_files_for_batching


def ordered(ids: Iterable[UUID]) -> list[UUID]:
    """Each id once, in the order in which the database compares them."""
    return sorted(set(ids))


def page_after(ids: Sequence[UUID], cursor: UUID | None, size: int) -> Sequence[UUID]:
    """The next ids of an ordered list; empty at its end."""
    start = 0 if cursor is None else bisect_right(ids, cursor)
    return ids[start : start + size]


def final_status(*, total: int, processed: int, failed: int, cancelled: bool) -> SyncJobStatus:
    """How a job ends that nobody works on any more.

    A cancelled job of which every file was worked on ends by its results. Raises ValueError when files are left and
    nobody cancelled it: such a job has not ended.
    """
    if processed + failed > total:
        raise ValueError(f"{processed} processed and {failed} failed are more than {total}")
    if processed + failed < total:
        if not cancelled:
            raise ValueError(f"{total - processed - failed} of {total} files are left")
        return SyncJobStatus.CANCELLED
    return SyncJobStatus.FAILED if failed else SyncJobStatus.COMPLETED


def storage_status(*, on_disk: bool, in_bucket: bool, copy_waits: bool = False) -> StorageStatus:
    """`copy_waits`: its copy to the bucket is queued, which only tells something of what is on the disk alone."""
    if on_disk and in_bucket:
        return StorageStatus.SYNCED
    if on_disk:
        return StorageStatus.PENDING if copy_waits else StorageStatus.LOCAL_ONLY
    return StorageStatus.S3_ONLY if in_bucket else StorageStatus.MISSING


def renamed(files: Sequence[StoredFile], prefix: tuple[str, str]) -> tuple[StoredFile, ...]:
    """The files under their new keys; those that don't begin with the old prefix stay.

    Raises PermanentError when two files would get one key.
    """
    old, new = prefix
    moved = tuple(
        file.model_copy(update={"key": new + file.key.removeprefix(old)}) if file.key.startswith(old) else file
        for file in files
    )
    if len({file.key for file in moved}) < len({file.key for file in files}):
        raise PermanentError("key_conflict", f"renaming {old!r} to {new!r} gives two files of one medium the same key")
    return moved


def distinct(files: Iterable[StoredFile]) -> list[StoredFile]:
    """One file per key: variants of one size share theirs."""
    return list({file.key: file for file in files}.values())
