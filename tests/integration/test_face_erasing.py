"""Erasures on a real database: once, whoever else is at the photos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from face_embedder.erased import without_erased
from face_embedder.erasing import Erasing
from face_embedder.photos import Photo
from face_embedder.repositories.erasures import Erasures
from face_embedder.repositories.events import Events
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import NewPhoto, Photos, Result
from shared.db.pool import Database
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import Envelope, EraseFacesV1, FacesErasedV1, FaceToErase, PhotoStatus
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.found_faces import analysed, at, found

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Album:
    """One photo with two faces."""

    work: UnitOfWork
    photo: Photo

    @property
    def command(self) -> EraseFacesV1:
        """To erase the face on the left."""
        face = FaceToErase(photo_id=self.photo.photo_id, box=at(95.0))
        return EraseFacesV1(erasure_id=new_id(), event_id=self.photo.event_id, faces=(face,))

    async def record(self, transaction: Transaction) -> None:
        """What an analysis of the photo leaves."""
        places = await Erasures(transaction.connection).places(self.photo, "etag")
        analysis = without_erased(analysed(found(at(100.0), 0.9), found(at(300.0), 0.8)), places)
        result = Result(PhotoStatus.INDEXED, len(analysis.faces), analysis.confidence(), pack=analysis.pack_id)
        assert await Photos(transaction.connection).record(self.photo, result) is not None
        await Faces(transaction.connection).replace(self.photo, analysis)
        await Erasures(transaction.connection).note_size(self.photo, analysis.width_px, analysis.height_px)

    async def boxes(self) -> list[float]:
        """The left edges of the faces that are kept."""
        rows = await self.rows("SELECT box FROM faces ORDER BY box")
        return [row["box"][0] for row in rows]

    async def told(self) -> list[FacesErasedV1]:
        sql = "SELECT payload FROM outbox WHERE headers ->> 'ce_type' = $1 ORDER BY id"
        rows = await self.rows(sql, FacesErasedV1.event_type)
        return [FacesErasedV1.model_validate_json(row["payload"]) for row in rows]

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.work.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))


def delivery_of(command: EraseFacesV1) -> Delivery:
    envelope = Envelope.new(command, "/tests")
    return Delivery(
        consumer="face-embedder",
        envelope=envelope,
        topic=command.topic.name,
        partition=0,
        offset=0,
        key=command.key().encode(),
        headers=envelope.headers(),
        payload=command.payload(),
        attempt=1,
    )


@pytest.fixture
async def album(database: TestDatabase) -> AsyncIterator[Album]:
    pool = Database(database.dsn("face-embedder"), application_name="tests", max_connections=4)
    work = UnitOfWork(pool, source="/tests", schema="faces")
    event_id: UUID = new_id()
    async with work.begin() as transaction:
        await Events(transaction.connection).ensure(event_id, 1)
        new = NewPhoto("events/1/previews/a.jpg", "a", "etag")
        (photo,) = await Photos(transaction.connection).add(event_id, [new])
    yield Album(work, photo)
    await pool.close()


async def test_who_records_faces_at_that_moment_brings_none_back(album: Album) -> None:
    erasing = Erasing(album.work)
    command = album.command
    async with album.work.begin() as transaction:
        await album.record(transaction)
        under_way = asyncio.create_task(erasing.erase(command, delivery_of(command)))
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await eventually(lambda: album.rows(waits), within_seconds=20, why="the erasure waits for the photo")
    await under_way
    assert await album.boxes() == [300.0]
    (told,) = await album.told()
    assert (told.erasure_id, [photo.faces for photo in told.photos]) == (command.erasure_id, [1])
    (row,) = await album.rows("SELECT place FROM erased_faces")
    assert row["place"] == pytest.approx([95 / 600, 100 / 450, 195 / 600, 220 / 450])
    # And who looked at it before, and records later.
    async with album.work.begin() as transaction:
        await album.record(transaction)
    assert await album.boxes() == [300.0]


async def test_erasing_twice_removes_and_tells_once(album: Album) -> None:
    async with album.work.begin() as transaction:
        await album.record(transaction)
    erasing, command = Erasing(album.work), album.command
    delivery = delivery_of(command)
    await erasing.erase(command, delivery)
    with pytest.raises(AlreadyHandled):
        await erasing.erase(command, delivery)
    assert [photo.faces for fact in await album.told() for photo in fact.photos] == [1]
    (photo,) = await album.rows("SELECT status, faces, confidence FROM photos")
    assert (photo["status"], photo["faces"], round(photo["confidence"], 3)) == ("indexed", 1, 0.8)
    # The photo of another event is none of this one's.
    strange = command.model_copy(
        update={"event_id": new_id(), "faces": (FaceToErase(photo_id=album.photo.photo_id, box=at(300.0)),)}
    )
    await erasing.erase(strange, delivery_of(strange))
    assert await album.boxes() == [300.0]
    assert [fact.photos for fact in await album.told() if fact.event_id == strange.event_id] == [()]
