"""Photos of events by the command line: what is sent, what is not sent twice, how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import Result

from deploy.local.object_store import ObjectStoreServer
from shared.events import AddEventPhotoV1, PhotoStatus
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.cli_world import as_superadmin, lines_of, mediabus
from tests.face_double import photo_of
from tests.ingest_site import IngestSite, bucket_settings, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
async def site(
    databases: TestDatabases, object_store_server: ObjectStoreServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    bucket = bucket_settings(object_store_server)
    async with running_site(database, tmp_path_factory.mktemp("cli-photos") / "media", **bucket) as running:
        yield running
    await databases.drop(database)


@pytest.fixture
async def event(site: IngestSite) -> dict[str, Any]:
    made: dict[str, Any] = (await site.api.post(EVENTS, json={"name": "Wedding"})).json()
    return made


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A memory card: two folders with a photo of the same name, and what is none."""
    for number, name in enumerate(("100/DSC_1.jpg", "101/DSC_1.jpg", "101/Ж.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo_jpeg(48, 32, seed=number))
    (tmp_path / "101" / "MOVIE.MP4").write_bytes(b"a film")
    return tmp_path


async def uploaded(site: IngestSite, event: dict[str, Any], *arguments: str | Path) -> Result:
    words = [str(argument) for argument in arguments]
    return await mediabus("events", "upload", event["uuid"], *words, "--json", env=as_superadmin(site))


async def test_a_card_is_sent_once_and_by_its_content(site: IngestSite, event: dict[str, Any], card: Path) -> None:
    first = await uploaded(site, event, card, "--parallel", "1")
    assert first.exit_code == 0, first.output
    *files, summary = lines_of(first)
    folder = f"events/{event['id']}/originals/"
    assert {one["path"].removeprefix(f"{card}/"): (one["status"], one["imageKey"]) for one in files} == {
        "100/DSC_1.jpg": ("sent", f"{folder}DSC_1.jpg"),
        "101/DSC_1.jpg": ("sent", f"{folder}DSC_1-2.jpg"),
        "101/Ж.jpg": ("sent", f"{folder}Ж.jpg"),
    }
    assert (summary["sent"], summary["finished"]) == (3, True)
    (card / "101" / "late.jpg").write_bytes(photo_jpeg(48, 32, seed=9))
    (card / "101" / "no photo.jpg").write_text("a text, whatever its name says\n" * 40)
    again = await uploaded(site, event, card)
    *_, summary = lines_of(again)
    assert (again.exit_code, summary["sent"], summary["already_sent"], summary["refused"]) == (4, 1, 3, 1)
    human = await mediabus("events", "upload", event["uuid"], str(card), env=as_superadmin(site))
    assert human.exit_code == 4
    assert "no photo.jpg is refused: The type of the content is not supported." in human.stderr
    assert "4 already sent, 1 refused" in human.stdout


async def test_what_is_no_photo_for_an_hour_is_sent_again(site: IngestSite, event: dict[str, Any], card: Path) -> None:
    async def sent_again() -> list[str]:
        """The names of those of which face-embedder is told once more by another run."""
        await site.rows.execute("DELETE FROM outbox")
        again = await uploaded(site, event, card)
        assert (again.exit_code, lines_of(again)[-1]["already_sent"]) == (0, 3), again.output
        sql = "SELECT payload FROM outbox WHERE headers ->> 'ce_type' = $1"
        rows = await site.rows.fetch(sql, AddEventPhotoV1.event_type)
        return [json.loads(row["payload"])["image_key"].rpartition("/")[2] for row in rows]

    assert (await uploaded(site, event, card)).exit_code == 0
    assert await sent_again() == []
    sql = "UPDATE photo_uploads SET created_at = now() - interval '1 hour' WHERE event_id = $1 AND stem = $2"
    await site.rows.execute(sql, UUID(event["uuid"]), "Ж")
    assert await sent_again() == ["Ж.jpg"]


async def test_wait_tells_what_came_of_each(site: IngestSite, event: dict[str, Any], card: Path) -> None:
    running = asyncio.create_task(uploaded(site, event, card, "--wait"))
    rows: list[Any] = []

    async def all_stored() -> bool:
        sql = "SELECT image_key FROM photo_uploads WHERE event_id = $1 AND status = 'stored' ORDER BY image_key"
        rows[:] = await site.rows.fetch(sql, event["uuid"])
        return len(rows) == 3

    await eventually(all_stored, within_seconds=60, why="three are sent")
    ill, *others = (photo_of(event, row["image_key"].rpartition("/")[2], image_key=row["image_key"]) for row in rows)
    failure = {"status": PhotoStatus.FAILED, "faces": 0, "code": "image_truncated", "detail": "It is cut off."}
    await site.handlers.deliver(ill.model_copy(update=failure))
    for photo in others:
        await site.handlers.deliver(photo)
    result = await running
    assert result.exit_code == 4, result.output
    *files, summary = lines_of(result)
    assert (summary["completed"], summary["failed"]) == (2, 1)
    (failed,) = [one for one in files if one["status"] == "failed"]
    assert (failed["imageKey"], failed["error"]["code"]) == (ill.image_key, "image_truncated")


async def test_an_event_that_is_not_there_ends_the_run_before_it_begins(site: IngestSite, card: Path) -> None:
    result = await uploaded(site, {"uuid": str(new_id())}, card)
    assert (result.exit_code, "Event not found" in result.stderr) == (1, True), result.output
