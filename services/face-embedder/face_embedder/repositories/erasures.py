"""Faces that were erased for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from face_embedder.erased import Box, ErasedPlace
from face_embedder.packs import PackId
from face_embedder.photos import Photo
from face_embedder.repositories.photos import photo_of
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import FaceToErase

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "erasures.sql")


@dataclass(frozen=True, slots=True)
class KeptFace:
    """A face that is there, by its place; while packs are replaced, each pack's is one."""

    face_id: UUID
    photo_id: UUID
    box: Box
    pack: PackId


class Erasures:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def lock_photos(self, event_id: UUID, photo_ids: Sequence[UUID]) -> list[UUID]:
        """Those of them that are the event's."""
        rows = await self._connection.fetch(QUERIES["lock_photos"], event_id, photo_ids)
        return [row["photo_id"] for row in rows]

    async def note(self, erasure_id: UUID, faces: Sequence[FaceToErase]) -> None:
        """Remember their places; of photos that are locked. Noting them again changes nothing."""
        rows = [{"photo_id": str(face.photo_id), "box": list(face.box)} for face in faces]
        await self._connection.execute(QUERIES["note"], erasure_id, rows)

    async def faces(self, photo_ids: Sequence[UUID]) -> list[KeptFace]:
        rows = await self._connection.fetch(QUERIES["faces"], photo_ids)
        return [
            KeptFace(row["face_id"], row["photo_id"], tuple(row["box"]), PackId(row["pack"], row["pack_version"]))
            for row in rows
        ]

    async def remove(self, face_ids: Sequence[UUID], photo_ids: Sequence[UUID]) -> list[Photo]:
        """The photos without these faces."""
        await self._connection.execute(QUERIES["remove"], face_ids)
        return [photo_of(row) for row in await self._connection.fetch(QUERIES["recount"], photo_ids)]

    async def note_size(self, photo: Photo, width_px: int, height_px: int) -> None:
        """Remember the size of the content whose faces are known."""
        await self._connection.execute(QUERIES["note_size"], photo.photo_id, width_px, height_px)

    async def places(self, photo: Photo, preview_etag: str) -> list[ErasedPlace]:
        """Where faces of this photo, now with that content, were erased; nobody erases more until the commit."""
        await self.lock_photos(photo.event_id, [photo.photo_id])
        rows = await self._connection.fetch(QUERIES["places"], photo.photo_id, photo.event_id, preview_etag)
        return [ErasedPlace(tuple(row["box"]), row["place"] and tuple(row["place"])) for row in rows]
