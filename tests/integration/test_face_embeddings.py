"""Searches among embeddings on a real database: exact within an event, by the index in large ones."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

from face_embedder.analysis import Analysis, FoundFace
from face_embedder.repositories.events import Events
from face_embedder.repositories.faces import Faces, Match, Wanted
from face_embedder.repositories.photos import NewPhoto, Photos
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack

PEOPLE = 40
PHOTOS = 300
"""Of the large event; the other has a few with the same people."""
Vectors = NDArray[np.float32]


def analysed(vectors: Vectors, version: str = "1") -> Analysis:
    faces = [
        FoundFace(
            box=(1, 2, 3, 4),
            landmarks=tuple(range(10)),
            score=0.9,
            size_px=100,
            sharpness=80,
            yaw=0,
            pitch=0,
            roll=0,
            embedding=base64.b64encode(vector.astype("<f4").tobytes()).decode(),
        )
        for vector in vectors
    ]
    return Analysis(pack="lite", pack_version=version, threshold=0.45, width_px=640, height_px=480, faces=tuple(faces))


def unit(vectors: Vectors) -> Vectors:
    length: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return length


@dataclass(frozen=True)
class Album:
    """Two people a photo; each face is its person's vector with some noise, as another picture of them would be."""

    work: UnitOfWork
    event_id: UUID
    people: Vectors
    faces: dict[str, Vectors]

    def wanted(self, person: int, limit: int = 1000) -> Wanted:
        face = analysed(self.people[person : person + 1]).faces[0]
        return Wanted(self.event_id, "lite", "1", face.vector(), 0.45, limit)

    async def exact(self, wanted: Wanted) -> list[Match]:
        async with self.work.begin() as transaction:
            return await Faces(transaction.connection).exact(wanted)

    async def near(self, wanted: Wanted) -> list[Match]:
        async with self.work.begin() as transaction:
            return await Faces(transaction.connection).near(wanted)

    def truth(self, person: int) -> dict[str, float]:
        """The best similarity of each photo, in single precision."""
        best = {key: float((vectors @ self.people[person]).max()) for key, vectors in self.faces.items()}
        return {key: similarity for key, similarity in best.items() if similarity >= 0.45}


async def filled(work: UnitOfWork, number: int, photos: int, people: Vectors) -> Album:
    chance = np.random.default_rng(number)
    album = Album(work, new_id(), people, {})
    async with work.begin() as transaction:
        await Events(transaction.connection).ensure(album.event_id, number)
        new = [NewPhoto(f"events/{number}/previews/{n}.jpg", str(n), "1") for n in range(photos)]
        for photo in await Photos(transaction.connection).add(album.event_id, new):
            who = people[chance.choice(len(people), 2, replace=False)]
            album.faces[photo.s3_key] = unit(who + 0.035 * chance.standard_normal((2, 512)).astype(np.float32))
            await Faces(transaction.connection).replace(photo, analysed(album.faces[photo.s3_key]))
    return album


@pytest.fixture
async def albums(database: TestDatabase) -> AsyncIterator[tuple[Album, Album]]:
    pool = Database(database.dsn("face-embedder"), application_name="test")
    work = UnitOfWork(pool, source="/test", schema="faces")
    people = unit(np.random.default_rng(1).standard_normal((PEOPLE, 512)).astype(np.float32))
    yield await filled(work, 1, PHOTOS, people), await filled(work, 2, 20, people)
    await pool.close()


async def test_searches_find_what_is_there_in_their_event_alone(albums: tuple[Album, Album]) -> None:
    for album in albums:
        for person in range(5):
            truth = album.truth(person)
            found = await album.exact(album.wanted(person))
            assert {match.s3_key for match in found} == truth.keys()
            for match in found:
                # Half precision costs less than a thousandth.
                assert match.similarity == pytest.approx(truth[match.s3_key], abs=1e-3)
            assert [match.similarity for match in found] == sorted((m.similarity for m in found), reverse=True)
            near = await album.near(album.wanted(person))
            assert {match.s3_key for match in near} == truth.keys()
            assert await album.near(album.wanted(person, limit=3)) == found[:3]
            assert await album.exact(album.wanted(person, limit=3)) == found[:3]


async def test_only_embeddings_of_the_same_models_are_compared(albums: tuple[Album, Album]) -> None:
    album, _ = albums
    other = replace(album.wanted(0), pack_version="2")
    assert await album.exact(other) == await album.near(other) == []
    async with album.work.begin() as transaction:
        faces = Faces(transaction.connection)
        assert await faces.are_more_than(album.wanted(0), 2 * PHOTOS - 1)
        assert not await faces.are_more_than(album.wanted(0), 2 * PHOTOS)
        assert not await faces.are_more_than(other, 0)
