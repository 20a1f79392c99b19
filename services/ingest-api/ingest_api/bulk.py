"""What a bulk job is: files in the order of their arrival, or media of a selection, and how they fare together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from ingest_api.catalogue import JobStatus, Upload
from ingest_api.zip_stream import EntryRefusal

BulkKind = Literal["upload", "rerender", "delete", "hard_delete", "restore"]
DONE_AT_ONCE: Final = frozenset({"delete", "hard_delete", "restore"})
"""Of these an item is there when something was done for it."""
NO_PICTURE: Final = {"code": "no_picture", "detail": "No picture came out; the children tell why."}
NONE_CHANGED: Final = {"code": "none_changed", "detail": "No medium was changed; the children tell why."}


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One file: an upload, or why it was refused."""

    filename: str
    upload: Upload | None
    refusal: EntryRefusal | None

    def entry(self) -> dict[str, Any]:
        """As its caller reads it."""
        if self.upload is None:
            assert self.refusal is not None
            return {"filename": self.filename, "error": {"code": self.refusal.code, "detail": self.refusal.detail}}
        return {"jobId": self.upload.job_id, "mediaId": self.upload.media_id, "filename": self.filename}

    def row(self) -> dict[str, str | None]:
        """As its table keeps it."""
        return {
            "filename": self.filename,
            "job_id": str(self.upload.job_id) if self.upload else None,
            "media_id": str(self.upload.media_id) if self.upload else None,
            "error_code": self.refusal.code if self.refusal else None,
            "error_detail": self.refusal.detail if self.refusal else None,
        }


@dataclass(frozen=True, slots=True)
class BulkChild:
    """How one file fares. `job_id` and `media_id` are None where it was refused."""

    filename: str
    job_id: UUID | None
    media_id: UUID | None
    status: JobStatus
    progress: int
    attempts: int
    error_code: str | None
    error_detail: str | None

    def record(self) -> dict[str, Any]:
        failed = self.status == "failed"
        return {
            "jobId": self.job_id,
            "mediaId": self.media_id,
            "filename": self.filename,
            "status": self.status,
            "progress": self.progress,
            "error": {"code": self.error_code, "detail": self.error_detail} if failed else None,
        }


@dataclass(frozen=True, slots=True)
class BulkJob:
    """The parent of many jobs; all that it tells is counted from them.

    `items` is how many of the `selected` have been looked at, `begun` how many of those are worked on or have ended,
    `queued` how many wait for another service and `not_begun` how many that service passed over, because the parent was
    cancelled. Once it `is_planned` no further one is looked at, be it that there is none or that it was cancelled.
    `children` are all of them, or of a large parent some, those that failed first.
    """

    id: UUID
    kind: BulkKind
    is_planned: bool
    selected: int
    items: int
    completed: int
    failed: int
    begun: int
    attempts: int
    children: Sequence[BulkChild]
    cancelled_at: datetime | None = None
    queued: int = 0
    not_begun: int = 0

    @property
    def is_cancellable(self) -> bool:
        """Whether there is something left that was not begun, as far as is known here."""
        return not self.is_planned or (self.queued > 0 and self.cancelled_at is None)

    @property
    def is_cut_short(self) -> bool:
        """Cancelled before everything that was selected had been begun."""
        return self.cancelled > 0

    @property
    def cancelled(self) -> int:
        """How many media stay as they were because it was cancelled, as far as is known by now."""
        return 0 if self.cancelled_at is None else max(0, self.selected - self.items) + self.not_begun

    @property
    def total(self) -> int:
        """What left the selection before it was looked at is no part of it in the end; what was cancelled is."""
        return self.items if self.is_planned and not self.is_cut_short else max(self.selected, self.items)

    @property
    def has_ended(self) -> bool:
        return self.is_planned and self.completed + self.failed + self.not_begun == self.items

    @property
    def progress(self) -> int:
        """The share of files that have an outcome, in percent, rounded down: 100 is reached with the last one."""
        if self.has_ended and not self.is_cut_short:
            return 100
        return min(99, 100 * (self.completed + self.failed) // max(1, self.total))

    @property
    def status(self) -> JobStatus:
        """`failed` only where no picture came out: one that fails does so alone."""
        if self.has_ended:
            if self.is_cut_short:
                return "cancelled"
            return "completed" if self.completed else "failed"
        return "active" if self.begun or (self.items and self.kind in DONE_AT_ONCE) else "waiting"

    def record(self) -> dict[str, Any]:
        """As its caller reads it: a job's fields, and the counts and children of a parent."""
        counts = {"total": self.total, "completed": self.completed, "failed": self.failed}
        status = self.status
        return {
            "jobId": self.id,
            "isParent": True,
            "status": status,
            "progress": self.progress,
            "result": counts if status == "completed" else None,
            "error": self._error(status),
            "attempts": self.attempts,
            **counts,
            "cancelled": self.cancelled,
            "isCancellable": self.is_cancellable,
            "cancelledAt": self.cancelled_at,
            "children": [child.record() for child in self.children],
        }

    def notice(self) -> dict[str, Any]:
        """What the requester is told over the WebSocket."""
        status = self.status
        return {
            "status": status,
            "progress": self.progress,
            "total": self.total,
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "error": self._error(status),
        }

    def _error(self, status: JobStatus) -> dict[str, str] | None:
        if status == "cancelled":
            return {"code": "cancelled", "detail": cancelled_detail(self)}
        if status == "failed":
            return NONE_CHANGED if self.kind in DONE_AT_ONCE else NO_PICTURE
        return None


def cancelled_detail(job: BulkJob) -> str:
    """What becomes of a job that was cancelled."""
    if not job.has_ended and job.kind == "hard_delete":
        return f"Of {job.total} media {job.items} go for good already, no other does: the job ends when they are gone."
    if not job.has_ended:
        return f"Of {job.total} pictures no other is begun: the job ends when those are done that are being rendered."
    if not job.is_cut_short:
        return "Everything had been begun before it was cancelled."
    done = job.completed + job.failed
    return f"Cancelled: {done} of {job.total} media had been worked on and stay so, the others are as they were."
