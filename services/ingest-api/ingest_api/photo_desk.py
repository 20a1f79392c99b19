"""What calls about photographed events need, as one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ingest_api.face_syncs import FaceSyncs
from ingest_api.photo_events import PhotoEvents
from ingest_api.settings import IngestSettings
from shared.db.unit_of_work import UnitOfWork
from shared.settings_feed import SettingsFeed


@dataclass(frozen=True, slots=True)
class PhotoDesk:
    events: PhotoEvents
    syncs: FaceSyncs

    @classmethod
    def of(cls, unit_of_work: UnitOfWork, feed: SettingsFeed, settings: IngestSettings) -> Self:
        return cls(
            PhotoEvents(unit_of_work),
            FaceSyncs(unit_of_work, feed, silence_seconds=settings.face_sync_silence_seconds),
        )
