"""Syncs of photos as callers see them: which prefixes lead into an event's folder, and how long the rest takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest_api.face_sync import FaceSync, checked_prefix
from ingest_api.problem_details import Problem
from shared.events import FaceSyncStatus
from shared.identifiers import new_id

FOLDER = "events/7/previews/"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("prefix", [FOLDER, f"{FOLDER}DSC_", f"{FOLDER}day-1/", f"{FOLDER}grün"])
def test_what_begins_in_the_folder_is_taken_as_it_is(prefix: str) -> None:
    assert checked_prefix(prefix, FOLDER) == prefix


def test_the_folder_without_its_slash_is_the_folder() -> None:
    assert checked_prefix("events/7/previews", FOLDER) == FOLDER


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "events/",
        "events/8/previews/",
        "events/77/previews/",
        "events/7/originals/",
        "events/7/previews-of-others/",
        f"/{FOLDER}",
        f"{FOLDER}../",
        f"{FOLDER}../../8/previews/",
        f"{FOLDER}..",
        f"{FOLDER}./x",
        f"{FOLDER}/x",
        f"{FOLDER}\\..\\x",
        f"{FOLDER}\x00",
        f"{FOLDER}{'x' * 2000}",
        "EVENTS/7/previews/",
    ],
)
def test_what_leads_elsewhere_is_refused_with_the_folder_named(prefix: str) -> None:
    with pytest.raises(Problem) as refused:
        checked_prefix(prefix, FOLDER)
    assert refused.value.status == 422
    assert [error.field for error in refused.value.errors] == ["s3_prefix"]
    assert FOLDER in refused.value.detail


def sync(**changes: Any) -> FaceSync:
    return FaceSync(
        **{
            "id": new_id(),
            "event_id": new_id(),
            "number": 7,
            "s3_prefix": FOLDER,
            "status": FaceSyncStatus.INDEXING,
            "total_found": 110,
            "new_photos": 100,
            "skipped": 10,
            "processed": 20,
            "failed": 5,
            "no_face": 2,
            "originals_missing": 0,
            "previews_made": 0,
            "message": "",
            "requested_at": NOW - timedelta(seconds=90),
            "indexing_since": NOW - timedelta(seconds=50),
            "finished_at": None,
            "watchers": (),
            **changes,
        }
    )


def test_the_rest_takes_as_long_as_the_pace_tells() -> None:
    assert sync().eta_seconds(NOW) == 150
    assert sync(new_photos=25).eta_seconds(NOW) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"processed": 0, "failed": 0},
        {"status": FaceSyncStatus.LISTING},
        {"status": FaceSyncStatus.COMPLETED},
        {"indexing_since": None},
    ],
)
def test_without_a_pace_nobody_can_tell(changes: dict[str, Any]) -> None:
    assert sync(**changes).eta_seconds(NOW) is None


def test_clocks_that_disagree_break_nothing() -> None:
    assert sync().eta_seconds(NOW - timedelta(days=1)) == 0
