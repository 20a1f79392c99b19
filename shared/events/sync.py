"""Commands that move stored files between disk and bucket, and the facts s3-syncer tells of them.

A "file" of a job is one medium with everything stored of it: its original and its variants move together, so that a
medium is never half here and half there.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.events.envelope import Event
from shared.events.images import StorageStatus, StoredFile
from shared.messaging.topics import SYNC_BATCHES, SYNC_EVENTS, SYNC_JOBS

MAX_MEDIA_IDS = 10_000
"""Most ids that one call may name; larger selections are made by filter."""


class SyncOperation(StrEnum):
    """What a job does to each of its files."""

    UPLOAD_TO_S3 = "upload_to_s3"
    DOWNLOAD_FROM_S3 = "download_from_s3"
    DELETE_S3 = "delete_s3"
    DELETE_LOCAL = "delete_local"
    HARD_DELETE = "hard_delete"
    RENAME = "rename"


class SyncJobStatus(StrEnum):
    """`waiting` until its first file is worked on; the last three are final."""

    WAITING = "waiting"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class MediaFilter(BaseModel):
    """A selection of media by what they are; the fields that are given all have to hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity_type: str | None = None
    entity_id: str | None = None
    storage_status: StorageStatus | None = None
    everything: Literal[True] | None = None
    """Says aloud that an otherwise empty filter is meant."""

    @model_validator(mode="after")
    def _selects_something(self) -> MediaFilter:
        if not self.model_dump(exclude_none=True):
            raise ValueError("an empty filter selects nothing; say everything: true to mean all media")
        return self


class SelectSyncMediaV1(Event, type="sync.select-media.v1", topic=SYNC_JOBS):
    """A part of a selection that is too large for one command: told before the job's start, under the same key.

    Told twice it is the same part.
    """

    job_id: UUID
    media_ids: tuple[UUID, ...] = Field(max_length=MAX_MEDIA_IDS)

    def key(self) -> str:
        return str(self.job_id)


class StartSyncJobV1(Event, type="sync.start-job.v1", topic=SYNC_JOBS):
    """Plan a job: its files are selected, split into children and worked on.

    `retry_of` makes a job of another one's failed files; then there is no selection. A retry carries out what the
    other job was asked for: its operation, `delete_source` and prefix are the sender's to repeat.

    `selected_files` is how many media `sync.select-media.v1` has selected for it; then there is no other selection.
    `is_cancelled`: somebody cancelled it while they were. It is told as cancelled, and nothing is done.
    """

    job_id: UUID
    operation: SyncOperation
    media_ids: tuple[UUID, ...] | None = None
    filter: MediaFilter | None = None
    retry_of: UUID | None = None
    selected_files: int | None = Field(default=None, ge=0)
    is_cancelled: bool = False
    delete_source: bool = False
    rename_prefix: tuple[str, str] | None = Field(
        default=None, description="rename only: keys that begin with the first get the second instead"
    )
    min_files_for_batching: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    requested_by: UUID
    requested_at: datetime

    def key(self) -> str:
        return str(self.job_id)


class CancelSyncJobV1(Event, type="sync.cancel-job.v1", topic=SYNC_JOBS):
    """Work on no further file of a job; what is done stays done."""

    job_id: UUID
    requested_by: UUID
    requested_at: datetime

    def key(self) -> str:
        return str(self.job_id)


class RunSyncBatchV1(Event, type="sync.run-batch.v1", topic=SYNC_BATCHES):
    """Work on the files of one child job, or of a job that is too small to have children."""

    job_id: UUID

    def key(self) -> str:
        return str(self.job_id)


class SyncResult(BaseModel):
    """What became of one file of a job."""

    model_config = ConfigDict(frozen=True)

    media_id: UUID
    status: Literal["done", "skipped", "failed"]
    bytes_moved: int
    code: str | None = None
    detail: str | None = None


class SyncJobChangedV1(Event, type="sync.job-changed.v1", topic=SYNC_EVENTS):
    """How a job stands; keyed by the parent, so that a job's and its children's states stay in order.

    `version` counts from 1 per job: a lower one that comes later is passed over. Counts never exceed the total.
    `recent_results` are the results since the last such fact.
    """

    job_id: UUID
    parent_job_id: UUID | None
    is_parent: bool
    batch_index: int | None
    batch_size: int | None
    version: int
    operation: SyncOperation
    status: SyncJobStatus
    total_files: int
    processed_files: int
    failed_files: int
    total_bytes: int
    moved_bytes: int
    error: str | None = None
    retry_of: UUID | None = None
    requested_by: UUID
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    recent_results: tuple[SyncResult, ...] = ()

    def key(self) -> str:
        return str(self.parent_job_id or self.job_id)


class MediaStorageChangedV1(Event, type="sync.media-storage-changed.v1", topic=SYNC_EVENTS):
    """Where a medium's files are now. `files` are all of them under their present keys; empty when none is left."""

    media_id: UUID
    revision: int
    on_disk: bool
    in_bucket: bool
    storage_status: StorageStatus
    files: tuple[StoredFile, ...]
    changed_at: datetime

    def key(self) -> str:
        return str(self.media_id)
