"""Syncs of events' photos as callers see them, the test telling what face-embedder would."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import websockets
from pydantic import SecretStr

from ingest_api.accounts import Role
from ingest_api.face_syncs import TOLD_EVERY_SECONDS, FaceSyncs
from ingest_api.repositories.face_erasures import FaceErasureRepository
from ingest_api.repositories.face_searches import FaceSearchRepository
from ingest_api.repositories.replicas import ReplicaRepository
from shared.db.unit_of_work import UnitOfWork
from shared.events import FaceSyncChangedV1, FaceSyncStatus, SyncEventPhotosV1
from shared.identifiers import new_id
from shared.settings_feed import SettingsFeed
from shared.testing.databases import TestDatabases
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"
SYNC = "/api/v1/faces/sync-s3"
TASKS = "/api/v1/faces/tasks"


@pytest.fixture(scope="module")
async def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    """With a bucket that is face-embedder's affair, so that its address only has to be set."""
    database = await databases.create()
    bucket = {
        "s3_endpoint": "http://127.0.0.1:9",
        "s3_access_key": SecretStr("unused"),
        "s3_secret_key": SecretStr("unused"),
    }
    async with running_site(database, tmp_path_factory.mktemp("face-syncs") / "media", **bucket) as running:
        yield running
    await databases.drop(database)


@pytest.fixture
async def event(site: IngestSite) -> dict[str, Any]:
    made: dict[str, Any] = (await site.api.post(EVENTS, json={"name": "Wedding"})).json()
    return made


async def sync(site: IngestSite, event: dict[str, Any], **options: Any) -> httpx.Response:
    body = {"event_uuid": event["uuid"], "s3_prefix": event["s3_prefix"]}
    return await site.api.post(SYNC, json=body, **options)


async def commands(site: IngestSite, event: dict[str, Any]) -> list[SyncEventPhotosV1]:
    rows = await site.rows.fetch(
        "SELECT payload FROM outbox WHERE topic = 'face.sync' AND key = $1 ORDER BY id", event["uuid"]
    )
    return [SyncEventPhotosV1.model_validate_json(row["payload"]) for row in rows]


async def tell(site: IngestSite, event: dict[str, Any], task_id: str, version: int, **facts: Any) -> None:
    fact = {
        "task_id": UUID(task_id),
        "event_id": UUID(event["uuid"]),
        "version": version,
        "status": FaceSyncStatus.INDEXING,
        "total_found": 0,
        "new_photos": 0,
        "skipped": 0,
        "processed": 0,
        "failed": 0,
        "no_face": 0,
        "originals_missing": 0,
        "previews_made": 0,
        "message": "under way",
        "changed_at": datetime.now(UTC),
        **facts,
    }
    assert await site.handlers.deliver(FaceSyncChangedV1.model_validate(fact))


async def task(site: IngestSite, task_id: str) -> dict[str, Any]:
    answer = await site.api.get(f"{TASKS}/{task_id}")
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def test_a_sync_in_the_words_of_the_contract(site: IngestSite, event: dict[str, Any]) -> None:
    answer = await sync(site, event)
    started = answer.json()
    assert (answer.status_code, started) == (
        200,
        {
            "task_id": started["task_id"],
            "event_id": event["id"],
            "s3_prefix": f"events/{event['id']}/previews/",
            "message": "Sync task started for event Wedding",
        },
    )
    (command,) = await commands(site, event)
    assert (str(command.task_id), str(command.event_id), command.number, command.s3_prefix) == (
        started["task_id"],
        event["uuid"],
        event["id"],
        event["s3_prefix"],
    )
    assert (await task(site, started["task_id"]))["status"] == "listing"

    facts = {"total_found": 12, "new_photos": 10, "skipped": 2, "no_face": 1, "originals_missing": 3}
    await tell(site, event, started["task_id"], 1, **facts, processed=4)
    assert (await task(site, started["task_id"]))["eta"] >= 0
    done = {"processed": 9, "failed": 1, "message": "Successfully synced 10 new photos"}
    await tell(site, event, started["task_id"], 2, **facts, **done, status=FaceSyncStatus.COMPLETED)
    read = await task(site, started["task_id"])
    expected = {"event_id": event["id"], "s3_prefix": event["s3_prefix"], **facts, **done, "status": "completed"}
    assert {name: read[name] for name in expected} == expected
    assert read["eta"] is None
    assert read["finished_at"] is not None


async def test_a_second_sync_joins_the_running_one(site: IngestSite, event: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(sync(site, event) for _ in range(8)))
    (task_id,) = {answer.json()["task_id"] for answer in answers}
    assert len(await commands(site, event)) == 1
    await tell(site, event, task_id, 1, status=FaceSyncStatus.FAILED)
    again = (await sync(site, event)).json()["task_id"]
    assert again != task_id
    assert [str(command.task_id) for command in await commands(site, event)] == [task_id, again]


async def test_a_fact_that_comes_late_or_twice_changes_nothing(site: IngestSite, event: dict[str, Any]) -> None:
    task_id = (await sync(site, event)).json()["task_id"]
    await tell(site, event, task_id, 3, status=FaceSyncStatus.COMPLETED, total_found=5, message="No photos found in S3")
    ended = await task(site, task_id)
    await tell(site, event, task_id, 2, processed=1)
    await tell(site, event, task_id, 3, processed=1)
    assert await task(site, task_id) == ended
    # Of a sync that nobody asked for here nothing is kept.
    await tell(site, event, str(new_id()), 1)


async def test_wrong_calls_are_refused_in_the_words_of_the_contract(site: IngestSite, event: dict[str, Any]) -> None:
    prefix = event["s3_prefix"]
    for body, status, detail in (
        ({"event_uuid": "not-a-uuid", "s3_prefix": prefix}, 400, "Invalid UUID format"),
        ({"event_uuid": str(new_id()), "s3_prefix": prefix}, 404, "Event not found"),
    ):
        refused = await site.api.post(SYNC, json=body)
        assert (refused.status_code, refused.json()["detail"]) == (status, detail)
    for body, field in (
        ({"s3_prefix": prefix}, "event_uuid"),
        ({"event_uuid": event["uuid"]}, "s3_prefix"),
        ({"event_uuid": event["uuid"], "s3_prefix": 5}, "s3_prefix"),
        ({"event_uuid": event["uuid"], "s3_prefix": f"{prefix}../../1/previews/"}, "s3_prefix"),
        ({"event_uuid": event["uuid"], "s3_prefix": f"events/{event['id'] + 1}/previews/"}, "s3_prefix"),
    ):
        refused = await site.api.post(SYNC, json=body)
        assert (refused.status_code, [one["field"] for one in refused.json()["errors"]]) == (422, [field]), body
    assert await commands(site, event) == []


async def test_others_neither_sync_an_event_nor_read_its_tasks(site: IngestSite, event: dict[str, Any]) -> None:
    task_id = (await sync(site, event)).json()["task_id"]
    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await sync(site, event, headers=other)).json()["detail"] == "Event not found"
    assert (await site.api.get(f"{TASKS}/{task_id}", headers=other)).status_code == 404
    assert (await site.api.get(f"{TASKS}/{new_id()}")).json()["detail"] == "Task not found"
    await site.api.delete(f"{EVENTS}/{event['uuid']}")
    assert (await sync(site, event)).status_code == 404
    assert (await site.api.get(f"{TASKS}/{task_id}")).status_code == 404


async def test_a_sync_that_nobody_answers_blocks_nothing(site: IngestSite, event: dict[str, Any]) -> None:
    """The next call begins another one; whoever watches the first learns that it has failed."""
    silent = (await sync(site, event)).json()["task_id"]
    await site.rows.execute(
        "UPDATE face_syncs SET heard_at = heard_at - interval '2 hours' WHERE id = $1", UUID(silent)
    )
    fresh = (await sync(site, event)).json()["task_id"]
    assert fresh != silent
    failed = await task(site, silent)
    assert (failed["status"], failed["message"][:17]) == ("failed", "Nothing was heard")
    # It goes on all the same: it is shown as it is told, and the other one still runs.
    await tell(site, event, silent, 1, processed=1)
    assert (await task(site, silent))["status"] == "indexing"
    assert (await sync(site, event)).json()["task_id"] == fresh


async def test_silent_syncs_are_given_up_without_a_call(site: IngestSite, event: dict[str, Any]) -> None:
    task_id = (await sync(site, event)).json()["task_id"]
    await site.photo_desk.syncs.give_up_silent()
    assert (await task(site, task_id))["status"] == "listing"
    await site.rows.execute(
        "UPDATE face_syncs SET heard_at = heard_at - interval '2 hours' WHERE id = $1", UUID(task_id)
    )
    await site.photo_desk.syncs.give_up_silent()
    assert (await task(site, task_id))["status"] == "failed"


async def test_syncs_and_records_of_searches_go_after_their_time(site: IngestSite, event: dict[str, Any]) -> None:
    old = (await sync(site, event)).json()["task_id"]
    await tell(site, event, old, 1, status=FaceSyncStatus.COMPLETED)
    young = (await sync(site, event)).json()["task_id"]
    await site.rows.execute("UPDATE face_syncs SET finished_at = finished_at - interval '31 days'")
    searches = {age: new_id() for age in (1, 2 * 3600, 366 * 24 * 3600)}
    for age, search_id in searches.items():
        await site.rows.execute(
            "INSERT INTO face_searches (id, event_id, asked_by, asked_at, outcome) "
            "VALUES ($1, $2, $1, clock_timestamp() - make_interval(secs => $3), 'answered')",
            search_id,
            UUID(event["uuid"]),
            float(age),
        )
        await site.rows.execute(
            "INSERT INTO face_search_results "
            "(search_id, event_id, asked_by, faces_in_selfie, chosen, pack, threshold, matches, found_at) "
            "VALUES ($1, $2, $1, 1, 0, 'lite', 0, '[]', clock_timestamp() - make_interval(secs => $3))",
            search_id,
            UUID(event["uuid"]),
            float(age),
        )
    await site.retention.sweep()
    assert [(await site.api.get(f"{TASKS}/{task_id}")).status_code for task_id in (old, young)] == [404, 200]
    kept = {row["id"] for row in await site.rows.fetch("SELECT id FROM face_searches")}
    results = {row["search_id"] for row in await site.rows.fetch("SELECT search_id FROM face_search_results")}
    assert kept & set(searches.values()) == {searches[1], searches[2 * 3600]}
    assert results == {searches[1]}


async def test_what_searches_found_requests_and_silent_replicas_go_in_batches(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    inserts = (
        "INSERT INTO face_searches (id, event_id, asked_by, outcome) VALUES ($1, $2, $1, 'answered')",
        "INSERT INTO face_search_results (search_id, event_id, asked_by, faces_in_selfie, chosen, pack, threshold, "
        "matches, found_at) VALUES ($1, $2, $1, 1, 0, 'lite', 0, '[]', now() - interval '2 hours')",
        "INSERT INTO face_erasures (id, event_id, asked_by, faces, expires_at) "
        "VALUES ($1, $2, $1, '[]', now() - interval '1 second')",
        "INSERT INTO replicas (service, instance, version, started_at, told_at, every_seconds, is_ready, problems, "
        "lag_messages) VALUES ($2::uuid::text, $1::uuid::text, '1', now(), now() - interval '2 hours', 10, true, "
        "'{}', '{}')",
    )
    for _ in range(5):
        new = new_id()
        for insert in inserts:
            await site.rows.execute(insert, new, UUID(event["uuid"]))
    async with site.database.connection() as connection:
        assert await FaceSearchRepository(connection).remove_results(3600, 2) == 2
        assert await FaceErasureRepository(connection).remove_unconfirmed(2) == 2
        assert await ReplicaRepository(connection).remove_silent(3600, 2) == 2
    monkeypatch.setattr("ingest_api.retention.BATCH_ROWS", 2)
    removed = await site.retention.sweep()
    assert [removed[name] for name in ("face_search_results", "face_erasures", "replicas")] == [3, 3, 3]


async def test_without_s3_there_is_nothing_to_sync(site: IngestSite, event: dict[str, Any]) -> None:
    settings = site.settings.media_defaults().model_copy(update={"s3_enabled": False})
    feed = SettingsFeed("127.0.0.1:9", settings, site.settings.entity_type_defaults())
    switched_off = FaceSyncs(
        UnitOfWork(site.database, source="/mediabus/ingest-api", schema="ingest"), feed, silence_seconds=1
    )
    principal = await site.sign_in.by_api_key(site.key)
    assert principal is not None
    with pytest.raises(Exception, match="S3 is switched off"):
        await switched_off.start(UUID(event["uuid"]), event["s3_prefix"], principal)


async def test_progress_is_told_to_all_who_asked_a_few_times_per_second(
    site: IngestSite, event: dict[str, Any]
) -> None:
    task_id = (await sync(site, event)).json()["task_id"]
    admin = {"Authorization": f"Bearer {await site.key_of(Role.ADMIN)}"}
    await sync(site, event, headers=admin)
    began_at = time.monotonic()
    for version in range(1, 50):
        await tell(site, event, task_id, version, new_photos=50, processed=version)
    await tell(site, event, task_id, 50, new_photos=50, processed=50, status=FaceSyncStatus.COMPLETED, message="done")
    most = 3 + (time.monotonic() - began_at) / TOLD_EVERY_SECONDS
    own, admins = [await messages(site, headers, task_id) for headers in ({}, admin)]
    assert [message["processed"] for message in own] == [message["processed"] for message in admins]
    assert 2 <= len(own) <= most
    assert {message["type"] for message in own} == {"faces:progress"}
    assert own[0]["status"] == "indexing"
    last = own[-1]
    expected = {"task_id": task_id, "event_uuid": event["uuid"], "event_id": event["id"], "status": "completed"}
    assert {name: last[name] for name in expected} == expected
    assert (last["new_photos"], last["message"]) == (50, "done")


async def messages(site: IngestSite, headers: dict[str, str], task_id: str) -> list[dict[str, Any]]:
    """What a user was told of a task, up to its end."""
    sent = headers or {"Authorization": f"Bearer {site.key}"}
    address = f"ws://127.0.0.1:{site.port}/api/ws?after=0"
    told: list[dict[str, Any]] = []
    async with asyncio.timeout(60), websockets.connect(address, additional_headers=sent) as connection:
        while not told or told[-1]["status"] != "completed":
            message = json.loads(await connection.recv())
            if message["jobId"] == task_id:
                told.append(message)
    return told
