"""A sync of an event's photos as it is kept; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from face_embedder.layout import Folder
from shared.events import FaceSyncChangedV1, FaceSyncStatus

NOTHING_FOUND = "No photos found in S3"


@dataclass(frozen=True, slots=True)
class Task:
    """`folder` and `cursor` say how far the listing is."""

    task_id: UUID
    event_id: UUID
    s3_prefix: str
    status: FaceSyncStatus
    version: int
    folder: Folder
    cursor: str
    listing_failures: int
    total_found: int
    new_photos: int
    skipped: int
    processed: int
    failed: int
    no_face: int
    originals_missing: int
    previews_made: int
    message: str
    changed_at: datetime

    @property
    def is_done(self) -> bool:
        """Whether every photo that was found is done, and no more are looked for."""
        return self.status is FaceSyncStatus.INDEXING and self.processed + self.failed == self.new_photos

    def told(self) -> FaceSyncChangedV1:
        """What others hear of it."""
        return FaceSyncChangedV1(
            task_id=self.task_id,
            event_id=self.event_id,
            version=self.version,
            status=self.status,
            total_found=self.total_found,
            new_photos=self.new_photos,
            skipped=self.skipped,
            processed=self.processed,
            failed=self.failed,
            no_face=self.no_face,
            originals_missing=self.originals_missing,
            previews_made=self.previews_made,
            message=self.message,
            changed_at=self.changed_at,
        )


def last_words(task: Task) -> str:
    """The message of a task that is done."""
    if task.total_found == 0:
        return NOTHING_FOUND
    return f"Successfully synced {task.processed} new photos"
