"""A sync of an event's photos as callers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ingest_api.problem_details import FieldError, Problem
from shared.events import FaceSyncStatus
from shared.storage.errors import InvalidKey
from shared.storage.keys import validated

FINAL = frozenset({FaceSyncStatus.COMPLETED, FaceSyncStatus.FAILED})


@dataclass(frozen=True, slots=True)
class FaceSync:
    """Counts are of photos, as `shared.events.FaceSyncChangedV1` tells of them; `number` is that of the event."""

    id: UUID
    event_id: UUID
    number: int
    s3_prefix: str
    status: FaceSyncStatus
    total_found: int
    new_photos: int
    skipped: int
    processed: int
    failed: int
    no_face: int
    originals_missing: int
    previews_made: int
    message: str
    requested_at: datetime
    indexing_since: datetime | None
    finished_at: datetime | None
    watchers: tuple[UUID, ...]

    def eta_seconds(self, now: datetime) -> int | None:
        """How long the remaining photos take at the pace of those that ended; None without a pace, or a need of one."""
        ended = self.processed + self.failed
        if self.status is not FaceSyncStatus.INDEXING or self.indexing_since is None or not ended:
            return None
        # Clocks of two machines may disagree.
        elapsed_seconds = max(0.001, (now - self.indexing_since).total_seconds())
        return round(elapsed_seconds * max(0, self.new_photos - ended) / ended)

    def notice(self, now: datetime) -> Mapping[str, Any]:
        """What those who asked for it are told over the WebSocket."""
        return {
            "task_id": str(self.id),
            "event_uuid": str(self.event_id),
            "event_id": self.number,
            "status": self.status.value,
            "total_found": self.total_found,
            "new_photos": self.new_photos,
            "skipped": self.skipped,
            "processed": self.processed,
            "failed": self.failed,
            "no_face": self.no_face,
            "eta": self.eta_seconds(now),
            "message": self.message,
        }


def checked_prefix(s3_prefix: str, previews_prefix: str) -> str:
    """The prefix to list: the folder of an event's previews, or the beginnings of names in it.

    Raises Problem 422 for one that leads elsewhere.
    """
    if s3_prefix == previews_prefix.removesuffix("/"):
        return previews_prefix
    try:
        is_inside = s3_prefix.startswith(previews_prefix) and bool(validated(s3_prefix.removesuffix("/")))
    except InvalidKey:
        is_inside = False
    if not is_inside:
        detail = f"s3_prefix must be {previews_prefix} or begin with it, and lead nowhere else."
        raise Problem(422, "invalid_request", detail, errors=[FieldError("s3_prefix", f"is not in {previews_prefix}")])
    return s3_prefix
