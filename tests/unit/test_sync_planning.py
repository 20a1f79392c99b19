"""How sync jobs are split, how they end and what files are called afterwards, as functions of values."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3_syncer.jobs import Medium, Outcome, Removal
from s3_syncer.planning import (
    distinct,
    final_status,
    has_children,
    ordered,
    page_after,
    renamed,
    storage_status,
)
from shared.events import MediaFilter, StorageStatus, StoredFile, SyncJobStatus
from shared.messaging.errors import PermanentError

IDS = st.lists(st.uuids(), max_size=60)
MEDIA = UUID(int=1)


def stored(key: str, name: str = "small") -> StoredFile:
    return StoredFile(name=name, key=key, mime_type="image/webp", size_bytes=3, sha256="00", width_px=1, height_px=1)


@pytest.mark.parametrize(
    ("total", "threshold", "expected"), [(49, 50, False), (50, 50, True), (51, 50, True), (1, 1, True), (0, 1, False)]
)
def test_a_job_has_children_at_or_above_the_threshold(total: int, threshold: int, expected: bool) -> None:
    assert has_children(total, threshold) is expected


@given(IDS, st.integers(1, 20))
def test_pages_give_every_id_once_in_order(ids: list[UUID], size: int) -> None:
    selection = ordered([*ids, *ids])
    cursor: UUID | None = None
    seen: list[UUID] = []
    while page := page_after(selection, cursor, size):
        assert len(page) <= size
        seen += page
        cursor = page[-1]
    assert seen == sorted(set(ids))
    assert all(before < after for before, after in pairwise(seen))


@given(IDS, st.uuids(), st.integers(1, 20))
def test_a_page_begins_after_its_cursor_even_if_that_id_is_no_part_of_it(
    ids: list[UUID], cursor: UUID, size: int
) -> None:
    page = page_after(ordered(ids), cursor, size)
    assert list(page) == [one for one in ordered(ids) if one > cursor][:size]


@pytest.mark.parametrize(
    ("total", "processed", "failed", "cancelled", "expected"),
    [
        (3, 3, 0, False, SyncJobStatus.COMPLETED),
        (3, 2, 1, False, SyncJobStatus.FAILED),
        (3, 0, 3, False, SyncJobStatus.FAILED),
        (3, 1, 1, True, SyncJobStatus.CANCELLED),
        (3, 0, 0, True, SyncJobStatus.CANCELLED),
        # The cancel came when everything was done: the results say more.
        (3, 3, 0, True, SyncJobStatus.COMPLETED),
        (3, 2, 1, True, SyncJobStatus.FAILED),
    ],
)
def test_how_a_job_ends(total: int, processed: int, failed: int, cancelled: bool, expected: SyncJobStatus) -> None:
    assert final_status(total=total, processed=processed, failed=failed, cancelled=cancelled) is expected


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_no_job_ends_with_files_left_or_too_many(total: int, processed: int, failed: int, cancelled: bool) -> None:
    impossible = processed + failed > total or (processed + failed < total and not cancelled)
    if impossible:
        with pytest.raises(ValueError, match=r"left|more than"):
            final_status(total=total, processed=processed, failed=failed, cancelled=cancelled)
    else:
        status = final_status(total=total, processed=processed, failed=failed, cancelled=cancelled)
        assert (status is SyncJobStatus.COMPLETED) == (processed == total)


@pytest.mark.parametrize("copy_waits", [False, True])
@pytest.mark.parametrize(
    ("on_disk", "in_bucket", "expected"),
    [
        (True, True, StorageStatus.SYNCED),
        (True, False, StorageStatus.LOCAL_ONLY),
        (False, True, StorageStatus.S3_ONLY),
        (False, False, StorageStatus.MISSING),
    ],
)
def test_storage_status(on_disk: bool, in_bucket: bool, copy_waits: bool, expected: StorageStatus) -> None:
    if expected is StorageStatus.LOCAL_ONLY and copy_waits:
        expected = StorageStatus.PENDING
    assert storage_status(on_disk=on_disk, in_bucket=in_bucket, copy_waits=copy_waits) is expected


def test_rename_changes_the_beginning_of_keys_alone() -> None:
    files = (stored("a/b/a/1"), stored("other/a/2"))
    assert [file.key for file in renamed(files, ("a/", "x/y/"))] == ["x/y/b/a/1", "other/a/2"]
    assert renamed(renamed(files, ("a/", "x/")), ("x/", "a/")) == files


def test_rename_never_gives_two_files_one_key() -> None:
    with pytest.raises(PermanentError, match="same key"):
        renamed((stored("a/1"), stored("b/1")), ("a/", "b/"))


def test_variants_of_one_key_are_one_file() -> None:
    assert distinct([stored("k", "small"), stored("k", "medium"), stored("m")]) == [stored("k", "medium"), stored("m")]


def test_a_result_is_skipped_only_when_nothing_changed() -> None:
    medium = Medium(MEDIA, 1, (stored("k"),), on_disk=True, in_bucket=False)
    assert Outcome(medium, medium).result.status == "skipped"
    assert Outcome(medium, medium.placed(in_bucket=True)).result.status == "done"
    assert Outcome(medium, medium, bytes_moved=3).result.status == "done"
    assert Outcome(medium, medium, removals=(Removal("disk", "k"),)).result.status == "done"
    failed = Outcome.failed(medium, "conflict", "other content").result
    assert (failed.status, failed.code, failed.bytes_moved) == ("failed", "conflict", 0)


def test_an_empty_filter_selects_nothing_by_accident() -> None:
    with pytest.raises(ValueError, match="everything: true"):
        MediaFilter()
    assert MediaFilter(everything=True).everything
