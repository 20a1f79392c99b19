"""What each service answers when a medium goes for good, and the command that has its files removed."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events.envelope import Event
from shared.events.files import FilePlace
from shared.messaging.topics import IMAGE_EVENTS, RECONCILE_EVENTS, SYNC_BATCHES, SYNC_EVENTS

MAX_LISTED_FILES = 500
"""Most files that a fact names one by one; of more it has the sums."""


class ImageMediaForgottenV1(Event, type="image.media-forgotten.v1", topic=IMAGE_EVENTS):
    """image-processor has forgotten a medium: from now on each of its renderings ends as discarded."""

    deletion_id: UUID
    media_id: UUID
    records: int = Field(description="rows that were removed")
    forgotten_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class ImageDiscardedV1(Event, type="image.discarded.v1", topic=IMAGE_EVENTS):
    """A rendering of a medium that goes for good was refused or came too late; files of it may lie in the stores."""

    job_id: UUID
    media_id: UUID
    revision: int
    discarded_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class ReconcileMediaForgottenV1(Event, type="reconcile.media-forgotten.v1", topic=RECONCILE_EVENTS):
    """reconciler has forgotten a medium, and plans no repair of its files any more."""

    deletion_id: UUID
    media_id: UUID
    records: int = Field(description="rows that were removed")
    forgotten_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class RemoveMediaFilesV1(Event, type="sync.remove-media-files.v1", topic=SYNC_BATCHES):
    """Remove every file of a medium from the disk, from the bucket unless that is kept, and from staging.

    Sent once nobody renders it any more. What is not there is removed already; what can't be removed is tried again for
    as long as it takes.
    """

    deletion_id: UUID
    media_id: UUID
    keys: tuple[str, ...] = Field(description="that the catalogue names, wherever they lie")
    staging_keys: tuple[str, ...]
    keeps_bucket: bool
    requested_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class FileOfMedium(BaseModel):
    """One stored file that was removed, or kept."""

    model_config = ConfigDict(frozen=True)

    place: FilePlace
    key: str
    size_bytes: int


class MediaRemovalDelayedV1(Event, type="sync.media-removal-delayed.v1", topic=SYNC_EVENTS):
    """A store lets files of a medium not go, or is away: it is tried again. Told once per reason."""

    deletion_id: UUID
    media_id: UUID
    place: FilePlace
    code: str
    detail: str
    attempts: int
    next_attempt_at: datetime
    delayed_at: datetime

    def key(self) -> str:
        return str(self.media_id)


class MediaFilesRemovedV1(Event, type="sync.media-files-removed.v1", topic=SYNC_EVENTS):
    """s3-syncer has removed a medium's files and forgotten it: each place was listed afterwards and held no more."""

    deletion_id: UUID
    media_id: UUID
    removed: tuple[FileOfMedium, ...] = Field(max_length=MAX_LISTED_FILES)
    removed_files: int
    removed_bytes: int
    kept: tuple[FileOfMedium, ...] = Field(max_length=MAX_LISTED_FILES)
    kept_files: int
    kept_bytes: int
    kept_because: str | None = Field(default=None, description="a code, where anything was kept")
    records: int = Field(description="rows that were removed")
    removed_at: datetime

    def key(self) -> str:
        return str(self.media_id)
