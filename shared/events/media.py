"""Facts about media, told by ingest-api."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

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


class DeletionReason(StrEnum):
    """Why a medium is deleted for good."""

    REQUESTED = "requested"
    RETENTION = "retention"


class MediaDeletedV1(Event, type="media.deleted.v1", topic=MEDIA_EVENTS):
    """A medium was deleted softly: it is hidden, its files stay, and it can be restored.

    `version` grows with every deletion and restoration of the medium: a lower one that comes later is passed over.
    """

    media_id: UUID
    version: int = Field(ge=1)
    revision: int
    entity_type: str
    size_bytes: int = Field(description="of all files that the catalogue names, each counted once")
    files: int = Field(description="how many those are")
    deleted_at: datetime
    deleted_by: UUID | None

    def key(self) -> str:
        return str(self.media_id)


class MediaRestoredV1(Event, type="media.restored.v1", topic=MEDIA_EVENTS):
    """A medium that was deleted softly is back."""

    media_id: UUID
    version: int = Field(ge=1)
    restored_at: datetime
    restored_by: UUID

    def key(self) -> str:
        return str(self.media_id)


class MediaDeletionBegunV1(Event, type="media.deletion-begun.v1", topic=MEDIA_EVENTS):
    """A medium goes for good, and nothing brings it back: whoever holds something of it forgets that and says so."""

    deletion_id: UUID
    media_id: UUID
    version: int = Field(ge=1)
    revision: int
    keeps_bucket: bool = Field(description="what the bucket holds stays there")
    reason: DeletionReason
    purge_id: UUID | None = None
    begun_by: UUID | None
    begun_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class MediaDeletionCompletedV1(Event, type="media.deletion-completed.v1", topic=MEDIA_EVENTS):
    """Everybody has answered, and the record is gone: of the medium nothing is left but what was kept."""

    deletion_id: UUID
    media_id: UUID
    version: int = Field(ge=1)
    removed_files: int
    removed_bytes: int
    kept_files: int
    kept_bytes: int
    purge_id: UUID | None = None
    completed_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class MediaPurgeTakenV1(Event, type="media.purge-taken.v1", topic=MEDIA_EVENTS):
    """Which deletions of a purge have begun, with its `purge_id`; the other media were restored, or are gone."""

    purge_id: UUID
    run_id: UUID
    begun: tuple[UUID, ...] = Field(description="media ids")
    passed_over: tuple[UUID, ...] = Field(description="media ids")
    taken_at: datetime

    def key(self) -> str:
        return str(self.run_id)
