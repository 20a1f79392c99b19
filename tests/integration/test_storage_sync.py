"""Storage sync over HTTP and WebSocket: jobs as they are told, whatever the order; commands; refusals; roles."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import websockets
from pydantic import SecretStr

from ingest_api.accounts import Role
from ingest_api.cursors import encode_cursor
from shared.events import (
    CancelSyncJobV1,
    MediaStorageChangedV1,
    ProcessImageV1,
    StartSyncJobV1,
    StorageStatus,
    StoredFile,
    SyncJobChangedV1,
    SyncJobStatus,
    SyncOperation,
    SyncResult,
)
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from tests.ingest_site import IngestSite, running_site
from tests.outcomes import processed, stored

pytestmark = pytest.mark.stack

SYNC = "/api/admin/media/sync"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    # The bucket is s3-syncer's affair: its address only has to be set.
    bucket = {
        "s3_endpoint": "http://127.0.0.1:9",
        "s3_access_key": SecretStr("unused"),
        "s3_secret_key": SecretStr("unused"),
    }
    async with running_site(database, tmp_path / "media", **bucket) as running:
        yield running


def fact(site: IngestSite, job_id: UUID, version: int, **changes: Any) -> SyncJobChangedV1:
    values: dict[str, Any] = {
        "job_id": job_id,
        "parent_job_id": None,
        "is_parent": False,
        "batch_index": None,
        "batch_size": None,
        "version": version,
        "operation": SyncOperation.UPLOAD_TO_S3,
        "status": SyncJobStatus.ACTIVE,
        "total_files": 10,
        "processed_files": 0,
        "failed_files": 0,
        "total_bytes": 1000,
        "moved_bytes": 0,
        "requested_by": site.user_id,
        "created_at": START,
        "started_at": START,
    }
    return SyncJobChangedV1(**{**values, **changes})


def parent_fact(site: IngestSite, job_id: UUID, version: int, **changes: Any) -> SyncJobChangedV1:
    return fact(site, job_id, version, is_parent=True, batch_size=10, **changes)


def child_fact(site: IngestSite, parent_id: UUID, child_id: UUID, version: int, **changes: Any) -> SyncJobChangedV1:
    place = {"parent_job_id": parent_id, "batch_index": 0, "batch_size": 10}
    return fact(site, child_id, version, **{**place, **changes})


def results(count: int, status: str = "done", **changes: Any) -> tuple[SyncResult, ...]:
    values = {"status": status, "bytes_moved": 100, **changes}
    return tuple(SyncResult.model_validate({"media_id": new_id(), **values}) for _ in range(count))


async def read(site: IngestSite, job_id: UUID | str) -> dict[str, Any]:
    answer = await site.api.get(f"{SYNC}/{job_id}")
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def counts(site: IngestSite, job_id: UUID) -> tuple[int, int, int]:
    job = await read(site, job_id)
    return job["totalFiles"], job["processedFiles"], job["failedFiles"]


async def commands(site: IngestSite) -> list[dict[str, Any]]:
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE topic = 'sync.jobs' ORDER BY id")
    return [json.loads(row["payload"]) for row in rows]


async def uploaded_ids(site: IngestSite, count: int) -> list[str]:
    return [(await site.uploaded())["mediaId"] for _ in range(count)]


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem: dict[str, Any] = answer.json()
    return problem


def errors_of(answer: httpx.Response) -> dict[str, str]:
    return {error["field"]: error["message"] for error in refusal(answer, 422)["errors"]}


async def post(site: IngestSite, **body: Any) -> httpx.Response:
    return await site.api.post(SYNC, json={"operation": "upload_to_s3", **body})


# --- starting ------------------------------------------------------------------------------------------------------


async def test_a_job_waits_with_its_command_in_the_outbox(site: IngestSite) -> None:
    ids = await uploaded_ids(site, 3)
    answer = await post(site, mediaIds=[*ids, ids[0]], deleteSource=True)
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert set(accepted) == {"success", "jobId", "status", "message"}
    assert (accepted["success"], accepted["status"]) == (True, "waiting")
    [command] = await commands(site)
    assert command["job_id"] == accepted["jobId"]
    assert (command["media_ids"], command["filter"], command["delete_source"]) == (ids, None, True)
    assert (command["min_files_for_batching"], command["batch_size"]) == (50, 100)
    assert command["requested_by"] == str(site.user_id)
    job = await read(site, accepted["jobId"])
    assert (job["status"], job["totalFiles"], job["processedFiles"]) == ("waiting", 3, 0)


async def test_a_filter_and_the_large_profile(site: IngestSite) -> None:
    selection = {"entityType": "product", "storageStatus": "local_only"}
    answer = await post(site, filter=selection, profile="large")
    assert answer.status_code == 202, answer.text
    [command] = await commands(site)
    assert command["filter"] == {
        "entity_type": "product",
        "entity_id": None,
        "storage_status": "local_only",
        "everything": None,
    }
    assert (command["min_files_for_batching"], command["batch_size"]) == (100, 200)


async def test_a_rename_says_from_what_to_what(site: IngestSite) -> None:
    rename = {"from": "media/", "to": "archive/media/"}
    answer = await post(site, operation="rename", filter={"everything": True}, renamePrefix=rename)
    assert answer.status_code == 202, answer.text
    [command] = await commands(site)
    assert command["rename_prefix"] == ["media/", "archive/media/"]


async def test_ten_thousand_ids_are_no_more_than_allowed(site: IngestSite) -> None:
    ids = [str(new_id()) for _ in range(10_001)]
    assert "10001 media, 10000 are allowed" in errors_of(await post(site, mediaIds=ids))["mediaIds"]
    assert "10000 of the ids belong to no medium" in errors_of(await post(site, mediaIds=ids[:-1]))["mediaIds"]


async def test_unknown_ids_are_named(site: IngestSite) -> None:
    [known] = await uploaded_ids(site, 1)
    unknown = [str(new_id()) for _ in range(25)]
    message = errors_of(await post(site, mediaIds=[known, *unknown]))["mediaIds"]
    assert message.startswith("25 of the ids")
    assert message.endswith(" and 5 more")
    assert all(named in message for named in unknown[:20])
    assert unknown[20] not in message
    assert known not in message
    assert await commands(site) == []
    assert await site.count("sync_jobs") == 0


ID = "0190a0a0-0000-7000-8000-000000000001"
BY_ID: dict[str, Any] = {"operation": "upload_to_s3", "mediaIds": [ID]}
EVERYTHING: dict[str, Any] = {"everything": True}


MAKES_NO_SENSE: list[tuple[dict[str, Any], str, str]] = [
    ({"operation": "shred", "mediaIds": [ID]}, "operation", "upload_to_s3"),
    ({"mediaIds": [ID]}, "operation", "missing"),
    ({"operation": "upload_to_s3"}, "mediaIds", "select media by one of them"),
    ({**BY_ID, "filter": EVERYTHING}, "filter", "together with mediaIds"),
    ({"operation": "upload_to_s3", "mediaIds": []}, "mediaIds", "is empty"),
    ({"operation": "upload_to_s3", "filter": {}}, "filter", "everything: true"),
    ({"operation": "upload_to_s3", "filter": {"colour": "red"}}, "filter.colour", ""),
    ({"operation": "upload_to_s3", "filter": {"everything": False}}, "filter.everything", ""),
    ({"operation": "upload_to_s3", "filter": {"storageStatus": "gone"}}, "filter.storageStatus", "local_only"),
    ({"operation": "upload_to_s3", "filter": {"entityType": ""}}, "filter.entityType", ""),
    ({"operation": "upload_to_s3", "filter": {"entityType": "a\0b"}}, "filter.entityType", ""),
    ({"operation": "upload_to_s3", "mediaIds": [ID, "x"]}, "mediaIds.1", ""),
    ({**BY_ID, "profile": "huge"}, "profile", "large"),
    ({**BY_ID, "deleteSource": "yes"}, "deleteSource", "true or false"),
    ({**BY_ID, "dryRun": True}, "dryRun", ""),
    ({**BY_ID, "operation": "delete_s3", "deleteSource": True}, "deleteSource", "only copies"),
    ({**BY_ID, "operation": "rename"}, "renamePrefix", "rename needs"),
    ({**BY_ID, "operation": "rename", "renamePrefix": {"from": "a/"}}, "renamePrefix.to", "missing"),
    ({**BY_ID, "operation": "rename", "renamePrefix": {"from": "", "to": "b/"}}, "renamePrefix.from", "empty"),
    ({**BY_ID, "operation": "rename", "renamePrefix": {"from": "a/", "to": "a/"}}, "renamePrefix.to", "same"),
    ({**BY_ID, "operation": "rename", "renamePrefix": {"from": "a/", "to": "../b"}}, "renamePrefix.to", ".."),
    (
        {**BY_ID, "operation": "rename", "renamePrefix": {"from": "a/", "to": "staging/a"}},
        "renamePrefix.to",
        "staging/",
    ),
    ({**BY_ID, "renamePrefix": {"from": "a/", "to": "b/"}}, "renamePrefix", "no meaning"),
]


async def test_what_makes_no_sense_is_refused_by_field(site: IngestSite) -> None:
    for body, field, says in MAKES_NO_SENSE:
        errors = errors_of(await site.api.post(SYNC, json=body))
        assert says in errors.get(field, "nothing of it"), (body, errors)
    assert await commands(site) == []


async def test_malformed_bodies_are_refused(site: IngestSite) -> None:
    for content in (b"", b"{", b"[]", b'"x"'):
        answer = await site.api.post(SYNC, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, (content, answer.text)


async def test_s3_has_to_be_switched_on(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media") as site:
        for operation in ("upload_to_s3", "download_from_s3", "delete_s3", "delete_local"):
            problem = refusal(await post(site, operation=operation, filter=EVERYTHING), 409)
            assert "switched off" in problem["detail"]
        assert (await post(site, operation="hard_delete", filter={"entityType": "x"})).status_code == 202


async def test_superadmins_alone(site: IngestSite) -> None:
    job_id = new_id()
    for role in (Role.ADMIN, Role.PHOTOGRAPHER):
        headers = {"Authorization": f"Bearer {await site.key_of(role)}"}
        for method, path in (
            ("GET", SYNC),
            ("POST", SYNC),
            ("GET", f"{SYNC}/{job_id}"),
            ("POST", f"{SYNC}/{job_id}/cancel"),
            ("POST", f"{SYNC}/{job_id}/retry"),
        ):
            answer = await site.api.request(method, path, headers=headers, json=BY_ID if path == SYNC else None)
            problem = refusal(answer, 403)
            assert "superadmin" in problem["detail"]


async def test_unknown_jobs_are_not_found(site: IngestSite) -> None:
    missing = f"{SYNC}/{new_id()}"
    for answer in (
        await site.api.get(missing),
        await site.api.post(f"{missing}/cancel"),
        await site.api.post(f"{missing}/retry"),
    ):
        assert "no storage job" in refusal(answer, 404)["detail"]


# --- how jobs are read ---------------------------------------------------------------------------------------------


async def test_the_list_has_the_fields_that_callers_know(site: IngestSite) -> None:
    parent_id, child_id, medium = new_id(), new_id(), new_id()
    ended = START + timedelta(seconds=5)
    failed = SyncResult(media_id=medium, status="failed", bytes_moved=0, code="conflict", detail="Other content.")
    final = {"status": SyncJobStatus.FAILED, "finished_at": ended, "processed_files": 9, "failed_files": 1}
    moved = {"moved_bytes": 900, "error": "some_failed"}
    child = child_fact(site, parent_id, child_id, 2, recent_results=(failed,), **final, **moved)
    await site.handlers.deliver(child)
    await site.handlers.deliver(parent_fact(site, parent_id, 3, **final, **moved))
    answer = await site.api.get(f"{SYNC}?limit=10")
    assert answer.status_code == 200, answer.text
    common = {
        "operation": "upload_to_s3",
        "status": "failed",
        "totalFiles": 10,
        "processedFiles": 9,
        "failedFiles": 1,
        "totalBytes": 1000,
        "movedBytes": 900,
        "bytesPerSecond": 180,
        "etaSeconds": None,
        "createdAt": "2026-01-01T00:00:00Z",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:05Z",
        "error": "some_failed",
        "retryOf": None,
        "requestedBy": str(site.user_id),
    }
    of_child = {
        "id": str(child_id),
        "isParent": False,
        "parentJobId": str(parent_id),
        "batchIndex": 0,
        "batchSize": 10,
        "childCount": 0,
        "childJobs": [],
        **common,
    }
    result = {
        "mediaId": str(medium),
        "jobId": str(child_id),
        "status": "failed",
        "bytesMoved": 0,
        "code": "conflict",
        "detail": "Other content.",
    }
    of_parent = {
        "id": str(parent_id),
        "isParent": True,
        "parentJobId": None,
        "batchIndex": None,
        "batchSize": 10,
        "childCount": 1,
        "childJobs": [of_child],
        "results": [result],
        **common,
    }
    assert answer.json() == {"jobs": [of_parent], "nextCursor": None}
    assert await read(site, parent_id) == of_parent
    assert await read(site, child_id) == of_child | {"results": [result]}


async def test_of_many_children_the_first_are_shown_and_all_are_counted(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent_id, ids = new_id(), [new_id() for _ in range(5)]
    await site.handlers.deliver(parent_fact(site, parent_id, 1, total_files=50))
    for index, child_id in reversed(list(enumerate(ids))):
        counted = {"processed_files": 7, "failed_files": 1, "moved_bytes": 10}
        await site.handlers.deliver(child_fact(site, parent_id, child_id, 1, batch_index=index, **counted))
    for name in ("CHILDREN_LISTED", "CHILDREN_SHOWN"):
        monkeypatch.setattr(f"ingest_api.controllers.sync.{name}", 2)
    [listed] = (await site.api.get(SYNC)).json()["jobs"]
    for job in (listed, await read(site, parent_id)):
        assert (job["totalFiles"], job["processedFiles"], job["failedFiles"], job["movedBytes"]) == (50, 35, 5, 50)
        assert job["childCount"] == 5
        assert [child["id"] for child in job["childJobs"]] == [str(child_id) for child_id in ids[:2]]
    path, shown, cursor = f"{SYNC}/{parent_id}/children", [], None
    for wanted in (2, 2, 1):
        page = (await site.api.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        assert len(page["jobs"]) == wanted
        shown += [child["batchIndex"] for child in page["jobs"]]
        cursor = page["nextCursor"]
    assert (shown, cursor) == ([0, 1, 2, 3, 4], None)
    assert (await site.api.get(f"{SYNC}/{ids[0]}/children")).json() == {"jobs": [], "nextCursor": None}
    assert (await site.api.get(f"{SYNC}/{new_id()}/children")).status_code == 404
    for wrong in ("-1", str(2**31), "x"):
        assert (await site.api.get(path, params={"cursor": encode_cursor(wrong)})).status_code == 400


async def test_an_active_job_says_how_long_it_takes(site: IngestSite) -> None:
    job_id, began = new_id(), datetime.now(UTC) - timedelta(seconds=20)
    await site.handlers.deliver(fact(site, job_id, 1, started_at=began, processed_files=4, moved_bytes=400))
    job = await read(site, job_id)
    longest = (datetime.now(UTC) - began).total_seconds()
    # Four of ten files have taken twenty seconds, and what has passed since.
    assert 20 * 6 / 4 - 1 <= job["etaSeconds"] <= longest * 6 / 4 + 1
    assert 400 / longest - 1 <= job["bytesPerSecond"] <= 400 / 20 + 1


async def test_the_list_pages_newest_first(site: IngestSite) -> None:
    ids = sorted(str(new_id()) for _ in range(5))
    for job_id in ids:
        await site.handlers.deliver(fact(site, UUID(job_id), 1))
    first = (await site.api.get(f"{SYNC}?limit=3")).json()
    assert [job["id"] for job in first["jobs"]] == ids[:1:-1]
    rest = (await site.api.get(SYNC, params={"limit": 3, "cursor": first["nextCursor"]})).json()
    assert [job["id"] for job in rest["jobs"]] == ids[1::-1]
    assert rest["nextCursor"] is None
    assert (await site.api.get(f"{SYNC}?limit=0")).status_code == 422


async def test_the_description_names_every_field(site: IngestSite) -> None:
    description = (await site.api.get("/docs/openapi.json")).json()
    assert {
        f"{SYNC}{rest}" for rest in ("", "/{job_id}", "/{job_id}/children", "/{job_id}/cancel", "/{job_id}/retry")
    } <= set(description["paths"])
    schemas = description["components"]["schemas"]
    assert {"operation", "mediaIds", "filter", "deleteSource", "profile"} <= set(schemas["SyncBody"]["properties"])
    assert {"childJobs", "results", "processedFiles"} <= set(schemas["SyncJobAnswer"]["properties"])


# --- facts in any order --------------------------------------------------------------------------------------------


async def test_an_older_fact_never_overwrites_a_newer_one(site: IngestSite) -> None:
    job_id = new_id()
    newer = fact(site, job_id, 5, processed_files=8, failed_files=1, recent_results=results(1))
    assert await site.handlers.deliver(newer)
    older = fact(site, job_id, 4, processed_files=2, recent_results=results(2))
    await site.handlers.deliver(older)
    assert await counts(site, job_id) == (10, 8, 1)
    assert len((await read(site, job_id))["results"]) == 3, "each result is told once, so late ones are kept too"


async def test_a_doubled_fact_changes_nothing(site: IngestSite) -> None:
    job_id, event_id = new_id(), new_id()
    event = fact(site, job_id, 1, processed_files=3, recent_results=results(3))
    assert await site.handlers.deliver(event, event_id=event_id)
    assert not await site.handlers.deliver(event, event_id=event_id)
    await site.handlers.deliver(event)
    assert await site.count("sync_results") == 3
    assert await site.count("notices") == 1


async def test_a_parent_is_the_sum_of_its_children_whatever_comes_first(site: IngestSite) -> None:
    """Every reader sees sums within the total, while facts arrive shuffled and several at once."""
    parent_id, children = new_id(), [new_id() for _ in range(4)]
    facts: list[SyncJobChangedV1] = []
    for version in range(1, 12):
        done = version - 1
        status = SyncJobStatus.COMPLETED if done == 10 else SyncJobStatus.ACTIVE
        of_child = {"status": status, "processed_files": done - done // 5, "failed_files": done // 5}
        facts += [
            child_fact(site, parent_id, child, version, batch_index=index, moved_bytes=10 * done, **of_child)
            for index, child in enumerate(children)
        ]
        facts.append(
            parent_fact(site, parent_id, version, total_files=40, status=status, processed_files=4 * (done - done // 5))
        )
    random.Random(4).shuffle(facts)

    async def look() -> None:
        for job in (await site.api.get(SYNC)).json()["jobs"]:
            assert job["processedFiles"] + job["failedFiles"] <= job["totalFiles"]
            assert job["processedFiles"] == sum(child["processedFiles"] for child in job["childJobs"])
            assert job["failedFiles"] == sum(child["failedFiles"] for child in job["childJobs"])

    for start in range(0, len(facts), 5):
        told = [site.handlers.deliver(event) for event in facts[start : start + 5]]
        await asyncio.gather(look(), *told, look())
    job = await read(site, parent_id)
    assert await counts(site, parent_id) == (40, 32, 8)
    assert (job["status"], job["movedBytes"]) == ("completed", 400)
    assert [child["batchIndex"] for child in job["childJobs"]] == [0, 1, 2, 3]
    assert [child["id"] for child in job["childJobs"]] == list(map(str, children))


async def test_results_are_bounded_and_failures_stay_longest(site: IngestSite) -> None:
    job_id = new_id()
    failures = results(5, "failed", code="conflict")
    await site.handlers.deliver(fact(site, job_id, 1, total_files=1300, recent_results=failures))
    for version in range(2, 14):
        await site.handlers.deliver(fact(site, job_id, version, total_files=1300, recent_results=results(100)))
    assert await site.count("sync_results") == 1000
    shown = (await read(site, job_id))["results"]
    assert len(shown) == 500
    assert {result["mediaId"] for result in shown[:5]} == {str(failed.media_id) for failed in failures}
    other = new_id()
    await site.handlers.deliver(fact(site, other, 1, recent_results=results(100)))
    listed = (await site.api.get(f"{SYNC}?limit=10")).json()["jobs"]
    assert [len(job["results"]) for job in listed] == [50, 50]


# --- cancelling and trying again -----------------------------------------------------------------------------------


async def test_a_job_is_cancelled_by_command(site: IngestSite) -> None:
    accepted = (await post(site, filter=EVERYTHING)).json()
    answer = await site.api.post(f"{SYNC}/{accepted['jobId']}/cancel")
    assert answer.status_code == 202, answer.text
    assert (answer.json()["jobId"], answer.json()["status"]) == (accepted["jobId"], "waiting")
    cancel = CancelSyncJobV1.model_validate((await commands(site))[1])
    assert (str(cancel.job_id), cancel.requested_by) == (accepted["jobId"], site.user_id)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_a_finished_job_is_not_cancelled(site: IngestSite, status: str) -> None:
    job_id = new_id()
    await site.handlers.deliver(fact(site, job_id, 1, status=SyncJobStatus(status), finished_at=START))
    assert f"is {status} already" in refusal(await site.api.post(f"{SYNC}/{job_id}/cancel"), 409)["detail"]
    assert await commands(site) == []


async def test_failed_files_are_tried_again_by_a_new_job(site: IngestSite) -> None:
    body = {"operation": "download_from_s3", "deleteSource": True, "profile": "large"}
    job_id = UUID((await post(site, filter=EVERYTHING, **body)).json()["jobId"])
    child = new_id()
    final = {"status": SyncJobStatus.FAILED, "finished_at": START, "operation": SyncOperation.DOWNLOAD_FROM_S3}
    await site.handlers.deliver(parent_fact(site, job_id, 2, **final, processed_files=7, failed_files=3))
    await site.handlers.deliver(child_fact(site, job_id, child, 2, **final, processed_files=7, failed_files=3))
    answer = await site.api.post(f"{SYNC}/{job_id}/retry")
    assert answer.status_code == 202, answer.text
    command = StartSyncJobV1.model_validate((await commands(site))[1])
    assert str(command.job_id) == answer.json()["jobId"] != str(job_id)
    assert (command.retry_of, command.media_ids, command.filter) == (job_id, None, None)
    assert (command.operation, command.delete_source) == (SyncOperation.DOWNLOAD_FROM_S3, True)
    assert command.batch_size == 200
    retried = await read(site, command.job_id)
    assert (retried["retryOf"], retried["status"], retried["totalFiles"]) == (str(job_id), "waiting", 3)
    for part in ("cancel", "retry"):
        assert str(job_id) in refusal(await site.api.post(f"{SYNC}/{child}/{part}"), 409)["detail"]


@pytest.mark.parametrize(
    ("status", "failed_files", "says"),
    [
        ("cancelled", 3, "was cancelled"),
        ("waiting", 0, "is waiting"),
        ("active", 3, "is active"),
        ("completed", 0, "No file of this job failed"),
        ("failed", 0, "No file of this job failed"),
    ],
)
async def test_other_jobs_are_not_tried_again(site: IngestSite, status: str, failed_files: int, says: str) -> None:
    job_id = new_id()
    await site.handlers.deliver(fact(site, job_id, 1, status=SyncJobStatus(status), failed_files=failed_files))
    assert says in refusal(await site.api.post(f"{SYNC}/{job_id}/retry"), 409)["detail"]
    assert await commands(site) == []


# --- where media are -----------------------------------------------------------------------------------------------


async def commanded(site: IngestSite) -> ProcessImageV1:
    await site.uploaded()
    newest = "SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id DESC LIMIT 1"
    return ProcessImageV1.model_validate_json(await site.rows.fetchval(newest))


def placed(
    command: ProcessImageV1, status: StorageStatus, files: Sequence[StoredFile], at_seconds: float, **changes: Any
) -> MediaStorageChangedV1:
    values = {
        "media_id": command.media_id,
        "revision": command.revision,
        "on_disk": status in {StorageStatus.LOCAL_ONLY, StorageStatus.SYNCED},
        "in_bucket": status in {StorageStatus.S3_ONLY, StorageStatus.SYNCED},
        "storage_status": status,
        "files": tuple(files),
        "changed_at": START + timedelta(seconds=at_seconds),
    }
    return MediaStorageChangedV1.model_validate({**values, **changes})


async def places(site: IngestSite, command: ProcessImageV1) -> tuple[str, str | None, str | None]:
    record = (await site.api.get(f"/api/admin/media/{command.media_id}")).json()
    return record["storageStatus"], record["localPath"], record["s3Key"]


async def test_media_follow_their_files(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(processed(command, original=b"as it came"))
    original = stored(command, "original", b"as it came", command.mime_type)
    variant = stored(command, "640", b"six hundred and forty")
    assert await places(site, command) == ("local_only", original.key, None)
    files = [original, variant]
    await site.handlers.deliver(placed(command, StorageStatus.PENDING, files, 0.5, on_disk=True))
    assert await places(site, command) == ("pending", original.key, None)
    await site.handlers.deliver(placed(command, StorageStatus.SYNCED, files, 1))
    assert await places(site, command) == ("synced", original.key, original.key)
    moved = [file.model_copy(update={"key": f"archive/{file.key}"}) for file in files]
    await site.handlers.deliver(placed(command, StorageStatus.S3_ONLY, moved, 2))
    assert await places(site, command) == ("s3_only", None, f"archive/{original.key}")
    await site.handlers.deliver(placed(command, StorageStatus.SYNCED, files, 1.5))
    assert await places(site, command) == ("s3_only", None, f"archive/{original.key}"), "an older fact changes nothing"
    await site.handlers.deliver(placed(command, StorageStatus.MISSING, [], 3))
    assert await places(site, command) == ("missing", None, None)
    assert (await site.api.get(f"/api/admin/media/{command.media_id}")).json()["variants"] == []


async def test_what_was_rendered_does_not_undo_where_it_was_moved_since(site: IngestSite) -> None:
    """The two facts come over different topics: the later one may be handled first."""
    command = await commanded(site)
    variant = stored(command, "640", b"six hundred and forty")
    await site.handlers.deliver(placed(command, StorageStatus.SYNCED, [variant], 1))
    await site.handlers.deliver(processed(command))
    assert await places(site, command) == ("synced", variant.key, variant.key)
    record = (await site.api.get(f"/api/admin/media/{command.media_id}")).json()
    assert record["width"] == 1280


async def test_facts_of_an_older_revision_change_nothing(site: IngestSite) -> None:
    command = await commanded(site)
    await site.rows.execute("UPDATE media SET revision = 2 WHERE id = $1", command.media_id)
    again = command.model_copy(update={"revision": 2})
    await site.handlers.deliver(placed(command, StorageStatus.S3_ONLY, [stored(command, "640", b"old")], 9))
    await site.handlers.deliver(processed(again))
    status, local_path, s3_key = await places(site, again)
    assert (status, s3_key) == ("local_only", None)
    assert local_path is not None
    assert "/2/" in local_path


# --- telling the requester -----------------------------------------------------------------------------------------


def socket(site: IngestSite, query: str = "?after=0") -> Any:
    address = f"ws://127.0.0.1:{site.port}/api/ws{query}"
    return websockets.connect(address, additional_headers={"Authorization": f"Bearer {site.key}"})


async def next_message(connection: Any) -> dict[str, Any]:
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await connection.recv())
        return message


async def test_the_requester_hears_of_the_parent_alone_and_can_have_it_again(site: IngestSite) -> None:
    parent_id, children = new_id(), [new_id(), new_id()]
    async with socket(site) as connection:
        await site.handlers.deliver(parent_fact(site, parent_id, 1, total_files=20, status=SyncJobStatus.WAITING))
        assert (await next_message(connection))["status"] == "waiting"
        for index, child in enumerate(children):
            final = {"status": SyncJobStatus.COMPLETED, "finished_at": START, "processed_files": 10}
            await site.handlers.deliver(child_fact(site, parent_id, child, 1, batch_index=index, **final))
        await site.handlers.deliver(
            parent_fact(site, parent_id, 2, total_files=20, status=SyncJobStatus.COMPLETED, finished_at=START)
        )
        message = await next_message(connection)
    expected = {
        "id": 2,
        "type": "sync:progress",
        "jobId": str(parent_id),
        "operation": "upload_to_s3",
        "status": "completed",
        "totalFiles": 20,
        "processedFiles": 20,
        "failedFiles": 0,
        "totalBytes": 2000,
        "movedBytes": 0,
        "error": None,
    }
    assert message == expected
    async with socket(site, "?after=1") as connection:
        assert await next_message(connection) == expected


async def test_progress_is_told_now_and_then_and_the_end_always(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_id()
    monkeypatch.setattr("ingest_api.handlers.SYNC_TOLD_EVERY_SECONDS", 3600.0)
    for done in range(1, 10):
        await site.handlers.deliver(fact(site, job_id, done, processed_files=done))
    assert await site.count("notices") == 1
    monkeypatch.setattr("ingest_api.handlers.SYNC_TOLD_EVERY_SECONDS", 0.0)
    await site.handlers.deliver(fact(site, job_id, 10, processed_files=9, failed_files=1))
    assert await site.count("notices") == 2
    monkeypatch.setattr("ingest_api.handlers.SYNC_TOLD_EVERY_SECONDS", 3600.0)
    final = {"status": SyncJobStatus.FAILED, "finished_at": START, "processed_files": 9, "failed_files": 1}
    await site.handlers.deliver(fact(site, job_id, 11, **final))
    bodies = [row["body"] for row in await site.rows.fetch("SELECT body FROM notices ORDER BY id")]
    assert [json.loads(body)["status"] for body in bodies] == ["active", "active", "failed"]


async def test_what_comes_after_the_end_corrects_what_was_told(site: IngestSite) -> None:
    parent_id, child = new_id(), new_id()
    await site.handlers.deliver(parent_fact(site, parent_id, 3, status=SyncJobStatus.COMPLETED, finished_at=START))
    await site.handlers.deliver(child_fact(site, parent_id, child, 2, processed_files=10))
    bodies = [json.loads(row["body"]) for row in await site.rows.fetch("SELECT body FROM notices ORDER BY id")]
    assert [body["processedFiles"] for body in bodies] == [0, 10]


async def test_finished_jobs_go_after_their_time(site: IngestSite) -> None:
    old, young, running = new_id(), new_id(), new_id()
    done = {"status": SyncJobStatus.COMPLETED}
    now = datetime.now(UTC)
    await site.handlers.deliver(parent_fact(site, old, 1, finished_at=now - timedelta(days=31), **done))
    await site.handlers.deliver(child_fact(site, old, new_id(), 1, recent_results=results(3), **done))
    await site.handlers.deliver(fact(site, young, 1, finished_at=now - timedelta(days=29), **done))
    await site.handlers.deliver(fact(site, running, 1))
    await site.retention.sweep()
    assert {row["id"] for row in await site.rows.fetch("SELECT id FROM sync_jobs")} == {young, running}
    assert await site.count("sync_results") == 0
