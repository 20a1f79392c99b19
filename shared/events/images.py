"""The command to render a picture, and the facts image-processor tells of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events.envelope import Event
from shared.events.media import StorageStrategy
from shared.messaging.topics import IMAGE_EVENTS, IMAGE_PROCESS, IMAGE_RERENDER, SYNC_BATCHES


class StorageStatus(StrEnum):
    """Where the stored files of a medium are; `pending`: on the disk, and their copy to the bucket is queued."""

    LOCAL_ONLY = "local_only"
    S3_ONLY = "s3_only"
    SYNCED = "synced"
    PENDING = "pending"
    MISSING = "missing"


class ProcessImageV1(Event, type="image.process.v1", topic=IMAGE_PROCESS):
    """Render every variant of one staged upload and store them by strategy."""

    job_id: UUID
    media_id: UUID
    revision: int
    staging_key: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    entity_type: str
    entity_id: str | None = None
    storage_strategy: StorageStrategy
    requested_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class StoredFile(BaseModel):
    """One file of a medium, at the same key on disk and in the bucket."""

    model_config = ConfigDict(frozen=True)

    name: str
    key: str
    mime_type: str
    size_bytes: int
    sha256: str
    width_px: int
    height_px: int


class RerenderImageV1(Event, type="image.rerender.v1", topic=IMAGE_RERENDER):
    """Render a further revision of a stored picture from its original; what is there stays as it is.

    Answered as an upload is. It has a topic of its own, so that any number of these is never in the way of uploads.
    """

    job_id: UUID
    media_id: UUID
    revision: int = Field(description="the new one; no file of it exists yet")
    original: StoredFile = Field(description="as the catalogue knows it: on the disk or in the bucket")
    entity_type: str
    settings_version: int = Field(ge=0, description="of the entity type's settings, at least; 0 while nobody set any")
    storage_strategy: StorageStrategy = Field(description="where the medium's files are to be this time")
    requested_at: datetime
    parent_job_id: UUID | None = Field(
        default=None, description="of the selection with which it goes: once that is cancelled this is not begun"
    )

    def key(self) -> str:
        return str(self.media_id)


class ImageProcessedV1(Event, type="image.processed.v1", topic=IMAGE_EVENTS):
    """Every variant is rendered and stored where the strategy wants it first."""

    job_id: UUID
    media_id: UUID
    revision: int
    width_px: int
    height_px: int
    mime_type: str
    sha256: str
    original: StoredFile | None
    variants: tuple[StoredFile, ...]
    placeholder: str
    storage_status: StorageStatus
    on_disk: bool
    in_bucket: bool
    render_seconds: float
    processed_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class ImageFailedV1(Event, type="image.failed.v1", topic=IMAGE_EVENTS):
    """The picture will not be rendered: refused, or every attempt failed."""

    job_id: UUID
    media_id: UUID
    revision: int
    code: str
    detail: str
    attempts: int
    failed_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class ImageRetryScheduledV1(Event, type="image.retry-scheduled.v1", topic=IMAGE_EVENTS):
    """An attempt failed and another one follows."""

    job_id: UUID
    media_id: UUID
    revision: int
    code: str
    detail: str
    attempts: int
    next_attempt_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class ImageCancelledV1(Event, type="image.cancelled.v1", topic=IMAGE_EVENTS):
    """A stored picture will not be rendered anew: its selection was cancelled before it was begun."""

    job_id: UUID
    media_id: UUID
    revision: int
    cancelled_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class ImageProgressV1(Event, type="image.progress.v1", topic=IMAGE_EVENTS):
    """How far a picture is. Published directly, so it may be lost; the outcome never is."""

    job_id: UUID
    media_id: UUID
    progress: Literal[10, 50, 80]
    attempt: int

    def key(self) -> str:
        return str(self.media_id)


class SyncMediaV1(Event, type="sync.media.v1", topic=SYNC_BATCHES):
    """Copy the stored files of one medium from local disk to the bucket."""

    media_id: UUID
    revision: int
    files: tuple[StoredFile, ...]
    requested_at: datetime

    def key(self) -> str:
        return str(self.media_id)
