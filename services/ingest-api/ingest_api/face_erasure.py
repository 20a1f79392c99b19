"""What an erasure of faces is; pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ingest_api.erasure_receipt import SignedReceipt
from shared.events import FaceToErase


class ErasureStatus(StrEnum):
    """`proposed` waits for who asked, `confirmed` for face-embedder; `completed` is final."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class FaceErasure:
    """`faces` are those that were found, then those that were confirmed, and none once they are gone."""

    id: UUID
    event_id: UUID
    asked_by: UUID
    asked_at: datetime
    faces: tuple[FaceToErase, ...]
    confirmed_at: datetime | None
    completed_at: datetime | None
    faces_erased: int | None
    signed: SignedReceipt | None

    @property
    def status(self) -> ErasureStatus:
        if self.completed_at is not None:
            return ErasureStatus.COMPLETED
        return ErasureStatus.PROPOSED if self.confirmed_at is None else ErasureStatus.CONFIRMED

    def faces_on(self, photo_ids: Collection[UUID]) -> tuple[FaceToErase, ...]:
        wanted = set(photo_ids)
        return tuple(face for face in self.faces if face.photo_id in wanted)
