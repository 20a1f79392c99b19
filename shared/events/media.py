"""Facts about media, told by ingest-api."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.events.envelope import Event
from shared.messaging.topics import MEDIA_EVENTS


class StorageStrategy(StrEnum):
    """Where a picture's files are kept."""

    LOCAL_ONLY = "local_only"
    LOCAL_FIRST = "local_first"
    S3_ONLY = "s3_only"
    BOTH = "both"


class MediaUploadedV1(Event, type="media.uploaded.v1", topic=MEDIA_EVENTS):
    """A picture was received whole and its processing was commanded."""

    media_id: UUID
    job_id: UUID
    revision: int
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    entity_type: str
    entity_id: str | None
    storage_strategy: StorageStrategy
    uploaded_by: UUID
    uploaded_at: datetime

    def key(self) -> str:
        return str(self.media_id)
