"""Calls that act on all media that match the filters of a list, over HTTP on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from ingest_api import rerendering, storage_sync
from ingest_api.accounts import Role
from ingest_api.bulk_deletions import BulkDeletions
from ingest_api.bulk_retention import BulkRetention
from ingest_api.media_filters import read_filter
from ingest_api.repositories import matching
from ingest_api.repositories.bulk_deletions import BulkDeletionRepository
from ingest_api.repositories.bulk_jobs import BulkJobRepository
from ingest_api.repositories.matching import Matched, MatchedPage, MatchingRepository
from ingest_api.repositories.sync_jobs import SyncJobRepository
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    CancelSyncJobV1,
    Event,
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaRestoredV1,
    RerenderImageV1,
    SelectSyncMediaV1,
    StartSyncJobV1,
)
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.ingest_site import JOBS, UPLOADS, IngestSite, running_site

pytestmark = pytest.mark.stack

SYNC = f"{UPLOADS}/sync"
CONFIRM_ABOVE = 300
ROWS = """
INSERT INTO media (id, filename, title, mime_type, size_bytes, sha256, entity_type, entity_id, uploaded_by,
                   storage_strategy, status, storage_status, on_disk, original, created_at, updated_at)
SELECT (lpad(to_hex(1700000000000 + number), 12, '0') || '7000' || '8' || substr(md5($1 || $3 || number), 1, 15))::uuid,
       'file-' || number || '.jpg', CASE WHEN number % 2 = 0 THEN 'Even 100%_sure' END, 'image/jpeg', 1000,
       repeat('0', 64), $1, (number % 10)::text, gen_random_uuid(), 'local_only',
       (ARRAY['completed', 'completed', 'completed', 'failed'])[1 + number % 4], 'local_only', true,
       '{"name": "original", "key": "media/x", "mime_type": "image/jpeg", "size_bytes": 1000, "sha256": "x",
         "width_px": 10, "height_px": 10}'::jsonb,
       clock_timestamp() - $4::interval, clock_timestamp() - $4::interval
FROM generate_series(1, $2) AS number
"""


class Killed(Exception):
    """The process ended before a commit."""


@pytest.fixture(scope="module")
async def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    # The bucket is s3-syncer's affair: its address only has to be set.
    bucket = {
        "s3_endpoint": "http://127.0.0.1:9",
        "s3_access_key": SecretStr("unused"),
        "s3_secret_key": SecretStr("unused"),
    }
    folder = tmp_path_factory.mktemp("site") / "media"
    async with running_site(database, folder, mass_delete_confirm_above=CONFIRM_ABOVE, **bucket) as made:
        yield made
    await databases.drop(database)


async def filled(site: IngestSite, rows: int = 250) -> str:
    """An entity type with so many media that nobody uploaded."""
    entity = f"t-{new_id()}"
    await add(site, entity, rows, age=timedelta(days=1))
    return entity


async def add(site: IngestSite, entity: str, rows: int, *, age: timedelta) -> None:
    """Media with ids of another time, all of them old."""
    await site.rows.execute(ROWS, entity, rows, str(new_id()), age)


async def ids_of(site: IngestSite, entity: str, *, where: str = "true") -> set[UUID]:
    rows = await site.rows.fetch(f"SELECT id FROM media WHERE entity_type = $1 AND {where}", entity)
    return {row["id"] for row in rows}


async def odd_and_even(site: IngestSite, entity: str) -> tuple[list[UUID], list[UUID]]:
    odd = await ids_of(site, entity, where="title IS NULL")
    return sorted(odd), sorted(await ids_of(site, entity, where="title IS NOT NULL"))


async def told(site: IngestSite, event_type: type[Event], media_ids: set[UUID]) -> list[Any]:
    """What was published of a type about these media, in order."""
    rows = await site.rows.fetch(
        "SELECT payload FROM outbox WHERE topic = $1 AND headers::text LIKE '%' || $2 || '%' ORDER BY id",
        event_type.topic.name,
        event_type.event_type,
    )
    events: list[Any] = [event_type.model_validate_json(row["payload"]) for row in rows]
    return [event for event in events if event.media_id in media_ids]


async def told_of_job(site: IngestSite, job_id: str) -> list[Any]:
    """What s3-syncer is told of a job, in order."""
    rows = await site.rows.fetch(
        "SELECT payload, headers FROM outbox WHERE topic = 'sync.jobs' AND key = $1 ORDER BY id", job_id
    )
    types: tuple[type[Event], ...] = (SelectSyncMediaV1, StartSyncJobV1, CancelSyncJobV1)
    return [
        next(one for one in types if one.event_type in str(row["headers"])).model_validate_json(row["payload"])
        for row in rows
    ]


async def post(site: IngestSite, path: str, status: int = 202, **body: Any) -> dict[str, Any]:
    answer = await site.api.post(path, json=body)
    assert answer.status_code == status, answer.text
    told_back: dict[str, Any] = answer.json()
    return told_back


async def worked_off(site: IngestSite) -> None:
    while await site.bulk_deletions.work_page():
        pass


async def job(site: IngestSite, job_id: str) -> dict[str, Any]:
    answer = await site.api.get(f"{JOBS}/{job_id}")
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def errors_of(answer: httpx.Response) -> set[str]:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    return {error["field"] for error in answer.json()["errors"]}


# --- what matches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 40),
        ({"entityId": "3"}, 4),
        ({"status": "failed"}, 10),
        ({"q": "100%_SURE"}, 20),
        ({"q": "le-3"}, 11),
        ({"q": "le-3", "status": "failed", "before": "2023-11-15"}, 4),
        ({"before": "2023-11-14"}, 0),
        ({"deleted": "true"}, 0),
    ],
)
async def test_what_is_counted_is_what_is_listed(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], count: int
) -> None:
    monkeypatch.setattr(matching, "WINDOW_MEDIA", 7)
    entity = await filled(site, 40)
    filters = {"entityType": entity, **asked}
    listed = await site.api.get(UPLOADS, params={**filters, "limit": 100})
    counted = await site.api.get(f"{UPLOADS}/count", params=filters)
    assert (
        counted.json() == {"count": len(listed.json()["media"]), "isMore": False} == {"count": count, "isMore": False}
    )
    now = await site.rows.fetchval("SELECT clock_timestamp()")
    wanted = Matched(read_filter(filters), without=(), below=new_id(), at=now)
    found: list[UUID] = []
    page = MatchedPage((), UUID(int=0))
    async with site.database.connection() as connection:
        while page.cursor is not None:
            page = await MatchingRepository(connection).page(wanted, page.cursor, 3)
            found += page.media_ids
    assert [str(one) for one in reversed(found)] == [one["id"] for one in listed.json()["media"]]


async def test_a_list_that_is_too_long_is_not_counted_to_its_end(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("controllers.media", "all_that_match"):
        monkeypatch.setattr(f"ingest_api.{module}.MOST_MATCHING", 3)
    entity = await filled(site, 8)
    counted = await site.api.get(f"{UPLOADS}/count", params={"entityType": entity})
    assert counted.json() == {"count": 3, "isMore": True}
    body = {"matching": {"entityType": entity}}
    for path, more in ((f"{UPLOADS}/delete", {}), (f"{UPLOADS}/watermark", {}), (SYNC, {"operation": "delete_s3"})):
        assert errors_of(await site.api.post(path, json={**body, **more})) == {"matching"}
    assert await ids_of(site, entity, where="deleted_at IS NOT NULL") == set()


async def test_calls_that_make_no_sense_are_refused(site: IngestSite) -> None:
    entity = await filled(site, 1)
    [media_id] = await ids_of(site, entity)
    one = {"entityType": entity}
    for path, more in ((f"{UPLOADS}/delete", {}), (f"{UPLOADS}/watermark", {}), (SYNC, {"operation": "delete_s3"})):
        both = {"mediaIds": [str(media_id)], "matching": one, **more}
        assert errors_of(await site.api.post(path, json=both)) == {"matching"}
        assert errors_of(await site.api.post(path, json={"matching": {}, **more})) == {"matching"}
        wrong = {"matching": {"status": "sunny", "before": "x"}, **more}
        assert errors_of(await site.api.post(path, json=wrong)) == {"matching.status", "matching.before"}
        nothing = {"matching": {"entityType": f"{entity}-x"}, **more}
        assert errors_of(await site.api.post(path, json=nothing)) == {"matching"}
        dry = await site.api.post(path, params={"dryRun": True}, json=nothing)
        assert (dry.status_code, dry.json()) == (200, {"dryRun": True, "total": 0})
        assert (await site.api.post(path, json={"matching": {"colour": "red"}, **more})).status_code == 422
    headers = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await site.api.get(f"{UPLOADS}/count", headers=headers)).status_code == 403


# --- deleting and restoring -------------------------------------------------------------------------------------------


async def test_all_that_match_are_deleted_and_restored_without_their_ids(site: IngestSite) -> None:
    entity = await filled(site)
    even = {"entityType": entity, "q": "even"}
    dry = await site.api.post(f"{UPLOADS}/delete", params={"dryRun": True}, json={"matching": even, "hard": False})
    assert (dry.status_code, dry.json()) == (200, {"dryRun": True, "total": 125})
    assert await ids_of(site, entity, where="deleted_at IS NOT NULL") == set()
    started = await post(site, f"{UPLOADS}/delete", matching=even, hard=False)
    assert started["total"] == 125
    assert (await job(site, started["jobId"]))["total"] == 125
    await worked_off(site)
    deleted = await ids_of(site, entity, where="deleted_at IS NOT NULL")
    assert deleted == await ids_of(site, entity, where="title IS NOT NULL")
    ended = await job(site, started["jobId"])
    assert (ended["status"], ended["total"], ended["completed"], ended["progress"]) == ("completed", 125, 125, 100)

    back = await post(site, f"{UPLOADS}/restore", matching={"entityType": entity, "entityId": "4"})
    await worked_off(site)
    assert (await job(site, back["jobId"]))["completed"] == 25
    assert await ids_of(site, entity, where="deleted_at IS NOT NULL") == await ids_of(
        site, entity, where="title IS NOT NULL AND entity_id <> '4'"
    )
    assert len(await told(site, MediaDeletedV1, deleted)) == 125
    assert len(await told(site, MediaRestoredV1, deleted)) == 25
    audit = (await site.api.get("/api/admin/ops/audit", params={"area": "selections", "limit": 2})).json()["entries"]
    assert [(one["action"], one["detail"]) for one in audit] == [
        ("restore", {"media": 25, "matching": {"entityType": entity, "entityId": "4", "deleted": "true"}}),
        ("delete", {"media": 125, "matching": even}),
    ]


async def test_many_go_for_good_only_for_who_repeats_how_many(site: IngestSite) -> None:
    entity = await filled(site, CONFIRM_ABOVE + 1)
    body: dict[str, Any] = {"matching": {"entityType": entity}, "hard": True}
    refused = await post(site, f"{UPLOADS}/delete", 409, **body, confirm=CONFIRM_ABOVE)
    assert (refused["code"], refused["count"]) == ("confirmation_needed", CONFIRM_ABOVE + 1)
    a_few = {"matching": {"entityType": entity, "entityId": "3"}, "hard": True}
    assert (await post(site, f"{UPLOADS}/delete", 409, **a_few, confirm=3))["count"] == 30, (
        "a wrong number of a few too"
    )
    started = await post(site, f"{UPLOADS}/delete", **body, confirm=CONFIRM_ABOVE + 1)
    media_ids = await ids_of(site, entity)
    await worked_off(site)
    assert await ids_of(site, entity, where="deletion_id IS NULL") == set()
    assert len(await told(site, MediaDeletionBegunV1, media_ids)) == CONFIRM_ABOVE + 1
    assert (await job(site, started["jobId"]))["status"] == "active", "files and records go after that"
    await site.rows.execute("UPDATE media_deletions SET completed_at = now(), stage = 'completed'")


async def test_what_matched_at_the_call_is_what_it_acts_on(site: IngestSite) -> None:
    entity = await filled(site, 40)
    odd, even = await odd_and_even(site, entity)
    await site.rows.execute("UPDATE media SET deleted_at = now(), updated_at = now() WHERE id = $1", odd[0])
    by_type = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
    by_text = await post(site, f"{UPLOADS}/restore", 422, matching={"entityType": entity, "q": "even"})
    assert (by_type["total"], by_text["code"]) == (39, "invalid_request")
    # Uploaded since, however old the id is that it was given; restored since; changed since in what was not asked for.
    await add(site, entity, 3, age=timedelta())
    late = await ids_of(site, entity) - {*odd, *even}
    await site.api.post(f"{UPLOADS}/{odd[0]}/restore")
    await site.api.patch(f"{UPLOADS}/{odd[1]}", json={"title": "Changed"})
    await worked_off(site)
    assert await ids_of(site, entity, where="deleted_at IS NULL") == {odd[0], *late}
    assert (await job(site, by_type["jobId"]))["completed"] == 39


async def test_what_has_changed_since_is_left_out_where_it_may_not_have_matched(site: IngestSite) -> None:
    entity = await filled(site, 20)
    odd, even = await odd_and_even(site, entity)
    started = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity, "q": "even"}, hard=False)
    await site.api.patch(f"{UPLOADS}/{odd[0]}", json={"title": "Even now"})
    await site.api.patch(f"{UPLOADS}/{even[0]}", json={"title": "Odd now"})
    await site.api.patch(f"{UPLOADS}/{even[1]}", json={"title": "Even and new"})
    await worked_off(site)
    assert await ids_of(site, entity, where="deleted_at IS NOT NULL") == set(even[2:])
    ended = await job(site, started["jobId"])
    assert (ended["status"], ended["total"], ended["completed"]) == ("completed", 8, 8)


async def test_a_crash_does_nothing_twice_and_leaves_nothing_out(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    entity = await filled(site)
    started = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
    add_page, pages = BulkDeletionRepository.add_page, 0

    async def crashing(self: BulkDeletionRepository, *args: Any) -> None:
        nonlocal pages
        pages += 1
        await add_page(self, *args)
        if pages == 2:
            raise Killed

    monkeypatch.setattr(BulkDeletionRepository, "add_page", crashing)
    with pytest.raises(Killed):
        await worked_off(site)
    assert (await job(site, started["jobId"]))["completed"] == 100
    await worked_off(site)
    media_ids = await ids_of(site, entity)
    facts = await told(site, MediaDeletedV1, media_ids)
    assert sorted(fact.media_id for fact in facts) == sorted(media_ids)
    ended = await job(site, started["jobId"])
    assert (ended["total"], ended["completed"], ended["failed"]) == (250, 250, 0)


async def test_what_was_refused_is_counted_and_shown_first(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.repositories.bulk_jobs.CHILDREN_SHOWN", 3)
    entity = await filled(site, 12)
    gone = sorted(await ids_of(site, entity, where="status = 'completed'"))[-2:]
    await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
    await worked_off(site)
    await site.rows.execute("UPDATE media SET on_disk = false WHERE id = ANY($1)", gone)
    started = await post(site, f"{UPLOADS}/restore", matching={"entityType": entity})
    await worked_off(site)
    ended = await job(site, started["jobId"])
    assert (ended["status"], ended["total"], ended["completed"], ended["failed"]) == ("completed", 12, 10, 2)
    assert [child["mediaId"] for child in ended["children"][:2]] == [str(one) for one in gone]
    assert [child["status"] for child in ended["children"]] == ["failed", "failed", "completed"]
    assert ended["children"][0]["error"]["code"] == "files_gone"


async def test_a_few_do_not_wait_behind_many(site: IngestSite) -> None:
    many, few = await filled(site), await filled(site, 2)
    await post(site, f"{UPLOADS}/delete", matching={"entityType": many}, hard=False)
    assert await site.bulk_deletions.work_page()
    started = await post(site, f"{UPLOADS}/delete", mediaIds=[str(one) for one in await ids_of(site, few)], hard=False)
    assert await site.bulk_deletions.work_page()
    assert (await job(site, started["jobId"]))["status"] == "completed"
    assert len(await ids_of(site, many, where="deleted_at IS NOT NULL")) == 100
    await worked_off(site)


# --- cancelling -------------------------------------------------------------------------------------------------------


async def cancel(site: IngestSite, job_id: str, status: int = 202) -> dict[str, Any]:
    return await post(site, f"{JOBS}/{job_id}/cancel", status)


async def standing(site: IngestSite, job_id: str) -> tuple[str, int, int, int]:
    found = await job(site, job_id)
    return found["status"], found["total"], found["completed"], found["failed"]


async def test_who_cancels_has_nothing_more_begun(site: IngestSite) -> None:
    entity = await filled(site)
    started = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
    assert await site.bulk_deletions.work_page()
    assert (await job(site, started["jobId"]))["isCancellable"]
    said = await cancel(site, started["jobId"])
    assert (said["success"], said["jobId"], said["status"]) == (True, started["jobId"], "cancelled")
    assert "100 of 250 media" in said["message"]
    assert await cancel(site, started["jobId"]) == said, "cancelling twice is cancelling once"
    await worked_off(site)
    assert len(await ids_of(site, entity, where="deleted_at IS NOT NULL")) == 100
    assert await standing(site, started["jobId"]) == ("cancelled", 250, 100, 0)
    ended = await job(site, started["jobId"])
    assert (ended["isCancellable"], ended["progress"], ended["result"]) == (False, 40, None)
    assert ended["cancelled"] == 150
    await site.bulk_ends.tell_ends()
    assert ended["error"] == {"code": "cancelled", "detail": said["message"]}
    notices = await site.rows.fetch(
        "SELECT uploader, type, body FROM notices WHERE job_id = $1", UUID(started["jobId"])
    )
    assert [(one["uploader"], one["type"]) for one in notices] == [(site.user_id, "jobs:progress")]
    told_over_the_socket = json.loads(notices[0]["body"])
    assert told_over_the_socket == {name: ended[name] for name in told_over_the_socket}
    assert told_over_the_socket["status"] == "cancelled"
    [entry] = (await site.api.get("/api/admin/ops/audit", params={"area": "selections", "limit": 1})).json()["entries"]
    assert (entry["subject"], entry["detail"]["cancelledBy"]) == (started["jobId"], str(site.user_id))


async def test_what_was_not_begun_is_never_begun(site: IngestSite) -> None:
    entity = await filled(site, 20)
    gone = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity, "entityId": "3"}, hard=False)
    await worked_off(site)
    for path, body in (
        ("delete", {"matching": {"entityType": entity}, "hard": False}),
        ("delete", {"mediaIds": [str(one) for one in await ids_of(site, entity)], "hard": True}),
        ("restore", {"matching": {"entityType": entity}}),
        ("watermark", {"matching": {"entityType": entity}}),
    ):
        started = await post(site, f"{UPLOADS}/{path}", **body)
        assert (await cancel(site, started["jobId"]))["status"] == "cancelled"
        assert await standing(site, started["jobId"]) == ("cancelled", started["total"], 0, 0)
    await worked_off(site)
    assert not await site.rerendering.plan_page()
    assert len(await ids_of(site, entity, where="deleted_at IS NOT NULL AND deletion_id IS NULL")) == gone["total"]


async def test_a_page_under_way_is_finished_or_undone_before_the_answer(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever works holds the parent: the answer tells what a page did that commits, and of none whose worker died."""
    add_page, may_go_on, is_at_work = BulkDeletionRepository.add_page, asyncio.Event(), asyncio.Event()

    async def held(self: BulkDeletionRepository, *args: Any) -> None:
        await add_page(self, *args)
        is_at_work.set()
        await may_go_on.wait()
        if is_killed:
            raise Killed

    monkeypatch.setattr(BulkDeletionRepository, "add_page", held)
    for is_killed, done in ((False, 100), (True, 0)):
        may_go_on.clear()
        is_at_work.clear()
        entity = await filled(site)
        started = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
        work = asyncio.create_task(site.bulk_deletions.work_page())
        async with asyncio.timeout(20):
            await is_at_work.wait()
        cancelling = [asyncio.create_task(cancel(site, started["jobId"])) for _ in range(2)]
        await eventually(lambda: waiting_for_locks(site), within_seconds=20, why="the cancellation waits for the page")
        assert not await site.bulk_deletions.work_page(), "another replica finds nothing meanwhile"
        may_go_on.set()
        [ended] = await asyncio.gather(work, return_exceptions=True)
        assert isinstance(ended, Killed) == is_killed
        said = await asyncio.gather(*cancelling)
        assert said[0] == said[1]
        assert f"{done} of 250 media" in said[0]["message"]
        assert not await site.bulk_deletions.work_page()
        assert await standing(site, started["jobId"]) == ("cancelled", 250, done, 0)
        assert len(await ids_of(site, entity, where="deleted_at IS NOT NULL")) == done


async def waiting_for_locks(site: IngestSite) -> bool:
    waiting = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%FROM bulk_jobs WHERE id = $1 FOR NO KEY UPDATE%'
      AND datname = current_database()
    """
    return bool(await site.rows.fetchval(waiting) == 2)


async def test_replicas_that_work_side_by_side_stop_together(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.bulk_deletions.PAGE_MEDIA", 1)
    entity = await filled(site)
    started = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
    unit_of_work = UnitOfWork(site.database, source="/mediabus/ingest-api", schema="ingest")
    second = BulkDeletions(unit_of_work, site.deletions, confirm_above=0)
    working = [asyncio.create_task(replica.run()) for replica in (site.bulk_deletions, second)]
    try:
        deleted = "SELECT count(*) FROM media WHERE entity_type = $1 AND deleted_at IS NOT NULL"
        await eventually(lambda: site.rows.fetchval(deleted, entity), within_seconds=20, why="some are deleted")
        answer = await site.api.post(f"{JOBS}/{started['jobId']}/cancel")
        done: int = await site.rows.fetchval(deleted, entity)
        # Both may have done all of it before the call came.
        assert answer.status_code == 202 if done < 250 else answer.status_code in {202, 409}
        # Both get on with what comes after it, so they have looked.
        others = [await filled(site, 7) for _ in range(2)]
        later = [await post(site, f"{UPLOADS}/delete", matching={"entityType": one}, hard=False) for one in others]
        for one in later:
            await eventually(partial(has_ended, site, one["jobId"]), within_seconds=20, why="later ones are done")
        assert await site.rows.fetchval(deleted, entity) == done
        assert await standing(site, started["jobId"]) == ("cancelled" if done < 250 else "completed", 250, done, 0)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def has_ended(site: IngestSite, job_id: str) -> bool:
    return (await job(site, job_id))["status"] in {"completed", "failed", "cancelled"}


async def test_what_goes_for_good_already_goes(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.bulk_deletions.MOST_OPEN", 1)
    entity = await filled(site)
    started = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=True)
    await worked_off(site)
    said = await cancel(site, started["jobId"])
    assert (said["status"], "Of 250 media 100 go" in said["message"]) == ("active", True)
    open_ones = await job(site, started["jobId"])
    assert (open_ones["completed"], open_ones["isCancellable"], open_ones["cancelledAt"] is None) == (0, False, False)
    assert await cancel(site, started["jobId"]) == said
    await site.bulk_ends.tell_ends()
    await site.rows.execute("UPDATE media_deletions SET completed_at = now(), stage = 'completed'")
    await worked_off(site)
    for _ in range(2):
        await site.bulk_ends.tell_ends()
    heard = await site.rows.fetch("SELECT body FROM notices WHERE job_id = $1 ORDER BY id", UUID(started["jobId"]))
    assert [json.loads(one["body"])["status"] for one in heard] == ["active", "cancelled"]
    assert await standing(site, started["jobId"]) == ("cancelled", 250, 100, 0)
    assert len(await ids_of(site, entity, where="deletion_id IS NOT NULL")) == 100
    assert (await cancel(site, started["jobId"]))["status"] == "cancelled"


async def test_what_can_not_be_cancelled_says_so(site: IngestSite) -> None:
    entity = await filled(site, 2)
    ended = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity}, hard=False)
    await worked_off(site)
    all_begun = await post(site, f"{UPLOADS}/delete", matching={"entityType": entity, "deleted": True}, hard=True)
    await worked_off(site)
    single = await site.uploaded(entityType=entity)
    for job_id, detail in (
        (ended["jobId"], "completed already"),
        (all_begun["jobId"], "has been begun"),
        (single["jobId"], "about one picture"),
    ):
        refused = await cancel(site, job_id, 409)
        assert (refused["code"], detail in refused["detail"]) == ("job_not_cancellable", True), refused
    assert (await cancel(site, str(new_id()), 404))["code"] == "not_found"
    assert (await site.api.post(f"{JOBS}/x/cancel")).status_code == 404
    headers = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await site.api.post(f"{JOBS}/{ended['jobId']}/cancel", headers=headers)).status_code == 403
    await site.rows.execute("UPDATE media_deletions SET completed_at = now(), stage = 'completed'")


# --- going after their time -----------------------------------------------------------------------------------------


async def deleted_at_once(site: IngestSite, rows: int) -> str:
    """The parent of so many that were deleted, old enough to go."""
    started = await post(site, f"{UPLOADS}/delete", matching={"entityType": await filled(site, rows)}, hard=False)
    await worked_off(site)
    old = "UPDATE bulk_jobs SET created_at = created_at - interval '25 hours' WHERE id = $1"
    await site.rows.execute(old, UUID(started["jobId"]))
    return str(started["jobId"])


async def test_parents_of_many_go_a_part_at_a_time(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.bulk_retention.PARENTS_AT_ONCE", 2)
    monkeypatch.setattr("ingest_api.bulk_retention.ITEMS_OF_ONE", 3)
    monkeypatch.setattr("ingest_api.bulk_retention.ITEMS_AT_ONCE", 3)
    needed, small, large = [await deleted_at_once(site, rows) for rows in (8, 2, 8)]
    running = UUID((await site.uploaded())["jobId"])
    first_item = "UPDATE bulk_items SET job_id = $1 WHERE bulk_id = $2 AND position = 0"
    await site.rows.execute(first_item, running, UUID(needed))
    items_left = "SELECT count(*) FROM bulk_items WHERE bulk_id = $1"
    remove_items = BulkJobRepository.remove_items
    removed: list[int] = []

    async def killed(self: BulkJobRepository, bulk_id: UUID, limit: int) -> int:
        if removed:
            raise Killed
        removed.append(await remove_items(self, bulk_id, limit))
        return removed[-1]

    retention = BulkRetention(site.database, 24 * 3600)
    with monkeypatch.context() as dying:
        dying.setattr(BulkJobRepository, "remove_items", killed)
        with pytest.raises(Killed):
            await retention.sweep()
    assert (removed, await site.rows.fetchval(items_left, UUID(large))) == ([3], 5)
    assert (await site.api.get(f"{JOBS}/{large}")).status_code == 404, "nobody is shown a part"
    assert await retention.sweep() == 1
    assert await site.rows.fetchval("SELECT count(*) FROM bulk_jobs WHERE id = $1", UUID(large)) == 0
    assert (await site.api.get(f"{JOBS}/{small}")).status_code == 404
    assert len((await job(site, needed))["children"]) == 8
    await site.rows.execute(first_item, None, UUID(needed))
    assert await retention.sweep() == 1
    assert (await site.api.get(f"{JOBS}/{needed}")).status_code == 404


# --- rendering anew ---------------------------------------------------------------------------------------------------


async def test_all_that_match_are_rendered_anew_without_failed_uploads(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerendering, "PAGE_MEDIA", 10)
    entity = await filled(site, 40)
    dry = await site.api.post(
        f"{UPLOADS}/watermark", params={"dryRun": True}, json={"matching": {"entityType": entity}}
    )
    assert dry.json() == {"dryRun": True, "total": 30}
    started = await post(site, f"{UPLOADS}/watermark", matching={"entityType": entity})
    assert started["total"] == 30
    while await site.rerendering.plan_page():
        pass
    commands = await told(site, RerenderImageV1, await ids_of(site, entity))
    assert {command.media_id for command in commands} == await ids_of(site, entity, where="status = 'completed'")
    assert len(commands) == 30
    assert (await job(site, started["jobId"]))["total"] == 30
    failed_alone = {"matching": {"entityType": entity, "status": "failed"}}
    assert errors_of(await site.api.post(f"{UPLOADS}/watermark", json=failed_alone)) == {"matching"}


# --- storage jobs -----------------------------------------------------------------------------------------------------


async def handed_over(site: IngestSite) -> None:
    while await site.storage_sync.hand_over_page():
        pass


async def test_a_storage_job_begins_when_all_that_match_are_handed_over(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_sync, "PAGE_MEDIA", 10)
    entity = await filled(site, 40)
    body: dict[str, Any] = {"operation": "upload_to_s3", "matching": {"entityType": entity}}
    dry = await site.api.post(SYNC, params={"dryRun": True}, json=body)
    assert (dry.status_code, dry.json()) == (200, {"dryRun": True, "total": 30})
    started = await post(site, SYNC, **body, deleteSource=True, profile="large")
    waiting = (await site.api.get(f"{SYNC}/{started['jobId']}")).json()
    assert (waiting["status"], waiting["totalFiles"]) == ("waiting", 30)
    assert await told_of_job(site, started["jobId"]) == []
    move, pages = SyncJobRepository.move_selection, 0

    async def crashing(self: SyncJobRepository, *args: Any) -> None:
        nonlocal pages
        pages += 1
        await move(self, *args)
        if pages == 2:
            raise Killed

    monkeypatch.setattr(SyncJobRepository, "move_selection", crashing)
    with pytest.raises(Killed):
        await handed_over(site)
    await handed_over(site)
    *parts, start = await told_of_job(site, started["jobId"])
    ids = [media_id for part in parts for media_id in part.media_ids]
    assert sorted(ids) == sorted(await ids_of(site, entity, where="status = 'completed'"))
    assert isinstance(start, StartSyncJobV1)
    assert (start.selected_files, start.media_ids, start.filter, start.is_cancelled) == (30, None, None, False)
    assert (start.delete_source, start.min_files_for_batching, start.batch_size) == (True, 100, 200)
    assert not await site.storage_sync.hand_over_page()


async def test_a_storage_job_that_is_cancelled_while_media_are_handed_over_never_begins(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_sync, "PAGE_MEDIA", 10)
    entity = await filled(site, 40)
    started = await post(site, SYNC, operation="delete_local", matching={"entityType": entity})
    assert await site.storage_sync.hand_over_page()
    await post(site, f"{SYNC}/{started['jobId']}/cancel")
    await handed_over(site)
    part, start = await told_of_job(site, started["jobId"])
    assert len(part.media_ids) == 10
    assert (start.is_cancelled, start.selected_files) == (True, 10)
    await post(site, f"{SYNC}/{started['jobId']}/cancel")
    assert isinstance((await told_of_job(site, started["jobId"]))[-1], CancelSyncJobV1), "from then on s3-syncer has it"


async def test_what_s3_syncer_selects_itself_is_not_counted_before(site: IngestSite) -> None:
    body = {"operation": "upload_to_s3", "filter": {"everything": True}}
    assert errors_of(await site.api.post(SYNC, params={"dryRun": True}, json=body)) == {"filter"}
