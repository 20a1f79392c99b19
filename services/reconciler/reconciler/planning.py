"""From what was found to what should be done about it, and whether a person has to agree first; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from reconciler.comparison import FileClass, Finding, Recorded, Stored, holds
from reconciler.layout import QUARANTINE_PREFIX, parse, product_of
from shared.events import FileAt, FilePlace, FileStep, ProductImageType, RecordRepair, RunCounts
from shared.identifiers import new_id
from shared.storage.object_store import content_type_of

REPAIRS_STEP, REMOVALS_STEP = 1, 2
"""First what exists gets its record or its copy; only then goes what is left over."""


class Action(StrEnum):
    """What is done to one file or record. `remove` puts a file into quarantine, it destroys none.

    `discard` removes an unfinished file at once. Nobody was told that it is stored, no record can name it, and whoever
    wrote it had its bytes from somewhere else: there is nothing to bring back.
    """

    REMOVE = "remove"
    COPY = "copy"
    MAKE_RECORD = "make_record"
    REMOVE_RECORD = "remove_record"
    REFRESH_RECORD = "refresh_record"
    DISCARD = "discard"


RECORD_ACTIONS = {
    Action.MAKE_RECORD: "make",
    Action.REMOVE_RECORD: "remove",
    Action.REFRESH_RECORD: "refresh",
}
UNDO_RECORD_ACTIONS = {
    Action.MAKE_RECORD: "remove",
    Action.REMOVE_RECORD: "restore",
    Action.REFRESH_RECORD: "refresh",
}


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One repair. `place` is where a file is removed from or copied to, `source` where a copy comes from."""

    action: Action
    why: FileClass
    key: str
    place: FilePlace
    size_bytes: int
    owner_id: UUID | None = None
    source: FilePlace | None = None
    replaces: bool = False
    etag: str | None = None
    sha256: str | None = None
    image_id: UUID | None = None
    weight: str | None = None
    image_type: ProductImageType | None = None
    mime_type: str | None = None
    former: dict[str, Any] | None = None
    step: int = REPAIRS_STEP
    item_id: UUID = field(default_factory=new_id)

    @property
    def removes(self) -> bool:
        """Whether something would be gone afterwards that is there now; the guard counts these."""
        return self.action in (Action.REMOVE, Action.REMOVE_RECORD, Action.DISCARD)

    @property
    def task_scope(self) -> str:
        return str(self.owner_id) if self.owner_id else self.key.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the requester wants repaired; `is_product` tells which products there are."""

    remove_orphaned: bool
    recreate_missing: bool
    is_product: Callable[[UUID], bool] = lambda _: True


def plan(finding: Finding, wishes: Wishes) -> Sequence[PlanItem]:
    """The repairs of one finding; none where nothing is wrong, wanted or possible."""
    match finding.kind:
        case FileClass.ORPHANED_IN_BUCKET if finding.bucket is not None:
            return _orphan_in_bucket(finding.key, finding.bucket, wishes)
        case FileClass.ORPHANED_ON_DISK if finding.disk is not None:
            return _orphan_on_disk(finding, finding.disk, wishes)
        case FileClass.STALE_TEMPORARY if finding.disk is not None:
            return _unfinished(finding.key, finding.disk) if wishes.remove_orphaned else ()
    record = finding.record
    if record is None or finding.kind in (FileClass.SYNCED, FileClass.UNSETTLED) or not wishes.recreate_missing:
        return ()
    if record.image_type is None:
        return _medium(finding, record)
    return _image(finding, record, wishes)


def _owner(key: str) -> UUID | None:
    """The product or the medium in whose folder a key lies."""
    if (product_id := product_of(key)) is not None:
        return product_id
    parts = key.split("/")
    if parts[0] != "media" or len(parts) < 4:
        return None
    try:
        return UUID(parts[2])
    except ValueError:
        return None


def _gets_record(key: str, wishes: Wishes) -> bool:
    read = parse(key)
    return wishes.recreate_missing and read is not None and wishes.is_product(read.product_id)


def _orphan_in_bucket(key: str, stored: Stored, wishes: Wishes) -> Sequence[PlanItem]:
    read = parse(key)
    if read is not None and _gets_record(key, wishes):
        return (
            PlanItem(
                Action.MAKE_RECORD,
                FileClass.ORPHANED_IN_BUCKET,
                key,
                FilePlace.BUCKET,
                stored.size_bytes,
                owner_id=read.product_id,
                etag=stored.etag,
                weight=read.weight,
                image_type=read.image_type,
                mime_type=content_type_of(key),
            ),
        )
    owner_id = _owner(key)
    # What lies outside of every layout may be anything: it is told of and left alone.
    if not wishes.remove_orphaned or owner_id is None:
        return ()
    return (_removal(FileClass.ORPHANED_IN_BUCKET, key, FilePlace.BUCKET, stored, owner_id),)


def _orphan_on_disk(finding: Finding, stored: Stored, wishes: Wishes) -> Sequence[PlanItem]:
    owner_id = _owner(finding.key)
    # A record that is made of the object keeps the disk's copy of it, and no other bytes.
    is_copy = finding.bucket is not None and finding.bucket.size_bytes == stored.size_bytes
    becomes_known = is_copy and _gets_record(finding.key, wishes)
    if not wishes.remove_orphaned or owner_id is None or becomes_known:
        return ()
    return (_removal(FileClass.ORPHANED_ON_DISK, finding.key, FilePlace.DISK, stored, owner_id),)


def _unfinished(key: str, stored: Stored) -> Sequence[PlanItem]:
    return (
        PlanItem(
            Action.DISCARD,
            FileClass.STALE_TEMPORARY,
            key,
            FilePlace.DISK,
            stored.size_bytes,
            owner_id=_owner(key),
            step=REMOVALS_STEP,
        ),
    )


def _removal(why: FileClass, key: str, place: FilePlace, stored: Stored, owner_id: UUID) -> PlanItem:
    return PlanItem(
        Action.REMOVE, why, key, place, stored.size_bytes, owner_id=owner_id, etag=stored.etag, step=REMOVALS_STEP
    )


def _image(finding: Finding, record: Recorded, wishes: Wishes) -> Sequence[PlanItem]:
    """The bucket is where the outside writes: what it holds counts before the disk's copy."""
    bucket, disk = finding.bucket, finding.disk
    if bucket is None:
        if disk is not None and holds(record, disk):
            return (_copy(finding, record, FilePlace.DISK, FilePlace.BUCKET),)
        gone = _of_record(Action.REMOVE_RECORD, finding, record)
        if disk is None or not wishes.remove_orphaned:
            return (gone,)
        # Other bytes than those of the record, which will be nobody's once it has gone.
        return gone, _removal(finding.kind, finding.key, FilePlace.DISK, disk, record.owner_id)
    if holds(record, bucket):
        return (_copy(finding, record, FilePlace.BUCKET, FilePlace.DISK, replaces=disk is not None),)
    refreshed = _of_record(Action.REFRESH_RECORD, finding, record, bucket)
    if not record.on_disk:
        return (refreshed,)
    copied = _copy(finding, record, FilePlace.BUCKET, FilePlace.DISK, replaces=disk is not None, is_as_recorded=False)
    return refreshed, copied


def _medium(finding: Finding, record: Recorded) -> Sequence[PlanItem]:
    """A medium's files are made here and nowhere else, so whichever place still has the recorded bytes is right."""
    sources = [
        place
        for place, stored in ((FilePlace.DISK, finding.disk), (FilePlace.BUCKET, finding.bucket))
        if stored is not None and holds(record, stored)
    ]
    if not sources:
        return ()
    source = sources[0]
    target = FilePlace.BUCKET if source is FilePlace.DISK else FilePlace.DISK
    is_wanted = record.in_bucket if target is FilePlace.BUCKET else record.on_disk
    there = finding.bucket if target is FilePlace.BUCKET else finding.disk
    if not is_wanted or (there is not None and holds(record, there)):
        return ()
    return (_copy(finding, record, source, target, replaces=there is not None),)


def _copy(
    finding: Finding,
    record: Recorded,
    source: FilePlace,
    target: FilePlace,
    *,
    replaces: bool = False,
    is_as_recorded: bool = True,
) -> PlanItem:
    return PlanItem(
        Action.COPY,
        finding.kind,
        record.key,
        target,
        record.size_bytes,
        owner_id=record.owner_id,
        source=source,
        replaces=replaces,
        sha256=record.sha256 if is_as_recorded else None,
        image_id=record.record_id,
        # After a refresh: the record has to say first what is right.
        step=REPAIRS_STEP if is_as_recorded else REMOVALS_STEP,
    )


def _of_record(action: Action, finding: Finding, record: Recorded, stored: Stored | None = None) -> PlanItem:
    return PlanItem(
        action,
        finding.kind,
        record.key,
        FilePlace.BUCKET,
        stored.size_bytes if stored else record.size_bytes,
        owner_id=record.owner_id,
        etag=stored.etag if stored else None,
        image_id=record.record_id,
        weight=record.weight,
        image_type=record.image_type,
        mime_type=record.mime_type,
        former={"size_bytes": record.size_bytes, "sha256": record.sha256},
    )


# --- the guard --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guard:
    """How much may be removed without anybody having looked."""

    files: int
    share: float
    most_files: int

    def objection(self, counts: RunCounts, files_in_scope: int) -> str | None:
        """Why a person has to approve; None where nobody needs to."""
        removals = counts.removals
        if removals > self.most_files:
            return f"{removals} files or records would be removed, more than {self.most_files}"
        if removals > self.files and removals > self.share * files_in_scope:
            return (
                f"{removals} of {files_in_scope} files or records would be removed, "
                f"more than {self.files} and {self.share:.0%}"
            )
        return None


# --- carrying out -----------------------------------------------------------------------------------------------------


def quarantine_key(plan_id: UUID, item: PlanItem) -> str:
    place = "" if item.place is FilePlace.BUCKET else "disk/"
    return f"{QUARANTINE_PREFIX}{plan_id}/{place}{item.key}"


def _kept(plan_id: UUID, item: PlanItem) -> FileAt:
    return FileAt(place=FilePlace.BUCKET, key=quarantine_key(plan_id, item))


def steps(plan_id: UUID, item: PlanItem) -> tuple[FileStep, ...]:
    """The file steps of an item; nothing is removed or replaced before its copy lies in quarantine."""
    target, kept = FileAt(place=item.place, key=item.key), _kept(plan_id, item)
    if item.action is Action.REMOVE:
        return (
            FileStep(kind="copy", source=target, target=kept, etag=item.etag),
            FileStep(kind="remove", target=target, etag=item.etag),
        )
    assert item.source is not None, "a copy has a source"
    source = FileAt(place=item.source, key=item.key)
    copied = FileStep(kind="copy", source=source, target=target, sha256=item.sha256, replaces=item.replaces)
    if not item.replaces:
        return (copied,)
    return FileStep(kind="copy", source=target, target=kept, replaces=True, may_lack_source=True), copied


def undo_steps(plan_id: UUID, item: PlanItem, *, is_named: bool = False) -> tuple[FileStep, ...]:
    """The file steps that bring back how it was before.

    An object that was nobody's is so again: without a mark, what the bucket tells of it would make a record. With
    `is_named` a record names it by now, and it is marked no more than others.
    """
    target, kept = FileAt(place=item.place, key=item.key), _kept(plan_id, item)
    put_away = FileStep(kind="remove", target=kept)
    if item.action is not Action.COPY:
        is_nobodys = item.place is FilePlace.BUCKET and not is_named
        return FileStep(kind="copy", source=kept, target=target, sha256=item.sha256, is_nobodys=is_nobodys), put_away
    back = FileStep(kind="copy", source=kept, target=target), put_away
    # Only what the repair has put there goes: what came since is nobody's to undo.
    copied = FileStep(kind="remove", target=target, sha256=item.sha256)
    return (copied, *back) if item.replaces else (copied,)


def record_repair(item: PlanItem, task_id: UUID, *, undoes: bool = False) -> RecordRepair:
    former = item.former or {}
    takes_former = undoes and item.action is Action.REFRESH_RECORD
    return RecordRepair(
        item_id=task_id,
        action=(UNDO_RECORD_ACTIONS if undoes else RECORD_ACTIONS)[item.action],
        object_key=item.key,
        image_id=item.image_id,
        weight=item.weight,
        image_type=item.image_type,
        mime_type=item.mime_type,
        size_bytes=former.get("size_bytes") if takes_former else item.size_bytes,
        sha256=former.get("sha256") if takes_former else item.sha256,
        expected_sha256=item.sha256 if undoes and item.action is not Action.REMOVE_RECORD else None,
    )
