"""Storage jobs as callers ask for them and read them, as functions of values."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ingest_api.problem_details import InvalidFields
from ingest_api.selections import unknown_ids
from ingest_api.storage_sync import cancel_refusal, retry_refusal
from ingest_api.sync_jobs import ChildSums, SyncJob, assembled, bytes_per_second, counted, eta_seconds
from ingest_api.sync_request import SyncBody, request_of
from shared.events import MediaFilter, SyncJobStatus, SyncOperation
from shared.identifiers import new_id

START = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = new_id()


def job(**changes: Any) -> SyncJob:
    values: dict[str, Any] = {
        "id": new_id(),
        "parent_job_id": None,
        "is_parent": False,
        "batch_index": None,
        "batch_size": None,
        "operation": SyncOperation.UPLOAD_TO_S3,
        "status": SyncJobStatus.ACTIVE,
        "total_files": 10,
        "processed_files": 0,
        "failed_files": 0,
        "total_bytes": 0,
        "moved_bytes": 0,
        "error": None,
        "retry_of": None,
        "requested_by": UUID(int=7),
        "delete_source": False,
        "rename_prefix": None,
        "profile": "default",
        "created_at": START,
        "started_at": START,
        "finished_at": None,
    }
    return SyncJob(**{**values, **changes})


def parent(**changes: Any) -> SyncJob:
    return job(**{"id": PARENT, "is_parent": True, **changes})


def child(index: int, processed: int, failed: int = 0, total: int = 10, **changes: Any) -> SyncJob:
    counts = {"processed_files": processed, "failed_files": failed, "total_files": total}
    return job(**{"parent_job_id": PARENT, "batch_index": index, **counts, **changes})


def sums(total: int, processed: int, failed: int = 0, moved_bytes: int = 0) -> ChildSums:
    return ChildSums(2, total, processed, failed, 0, moved_bytes)


def test_a_parent_counts_its_children_and_not_what_it_says_itself() -> None:
    said = parent(total_files=30, processed_files=29, moved_bytes=999)
    summed = counted(said, sums(20, 14, 1, 140))
    assert (summed.total_files, summed.processed_files, summed.failed_files, summed.moved_bytes) == (30, 14, 1, 140)
    assert summed.child_count == 2


def test_the_parts_never_exceed_the_total_whatever_facts_are_known() -> None:
    chance = random.Random(4)
    for _ in range(500):
        total = chance.randrange(40)
        processed = chance.randrange(total + 1)
        of_children = sums(total, processed, chance.randrange(total - processed + 1))
        said = job(
            is_parent=bool(chance.randrange(2)),
            total_files=chance.randrange(30),
            processed_files=chance.randrange(30),
        )
        told = counted(said, of_children)
        assert told.ended_files <= told.total_files
        if said.is_parent:
            assert told.ended_files == of_children.processed_files + of_children.failed_files


def test_rows_become_families_newest_first() -> None:
    older, newer = sorted([new_id(), new_id()])
    rows = [job(id=older), parent(id=PARENT), job(id=newer), child(1, 0), child(0, 0)]
    random.Random(4).shuffle(rows)
    families = assembled(rows)
    assert [family.id for family in families] == sorted([older, newer, PARENT], reverse=True)
    assert {family.id: len(family.children) for family in families} == {older: 0, newer: 0, PARENT: 2}
    assert [one.batch_index for family in families for one in family.children] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "rate", "eta"),
    [
        ({"started_at": None, "status": SyncJobStatus.WAITING}, None, None),
        ({}, 0, None),
        ({"processed_files": 4, "failed_files": 1, "moved_bytes": 1000}, 100, 10),
        ({"processed_files": 10, "moved_bytes": 1000}, 100, 0),
        (
            {
                "processed_files": 10,
                "moved_bytes": 1000,
                "status": SyncJobStatus.COMPLETED,
                "finished_at": START + timedelta(seconds=4),
            },
            250,
            None,
        ),
    ],
)
def test_pace(changes: dict[str, Any], rate: int | None, eta: int | None) -> None:
    now = START + timedelta(seconds=10)
    assert bytes_per_second(job(**changes), now) == rate
    assert eta_seconds(job(**changes), now) == eta


def test_a_clock_that_is_behind_gives_no_negative_pace() -> None:
    ahead = job(processed_files=5, moved_bytes=10)
    assert (bytes_per_second(ahead, START - timedelta(seconds=1)) or 0) > 0
    assert eta_seconds(ahead, START - timedelta(seconds=1)) == 0


@pytest.mark.parametrize("status", list(SyncJobStatus))
def test_what_can_be_cancelled_and_tried_again(status: SyncJobStatus) -> None:
    final = status in {SyncJobStatus.COMPLETED, SyncJobStatus.FAILED, SyncJobStatus.CANCELLED}
    assert (cancel_refusal(job(status=status)) is not None) == final
    assert (retry_refusal(job(status=status, failed_files=1)) is None) == (
        final and status is not SyncJobStatus.CANCELLED
    )
    assert retry_refusal(job(status=status)) is not None
    for refused in (cancel_refusal(child(0, 0, status=status)), retry_refusal(child(0, 0, 1, status=status))):
        assert refused is not None
        assert str(PARENT) in refused.detail


def test_a_request_keeps_each_id_once_in_order() -> None:
    first, second = new_id(), new_id()
    request = request_of(SyncBody(operation=SyncOperation.DELETE_S3, mediaIds=[second, first, second]))
    assert request.media_ids == (second, first)
    assert (request.filter, request.rename_prefix, request.profile) == (None, None, "default")


def test_a_request_by_filter() -> None:
    body = {"operation": "rename", "filter": {"entityId": "7"}, "renamePrefix": {"from": "a/", "to": "b/"}}
    request = request_of(SyncBody.model_validate(body))
    assert request.filter == MediaFilter(entity_id="7")
    assert request.rename_prefix == ("a/", "b/")


def test_everything_that_is_wrong_is_named_at_once() -> None:
    body = {
        "operation": "delete_s3",
        "mediaIds": [],
        "filter": {},
        "deleteSource": True,
        "renamePrefix": {"from": "", "to": ""},
    }
    with pytest.raises(InvalidFields) as refused:
        request_of(SyncBody.model_validate(body))
    assert {error.field for error in refused.value.errors} == {"mediaIds", "filter", "deleteSource", "renamePrefix"}


def test_refusals_name_twenty_ids_at_most() -> None:
    ids = [new_id() for _ in range(20)]
    [error] = unknown_ids(ids).errors
    assert str(ids[19]) in error.message
    assert "more" not in error.message
    [error] = unknown_ids([*ids, new_id()]).errors
    assert error.message.endswith(" and 1 more")
