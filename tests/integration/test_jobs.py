"""Jobs and the catalogue on a real PostgreSQL: what image-processor tells, retries, lists, retention."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ingest_api.queue_size import QueueSize
from ingest_api.repositories.accounts import AccountRepository
from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.notices import NoticeRepository
from shared.events import ImageProgressV1, ImageRetryScheduledV1, ProcessImageV1
from shared.identifiers import new_id
from shared.telemetry import metrics
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from tests.ingest_site import JOBS, UPLOADS, IngestSite, running_site
from tests.outcomes import failed, processed

pytestmark = pytest.mark.stack


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


async def commanded(site: IngestSite, **options: Any) -> ProcessImageV1:
    """Upload, and give the command that follows."""
    await site.uploaded(**options)
    return await newest_command(site)


async def newest_command(site: IngestSite) -> ProcessImageV1:
    newest = "SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id DESC LIMIT 1"
    return ProcessImageV1.model_validate_json(await site.rows.fetchval(newest))


def progress(command: ProcessImageV1, percent: int, attempt: int = 1) -> ImageProgressV1:
    fact = {"job_id": command.job_id, "media_id": command.media_id, "progress": percent, "attempt": attempt}
    return ImageProgressV1.model_validate(fact)


def retry_scheduled(command: ProcessImageV1, attempts: int) -> ImageRetryScheduledV1:
    return ImageRetryScheduledV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=1,
        code="store_refused",
        detail="The bucket said no.",
        attempts=attempts,
        next_attempt_at=datetime.now(UTC),
    )


async def status_of(site: IngestSite, command: ProcessImageV1) -> tuple[str, int, int]:
    job = await site.job(str(command.job_id))
    return job["status"], job["progress"], job["attempts"]


# --- what image-processor tells ------------------------------------------------------------------------------------


async def test_progress_only_grows(site: IngestSite) -> None:
    command = await commanded(site)
    for percent in (10, 50, 10, 50):
        await site.handlers.deliver(progress(command, percent))
    assert await status_of(site, command) == ("active", 50, 1)
    assert await site.count("notices") == 2


async def test_a_processed_picture_completes_job_and_medium_together(site: IngestSite) -> None:
    command = await commanded(site)
    event_id = new_id()
    assert await site.handlers.deliver(processed(command), event_id=event_id)
    assert not await site.handlers.deliver(processed(command), event_id=event_id)

    job = await site.job(str(command.job_id))
    assert (job["status"], job["progress"], job["error"], job["attempts"]) == ("completed", 100, None, 1)
    assert job["result"]["mediaId"] == str(command.media_id)
    assert [variant["name"] for variant in job["result"]["variants"]] == ["640", "200"]
    record = (await site.api.get(f"{UPLOADS}/{command.media_id}")).json()
    assert (record["width"], record["height"], record["storageStatus"]) == (1280, 960, "local_only")
    assert record["urls"] == job["result"]["urls"]
    assert {variant["url"] for variant in record["variants"]} == set(record["urls"].values())
    assert await site.count("notices") == 1

    # facts that come late say nothing any more
    await site.handlers.deliver(progress(command, 80))
    await site.handlers.deliver(retry_scheduled(command, 2))
    await site.handlers.deliver(failed(command))
    assert await status_of(site, command) == ("completed", 100, 1)
    assert await site.count("notices") == 1


async def test_a_refused_picture_fails_with_its_reason(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(failed(command))
    job = await site.job(str(command.job_id))
    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"] == {"code": "image_truncated", "detail": "It ends too early."}
    listed = (await site.api.get(UPLOADS, params={"status": "failed"})).json()["media"]
    assert [medium["id"] for medium in listed] == [str(command.media_id)]
    assert site.staged_files(), "a failed job keeps its file, so that it can be tried again"


async def test_a_scheduled_retry_shows_attempts_and_the_last_error(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(progress(command, 50))
    await site.handlers.deliver(retry_scheduled(command, 1))
    job = await site.job(str(command.job_id))
    assert (job["status"], job["progress"], job["attempts"]) == ("waiting", 50, 1)
    assert job["error"]["code"] == "store_refused"
    await site.handlers.deliver(progress(command, 80, attempt=2))
    assert await status_of(site, command) == ("active", 80, 2)
    assert (await site.job(str(command.job_id)))["error"] is None


async def test_the_outcome_of_a_replaced_file_changes_nothing_of_the_medium(site: IngestSite) -> None:
    command = await commanded(site)
    await site.rows.execute("UPDATE media SET revision = 2")
    await site.handlers.deliver(processed(command))
    assert (await site.job(str(command.job_id)))["status"] == "completed"
    record = (await site.api.get(f"{UPLOADS}/{command.media_id}")).json()
    assert (record["variants"], record["storageStatus"]) == ([], "pending")


async def test_facts_about_removed_jobs_are_borne(site: IngestSite) -> None:
    command = await commanded(site)
    await site.rows.execute("DELETE FROM media")
    for event in (progress(command, 10), retry_scheduled(command, 1), processed(command), failed(command)):
        await site.handlers.deliver(event)
    assert (await site.api.get(f"{JOBS}/{command.job_id}")).status_code == 404
    assert await site.count("notices") == 0


# --- trying again --------------------------------------------------------------------------------------------------


async def test_a_failed_job_can_be_tried_again_and_complete(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(failed(command, attempts=3))
    answer = await site.api.post(f"{JOBS}/{command.job_id}/retry")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["attempts"], answer.json()["error"]) == ("waiting", 0, None)
    again = await newest_command(site)
    assert again.model_copy(update={"requested_at": command.requested_at}) == command
    await site.handlers.deliver(processed(again))
    assert await status_of(site, command) == ("completed", 100, 1)


async def test_only_failed_jobs_can_be_tried_again(site: IngestSite) -> None:
    command = await commanded(site)
    waiting = await site.api.post(f"{JOBS}/{command.job_id}/retry")
    assert (waiting.status_code, waiting.json()["code"]) == (409, "job_not_retryable")
    await site.handlers.deliver(processed(command))
    assert (await site.api.post(f"{JOBS}/{command.job_id}/retry")).status_code == 409
    assert (await site.api.post(f"{JOBS}/{new_id()}/retry")).status_code == 404


async def test_without_its_file_a_job_says_so(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(failed(command))
    for path in site.staged_files():
        path.unlink()
    answer = await site.api.post(f"{JOBS}/{command.job_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_retryable")
    assert "no longer there" in answer.json()["detail"]


# --- lists ---------------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_page_by_page(site: IngestSite) -> None:
    job_ids = [str((await commanded(site)).job_id) for _ in range(5)]
    await site.handlers.deliver(failed(await newest_command(site)))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await site.api.get(JOBS, params={"limit": "2", **cursor})).json()
        seen += [job["jobId"] for job in page["jobs"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == job_ids[::-1]
    only_failed = (await site.api.get(JOBS, params={"status": "failed"})).json()["jobs"]
    assert [job["jobId"] for job in only_failed] == [job_ids[-1]]


@pytest.mark.parametrize("parameters", [{"status": "lost"}, {"limit": "0"}, {"limit": "1000"}])
async def test_wrong_list_parameters_are_422(site: IngestSite, parameters: dict[str, str]) -> None:
    for address in (JOBS, UPLOADS):
        assert (await site.api.get(address, params=parameters)).status_code == 422


@pytest.mark.parametrize("name", ["entityType", "entityId", "q"])
async def test_what_no_text_can_hold_is_422(site: IngestSite, name: str) -> None:
    answer = await site.api.get(UPLOADS, params={name: "a\0b"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)


async def test_a_cursor_of_somebody_else_is_refused(site: IngestSite) -> None:
    answer = await site.api.get(JOBS, params={"cursor": "bm90IGFuIGlk"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_media_are_filtered(site: IngestSite) -> None:
    cup = await commanded(site, entityId="1", alt="a Cup of tea")
    percent = await commanded(site, entityType="event", title="100% of_it")
    await site.handlers.deliver(processed(cup))
    await site.rows.execute("UPDATE media SET deleted_at = now() WHERE id = $1", percent.media_id)

    async def found(**parameters: str) -> list[UUID]:
        media = (await site.api.get(UPLOADS, params=parameters)).json()["media"]
        return [UUID(medium["id"]) for medium in media]

    assert await found() == [cup.media_id]
    assert await found(deleted="true") == [percent.media_id]
    assert await found(entityType="product", entityId="1", status="completed") == [cup.media_id]
    assert await found(entityType="event") == []
    assert await found(storageStatus="local_only") == [cup.media_id]
    assert await found(storageStatus="synced") == []
    assert await found(status="waiting") == []
    assert await found(q="cup OF") == [cup.media_id]
    assert await found(q="%", deleted="true") == [percent.media_id]
    assert await found(q="f_it", deleted="true") == [percent.media_id]
    assert await found(q="fxit", deleted="true") == []


async def test_descriptions_are_changed_and_removed(site: IngestSite) -> None:
    command = await commanded(site, alt="old", title="kept")
    address = f"{UPLOADS}/{command.media_id}"
    record = (await site.api.patch(address, json={"alt": " new "})).json()
    assert (record["alt"], record["title"]) == ("new", "kept")
    record = (await site.api.patch(address, json={"title": None})).json()
    assert (record["alt"], record["title"]) == ("new", None)
    assert (await site.api.patch(address, json={})).status_code == 422
    wrong = await site.api.patch(address, json={"alt": "x" * 3000})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "alt")
    assert (await site.api.patch(f"{UPLOADS}/{new_id()}", json={"alt": "x"})).status_code == 404


# --- retention and metrics -----------------------------------------------------------------------------------------


async def test_completed_jobs_stay_a_day_or_among_the_newest(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", completed_jobs_kept=2) as site:
        commands = [await commanded(site) for _ in range(4)]
        for days, command in enumerate(commands):
            await site.handlers.deliver(processed(command))
            finished = "UPDATE jobs SET finished_at = now() - make_interval(days => $2) WHERE id = $1"
            await site.rows.execute(finished, command.job_id, days)
        await site.retention.sweep()
        kept = {row["id"] for row in await site.rows.fetch("SELECT id FROM jobs")}
        assert kept == {commands[0].job_id, commands[1].job_id}
        assert await site.count("media") == 4


async def test_failed_jobs_stay_a_week_and_take_their_file_along(site: IngestSite) -> None:
    young, old = await commanded(site), await commanded(site, headers={"Idempotency-Key": "old"})
    for command, days in ((young, 6), (old, 8)):
        await site.handlers.deliver(failed(command))
        finished = "UPDATE jobs SET finished_at = now() - make_interval(days => $2) WHERE id = $1"
        await site.rows.execute(finished, command.job_id, days)
    await site.rows.execute("UPDATE notices SET created_at = now() - interval '8 days' WHERE job_id = $1", old.job_id)
    await site.rows.execute("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")
    await site.retention.sweep()
    assert [row["id"] for row in await site.rows.fetch("SELECT id FROM jobs")] == [young.job_id]
    assert [path.name for path in site.staged_files()] == [str(young.job_id)]
    assert [row["job_id"] for row in await site.rows.fetch("SELECT job_id FROM notices")] == [young.job_id]
    assert await site.count("idempotency_keys") == 0


async def test_notices_and_keys_go_in_batches(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        command = await commanded(site, headers={"Idempotency-Key": f"key {number}"})
        await site.handlers.deliver(failed(command))
    await site.rows.execute("UPDATE notices SET created_at = now() - interval '8 days'")
    await site.rows.execute("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")
    async with site.database.connection() as connection:
        assert await NoticeRepository(connection).prune(0, 2) == 2
        assert await JobRepository(connection).remove_old_idempotency_keys(0, 1) == 1
    monkeypatch.setattr("ingest_api.retention.BATCH_ROWS", 2)
    removed = await site.retention.sweep()
    assert (removed["notices"], removed["idempotency_keys"]) == (3, 4)
    assert (await site.count("notices"), await site.count("idempotency_keys")) == (0, 0)


async def test_what_was_done_to_accounts_goes_after_two_years_in_batches(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.rows.execute(
        """
        INSERT INTO account_changes (id, area, action, subject_id, detail, done_by, done_at)
        SELECT gen_random_uuid(), 'accounts', 'added', gen_random_uuid(), '{}', gen_random_uuid(),
               now() - make_interval(days => 730) + make_interval(hours => hours)
        FROM unnest(ARRAY[-3, -2, -1, 1]) AS hours
        """
    )
    async with site.database.connection() as connection:
        assert await AccountRepository(connection).remove_old_changes(729 * 24 * 3600, 1) == 1
    monkeypatch.setattr("ingest_api.retention.BATCH_ROWS", 1)
    assert (await site.retention.sweep())["account_changes"] == 2
    assert await site.rows.fetchval("SELECT min(done_at) > now() - interval '730 days' FROM account_changes")
    assert await site.count("account_changes") == 1


def queue_sizes() -> dict[str, float]:
    samples = [sample for family in metrics.media_queue_size.collect() for sample in family.samples]
    return {sample.labels["status"]: sample.value for sample in samples}


async def test_the_queue_is_counted(site: IngestSite) -> None:
    first, _ = await commanded(site), await commanded(site)
    await site.handlers.deliver(progress(first, 10))
    await QueueSize(site.database).count_once()
    assert queue_sizes() == {"waiting": 1, "active": 1}
    await site.handlers.deliver(processed(first))
    await QueueSize(site.database).count_once()
    assert queue_sizes() == {"waiting": 1, "active": 0}


async def test_added_jobs_are_counted_once(site: IngestSite) -> None:
    counter = metrics.media_jobs_added_total.labels("avatar", "processing")
    before = counter._value.get()
    for _ in range(2):
        await site.uploaded(photo_jpeg(20, 20), entityType="avatar", headers={"Idempotency-Key": "once"})
    assert counter._value.get() == before + 1
