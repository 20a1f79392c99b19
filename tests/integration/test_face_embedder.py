"""face-embedder as a process: photos of real people synced, searched and forgotten, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.identifiers import new_id
from shared.messaging.topics import ANSWERS, FACE_EVENTS, dead_letter_topic
from shared.testing import pictures
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.face_world import (
    BUCKET,
    START_SECONDS,
    FaceWorld,
    group,
    nobody,
    opened_world,
    portrait,
    size_px,
    worker_pids,
)
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack
KILLED_PHOTOS = int(os.environ.get("MEDIABUS_KILLED_PHOTOS", "16"))
"""How many photos are looked at while one kill follows the other; more of them for a longer look."""
KILLS = int(os.environ.get("MEDIABUS_KILLS", "4"))


@pytest.fixture(scope="module")
async def system(
    databases: Any,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    face_models: Path,
    tmp_path_factory: Any,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("face-embedder")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_FACE_MODELS_FOLDER": str(face_models),
        "MEDIABUS_FACE_WORKERS": "2",
        "MEDIABUS_TASK_HOLD_SECONDS": "3",
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "2",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        yield made


@pytest.fixture(scope="module")
async def embedder(system: System) -> RunningService:
    return system.service("face-embedder")


@pytest.fixture
async def world(
    system: System, embedder: RunningService, object_store_server: ObjectStoreServer
) -> AsyncIterator[FaceWorld]:
    async with (
        Bus(system.kafka_bootstrap, FACE_EVENTS, ANSWERS, dead_letter_topic("face-embedder")) as bus,
        opened_world(system, bus, object_store_server, embedder) as made,
    ):
        yield made
        assert bus.all_dead_letters() == []


async def test_photos_are_synced_searched_changed_and_removed(world: FaceWorld) -> None:
    occasion = await world.occasion()
    await world.put(
        {
            occasion.preview("group.jpg"): group(),
            occasion.original("group.jpg"): group(1200),
            occasion.preview("alone.jpg"): portrait(6),
            occasion.original("raw.png"): pictures.encoded(pictures.photo(1600, 1200), "PNG"),
            occasion.original("made.jpg"): pictures.jpeg_with_private_metadata(),
            occasion.preview("nobody.jpg"): nobody(),
            occasion.preview("empty.jpg"): b"",
            occasion.preview("text.jpg"): b"not a picture at all",
            occasion.preview("cut.jpg"): pictures.truncated_jpeg(),
            occasion.preview("below/other.jpg"): portrait(7),
        }
    )
    ended = await world.synced(occasion)
    assert {name: ended[name] for name in ("status", "message", "total_found", "new_photos", "skipped", "failed")} == {
        "status": "completed",
        "message": "Successfully synced 5 new photos",
        "total_found": 8,
        "new_photos": 8,
        "skipped": 0,
        "failed": 3,
    }
    assert (ended["processed"], ended["originals_missing"], ended["previews_made"]) == (5, 5, 2)
    kept = await world.kept(occasion)
    assert {name: (status, code) for name, (status, _, code, _) in kept.items() if code} == {
        "empty.jpg": ("failed", "image_empty"),
        "text.jpg": ("failed", "image_unsupported"),
        "cut.jpg": ("failed", "image_truncated"),
    }
    assert kept["group.jpg"] == ("indexed", 6, None, "group.jpg")
    assert kept["alone.jpg"] == ("indexed", 1, None, None)
    assert kept["nobody.jpg"] == ("no_face_detected", 0, None, None)
    assert kept["raw.jpg"][3] == "raw.png"
    made = await world.get(occasion.preview("raw.jpg"))
    assert size_px(made) == (640, 480)
    assert b"Exif" not in await world.get(occasion.preview("made.jpg"))

    told = world.told_last(occasion)
    assert told.keys() == kept.keys()
    assert told["nobody.jpg"]["confidence"] == 0.0
    assert told["group.jpg"]["faces"] == 6
    assert 0.9 < told["group.jpg"]["confidence"] <= 1.0

    # Nothing has changed but what failed, which is tried again.
    again = await world.synced(occasion)
    assert (again["total_found"], again["new_photos"], again["skipped"], again["failed"]) == (8, 3, 5, 3)

    # Another picture under a known key: its faces replace those of the old one.
    before = await world.vectors(occasion)
    await world.put({occasion.preview("alone.jpg"): portrait(0), occasion.preview("cut.jpg"): portrait(7)})
    changed = await world.synced(occasion)
    assert (changed["new_photos"], changed["processed"]) == (4, 2)
    after = await world.vectors(occasion)
    assert {name for name, _ in before - after} == {"alone.jpg"}
    assert {name for name, _ in after - before} == {"alone.jpg", "cut.jpg"}

    # What the bucket tells is looked at: a photo that is still there stays.
    await world.client.delete_object(Bucket="mediabus", Key=occasion.preview("cut.jpg"))
    await world.notify(occasion.preview("alone.jpg"), "removed")
    await world.notify(occasion.preview("cut.jpg"), "removed")
    await world.photo_is(occasion, "cut.jpg", "removed")
    await eventually(lambda: world.told_last(occasion)["cut.jpg"]["status"] == "removed", within_seconds=60)
    assert {name for name, _ in await world.vectors(occasion)} == {"alone.jpg", "group.jpg"}


async def test_a_selfie_finds_its_person_and_nobody_else(world: FaceWorld) -> None:
    occasion, other = await world.occasion(), await world.occasion()
    await world.put(
        {
            occasion.preview("group.jpg"): group(),
            occasion.preview("one.jpg"): portrait(1),
            occasion.preview("stranger.jpg"): portrait(6),
            other.preview("one.jpg"): portrait(1),
        }
    )
    await asyncio.gather(world.synced(occasion), world.synced(other))
    answer = await world.search(occasion, portrait(1, quality=60))
    assert answer["problem"] is None
    body = answer["body"]
    found = [match["s3_key"] for match in body["matches"]]
    assert sorted(found) == [occasion.preview("group.jpg"), occasion.preview("one.jpg")]
    assert (body["faces_in_selfie"], body["chosen"], body["pack"]) == (1, 0, "lite")
    best, second = body["matches"]
    assert best["similarity"] >= second["similarity"] > 0.9 > body["threshold"]
    assert len(best["box"]) == 4
    assert best["confidence"] > 0.6

    assert len((await world.search(occasion, portrait(1), limit=1))["body"]["matches"]) == 1
    same = (await world.search(occasion, portrait(1), threshold=0.9999))["body"]["matches"]
    assert [match["s3_key"] for match in same] == [occasion.preview("one.jpg")]
    chosen = await world.search(occasion, group(), choose=5)
    assert (chosen["body"]["faces_in_selfie"], chosen["body"]["chosen"]) == (6, 5)
    assert (await world.search(occasion, group(), choose=6))["problem"] == "no_such_face"
    assert (await world.search(occasion, nobody()))["problem"] == "no_face_in_selfie"
    assert (await world.search(occasion, b"no picture"))["problem"].startswith("not_a_picture: ")

    # Consent is withdrawn: refused at once. The event is deleted: its faces go.
    occasion.is_searchable, occasion.version = False, 2
    await world.tell(occasion)
    assert (await world.search(occasion, portrait(1)))["problem"] == "event_not_searchable"
    occasion.is_deleted, occasion.version = True, 3
    await world.tell(occasion)
    assert (await world.search(occasion, portrait(1)))["problem"] == "unknown_event"

    async def forgotten() -> bool:
        return not await world.vectors(occasion)

    await eventually(forgotten, within_seconds=60)
    assert {photo[0] for photo in (await world.kept(occasion)).values()} == {"failed"}
    assert len(await world.vectors(other)) == 1

    # Faces expire; a photo is looked at again when they may be kept for longer.
    other.faces_expire_at, other.version = datetime.now(UTC) - timedelta(seconds=1), 2
    await world.tell(other)
    assert (await world.search(other, portrait(1)))["problem"] == "event_not_searchable"
    await world.photo_is(other, "one.jpg", "failed")
    assert "time for which" in (await world.synced(other))["message"]
    other.faces_expire_at, other.version = None, 3
    await world.tell(other)
    assert (await world.synced(other))["processed"] == 1


async def test_a_photo_is_indexed_as_it_appears_where_the_event_wants_it(world: FaceWorld) -> None:
    eager, patient = await world.occasion(auto_index=True), await world.occasion()
    for occasion in (patient, eager):
        await world.put({occasion.preview("a.jpg"): portrait(2), occasion.original("a.png"): portrait(2)})
        await world.put({occasion.preview("b.jpg"): portrait(3)})
        # What is told of an original before its photo is known says nothing.
        await world.notify(occasion.original("a.png"), "created")
        await world.notify(occasion.preview("a.jpg"), "created")
        await world.notify(occasion.preview("b.jpg"), "created")
    await world.photo_is(eager, "a.jpg", "indexed")
    await world.photo_is(eager, "b.jpg", "indexed")
    assert await world.kept(eager) == {
        "a.jpg": ("indexed", 1, None, "a.png"),
        "b.jpg": ("indexed", 1, None, None),
    }
    await world.put({eager.original("b.jpg"): portrait(3)})
    await world.notify(eager.original("b.jpg"), "created")
    await eventually(
        lambda: world.told_last(eager).get("b.jpg", {}).get("image_key") == eager.original("b.jpg"), within_seconds=60
    )
    assert await world.kept(patient) == {}
    assert len(await world.vectors(eager)) == 2


async def test_what_is_told_of_a_photo_waits_for_its_event(world: FaceWorld) -> None:
    early, never = world.untold(auto_index=True), world.untold()
    for occasion in (early, never):
        await world.put({occasion.preview("a.jpg"): portrait(2)})
        await world.notify(occasion.preview("a.jpg"), "created")
        waits = "SELECT 1 FROM outbox WHERE topic = 'face-embedder.retry' AND key = $1"
        told = f"{BUCKET}/{occasion.preview('a.jpg')}"
        await eventually(partial(world.rows, waits, told), within_seconds=60, why="it waits")
    await world.tell(early)
    await world.photo_is(early, "a.jpg", "indexed")
    assert await world.kept(never) == {}


async def test_an_uploaded_photo_is_indexed_whatever_the_event_wants(world: FaceWorld) -> None:
    occasion, over = await world.occasion(), await world.occasion(faces_expire_at=datetime.now(UTC))
    linked = await world.listed(occasion, "b.jpg")
    await world.put({occasion.original("a.png"): portrait(2, side_px=800), over.original("a.png"): portrait(2)})
    await world.put({occasion.preview("b.jpg"): portrait(3), occasion.original("b.jpg"): portrait(3)})
    await world.bus.send(linked)
    await world.photo_is(occasion, "b.jpg", "indexed")
    for name in ("gone.jpg", "a.png", "a.png", "b.jpg"):
        await world.bus.send(occasion.uploaded(name))
    too_late = new_id()
    await world.bus.send(over.uploaded("a.png"), too_late)
    await world.photo_is(occasion, "a.jpg", "indexed")
    await eventually(
        lambda: world.told_last(occasion).get("b.jpg", {}).get("image_key") == occasion.original("b.jpg"),
        within_seconds=60,
    )
    assert await world.kept(occasion) == {
        "a.jpg": ("indexed", 1, None, "a.png"),
        "b.jpg": ("indexed", 1, None, "b.jpg"),
    }
    assert max(size_px(await world.get(occasion.preview("a.jpg")))) == 640
    handled = "SELECT 1 FROM inbox WHERE claim LIKE $1"
    await eventually(lambda: world.rows(handled, f"%{too_late}"), within_seconds=60, why="the late one is handled")
    assert await world.kept(over) == {}

    # A photo that was removed comes back with its original.
    await world.client.delete_object(Bucket=BUCKET, Key=occasion.preview("a.jpg"))
    await world.notify(occasion.preview("a.jpg"), "removed")
    await world.photo_is(occasion, "a.jpg", "removed")
    await world.bus.send(occasion.uploaded("a.png"))
    await world.photo_is(occasion, "a.jpg", "indexed")


async def test_what_vanishes_or_changes_after_it_was_listed(world: FaceWorld) -> None:
    """Photos as a listing leaves them, and then the bucket without one and with another content of the other."""
    occasion = await world.occasion()
    gone, changed = await world.listed(occasion, "gone.jpg"), await world.listed(occasion, "changed.jpg")
    await world.put({occasion.preview("changed.jpg"): portrait(3)})
    for order in (gone, changed):
        await world.bus.send(order)
    await world.photo_is(occasion, "gone.jpg", "failed")
    await world.photo_is(occasion, "changed.jpg", "indexed")
    assert await world.kept(occasion) == {
        "gone.jpg": ("failed", 0, "photo_gone", None),
        "changed.jpg": ("indexed", 1, None, None),
    }
    # What was read is what is known, so the next sync has nothing to do for it.
    again = await world.synced(occasion)
    assert (again["total_found"], again["skipped"]) == (1, 1)


async def test_two_syncs_at_once_find_every_photo_once(world: FaceWorld) -> None:
    occasion = await world.occasion()
    await world.put({occasion.preview(f"{number}.jpg"): portrait(number % 8, 70 + number) for number in range(8)})
    tasks = [await world.begin_sync(occasion) for _ in range(2)]
    ended = [await world.ended(task_id) for task_id in tasks]
    assert sum(task["new_photos"] for task in ended) == 8
    assert {task["total_found"] for task in ended} == {8}
    assert len(await world.vectors(occasion)) == 8


async def test_killed_at_any_moment_the_end_is_the_same(world: FaceWorld) -> None:
    """The service itself and its workers are killed with -9 while photos are listed and looked at."""
    seed = 6
    chance = random.Random(seed)
    quiet, killed = await world.occasion(), await world.occasion()
    for occasion in (quiet, killed):
        for number in range(KILLED_PHOTOS):
            name, person, quality = f"{number:03}.jpg", number % 8, 60 + number % 35
            has_preview = number % 4
            key = occasion.preview(name) if has_preview else occasion.original(name)
            await world.put({key: portrait(person, quality, 200 if has_preview else 700)})
    expected = await world.synced(quiet)
    task_id = await world.begin_sync(killed)
    for kill in range(KILLS):
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        if kill % 2:
            world.embedder.kill()
            world.embedder.start()
            await world.embedder.wait_until_ready(START_SECONDS)
        else:
            for pid in worker_pids(world.embedder)[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    ended = await world.ended(task_id)
    sums = ("status", "total_found", "new_photos", "processed", "failed", "no_face", "originals_missing", "message")
    assert {name: ended[name] for name in sums} == {name: expected[name] for name in sums}, f"seed {seed}"
    assert await world.kept(killed) == await world.kept(quiet)
    assert await world.vectors(killed) == await world.vectors(quiet)
    # And the same people, of each event its own; a whole sync later they are the same still.
    by_person = [range(person, KILLED_PHOTOS, 8) for person in range(8)]
    expected_people = {frozenset(f"{number:03}.jpg" for number in numbers) for numbers in by_person}
    assert await world.people(killed) == await world.people(quiet) == expected_people
    ids = "SELECT person_id, version FROM people WHERE event_id = $1 ORDER BY 1"
    before = await world.rows(ids, killed.event_id)
    await world.synced(killed)
    await world.people(killed)
    assert await world.rows(ids, killed.event_id) == before
