"""Faces and their embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from face_embedder.analysis import Analysis, FoundFace
from face_embedder.erased import Box, ErasedPlace
from face_embedder.photos import Photo
from face_embedder.places import PlacedFace, found_again
from face_embedder.repositories.members import Members
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.identifiers import new_id

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "faces.sql")
LOOKED_AT: Final = 100
"""Candidates that the index keeps at once: more find more of the nearest, and take longer."""
MOST_SCANNED: Final = 200_000
"""How many faces, those of other events too, the index gives up after."""
FACES_PER_PHOTO: Final = 2
"""What is asked of the index for each wanted photo, since somebody may be twice on one."""


@dataclass(frozen=True, slots=True)
class Match:
    """The face of a photo that is most like the one looked for."""

    photo_id: UUID
    s3_key: str
    similarity: float
    box: tuple[float, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """A face to look for: its embedding as PostgreSQL reads it, and what it may be compared with."""

    event_id: UUID
    pack: str
    pack_version: str
    vector: str
    threshold: float
    limit: int


class Faces:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def replace(self, photo: Photo, analysis: Analysis) -> None:
        """Let the photo have these faces and no others.

        One that is found again in its place stays its person's, where it looks like it: another picture may have been
        put under the key. For before the size of the new content is noted.
        """
        before = await self._connection.fetch(QUERIES["places"], photo.photo_id)
        faces = {new_id(): face for face in analysis.faces}
        await self._add("add" if before else "add_first", photo, analysis, faces)
        if not before:
            return
        # What another pack has found beside them is nobody's.
        known = [PlacedFace(row["face_id"], _box_on(analysis, row)) for row in before if row["is_member"]]
        found = [PlacedFace(face_id, face.box) for face_id, face in faces.items()]
        members = Members(self._connection)
        await members.carry(found_again(known, found), least_similarity=analysis.threshold)
        await members.add_missing(list(faces))
        await self._connection.execute(QUERIES["remove_these"], [row["face_id"] for row in before])

    async def put_beside(self, photo: Photo, analysis: Analysis) -> None:
        """Let the photo have these faces of a pack beside those of others; nobody is told whose they are."""
        await self._connection.execute(QUERIES["remove_of_pack"], photo.photo_id, analysis.pack, analysis.pack_version)
        await self._add("add", photo, analysis, {new_id(): face for face in analysis.faces})

    async def remove(self, photo_ids: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["remove"], photo_ids)

    async def _add(self, query: str, photo: Photo, analysis: Analysis, faces: Mapping[UUID, FoundFace]) -> None:
        rows = [_row(face_id, face) for face_id, face in faces.items()]
        await self._connection.execute(
            QUERIES[query], photo.event_id, photo.photo_id, analysis.pack, analysis.pack_version, rows
        )

    async def are_more_than(self, wanted: Wanted, count: int) -> bool:
        """Whether the event has more faces than that to compare with."""
        return bool(
            await self._connection.fetchval(
                QUERIES["are_more_than"], wanted.event_id, wanted.pack, wanted.pack_version, count
            )
        )

    async def exact(self, wanted: Wanted) -> list[Match]:
        """The photos with faces from the threshold on, best first, compared one by one."""
        rows = await self._connection.fetch(
            QUERIES["exact"],
            wanted.event_id,
            wanted.pack,
            wanted.pack_version,
            wanted.vector,
            wanted.threshold,
            wanted.limit,
        )
        return [_match(row) for row in rows]

    async def near(self, wanted: Wanted) -> list[Match]:
        """The same by the index, which may miss some. For a transaction of its own: it changes settings."""
        await self._connection.execute(QUERIES["look_further"], str(LOOKED_AT), str(MOST_SCANNED))
        rows = await self._connection.fetch(
            QUERIES["near"],
            wanted.event_id,
            wanted.pack,
            wanted.pack_version,
            wanted.vector,
            wanted.limit * FACES_PER_PHOTO,
        )
        best: dict[UUID, Match] = {}
        for match in map(_match, rows):
            if match.similarity >= wanted.threshold:
                best.setdefault(match.photo_id, match)
        return list(best.values())[: wanted.limit]


def _box_on(analysis: Analysis, before: Mapping[str, Any]) -> Box:
    place = before["place"] and tuple(before["place"])
    return ErasedPlace(tuple(before["box"]), place).on(analysis.width_px, analysis.height_px)


def _row(face_id: UUID, face: FoundFace) -> dict[str, Any]:
    return {"face_id": str(face_id), **face.model_dump(exclude={"embedding"}), "embedding": face.vector()}


def _match(row: Mapping[str, Any]) -> Match:
    return Match(row["photo_id"], row["s3_key"], row["similarity"], tuple(row["box"]), row["score"])
