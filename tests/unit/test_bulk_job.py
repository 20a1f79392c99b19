"""How a call about many media stands, by what is counted of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_api.bulk import BulkJob, cancelled_detail
from ingest_api.bulk_cancellation import cancel_refusal
from ingest_api.catalogue import JobStatus
from shared.identifiers import new_id

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def job(**changes: Any) -> BulkJob:
    """Nothing of ten media has been looked at."""
    counts = {"selected": 10, "items": 0, "completed": 0, "failed": 0, "begun": 0, "attempts": 0}
    return BulkJob(**{"id": new_id(), "kind": "delete", "is_planned": False, "children": (), **counts, **changes})


def cancelled(**changes: Any) -> BulkJob:
    return job(**{"is_planned": True, "cancelled_at": NOW, **changes})


@pytest.mark.parametrize(
    ("given", "status", "total", "progress"),
    [
        (job(), "waiting", 10, 0),
        (job(items=4, completed=3, failed=1, begun=4), "active", 10, 40),
        (job(items=10, completed=10, begun=10), "active", 10, 99),
        (job(items=8, completed=8, begun=8, is_planned=True), "completed", 8, 100),
        (job(items=8, failed=8, begun=8, is_planned=True), "failed", 8, 100),
        (cancelled(), "cancelled", 10, 0),
        (cancelled(items=4, completed=3, failed=1, begun=4), "cancelled", 10, 40),
        (cancelled(items=4, failed=4, begun=4), "cancelled", 10, 40),
        (cancelled(items=4, completed=3, begun=4, kind="hard_delete"), "active", 10, 30),
        (cancelled(items=4, begun=0, kind="rerender"), "waiting", 10, 0),
        (cancelled(items=10, completed=10, begun=10), "completed", 10, 100),
        (cancelled(items=10, completed=6, begun=10, kind="hard_delete"), "active", 10, 60),
        (cancelled(items=10, completed=2, begun=3, not_begun=6, queued=1, kind="rerender"), "active", 10, 20),
        (cancelled(items=10, completed=2, begun=3, failed=1, not_begun=7, kind="rerender"), "cancelled", 10, 30),
        (cancelled(items=4, not_begun=4, kind="rerender"), "cancelled", 10, 0),
        (cancelled(items=10, completed=9, failed=1, begun=10, kind="rerender"), "completed", 10, 100),
    ],
)
def test_how_it_stands(given: BulkJob, status: JobStatus, total: int, progress: int) -> None:
    assert (given.status, given.total, given.progress) == (status, total, progress)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (cancelled(items=4, completed=4), "Cancelled: 4 of 10 media had been worked on"),
        (cancelled(items=4, completed=3, kind="hard_delete"), "Of 10 media 4 go for good already"),
        (cancelled(items=4, completed=3, kind="rerender"), "Of 10 pictures no other is begun"),
        (cancelled(items=10, completed=9, queued=1, kind="rerender"), "Of 10 pictures no other is begun"),
        (cancelled(items=10, completed=3, not_begun=7), "Cancelled: 3 of 10 media had been worked on"),
        (cancelled(items=10, completed=10), "Everything had been begun"),
    ],
)
def test_what_becomes_of_a_cancelled_one_is_told(given: BulkJob, detail: str) -> None:
    assert cancelled_detail(given).startswith(detail)


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        (job(items=4, completed=3, failed=1), (3, 1, 0)),
        (cancelled(items=4, completed=3, failed=1), (3, 1, 6)),
        (cancelled(items=4, completed=1, failed=1, not_begun=2, kind="rerender"), (1, 1, 8)),
        (cancelled(items=10, completed=1, not_begun=9, kind="rerender"), (1, 0, 9)),
        (cancelled(items=10, completed=10), (10, 0, 0)),
    ],
)
def test_what_has_ended_adds_up(given: BulkJob, counts: tuple[int, int, int]) -> None:
    record = given.record()
    assert (record["completed"], record["failed"], record["cancelled"]) == counts
    assert given.notice().items() >= {"cancelled": counts[2]}.items()
    if given.has_ended:
        assert sum(counts) == record["total"]


def test_what_is_queued_can_be_cancelled_once() -> None:
    queued = job(kind="rerender", is_planned=True, items=10, queued=2, completed=8)
    assert queued.is_cancellable
    assert not replace(queued, cancelled_at=NOW).is_cancellable
    assert not replace(queued, queued=0).is_cancellable


def test_only_what_has_something_left_can_be_cancelled() -> None:
    assert cancel_refusal(cancelled()) is None
    done = job(is_planned=True, items=10, completed=10)
    for refused, why in ((done, "completed already"), (replace(done, completed=9), "has been begun")):
        problem = cancel_refusal(refused)
        assert problem is not None
        assert (problem.status, problem.code, why in problem.detail) == (409, "job_not_cancellable", True)
