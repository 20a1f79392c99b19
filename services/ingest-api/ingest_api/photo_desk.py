"""What calls about photographed events need, as one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ingest_api.photo_events import PhotoEvents
from shared.db.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class PhotoDesk:
    events: PhotoEvents

    @classmethod
    def of(cls, unit_of_work: UnitOfWork) -> Self:
        return cls(PhotoEvents(unit_of_work))
