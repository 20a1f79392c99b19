"""A face pack takes the place of another: searched with the one that an event has, until all of its photos are done."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal
from uuid import UUID

import pytest

from face_embedder.analysis import Analysis
from face_embedder.engine_settings import EngineSettings
from face_embedder.erasing import Erasing
from face_embedder.face_pool import FacePool
from face_embedder.forgetting import Forgetting
from face_embedder.packs import PackId, PacksAtHand
from face_embedder.repositories.events import Events
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import Photos
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import EraseFacesV1, EventPhotoChangedV1, FacesErasedV1, FaceToErase, IndexPhotoV1
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from shared.worker_pool import Urgency, WorkerPoolSettings
from tests.pack_album import LEFT, RIGHT, Album, GatedStore, Replica, delivery_of, lamps
from tests.tiny_pack import write_tiny_pack

pytestmark = pytest.mark.stack


def engine(folder: Path, seed: int) -> EngineSettings:
    return EngineSettings(
        pack="buffalo_l",
        models_folder=None,
        pack_folder=write_tiny_pack(folder / str(seed), seed),
        accept_noncommercial=False,
        provider="CPU",
        threads=1,
        pixel_limit_px=10**7,
    )


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineSettings, EngineSettings]:
    """With the old pack, and with the new one."""
    folder = tmp_path_factory.mktemp("packs")
    return engine(folder, 0), engine(folder, 1)


@pytest.fixture(scope="module")
async def pools(engines: tuple[EngineSettings, EngineSettings]) -> AsyncIterator[tuple[FacePool, FacePool]]:
    """Of a process with the old pack, and of one that has the new pack take its place."""
    old, new = engines
    settings = WorkerPoolSettings(workers=1)
    async with FacePool(old, None, settings, 1) as before, FacePool(new, old, settings, 1) as after:
        yield before, after


@pytest.fixture
async def album(database: TestDatabase, tmp_path: Path, pools: tuple[FacePool, FacePool]) -> AsyncIterator[Album]:
    pool = Database(database.dsn("face-embedder"), application_name="tests", max_connections=6)
    work = UnitOfWork(pool, source="/tests", schema="faces")
    async with GatedStore(tmp_path) as bucket:
        album = Album(work, bucket, new_id())
        # The old pack is what processes want when the event is told of.
        await Replica(album, pools[0]).presence.turn()
        await album.rows("DELETE FROM replicas")
        async with work.begin() as transaction:
            await Events(transaction.connection).ensure(album.event_id, 1)
        await album.rows("UPDATE events SET is_searchable = true")
        yield album
    await pool.close()


@pytest.fixture
def old(album: Album, pools: tuple[FacePool, FacePool]) -> Replica:
    return Replica(album, pools[0])


@pytest.fixture
def new(album: Album, pools: tuple[FacePool, FacePool]) -> Replica:
    return Replica(album, pools[1])


async def replaced(album: Album, replica: Replica) -> None:
    """Wait until the event has the pack of a replica, and nothing is left of what that took."""

    async def is_done() -> bool:
        left = await album.rows("SELECT 1 FROM second_looks")
        return await album.pack() == replica.pool.packs.wanted and not left

    await eventually(is_done, within_seconds=60, why="the event has changed to the other pack")


async def test_searches_find_the_same_photos_at_each_moment(album: Album, old: Replica, new: Replica) -> None:
    picture = lamps(1, LEFT)
    for name in ("a.png", "b.png", "c.png"):
        await old.index(await album.photo(name, picture))
    await old.index(await album.photo("nobody.png", lamps(1)))
    before, after = old.pool.packs.wanted, new.pool.packs.wanted
    expected = {name: pytest.approx(1.0, abs=0.002) for name in ("a.png", "b.png", "c.png")}
    assert await old.search(picture) == expected
    versions: set[str] = set()
    async with new.replaces(), asyncio.timeout(60):
        while True:
            versions |= {version for faces in (await album.faces()).values() for version in faces}
            is_done = await album.pack() == after
            assert await new.search(picture) == expected
            if is_done and not await album.rows("SELECT 1 FROM second_looks"):
                break
    assert versions == {before.version, after.version}
    assert await album.faces() == {name: {after.version: 1} for name in expected}
    assert (await album.status())["nobody.png"] == ("no_face_detected", 0, None)
    assert str((await old.asked(picture)).problem).startswith("pack_not_at_hand: ")


async def test_a_search_during_which_its_event_changes_is_done_once_more(
    album: Album, old: Replica, new: Replica
) -> None:
    picture = lamps(1, LEFT)
    await old.index(await album.photo("a.png", picture))
    gate = album.hold("a.png")
    looked_with: list[PackId] = []

    async def look(picture: bytes, pack: PackId, urgency: Urgency) -> Analysis:
        analysis = await new.pool.look(picture, pack, urgency)
        looked_with.append(pack)
        gate.set()
        await replaced(album, new)
        return analysis

    asking = Replica(album, copy.copy(new.pool))
    asking.pool.look = look  # type: ignore[method-assign, assignment]
    async with new.replaces():
        assert set(await asking.search(picture)) == {"a.png"}
    assert looked_with == [old.pool.packs.wanted, new.pool.packs.wanted]


async def test_what_happens_to_photos_meanwhile_holds_for_both_packs(album: Album, old: Replica, new: Replica) -> None:
    before, after = (replica.pool.packs.wanted.version for replica in (old, new))
    names = ("erased.png", "removed.png", "changed.png", "gone.png", "held.png")
    photos = {name: await album.photo(name, lamps(1, LEFT, RIGHT)) for name in names}
    for photo in photos.values():
        await old.index(photo)
    changed_etag = await album.put("changed.png", lamps(1, RIGHT))
    (album.bucket.root / album.key("gone.png")).unlink()
    gate = album.hold("held.png")
    async with new.replaces():
        for name in ("erased.png", "removed.png"):
            await eventually(lambda name=name: has_faces(album, name, {before: 2, after: 2}))  # type: ignore[misc]

        place = FaceToErase(photo_id=photos["erased.png"].photo_id, box=(70.0, 70.0, 125.0, 125.0))
        erasure = EraseFacesV1(erasure_id=new_id(), event_id=album.event_id, faces=(place,))
        await Erasing(album.work).erase(erasure, delivery_of(erasure))
        (receipt,) = await album.told(FacesErasedV1)
        assert [photo.faces for photo in receipt.photos] == [1], "a face counts once, however many packs have found it"
        assert (await album.faces())["erased.png"] == {before: 1, after: 1}

        async with album.work.begin() as transaction:
            await Photos(transaction.connection).remove(photos["removed.png"].photo_id)
            await Faces(transaction.connection).remove([photos["removed.png"].photo_id])

        # Found in passing: whoever told of it was not heard.
        (order,) = await eventually(lambda: album.told(IndexPhotoV1), why="the changed photo is to be indexed")
        assert order.photo_id == photos["changed.png"].photo_id
        assert (await album.status())["changed.png"][0] == "pending"
        await new.index(replace(photos["changed.png"], generation=order.generation, preview_etag=changed_etag))
        await new.index(await album.photo("added.png", lamps(1, LEFT)))
        assert (await album.faces())["added.png"][before] == 1, "it is found by searches at once"
        await eventually(lambda: has_faces(album, "added.png", {before: 1, after: 1}))
        assert set(await new.search(lamps(1, RIGHT))) == {
            "erased.png",
            "changed.png",
            "gone.png",
            "held.png",
            "added.png",
        }
        assert await album.pack() == old.pool.packs.wanted
        gate.set()
        await replaced(album, new)
    assert await album.faces() == {
        "erased.png": {after: 1},
        "changed.png": {after: 1},
        "held.png": {after: 2},
        "added.png": {after: 1},
    }
    assert await album.status() == {
        "erased.png": ("indexed", 1, None),
        "removed.png": ("removed", 0, None),
        "changed.png": ("indexed", 1, None),
        "gone.png": ("failed", 0, "photo_gone"),
        "held.png": ("indexed", 2, None),
        "added.png": ("indexed", 1, None),
    }
    last = {fact.s3_key: fact for fact in await album.told(EventPhotoChangedV1)}
    assert (last[album.key("gone.png")].status, last[album.key("gone.png")].code) == ("failed", "photo_gone")


async def test_faces_stay_their_peoples_whatever_takes_their_place(album: Album, old: Replica, new: Replica) -> None:
    picture = lamps(1, LEFT, RIGHT)
    photos = [await album.photo(name, picture) for name in ("a.png", "saved-again.png", "held.png")]
    for photo in photos:
        await old.index(photo)
    people = await album.rows("INSERT INTO people SELECT gen_random_uuid(), event_id FROM faces RETURNING person_id")
    await album.rows(
        "UPDATE members SET person_id = given.person_id, part = given.person_id, waits = NULL FROM "
        "unnest((SELECT array_agg(face_id) FROM members), $1::uuid[]) AS given (face_id, person_id) "
        "WHERE members.face_id = given.face_id",
        [row["person_id"] for row in people],
    )
    before = await people_by_place(album)
    assert len(set(before.values())) == 6
    gate = album.hold("held.png")
    async with new.replaces():
        for name in ("a.png", "saved-again.png"):
            await eventually(partial(has_faces, album, name, dict.fromkeys(versions(old, new), 2)))
        assert await people_by_place(album) == before, "who is on a photo is told of its event's pack alone"
        async with album.work.begin() as transaction:
            await Events(transaction.connection).lock(album.event_id)
            etag = await album.put("saved-again.png", picture)
            (renewed,) = await Photos(transaction.connection).renew({photos[1].photo_id: etag})
        await new.index(renewed)
        assert await people_by_place(album) == before
        gate.set()
        await replaced(album, new)
    assert await people_by_place(album) == before


def versions(*replicas: Replica) -> list[str]:
    return [replica.pool.packs.wanted.version for replica in replicas]


async def people_by_place(album: Album) -> dict[tuple[str, float], UUID]:
    """Whose each face is that is somebody's, by its photo and its left edge."""
    rows = await album.rows(
        "SELECT s3_key, box, person_id FROM members JOIN faces USING (face_id) JOIN photos ON "
        "photos.photo_id = faces.photo_id WHERE person_id IS NOT NULL"
    )
    return {(row["s3_key"], round(row["box"][0], 1)): row["person_id"] for row in rows}


async def test_faces_that_may_not_be_kept_go_whichever_pack_has_found_them(
    album: Album, old: Replica, new: Replica
) -> None:
    # The old pack saw nobody on the second photo.
    for name in ("a.png", "b.png", "held.png"):
        await old.index(await album.photo(name, lamps(1, LEFT)))
    await album.rows("DELETE FROM faces USING photos WHERE photos.photo_id = faces.photo_id AND s3_key LIKE '%b.png'")
    await album.rows("UPDATE photos SET faces = 0, status = 'no_face_detected' WHERE s3_key LIKE '%b.png'")
    album.hold("held.png")
    async with new.replaces():
        await eventually(lambda: has_faces(album, "b.png", {new.pool.packs.wanted.version: 1}))
        await album.rows("UPDATE events SET faces_expire_at = clock_timestamp()")
        assert (await new.asked(lamps(1, LEFT))).problem == "event_not_searchable"
        await Forgetting(album.work).sweep()
        await replaced(album, new)
    assert await album.faces() == {}


async def test_a_photo_that_is_looked_at_while_its_event_is_deleted_gets_no_faces(album: Album, old: Replica) -> None:
    class Deletes(asyncio.Event):
        """Somebody deletes the event once the photo is being read, and what is there by then is forgotten."""

        async def wait(self) -> Literal[True]:
            await album.rows("UPDATE events SET is_deleted = true")
            await Forgetting(album.work).sweep()
            return True

    photo = await album.photo("a.png", lamps(1, LEFT))
    album.bucket.gates[photo.s3_key] = Deletes()
    await old.index(photo)
    assert await album.faces() == {}
    assert await album.status() == {"a.png": ("failed", 0, "faces_not_kept")}


async def test_without_the_previous_pack_searches_are_refused_until_the_event_has_changed(
    album: Album, old: Replica, new: Replica
) -> None:
    picture = lamps(1, LEFT)
    await old.index(await album.photo("a.png", picture))
    alone = copy.copy(new.pool)
    alone.packs = PacksAtHand(new.pool.packs.wanted)
    replica = Replica(album, alone)
    gate = album.hold("a.png")
    async with replica.replaces():
        problem = (await replica.asked(picture)).problem
        assert problem is not None
        assert problem.startswith("pack_not_at_hand: ")
        assert str(old.pool.packs.wanted) in problem
        assert "MEDIABUS_FACE_PREVIOUS_PACK" in problem
        gate.set()
        await replaced(album, replica)
    assert set(await replica.search(picture)) == {"a.png"}


async def test_processes_with_either_setting_do_not_undo_each_others_work(
    album: Album, old: Replica, new: Replica
) -> None:
    picture = lamps(1, LEFT)
    await old.index(await album.photo("a.png", picture))
    await old.presence.turn()
    async with new.replaces(), old.replaces():
        assert (new.presence.is_in_front, old.presence.is_in_front) == (True, False)
        after = new.pool.packs.wanted.version
        both = {old.pool.packs.wanted.version: 1, after: 1}
        await eventually(lambda: has_faces(album, "a.png", both))
        # The old process may be asked, and could not answer.
        assert await album.pack() == old.pool.packs.wanted
        assert set(await old.search(picture)) == set(await new.search(picture)) == {"a.png"}
        # What it indexes is looked at by the others.
        await old.index(await album.photo("b.png", picture))
        await eventually(lambda: has_faces(album, "b.png", both))
        await album.rows("DELETE FROM replicas WHERE NOT $1 = ANY (packs)", str(new.pool.packs.wanted))
        await replaced(album, new)
        # An old process that still runs, or starts again, has no photo lost: the others look at it again.
        await old.presence.turn()
        await old.index(await album.photo("c.png", picture))
        await eventually(lambda: has_faces(album, "c.png", {after: 1}))
        assert await album.pack() == new.pool.packs.wanted
    await album.rows("DELETE FROM replicas")
    # Going back is a decision, and said so.
    back = Replica(album, old.pool, revision=2)
    async with back.replaces():
        await new.presence.turn()
        assert not new.presence.is_in_front
        await album.rows("DELETE FROM replicas WHERE NOT $1 = ANY (packs)", str(old.pool.packs.wanted))
        await replaced(album, back)
    assert set(await back.search(picture)) == {"a.png", "b.png", "c.png"}


async def test_killed_at_any_moment_it_goes_on(
    album: Album, old: Replica, new: Replica, engines: tuple[EngineSettings, EngineSettings], database: TestDatabase
) -> None:
    engine_before, engine_after = (engine.model_dump_json() for engine in engines)
    arguments = (database.dsn("face-embedder"), str(album.bucket.root), engine_after, engine_before)
    names = [f"{number}.png" for number in range(16)]
    for name in names:
        await old.index(await album.photo(name, lamps(1, LEFT, RIGHT)))
    # However fast it is, it is not done with this one when it is killed.
    async with album.work.database.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM photos WHERE s3_key = $1 FOR NO KEY UPDATE", album.key(names[-1]))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.pack_replacer", *arguments
        )
        try:
            done = "SELECT 1 FROM second_looks WHERE state = 'done'"
            await eventually(partial(has_rows, album, done, 3), within_seconds=60, why="some photos are done")
        finally:
            process.kill()
            await process.wait()
    assert await album.pack() == old.pool.packs.wanted
    assert set(await new.search(lamps(1, LEFT))) == set(names)
    await album.rows("DELETE FROM replicas")
    async with new.replaces():
        await replaced(album, new)
    assert await album.faces() == {name: {new.pool.packs.wanted.version: 2} for name in names}
    assert await album.status() == dict.fromkeys(names, ("indexed", 2, None))
    assert set(await new.search(lamps(1, LEFT))) == set(names)


async def has_faces(album: Album, name: str, faces: dict[str, int]) -> bool:
    return (await album.faces()).get(name) == faces


async def has_rows(album: Album, sql: str, count: int) -> bool:
    return len(await album.rows(sql)) >= count
