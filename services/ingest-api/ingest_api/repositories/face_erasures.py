"""Erasures of faces, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.erasure_receipt import SignedReceipt
from ingest_api.face_erasure import FaceErasure
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import FaceToErase

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "face_erasures.sql")


class FaceErasureRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, erasure_id: UUID, event_id: UUID, asked_by: UUID, faces: Sequence[FaceToErase]) -> None:
        await self._connection.execute(QUERIES["add"], erasure_id, event_id, asked_by, _rows(faces))

    async def get(self, erasure_id: UUID, kept_seconds: float) -> FaceErasure | None:
        """None where there is none, or nobody confirmed it for so long."""
        return _erasure(await self._connection.fetchrow(QUERIES["get"], erasure_id, kept_seconds))

    async def locked(self, erasure_id: UUID, kept_seconds: float) -> FaceErasure | None:
        """The same; nobody else confirms or completes it until the transaction ends."""
        return _erasure(await self._connection.fetchrow(QUERIES["lock"], erasure_id, kept_seconds))

    async def confirm(self, erasure_id: UUID, faces: Sequence[FaceToErase]) -> FaceErasure:
        erasure = _erasure(await self._connection.fetchrow(QUERIES["confirm"], erasure_id, _rows(faces)))
        assert erasure is not None, "the erasure's row is gone while it is locked"
        return erasure

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

    async def remove_unconfirmed(self, older_than_seconds: float) -> None:
        await self._connection.execute(QUERIES["remove_unconfirmed"], older_than_seconds)


def _rows(faces: Sequence[FaceToErase]) -> list[dict[str, Any]]:
    return [face.model_dump(mode="json") for face in faces]


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
        asked_at=row["asked_at"],
        faces=tuple(FaceToErase.model_validate(face) for face in row["faces"]),
        confirmed_at=row["confirmed_at"],
        completed_at=row["completed_at"],
        faces_erased=row["faces_erased"],
        signed=signed,
    )
