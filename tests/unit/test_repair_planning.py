"""What is planned for what was found, when a person has to agree, and what an undo does; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from reconciler.comparison import FileClass, Finding, Stored
from reconciler.planning import Action, Guard, PlanItem, Wishes, plan, steps, undo_steps
from shared.events import FilePlace, RunCounts

PLAN = UUID(int=1)
KEY = "media/00/00000000-0000-0000-0000-000000000000/1/large.webp"
ALL, NOTHING = Wishes(remove_orphaned=True, recreate_missing=True), Wishes(False, False)


@pytest.mark.parametrize(
    ("removals", "files", "objects"),
    [
        (20, 20, False),
        (21, 21, True),
        (21, 210, False),
        (21, 209, True),
        (1000, 1_000_000, False),
        (1001, 1_000_000, True),
        (0, 0, False),
    ],
)
def test_the_guard_counts_files_and_shares(removals: int, files: int, objects: bool) -> None:
    objection = Guard(files=20, share=0.10, most_files=1000).objection(RunCounts(removals=removals), files)
    assert (objection is not None) == objects


def test_an_unfinished_file_is_discarded_where_removals_are_wanted_and_counts_for_the_guard() -> None:
    left = Stored("media/00/.tmp-left", 7, "", datetime(2026, 1, 1, tzinfo=UTC))
    finding = Finding(left.key, FileClass.STALE_TEMPORARY, disk=left)
    (item,) = plan(finding, ALL)
    assert (item.action, item.place, item.size_bytes, item.removes) == (Action.DISCARD, FilePlace.DISK, 7, True)
    assert plan(finding, Wishes(remove_orphaned=False, recreate_missing=True)) == ()


def test_an_orphan_beside_a_record_of_the_disk_alone_goes_into_quarantine_and_nowhere_else() -> None:
    orphan = Stored(KEY, 7, "tag", datetime(2026, 1, 1, tzinfo=UTC))
    finding = Finding(KEY, FileClass.ORPHANED_IN_BUCKET, bucket=orphan)
    assert plan(finding, NOTHING) == ()
    (item,) = plan(finding, ALL)
    assert [(step.kind, step.target.key, step.etag) for step in steps(PLAN, item)] == [
        ("copy", f"quarantine/{PLAN}/{KEY}", "tag"),
        ("remove", KEY, "tag"),
    ]


def test_an_undo_brings_back_the_bytes_that_were_taken_and_no_others() -> None:
    taken = PlanItem(Action.REMOVE, FileClass.ORPHANED_IN_BUCKET, KEY, FilePlace.BUCKET, 7, sha256="0" * 64)
    back, put_away = undo_steps(PLAN, taken)
    assert (back.kind, back.target.key, back.sha256, back.replaces) == ("copy", KEY, "0" * 64, False)
    assert (put_away.kind, put_away.target.key) == ("remove", f"quarantine/{PLAN}/{KEY}")


def test_what_was_nobodys_is_so_again_after_an_undo_unless_a_record_names_it_by_now() -> None:
    taken = PlanItem(Action.REMOVE, FileClass.ORPHANED_IN_BUCKET, KEY, FilePlace.BUCKET, 7)
    on_disk = PlanItem(Action.REMOVE, FileClass.ORPHANED_ON_DISK, KEY, FilePlace.DISK, 7)
    assert [step.is_nobodys for step in undo_steps(PLAN, taken)] == [True, False]
    assert not any(step.is_nobodys for step in undo_steps(PLAN, taken, is_named=True))
    # Nothing is told of what comes to the disk.
    assert not any(step.is_nobodys for step in undo_steps(PLAN, on_disk))
