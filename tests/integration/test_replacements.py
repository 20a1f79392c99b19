"""New files for media that are there, over HTTP on a real PostgreSQL: what is shown when, and who wins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.events import (
    Event,
    MediaPurgeTakenV1,
    MediaRevisionSupersededV1,
    MediaUploadedV1,
    MediumToPurge,
    ProcessImageV1,
    PurgeMediaV1,
)
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from tests.ingest_site import PICTURE, UPLOADS, IngestSite, running_site
from tests.outcomes import failed, processed

pytestmark = pytest.mark.stack

OTHER = photo_jpeg(80, 60, seed=5)


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


async def told(site: IngestSite, event_type: type[Event]) -> list[Any]:
    """What was published of a type, in order."""
    topic = event_type.topic.name
    rows = await site.rows.fetch("SELECT payload, headers FROM outbox WHERE topic = $1 ORDER BY id", topic)
    return [
        event_type.model_validate_json(row["payload"]) for row in rows if event_type.event_type in str(row["headers"])
    ]


async def stored(site: IngestSite) -> UUID:
    accepted = await site.uploaded(filename="first.jpg", alt="kept", entityId="shoe")
    [command] = await told(site, ProcessImageV1)
    await site.handlers.deliver(processed(command, original=PICTURE))
    return UUID(accepted["mediaId"])


async def put(site: IngestSite, media_id: UUID, content: bytes = OTHER, **options: Any) -> httpx.Response:
    return await site.api.put(f"{UPLOADS}/{media_id}/file", files={"file": ("second.jpg", content)}, **options)


async def record(site: IngestSite, media_id: UUID) -> dict[str, Any]:
    answer = await site.api.get(f"{UPLOADS}/{media_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_new_file_is_shown_once_it_is_rendered(site: IngestSite) -> None:
    media_id = await stored(site)
    before = await record(site, media_id)
    answer = await put(site, media_id)
    assert answer.status_code == 202, answer.text
    assert answer.json()["mediaId"] == str(media_id)
    assert answer.headers["location"].endswith(answer.json()["jobId"])
    assert await record(site, media_id) == before, "until then nothing of the record changes"
    [_, command] = await told(site, ProcessImageV1)
    assert (command.media_id, command.revision, command.entity_id) == (media_id, 2, "shoe")
    assert [one.revision for one in await told(site, MediaUploadedV1)] == [1, 2]
    again = await site.api.post(f"{UPLOADS}/watermark", json={"mediaIds": [str(media_id)]})
    while await site.rerendering.plan_page():
        pass
    [child] = (await site.job(again.json()["jobId"]))["children"]
    assert child["error"]["code"] == "medium_processing", "else the old picture would win over the new one"

    await site.handlers.deliver(processed(command, original=OTHER))
    after = await record(site, media_id)
    assert (after["filename"], after["sha256"], after["sizeBytes"]) == ("second.jpg", command.sha256, len(OTHER))
    assert (after["alt"], after["entityId"], after["createdAt"]) == ("kept", "shoe", before["createdAt"])
    assert all("v=2" in url for url in after["urls"].values())
    [superseded] = await told(site, MediaRevisionSupersededV1)
    assert superseded.revision == 1
    assert (await site.job(str(command.job_id)))["status"] == "completed"
    # an address that was signed for the first picture opens no other one
    content_revision = await site.rows.fetchval("SELECT content_revision FROM media")
    assert content_revision == 2


async def test_a_file_that_can_not_be_rendered_leaves_the_medium_as_it_was(site: IngestSite) -> None:
    media_id = await stored(site)
    before = await record(site, media_id)
    assert (await put(site, media_id)).status_code == 202
    [_, command] = await told(site, ProcessImageV1)
    await site.handlers.deliver(failed(command))
    assert await record(site, media_id) == before
    assert (await site.job(str(command.job_id)))["status"] == "failed"
    third = await put(site, media_id)
    assert third.status_code == 202
    assert (await told(site, ProcessImageV1))[-1].revision == 3, "a revision is given out once"


async def test_of_two_files_the_later_one_wins_whichever_is_rendered_first(site: IngestSite) -> None:
    media_id = await stored(site)
    for content in (OTHER, PICTURE):
        assert (await put(site, media_id, content)).status_code == 202
    [_, earlier, later] = await told(site, ProcessImageV1)
    for command in (later, earlier):
        await site.handlers.deliver(processed(command, original=PICTURE))
    assert (await record(site, media_id))["sha256"] == later.sha256
    assert [one.revision for one in await told(site, MediaRevisionSupersededV1)] == [1, 2]


async def test_what_can_not_be_replaced_is_refused_and_leaves_no_file(site: IngestSite) -> None:
    unknown = await put(site, new_id())
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    accepted = await site.uploaded()
    media_id = UUID(accepted["mediaId"])
    early = await put(site, media_id)
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    [command] = await told(site, ProcessImageV1)
    await site.handlers.deliver(processed(command, original=PICTURE))
    wrong: list[dict[str, Any]] = [{"data": {"alt": "x"}}, {"headers": {"Idempotency-Key": "k"}}]
    for options in wrong:
        refused = await put(site, media_id, **options)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert (await put(site, media_id, b"no picture")).status_code == 415
    assert (await site.api.delete(f"{UPLOADS}/{media_id}", params={"hard": False})).status_code == 200
    assert (await put(site, media_id)).status_code == 404
    assert {path.name for path in site.staged_files()} == {accepted["jobId"]}


async def test_a_purge_leaves_a_medium_that_was_restored_and_got_another_file(site: IngestSite) -> None:
    media_id = await stored(site)
    deleted = await site.api.delete(f"{UPLOADS}/{media_id}", params={"hard": False})
    moment = datetime.fromisoformat(deleted.json()["deletedAt"])
    assert (await site.api.post(f"{UPLOADS}/{media_id}/restore")).status_code == 200
    assert (await put(site, media_id)).status_code == 202
    purge = PurgeMediaV1(
        purge_id=new_id(),
        run_id=new_id(),
        media=(MediumToPurge(media_id=media_id, deleted_at=moment),),
        requested_at=datetime.now(UTC),
    )
    await site.handlers.deliver(purge)
    [taken] = await told(site, MediaPurgeTakenV1)
    assert (taken.begun, taken.passed_over) == ((), (media_id,))
    [_, command] = await told(site, ProcessImageV1)
    await site.handlers.deliver(processed(command, original=OTHER))
    assert (await record(site, media_id))["sha256"] == command.sha256
