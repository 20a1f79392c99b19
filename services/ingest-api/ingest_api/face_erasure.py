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
    """`proposed` waits for a decision, `confirmed` for face-embedder; `refused` and `completed` are final."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class FaceErasure:
    """`faces` are those that were found, then those that were confirmed, and none once they are gone or refused.

    `gallery_id` in place of `asked_by`: a guest with that link, for whom others decide. `consent_version` is of the
    text that the guest agreed to, None where there was none. What is not confirmed until `expires_at` is over.
    """

    id: UUID
    event_id: UUID
    asked_by: UUID | None
    gallery_id: UUID | None
    consent_version: int | None
    asked_at: datetime
    expires_at: datetime
    faces: tuple[FaceToErase, ...]
    decided_by: UUID | None
    confirmed_at: datetime | None
    refused_at: datetime | None
    completed_at: datetime | None
    faces_erased: int | None
    signed: SignedReceipt | None

    @property
    def status(self) -> ErasureStatus:
        if self.completed_at is not None:
            return ErasureStatus.COMPLETED
        if self.refused_at is not None:
            return ErasureStatus.REFUSED
        return ErasureStatus.PROPOSED if self.confirmed_at is None else ErasureStatus.CONFIRMED

    def faces_on(self, photo_ids: Collection[UUID]) -> tuple[FaceToErase, ...]:
        wanted = set(photo_ids)
        return tuple(face for face in self.faces if face.photo_id in wanted)
