"""Records beside the disk and the bucket: a merge join over three sorted streams, so memory does not grow with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

from shared.events import FilePlace, ProductImageType
from shared.storage.object_store import ObjectInfo

Stored: TypeAlias = ObjectInfo
"""An object as a listing shows it."""


class FileClass(StrEnum):
    """How one file stands. What is `unsettled` is changing right now, and nobody may judge it yet."""

    SYNCED = "synced"
    ORPHANED_IN_BUCKET = "orphaned_in_bucket"
    ORPHANED_ON_DISK = "orphaned_on_disk"
    MISSING_IN_BUCKET = "missing_in_bucket"
    MISSING_ON_DISK = "missing_on_disk"
    MISSING_EVERYWHERE = "missing_everywhere"
    CONTENT_DIFFERS = "content_differs"
    STALE_TEMPORARY = "stale_temporary"
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file as a record names it. `is_removed`: it was named until a moment ago.

    `owner_id` is the product or the medium, `record_id` the image or the medium again; `known_at` is when this service
    learned of its present state, by its own database's clock. `copy_waits`: the bucket is to get a copy.
    """

    key: str
    size_bytes: int
    sha256: str | None
    in_bucket: bool
    on_disk: bool
    is_settled: bool
    is_removed: bool
    known_at: datetime
    owner_id: UUID
    record_id: UUID
    mime_type: str
    weight: str | None = None
    image_type: ProductImageType | None = None
    copy_waits: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found under one key; an orphan in both places gives one finding for each."""

    key: str
    kind: FileClass
    record: Recorded | None = None
    bucket: Stored | None = None
    disk: Stored | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """When something is too young to be judged; without a grace no object is.

    The clocks are those of the places: an object's age is told by the clock that stamped it, so one that goes wrong
    makes no upload under way look abandoned. They are asked while the comparison runs.
    """

    bucket_clock: Callable[[], datetime]
    disk_clock: Callable[[], datetime]
    object_grace: timedelta
    records_changed_before: datetime

    def is_young(self, place: FilePlace, stored: Stored) -> bool:
        now = self.bucket_clock() if place is FilePlace.BUCKET else self.disk_clock()
        return bool(self.object_grace) and now - stored.modified_at < self.object_grace

    def is_fresh(self, record: Recorded) -> bool:
        """Whether the record changed so lately that a listing may show the time before."""
        return not record.is_settled or record.is_removed or record.known_at >= self.records_changed_before


class OutOfOrder(Exception):
    """A stream went backwards: what a merge of it says can't be believed."""


class Keyed(Protocol):
    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Keyed)


class _Sorted(Generic[T]):
    """One stream with its next entry. Keys ordered as text are ordered by their UTF-8 bytes."""

    __slots__ = ("_batch", "_batches", "_may_repeat", "_name", "head", "key")

    def __init__(self, name: str, batches: AsyncIterator[Sequence[T]], *, may_repeat: bool = False) -> None:
        self._name = name
        self._batches = batches
        self._batch: Iterator[T] = iter(())
        self._may_repeat = may_repeat
        self.head: T | None = None
        self.key: str | None = None

    def advance(self) -> bool:
        """Go on to the next entry; False where `read_on` has to go on, for what was read is used up."""
        head = next(self._batch, None)
        if head is None:
            return False
        before, self.head, self.key = self.key, head, head.key
        if before is not None and (head.key < before or (head.key == before and not self._may_repeat)):
            raise OutOfOrder(f"{self._name} gives {head.key!r} after {before!r}")
        return True

    async def read_on(self) -> None:
        """Go on to the first entry of the next batch; `head` and `key` are None behind the end."""
        async for batch in self._batches:
            self._batch = iter(batch)
            if self.advance():
                return
        self.head = self.key = None


async def compare(
    records: AsyncIterator[Sequence[Recorded]],
    bucket: AsyncIterator[Sequence[Stored]],
    disk: AsyncIterator[Sequence[Stored]],
    patience: Patience,
) -> AsyncIterator[Finding]:
    """Give the findings in the order of their keys. The streams come in batches, of which the merge holds one each.

    Raises OutOfOrder, and whatever a stream raises: findings given before that are of a part, no ground for repairs.
    """
    recorded = _Sorted("the records", records, may_repeat=True)
    in_bucket, on_disk = _Sorted("the bucket", bucket), _Sorted("the disk", disk)
    for stream in (recorded, in_bucket, on_disk):
        await stream.read_on()
    while (key := _first(recorded.key, in_bucket.key, on_disk.key)) is not None:
        of_bucket = of_disk = None
        if in_bucket.key == key:
            of_bucket = in_bucket.head
            if not in_bucket.advance():
                await in_bucket.read_on()
        if on_disk.key == key:
            of_disk = on_disk.head
            if not on_disk.advance():
                await on_disk.read_on()
        if recorded.key != key:
            for finding in _orphans(key, of_bucket, of_disk, patience):
                yield finding
            continue
        spare_in_bucket, spare_on_disk = of_bucket, of_disk
        # A key that one record has left and another took is named all the same.
        while recorded.key == key and recorded.head is not None:
            found = _of_record(recorded.head, of_bucket, of_disk, patience)
            if found is not None:
                yield found
            if not _is_of_one_place(found, FilePlace.DISK, patience):
                spare_in_bucket = None
            if not _is_of_one_place(found, FilePlace.BUCKET, patience):
                spare_on_disk = None
            if not recorded.advance():
                await recorded.read_on()
        for finding in _orphans(key, spare_in_bucket, spare_on_disk, patience):
            yield finding


def _is_of_one_place(found: Finding | None, place: FilePlace, patience: Patience) -> bool:
    """Whether a record is of the file in one place alone, where it is well: what the other one has is nobody's then.

    What is not well there may have its last good copy in the other place.
    """
    if found is None or found.kind is not FileClass.SYNCED or found.record is None or patience.is_fresh(found.record):
        return False
    record = found.record
    if place is FilePlace.BUCKET:
        return record.in_bucket and not record.on_disk
    # A copy that is wanted may have begun.
    return record.on_disk and not record.in_bucket and not record.copy_waits


def _first(one: str | None, other: str | None, third: str | None) -> str | None:
    if one is None or (other is not None and other < one):
        one = other
    return third if one is None or (third is not None and third < one) else one


def _of_record(record: Recorded, bucket: Stored | None, disk: Stored | None, patience: Patience) -> Finding | None:
    if record.is_removed:
        # Its files may still be there, rightly, or be gone.
        return Finding(record.key, FileClass.UNSETTLED, record, bucket, disk) if bucket or disk else None
    kind = class_of(record, bucket, disk)
    if kind is not FileClass.SYNCED:
        young = [
            stored is not None and patience.is_young(place, stored)
            for place, stored in ((FilePlace.BUCKET, bucket), (FilePlace.DISK, disk))
        ]
        if patience.is_fresh(record) or any(young):
            kind = FileClass.UNSETTLED
    return Finding(record.key, kind, record, bucket, disk)


def class_of(record: Recorded, bucket: Stored | None, disk: Stored | None) -> FileClass:
    """How the file of a record stands, whatever its age."""
    in_bucket, on_disk = record.in_bucket, record.on_disk
    lacks_bucket, lacks_disk = in_bucket and bucket is None, on_disk and disk is None
    if (in_bucket and bucket is not None and not holds(record, bucket)) or (
        on_disk and disk is not None and not holds(record, disk)
    ):
        return FileClass.CONTENT_DIFFERS
    if (lacks_bucket or lacks_disk) and bucket is None and disk is None:
        return FileClass.MISSING_EVERYWHERE
    if lacks_bucket:
        return FileClass.MISSING_IN_BUCKET
    return FileClass.MISSING_ON_DISK if lacks_disk else FileClass.SYNCED


def holds(record: Recorded, stored: Stored) -> bool:
    """Whether a stored object is what the record says, as far as a listing can tell."""
    if stored.size_bytes != record.size_bytes:
        return False
    return record.sha256 is None or stored.sha256 is None or record.sha256 == stored.sha256


def _orphans(key: str, bucket: Stored | None, disk: Stored | None, patience: Patience) -> Iterable[Finding]:
    if bucket is not None:
        young = patience.is_young(FilePlace.BUCKET, bucket)
        yield Finding(key, FileClass.UNSETTLED if young else FileClass.ORPHANED_IN_BUCKET, None, bucket, disk)
    if disk is not None:
        young = patience.is_young(FilePlace.DISK, disk)
        yield Finding(key, FileClass.UNSETTLED if young else FileClass.ORPHANED_ON_DISK, None, bucket, disk)
