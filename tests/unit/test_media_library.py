"""What the media library makes of an address, and what it tells of each medium."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingest_api.catalogue import Media
from ingest_api.cursors import encode_cursor
from ingest_api.media_filters import first_id_of
from ingest_api.media_library import JobState, ShownMedium, read_view
from ingest_api.problem_details import Problem
from shared.events import StorageStatus, StorageStrategy, StoredFile
from shared.identifiers import new_id


def stored(name: str, width_px: int, height_px: int, size_bytes: int) -> StoredFile:
    return StoredFile(
        name=name,
        key=f"media/{name}",
        mime_type="image/webp",
        size_bytes=size_bytes,
        sha256="0" * 64,
        width_px=width_px,
        height_px=height_px,
    )


def shown(job: JobState | None = None, **changes: Any) -> ShownMedium:
    now = datetime.now(UTC)
    facts: dict[str, Any] = {
        "id": new_id(),
        "revision": 1,
        "status": "completed",
        "filename": "a.jpg",
        "mime_type": "image/jpeg",
        "size_bytes": 1000,
        "sha256": "0" * 64,
        "width_px": 3000,
        "height_px": 2000,
        "entity_type": "product",
        "entity_id": None,
        "uploaded_by": new_id(),
        "alt": None,
        "title": None,
        "private": False,
        "storage_strategy": StorageStrategy.LOCAL_ONLY,
        "storage_status": StorageStatus.LOCAL_ONLY,
        "on_disk": True,
        "in_bucket": False,
        "original": None,
        "variants": (),
        "placeholder": None,
        "created_at": now,
        "updated_at": now,
        "deleted_at": None,
        "last_revision": 1,
        "content_revision": 1,
    }
    return ShownMedium(Media(**{**facts, **changes}), job, {})


LARGE, MEDIUM, SMALL = stored("large", 2000, 1333, 800), stored("m", 640, 427, 100), stored("s", 200, 133, 10)


@pytest.mark.parametrize(
    ("variants", "thumbnail"),
    [
        ((LARGE, MEDIUM, SMALL), MEDIUM),
        ((LARGE, SMALL), LARGE),
        ((SMALL,), SMALL),
        ((stored("tall", 100, 500, 1), LARGE), stored("tall", 100, 500, 1)),
        ((), None),
    ],
)
def test_the_thumbnail_is_the_smallest_that_is_sharp(
    variants: tuple[StoredFile, ...], thumbnail: StoredFile | None
) -> None:
    assert shown(variants=variants).thumbnail == thumbnail


@pytest.mark.parametrize(
    ("status", "job_status", "state"),
    [
        ("completed", None, "completed"),
        ("completed", "active", "completed"),
        ("failed", None, "failed"),
        ("processing", "active", "active"),
        ("processing", "waiting", "waiting"),
        ("processing", None, "waiting"),
    ],
)
def test_the_state_outlives_the_job(status: str, job_status: Any, state: str) -> None:
    job = JobState(new_id(), job_status, 50, 1, None, None) if job_status else None
    medium = shown(job, status=status)
    assert medium.state == state
    assert medium.is_unfinished == (state in {"waiting", "active"})
    assert medium.progress == (50 if job else 0)


def test_a_medium_whose_file_is_being_replaced_is_unfinished() -> None:
    assert shown(replacing_revision=2).is_unfinished


@pytest.mark.parametrize(("size_bytes", "percent"), [(800, 20), (15, 98.5), (1000, 0), (1500, -50)])
def test_savings_are_told_against_the_upload(size_bytes: int, percent: float) -> None:
    assert shown().saved_percent(stored("x", 1, 1, size_bytes)) == percent


def test_nothing_is_all_smaller() -> None:
    assert shown(size_bytes=10_000_000).saved_percent(stored("x", 1, 1, 50)) == 99.9


def test_an_empty_upload_divides_nothing_by_zero() -> None:
    assert shown(size_bytes=0).share_percent(SMALL) == 1000


def test_an_address_that_asks_for_nothing_shows_everything() -> None:
    view = read_view({"q": " ", "status": "", "cursor": "", "unknown": "x"})
    assert (view.filter.text, view.filter.status, view.filter.deleted, view.after) == (None, None, False, None)
    assert not view.is_filtered


def test_an_address_says_which_media() -> None:
    view = read_view({"q": " harbour ", "storageStatus": "missing", "entityType": "product", "deleted": "true"})
    assert (view.filter.text, view.filter.storage_status) == ("harbour", StorageStatus.MISSING)
    assert (view.filter.entity_type, view.filter.deleted) == ("product", True)
    assert view.is_filtered
    assert not read_view({"deleted": "true"}).is_filtered


def test_a_day_bounds_every_page_behind_a_cursor() -> None:
    further = new_id()
    view = read_view({"before": "2026-05-31", "cursor": encode_cursor(str(further))})
    assert (view.filter.below, view.after) == (first_id_of(date(2026, 5, 31)), further)


def test_a_cursor_of_nobody_is_refused() -> None:
    with pytest.raises(Problem):
        read_view({"cursor": "nonsense"})
