"""Selections that are rendered anew, over HTTP on a real PostgreSQL: what is planned, what is shown, who wins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ingest_api import rerendering
from ingest_api.accounts import Role
from ingest_api.repositories.bulk_jobs import QUERIES
from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.notices import NoticeRepository
from ingest_api.repositories.rerenders import RerenderRepository
from shared.events import (
    Event,
    ImageCancelledV1,
    ImageFailedV1,
    ImageProcessedV1,
    ImageProgressV1,
    MediaRevisionSupersededV1,
    MediaStorageChangedV1,
    ProcessImageV1,
    RerenderImageV1,
    RerenderingCancelledV1,
    StorageStatus,
    StorageStrategy,
    StoredFile,
)
from shared.identifiers import new_id
from shared.storage.keys import MediaKey
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.ingest_site import JOBS, PICTURE, UPLOADS, IngestSite, running_site
from tests.outcomes import processed

pytestmark = pytest.mark.stack

WATERMARK = f"{UPLOADS}/watermark"
COUNTS = ("items", "completed", "failed", "begun", "not_begun")


class Killed(Exception):
    """The process ended before a commit."""


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


async def told(site: IngestSite, event_type: type[Event]) -> list[Any]:
    """What was published of a type, in order."""
    rows = await site.rows.fetch(
        "SELECT payload, headers FROM outbox WHERE topic = $1 ORDER BY id", event_type.topic.name
    )
    return [
        event_type.model_validate_json(row["payload"]) for row in rows if event_type.event_type in str(row["headers"])
    ]


async def stored_medium(site: IngestSite, *, strategy: str = "local_only", entity_type: str = "product") -> UUID:
    """A medium that was uploaded and rendered, and whose original was kept."""
    accepted = await site.uploaded(storageStrategy=strategy, entityType=entity_type)
    [command] = [one for one in await told(site, ProcessImageV1) if str(one.job_id) == accepted["jobId"]]
    in_bucket = strategy in {"s3_only", "both"}
    await site.handlers.deliver(
        processed(command, original=PICTURE, on_disk=strategy != "s3_only", in_bucket=in_bucket)
    )
    return UUID(accepted["mediaId"])


async def wanted(site: IngestSite, **selection: Any) -> str:
    answer = await site.api.post(WATERMARK, json=selection)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


async def planned(site: IngestSite, **selection: Any) -> tuple[str, list[RerenderImageV1]]:
    """The parent, and the commands of all its pages."""
    before = len(await told(site, RerenderImageV1))
    parent_id = await wanted(site, **selection)
    while await site.rerendering.plan_page():
        pass
    return parent_id, (await told(site, RerenderImageV1))[before:]


def outcome(command: RerenderImageV1, *, on_disk: bool = True, in_bucket: bool = False) -> ImageProcessedV1:
    def file(name: str, sha256: str) -> StoredFile:
        return command.original.model_copy(
            update={
                "name": name,
                "key": str(MediaKey(command.media_id, command.revision, name, "webp")),
                "sha256": sha256,
            }
        )

    return ImageProcessedV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        width_px=1280,
        height_px=960,
        mime_type=command.original.mime_type,
        sha256=command.original.sha256,
        original=file("original", command.original.sha256),
        variants=(file("640", "a" * 64), file("200", "b" * 64)),
        placeholder="data:image/webp;base64,UklGRg==",
        storage_status=StorageStatus.LOCAL_ONLY if on_disk else StorageStatus.S3_ONLY,
        on_disk=on_disk,
        in_bucket=in_bucket,
        render_seconds=0.1,
        processed_at=command.requested_at,
    )


def failure(command: RerenderImageV1) -> ImageFailedV1:
    return ImageFailedV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        code="original_missing",
        detail="It is gone.",
        attempts=1,
        failed_at=command.requested_at,
    )


def passed_over(command: RerenderImageV1) -> ImageCancelledV1:
    return ImageCancelledV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        cancelled_at=command.requested_at,
    )


def keys_of(files: Sequence[StoredFile]) -> set[str]:
    return {file.key for file in files}


async def shown_revision(site: IngestSite, media_id: UUID) -> int:
    revision: int = await site.rows.fetchval("SELECT revision FROM media WHERE id = $1", media_id)
    return revision


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "mediaIds"),
        ({"mediaIds": []}, "mediaIds"),
        ({"mediaIds": ["x"]}, "mediaIds.0"),
        ({"mediaIds": [str(new_id())] * 10_001}, "mediaIds"),
        ({"mediaIds": [str(new_id())]}, "mediaIds"),
        ({"filter": {}}, "filter"),
        ({"filter": {"entityType": ""}}, "filter.entityType"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"storageStatus": "cloud"}}, "filter.storageStatus"),
        ({"filter": {"everything": False}}, "filter.everything"),
        ({"filter": {"entityType": "nobody-has-it"}}, "filter"),
        ({"mediaIds": [str(new_id())], "filter": {"everything": True}}, "filter"),
        ({"mediaIds": [str(new_id())], "watermark": {"text": "x"}}, "watermark"),
    ],
)
async def test_what_makes_no_sense_names_its_field(site: IngestSite, body: dict[str, Any], field: str) -> None:
    answer = await site.api.post(WATERMARK, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await site.count("bulk_jobs") == 0


async def test_admins_may_and_photographers_may_not(site: IngestSite) -> None:
    media_id = await stored_medium(site)
    for role, status in ((Role.PHOTOGRAPHER, 403), (Role.ADMIN, 202)):
        headers = {"Authorization": f"Bearer {await site.key_of(role)}"}
        answer = await site.api.post(WATERMARK, json={"mediaIds": [str(media_id)]}, headers=headers)
        assert answer.status_code == status, answer.text


async def test_the_parent_is_there_at_once_and_counts_what_becomes_of_its_pictures(site: IngestSite) -> None:
    ids = [await stored_medium(site) for _ in range(3)]
    parent_id = await wanted(site, mediaIds=[str(media_id) for media_id in [*ids, ids[0]]])
    parent = await site.job(parent_id)
    assert (parent["status"], parent["progress"], parent["total"], parent["children"]) == ("waiting", 0, 3, [])
    assert await site.rerendering.plan_page()
    assert not await site.rerendering.plan_page()
    commands = await told(site, RerenderImageV1)
    assert [command.media_id for command in commands] == ids
    assert {command.revision for command in commands} == {2}
    await site.handlers.deliver(outcome(commands[0]))
    parent = await site.job(parent_id)
    assert (parent["status"], parent["progress"], parent["completed"]) == ("active", 33, 1)
    await site.handlers.deliver(failure(commands[1]))
    await site.handlers.deliver(outcome(commands[2]))
    parent = await site.job(parent_id)
    assert (parent["status"], parent["progress"]) == ("completed", 100)
    assert parent["result"] == {"total": 3, "completed": 2, "failed": 1}
    assert [child["error"] and child["error"]["code"] for child in parent["children"]] == [
        None,
        "original_missing",
        None,
    ]
    assert {child["filename"] for child in parent["children"]} == {"p.jpg"}


async def test_a_large_selection_is_planned_in_pages_and_never_too_far_ahead(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerendering, "MOST_PENDING", 150)
    media_id = await stored_medium(site, entity_type="many")
    await site.rows.execute(
        """
        INSERT INTO media (id, status, filename, mime_type, size_bytes, sha256, entity_type, uploaded_by,
                           storage_strategy, storage_status, on_disk, original, variants)
        SELECT gen_random_uuid(), status, number || '.jpg', mime_type, size_bytes, sha256, entity_type, uploaded_by,
               storage_strategy, storage_status, on_disk, original, variants
        FROM media, generate_series(1, 349) AS number WHERE id = $1
        """,
        media_id,
    )
    # random ids: those that are behind the parent's own count as uploaded after the call
    await site.rows.execute("UPDATE media SET id = ('00' || substr(id::text, 3))::uuid WHERE id <> $1", media_id)
    parent_id = await wanted(site, filter={"entityType": "many"})
    assert (await site.job(parent_id))["total"] == 350
    seen: list[int] = []
    for _ in range(20):
        while await site.rerendering.plan_page():
            seen.append(await site.count("jobs WHERE kind = 'rerender'"))
        await site.rows.execute(
            "UPDATE jobs SET status = 'completed', finished_at = clock_timestamp() WHERE kind = 'rerender'"
        )
    assert seen == [100, 200, 300, 350]
    parent = await site.job(parent_id)
    assert (parent["status"], parent["total"], parent["completed"]) == ("completed", 350, 350)
    assert await site.rows.fetchval("SELECT count(DISTINCT media_id) FROM bulk_items") == 350
    assert await site.rows.fetchval("SELECT array_agg(position ORDER BY position) FROM bulk_items") == [*range(350)]


async def ends_told(site: IngestSite, parent_id: str) -> list[tuple[str, int, int, int]]:
    """What the requester heard of a parent, after another look at whether it has ended."""
    await site.bulk_ends.tell_ends()
    rows = await site.rows.fetch(
        "SELECT body FROM notices WHERE job_id = $1 AND type = 'jobs:progress' ORDER BY id", UUID(parent_id)
    )
    bodies = [json.loads(row["body"]) for row in rows]
    return [(body["status"], body["completed"], body["failed"], body["cancelled"]) for body in bodies]


async def test_selections_that_take_long_hold_up_nobodys_end(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.bulk_ends.LOOKED_AT_ONCE", 1)
    slow_id, _ = await planned(site, mediaIds=[str(await stored_medium(site))])
    quick_id, (command,) = await planned(site, mediaIds=[str(await stored_medium(site))])
    await site.handlers.deliver(outcome(command))
    looks = [await ends_told(site, quick_id) for _ in range(20)]
    assert looks[-1] == [("completed", 1, 0, 0)]
    assert await ends_told(site, slow_id) == []


async def test_a_cancelled_selection_ends_when_what_was_queued_is_answered(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerendering, "PAGE_MEDIA", 3)
    ids = [str(await stored_medium(site)) for _ in range(5)]
    parent_id = await wanted(site, mediaIds=ids)
    assert await site.rerendering.plan_page()
    for _ in range(2):
        said = (await site.api.post(f"{JOBS}/{parent_id}/cancel")).json()
        assert (said["status"], "Of 5 pictures no other is begun" in said["message"]) == ("waiting", True)
    assert [str(event.job_id) for event in await told(site, RerenderingCancelledV1)] == [parent_id]
    assert not await site.rerendering.plan_page()
    first, second, third = commands = await told(site, RerenderImageV1)
    assert {str(command.parent_job_id) for command in commands} == {parent_id}

    event_id = new_id()
    for is_news in (True, False):
        assert await site.handlers.deliver(passed_over(first), event_id=event_id) == is_news
        assert (await counts(site, parent_id))["not_begun"] == 1
    await site.handlers.deliver(passed_over(first))
    assert (await counts(site, parent_id))["not_begun"] == 1, "told in other words it is no news either"
    job = await site.job(str(first.job_id))
    assert (job["status"], job["error"], await shown_revision(site, first.media_id)) == ("cancelled", None, 1)
    assert (await site.api.post(f"{JOBS}/{first.job_id}/retry")).status_code == 409
    listed = (await site.api.get(JOBS, params={"status": "cancelled"})).json()["jobs"]
    assert [one["jobId"] for one in listed] == [str(first.job_id)]
    parent = await site.job(parent_id)
    assert (parent["status"], parent["progress"], parent["cancelled"]) == ("waiting", 0, 3)

    await site.handlers.deliver(failure(second))
    parent = await site.job(parent_id)
    assert (parent["status"], parent["progress"], parent["failed"]) == ("active", 20, 1)
    assert await ends_told(site, parent_id) == [("waiting", 0, 0, 2)], "of the cancelling alone"
    await site.handlers.deliver(outcome(third))
    parent = await site.job(parent_id)
    assert (parent["status"], parent["total"], parent["completed"], parent["failed"]) == ("cancelled", 5, 1, 1)
    assert (parent["cancelled"], parent["isCancellable"]) == (3, False)
    assert [child["status"] for child in parent["children"]] == ["cancelled", "failed", "completed"]
    await asyncio.gather(*(site.bulk_ends.tell_ends() for _ in range(3)))
    assert await ends_told(site, parent_id) == [("waiting", 0, 0, 2), ("cancelled", 1, 1, 3)]
    assert (await site.api.post(f"{JOBS}/{parent_id}/cancel")).json()["status"] == "cancelled"
    assert len(await told(site, RerenderingCancelledV1)) == 1

    for late in (passed_over(third), passed_over(second)):
        await site.handlers.deliver(late)
        assert (await counts(site, parent_id))["not_begun"] == 1, "what has an outcome keeps it"
    await site.handlers.deliver(failure(first))
    assert (await counts(site, parent_id))["failed"] == 1
    await site.rows.execute("UPDATE jobs SET finished_at = finished_at - interval '30 days'")
    ended = await counts(site, parent_id)
    async with site.database.connection() as connection:
        assert await JobRepository(connection).remove_cancelled(1, 100) == 1
    assert await counts(site, parent_id) == ended, "also when its job is gone"
    children = (await site.job(parent_id))["children"]
    assert (children[0]["status"], children[0]["progress"]) == ("cancelled", 0)


async def test_what_is_queued_whole_is_cancelled_too(site: IngestSite) -> None:
    ids = [str(await stored_medium(site)) for _ in range(4)]
    left = await stored_medium(site)
    parent_id = await wanted(site, filter={"entityType": "product"})
    await site.rows.execute("UPDATE media SET deleted_at = now() WHERE id = $1", left)
    while await site.rerendering.plan_page():
        pass
    commands = await told(site, RerenderImageV1)
    assert [str(command.media_id) for command in commands] == ids
    await site.handlers.deliver(failure(commands[0]))
    assert (await site.api.post(f"{JOBS}/{commands[0].job_id}/retry")).status_code == 202
    again = (await told(site, RerenderImageV1))[-1]
    assert str(again.parent_job_id) == parent_id, "it is cancelled with the others"
    await site.handlers.deliver(outcome(commands[1]))
    assert (await site.job(parent_id))["isCancellable"]
    assert (await site.api.post(f"{JOBS}/{parent_id}/cancel")).status_code == 202
    assert not (await site.job(parent_id))["isCancellable"]
    await site.handlers.deliver(passed_over(again))
    await site.handlers.deliver(failure(commands[2]))
    await site.handlers.deliver(passed_over(commands[3]))
    parent = await site.job(parent_id)
    assert (parent["status"], parent["total"], parent["completed"]) == ("cancelled", 4, 1), "what had left is no part"
    assert (parent["failed"], parent["cancelled"]) == (1, 2)

    # One of them all the same: it is wanted by itself.
    assert (await site.api.post(f"{JOBS}/{commands[2].job_id}/retry")).status_code == 202
    by_itself = (await told(site, RerenderImageV1))[-1]
    assert (by_itself.job_id, by_itself.parent_job_id) == (commands[2].job_id, None)
    await site.handlers.deliver(outcome(by_itself))
    # The retry of another was cancelled, and the letter of its first command replayed.
    await site.handlers.deliver(outcome(commands[0]))
    assert await counts(site, parent_id) == {"items": 4, "completed": 3, "failed": 0, "begun": 3, "not_begun": 1}
    assert (await site.job(parent_id))["status"] == "cancelled"


async def test_what_has_all_been_begun_is_not_cancelled(site: IngestSite) -> None:
    parent_id, [command] = await planned(site, mediaIds=[str(await stored_medium(site))])
    await site.handlers.deliver(
        ImageProgressV1(job_id=command.job_id, media_id=command.media_id, progress=10, attempt=1)
    )
    for detail in ("has been begun", "completed already"):
        refused = await site.api.post(f"{JOBS}/{parent_id}/cancel")
        assert (refused.status_code, refused.json()["code"]) == (409, "job_not_cancellable")
        assert detail in refused.json()["detail"]
        await site.handlers.deliver(outcome(command))
    assert await told(site, RerenderingCancelledV1) == []
    assert await ends_told(site, parent_id) == [("completed", 1, 0, 0)]


async def test_who_cancels_while_the_last_page_is_queued_cancels_that_page(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is planned to its end by the time it can be cancelled, and what it queued is found."""
    add_page, may_go_on, is_at_work = RerenderRepository.add_page, asyncio.Event(), asyncio.Event()

    async def held(self: RerenderRepository, *args: Any) -> None:
        await add_page(self, *args)
        is_at_work.set()
        await may_go_on.wait()

    monkeypatch.setattr(RerenderRepository, "add_page", held)
    parent_id = await wanted(site, mediaIds=[str(await stored_medium(site))])
    page = asyncio.create_task(site.rerendering.plan_page())
    async with asyncio.timeout(30):
        await is_at_work.wait()
    cancelling = asyncio.create_task(site.api.post(f"{JOBS}/{parent_id}/cancel"))
    waits = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY UPDATE%' AND datname = current_database()
    """
    await eventually(lambda: site.rows.fetchval(waits), within_seconds=30, why="the cancellation waits for the page")
    may_go_on.set()
    assert await page
    assert (await cancelling).status_code == 202
    [command] = await told(site, RerenderImageV1)
    await site.handlers.deliver(passed_over(command))
    assert (await site.job(parent_id))["status"] == "cancelled"


async def counted_one_by_one(site: IngestSite, parent_id: str) -> dict[str, int]:
    """What the parent tells, counted over all its items."""
    async with site.database.connection() as connection:
        rows = await connection.fetch(QUERIES["upload_job"], UUID(parent_id), 1)
    return {name: rows[0][name] for name in COUNTS}


async def counts(site: IngestSite, parent_id: str) -> dict[str, int]:
    """As callers read them, which is what all items say."""
    async with site.database.connection() as connection:
        [first, *_] = await connection.fetch(QUERIES["rerender_job"], UUID(parent_id), 1)
    told_of_parent = {name: first[name] for name in COUNTS}
    assert told_of_parent == await counted_one_by_one(site, parent_id)
    return told_of_parent


async def test_counts_follow_every_change_of_a_picture_once(site: IngestSite) -> None:
    ids = [str(await stored_medium(site)) for _ in range(4)]
    await site.rows.execute("UPDATE media SET original = NULL WHERE id = $1", UUID(ids[3]))
    other_parent, _ = await planned(site, mediaIds=ids[:1])
    parent_id, commands = await planned(site, mediaIds=ids)
    assert await counts(site, parent_id) == {"items": 4, "completed": 0, "failed": 1, "begun": 0, "not_begun": 0}
    lost, event_id = failure(commands[0]), new_id()
    for is_news in (True, False):
        assert await site.handlers.deliver(lost, event_id=event_id) == is_news
        assert await counts(site, parent_id) == {"items": 4, "completed": 0, "failed": 2, "begun": 1, "not_begun": 0}
    await site.handlers.deliver(lost)
    assert (await counts(site, parent_id))["failed"] == 2, "told in other words it is no news either"
    [first, *_] = (await site.job(parent_id))["children"]
    assert (first["status"], first["error"]["code"]) == ("failed", "original_missing")

    assert (await site.api.post(f"{JOBS}/{commands[0].job_id}/retry")).status_code == 202
    assert await counts(site, parent_id) == {"items": 4, "completed": 0, "failed": 1, "begun": 0, "not_begun": 0}
    await site.handlers.deliver(lost)
    assert (await counts(site, parent_id))["failed"] == 2
    for _ in range(2):
        await site.handlers.deliver(outcome(commands[0]))  # a dead letter of it was replayed
        assert await counts(site, parent_id) == {"items": 4, "completed": 1, "failed": 1, "begun": 1, "not_begun": 0}
    assert (await site.job(parent_id))["children"][0]["error"] is None
    await site.handlers.deliver(lost)
    assert (await counts(site, parent_id))["completed"] == 1, "what is completed does not fail"

    await site.handlers.deliver(failure(commands[1]))
    await site.handlers.deliver(outcome(commands[2]))
    ended = {"items": 4, "completed": 2, "failed": 2, "begun": 3, "not_begun": 0}
    assert await counts(site, parent_id) == ended
    assert (await counts(site, other_parent))["failed"] == 0
    await site.rows.execute("UPDATE jobs SET finished_at = finished_at - interval '30 days'")
    async with site.database.connection() as connection:
        assert await JobRepository(connection).remove_completed(1, 0, 100) > 0
        assert len(await JobRepository(connection).remove_failed(1, 100)) == 1
    assert await counts(site, parent_id) == ended, "also when the jobs are gone"


async def test_a_crash_counts_nothing_and_the_redelivery_once(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent_id, [command] = await planned(site, mediaIds=[str(await stored_medium(site))])
    nothing = await counts(site, parent_id)
    lost, event_id = failure(command), new_id()
    with monkeypatch.context() as killed:
        killed.setattr(NoticeRepository, "add", crash)
        with pytest.raises(Killed):
            await site.handlers.deliver(lost, event_id=event_id)
    assert await counts(site, parent_id) == nothing
    assert await site.handlers.deliver(lost, event_id=event_id)
    assert await counts(site, parent_id) == {"items": 1, "completed": 0, "failed": 1, "begun": 1, "not_begun": 0}
    await asyncio.gather(*(site.handlers.deliver(outcome(command)) for _ in range(4)))
    assert await counts(site, parent_id) == {"items": 1, "completed": 1, "failed": 0, "begun": 1, "not_begun": 0}


async def crash(*_: Any, **__: Any) -> None:
    raise Killed


async def test_replicas_that_plan_side_by_side_plan_nothing_twice(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerendering, "PAGE_MEDIA", 2)
    ids = [str(await stored_medium(site)) for _ in range(9)]
    parents = [await wanted(site, mediaIds=ids) for _ in range(2)]
    while any(await asyncio.gather(*(site.rerendering.plan_page() for _ in range(4)))):
        pass
    commands = await told(site, RerenderImageV1)
    assert len(commands) == len({command.job_id for command in commands}) == 18
    assert {command.revision for command in commands} == {2, 3}
    assert len({(command.media_id, command.revision) for command in commands}) == 18
    for parent_id in parents:
        parent = await site.job(parent_id)
        assert sorted(child["mediaId"] for child in parent["children"]) == sorted(ids)


async def test_media_that_cannot_be_rendered_fail_alone(site: IngestSite) -> None:
    good = await stored_medium(site)
    changes = {
        "medium_deleted": "deleted_at = clock_timestamp()",
        "medium_processing": "status = 'processing'",
        "medium_not_rendered": "status = 'failed'",
        "original_not_kept": "original = NULL",
        "original_missing": "on_disk = false, in_bucket = false, storage_status = 'missing'",
    }
    bad = {}
    for code, change in changes.items():
        bad[str(await stored_medium(site))] = code
        await site.rows.execute(f"UPDATE media SET {change} WHERE id = $1", UUID([*bad][-1]))
    parent_id, commands = await planned(site, mediaIds=[str(good), *bad])
    assert [command.media_id for command in commands] == [good]
    await site.handlers.deliver(outcome(commands[0]))
    parent = await site.job(parent_id)
    assert (parent["status"], parent["completed"], parent["failed"]) == ("completed", 1, 5)
    failures = {child["mediaId"]: child["error"]["code"] for child in parent["children"] if child["error"]}
    assert failures == bad
    assert all(child["error"]["detail"] for child in parent["children"] if child["error"])

    everything, commands = await planned(site, filter={"everything": True})
    assert [command.media_id for command in commands] == [good]
    # deleted media and uploads that failed are in no filter
    assert (await site.job(everything))["total"] == 4


@pytest.mark.parametrize(
    ("strategy", "on_disk", "in_bucket", "goes_to"),
    [
        ("local_only", True, False, "local_only"),
        ("local_first", True, False, "local_first"),
        # no copies are made by themselves here, for S3 is off
        ("local_first", True, True, "both"),
        ("local_first", False, True, "s3_only"),
        ("local_only", True, True, "both"),
        ("local_only", False, True, "s3_only"),
    ],
)
async def test_the_next_revision_goes_where_the_present_one_is(
    site: IngestSite, strategy: str, on_disk: bool, in_bucket: bool, goes_to: str
) -> None:
    media_id = await stored_medium(site, strategy=strategy)
    await site.rows.execute("UPDATE media SET on_disk = $1, in_bucket = $2", on_disk, in_bucket)
    _, [command] = await planned(site, mediaIds=[str(media_id)])
    assert command.storage_strategy is StorageStrategy(goes_to)
    assert command.settings_version == 0
    assert (command.original.name, command.original.sha256) == ("original", (await media(site, media_id))["sha256"])


async def media(site: IngestSite, media_id: UUID) -> dict[str, Any]:
    answer = await site.api.get(f"{UPLOADS}/{media_id}")
    record: dict[str, Any] = answer.json()
    return record


async def test_a_command_asks_for_the_settings_of_the_moment(site: IngestSite) -> None:
    media_id = await stored_medium(site)
    for text in ("one", "two"):
        body = {"variants": [{"name": "640", "width": 640}], "watermark": {"text": text}}
        assert (await site.api.put(f"{UPLOADS}/settings/entity-types/product", json=body)).status_code == 200
    _, [command] = await planned(site, mediaIds=[str(media_id)])
    assert command.settings_version == 2


async def test_the_record_changes_whole_and_tells_which_files_are_not_needed(site: IngestSite) -> None:
    media_id = await stored_medium(site)
    before = await media(site, media_id)
    _, [command] = await planned(site, mediaIds=[str(media_id)])
    assert await media(site, media_id) == before
    event, event_id = outcome(command), new_id()
    for is_news in (True, False, False):
        assert await site.handlers.deliver(event, event_id=event_id) == is_news
    after = await media(site, media_id)
    assert [variant["sha256"] for variant in after["variants"]] == ["a" * 64, "b" * 64]
    assert {name: after[name] for name in ("sha256", "storageStatus", "createdAt")} == {
        name: before[name] for name in ("sha256", "storageStatus", "createdAt")
    }
    assert not set(before["urls"].values()) & set(after["urls"].values())
    [superseded] = await told(site, MediaRevisionSupersededV1)
    assert (superseded.media_id, superseded.revision) == (media_id, 1)
    assert len(keys_of(superseded.files)) == 3
    assert all(f"{media_id}/1/" in key for key in keys_of(superseded.files))


async def test_of_two_renderings_the_later_wish_wins_whichever_ends_first(site: IngestSite) -> None:
    media_id = await stored_medium(site)
    first_parent, [first] = await planned(site, mediaIds=[str(media_id)])
    _, [second] = await planned(site, mediaIds=[str(media_id)])
    assert (first.revision, second.revision) == (2, 3)
    await site.handlers.deliver(outcome(second))
    await site.handlers.deliver(outcome(first))
    assert await shown_revision(site, media_id) == 3
    told_of = await told(site, MediaRevisionSupersededV1)
    assert [superseded.revision for superseded in told_of] == [1, 2]
    assert {key.split("/")[3] for key in keys_of(told_of[1].files)} == {"2"}
    assert (await site.job(first_parent))["status"] == "completed"


async def test_a_file_that_was_replaced_meanwhile_stays(site: IngestSite) -> None:
    media_id = await stored_medium(site)
    _, [command] = await planned(site, mediaIds=[str(media_id)])
    await site.rows.execute("UPDATE media SET revision = 3, last_revision = 3, content_revision = 3, sha256 = 'new'")
    before = await media(site, media_id)
    await site.handlers.deliver(outcome(command))
    assert await media(site, media_id) == before
    assert [superseded.revision for superseded in await told(site, MediaRevisionSupersededV1)] == [2]
    _, [later] = await planned(site, mediaIds=[str(media_id)])
    assert later.revision == 4


async def test_where_the_files_are_may_be_told_before_that_they_are_there(site: IngestSite) -> None:
    media_id = await stored_medium(site, strategy="local_first")
    _, [command] = await planned(site, mediaIds=[str(media_id)])
    event = outcome(command)
    assert event.original is not None
    placed = MediaStorageChangedV1(
        media_id=media_id,
        revision=2,
        on_disk=True,
        in_bucket=True,
        storage_status=StorageStatus.SYNCED,
        files=(event.original, *event.variants),
        changed_at=event.processed_at,
    )
    await site.handlers.deliver(placed)
    await site.handlers.deliver(event)
    assert (await media(site, media_id))["storageStatus"] == "synced"
    assert await shown_revision(site, media_id) == 2
    assert [superseded.revision for superseded in await told(site, MediaRevisionSupersededV1)] == [1]


async def test_a_failed_one_leaves_the_record_and_can_be_tried_again(site: IngestSite) -> None:
    media_id = await stored_medium(site)
    before = await media(site, media_id)
    _, [command] = await planned(site, mediaIds=[str(media_id)])
    await site.handlers.deliver(failure(command))
    assert await media(site, media_id) == before
    answer = await site.api.post(f"{JOBS}/{command.job_id}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting"), answer.text
    [_, again] = await told(site, RerenderImageV1)
    assert (again.job_id, again.revision, again.original) == (command.job_id, 2, command.original)
    await site.handlers.deliver(failure(again))

    _, [later] = await planned(site, mediaIds=[str(media_id)])
    await site.handlers.deliver(outcome(later))
    answer = await site.api.post(f"{JOBS}/{command.job_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_retryable")


async def test_uploads_are_answered_at_once_as_long_as_only_stored_pictures_wait(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with running_site(
        database, tmp_path / "media", hybrid_mode_enabled=True, hybrid_pending_below=2, hybrid_wait_seconds=0.2
    ) as site:
        ids = [str(await stored_medium(site)) for _ in range(5)]
        _, commands = await planned(site, mediaIds=ids)
        assert len(commands) == 5
        async with site.database.connection() as connection:
            assert await RerenderRepository(connection).pending(10) == 5
        # with as many uploads pending the answer would not wait
        answer = await site.upload()
        assert answer.status_code == 202
        assert answer.elapsed.total_seconds() >= 0.2


async def test_parents_go_after_their_jobs_and_not_before_they_are_planned(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with running_site(database, tmp_path / "media", completed_jobs_kept=0) as site:
        media_id = await stored_medium(site)
        parent_id = await wanted(site, mediaIds=[str(media_id)])
        await site.rows.execute("UPDATE bulk_jobs SET created_at = created_at - interval '25 hours'")
        await site.retention.sweep()
        assert (await site.job(parent_id))["status"] == "waiting"
        while await site.rerendering.plan_page():
            pass
        [command] = await told(site, RerenderImageV1)
        await site.handlers.deliver(outcome(command))
        await site.retention.sweep()
        assert (await site.job(parent_id))["status"] == "completed"
        await site.rows.execute("UPDATE jobs SET finished_at = finished_at - interval '25 hours'")
        await site.retention.sweep()
        assert (await site.api.get(f"{JOBS}/{parent_id}")).status_code == 404


async def test_the_description_tells_of_it(site: IngestSite) -> None:
    described = (await site.api.get("/docs/openapi.json")).json()["paths"][WATERMARK]["post"]
    assert "202" in described["responses"]
    assert "mediaIds" in str(described["requestBody"]) or "WatermarkBody" in str(described["requestBody"])
