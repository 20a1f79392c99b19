"""Erasures of faces, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.erasure_receipt import SignedReceipt
from ingest_api.face_erasure import FaceErasure
from ingest_api.gallery import Gallery
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import FaceToErase

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "face_erasures.sql")


class FaceErasureRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(
        self, erasure_id: UUID, event_id: UUID, asked_by: UUID, faces: Sequence[FaceToErase], kept_seconds: float
    ) -> None:
        """One that is over after so long unless it is confirmed."""
        values = (erasure_id, event_id, asked_by, None, None, None, _rows(faces), kept_seconds)
        await self._connection.execute(QUERIES["add"], *values)

    async def add_request(
        self,
        erasure_id: UUID,
        gallery: Gallery,
        secret_hash: bytes,
        consent_version: int | None,
        faces: Sequence[FaceToErase],
        kept_seconds: float,
    ) -> FaceErasure:
        """What a guest asks for; over after so long unless it is confirmed."""
        values = (gallery.event_id, None, gallery.id, secret_hash, consent_version, _rows(faces), kept_seconds)
        return _written(await self._connection.fetchrow(QUERIES["add"], erasure_id, *values))

    async def get(self, erasure_id: UUID) -> FaceErasure | None:
        """None where there is none, or nobody confirmed it in time."""
        return _erasure(await self._connection.fetchrow(QUERIES["get"], erasure_id))

    async def by_secret(self, erasure_id: UUID, secret_hash: bytes) -> FaceErasure | None:
        """A guest's; None as `get`, and for another secret."""
        return _erasure(await self._connection.fetchrow(QUERIES["by_secret"], erasure_id, secret_hash))

    async def locked(self, erasure_id: UUID) -> FaceErasure | None:
        """As `get`; nobody else decides on it or completes it until the transaction ends."""
        return _erasure(await self._connection.fetchrow(QUERIES["lock"], erasure_id))

    async def requested(
        self, event_id: UUID, after: UUID | None, limit: int, asker: UUID | None = None
    ) -> list[FaceErasure]:
        """What guests of an event wait for a decision on, oldest first; with what `asker` has found in their place."""
        rows = await self._connection.fetch(QUERIES["requested"], event_id, after, limit, asker)
        return [_written(row) for row in rows]

    async def decided(self, event_id: UUID, limit: int, asker: UUID) -> list[FaceErasure]:
        """What was said to guests of an event, newest first; with what `asker` has confirmed in their place."""
        return [_written(row) for row in await self._connection.fetch(QUERIES["decided"], event_id, limit, asker)]

    async def waiting_of(self, gallery: Gallery) -> int:
        """How many requests by a link wait for a decision."""
        return int(await self._connection.fetchval(QUERIES["waiting_of_gallery"], gallery.event_id, gallery.id))

    async def confirm(self, erasure_id: UUID, faces: Sequence[FaceToErase], decided_by: UUID) -> FaceErasure:
        return _written(await self._connection.fetchrow(QUERIES["confirm"], erasure_id, _rows(faces), decided_by))

    async def refuse(self, erasure_id: UUID, decided_by: UUID, kept_seconds: float) -> FaceErasure:
        """Forget its faces; that it was refused can be read for so long."""
        return _written(await self._connection.fetchrow(QUERIES["refuse"], erasure_id, decided_by, kept_seconds))

    async def complete(
        self, erasure: FaceErasure, erased_at: datetime, faces_erased: int, signed: SignedReceipt
    ) -> None:
        """Keep the receipt and nothing of the faces, nor what searches of the event found."""
        await self._connection.execute(
            QUERIES["complete"],
            erasure.id,
            erased_at,
            faces_erased,
            signed.text,
            signed.signature,
            signed.public_key,
        )
        await self._connection.execute(QUERIES["forget_results"], erasure.event_id)

    async def remove_unconfirmed(self, limit: int) -> int:
        """Forget at most `limit` of those that nobody confirmed in time, and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["remove_unconfirmed"], limit))


def _rows(faces: Sequence[FaceToErase]) -> list[dict[str, Any]]:
    return [face.model_dump(mode="json") for face in faces]


def _written(row: Mapping[str, Any] | None) -> FaceErasure:
    erasure = _erasure(row)
    assert erasure is not None, "a row that is written or held is there"
    return erasure


def _erasure(row: Mapping[str, Any] | None) -> FaceErasure | None:
    if row is None:
        return None
    signed = None
    if row["receipt"] is not None:
        signed = SignedReceipt(row["receipt"], row["signature"], row["public_key"])
    return FaceErasure(
        id=row["id"],
        event_id=row["event_id"],
        asked_by=row["asked_by"],
        gallery_id=row["gallery_id"],
        consent_version=row["consent_version"],
        asked_at=row["asked_at"],
        expires_at=row["expires_at"],
        faces=tuple(FaceToErase.model_validate(face) for face in row["faces"]),
        decided_by=row["decided_by"],
        confirmed_at=row["confirmed_at"],
        refused_at=row["refused_at"],
        completed_at=row["completed_at"],
        faces_erased=row["faces_erased"],
        signed=signed,
    )
