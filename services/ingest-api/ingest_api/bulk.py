"""What a bulk job is: files in the order of their arrival, or media of a selection, and how they fare together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

    `items` is how many of the `selected` have been looked at, `begun` how many of those are worked on or have ended.
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

    @property
    def total(self) -> int:
        """What left the selection before it was looked at is no part of it in the end."""
        return self.items if self.is_planned else max(self.selected, self.items)

    @property
    def has_ended(self) -> bool:
        return self.is_planned and self.completed + self.failed == self.items

    @property
    def progress(self) -> int:
        """The share of files that have an outcome, in percent, rounded down: 100 is reached with the last one."""
        if self.has_ended:
            return 100
        return min(99, 100 * (self.completed + self.failed) // max(1, self.total))

    @property
    def status(self) -> JobStatus:
        """`failed` only where no picture came out: one that fails does so alone."""
        if self.has_ended:
            return "completed" if self.completed else "failed"
        return "active" if self.begun or (self.items and self.kind in DONE_AT_ONCE) else "waiting"

    def record(self) -> dict[str, Any]:
        """As its caller reads it: a job's fields, and the counts and children of a parent."""
        counts = {"total": self.total, "completed": self.completed, "failed": self.failed}
        status = self.status
        error = NONE_CHANGED if self.kind in DONE_AT_ONCE else NO_PICTURE
        return {
            "jobId": self.id,
            "isParent": True,
            "status": status,
            "progress": self.progress,
            "result": counts if status == "completed" else None,
            "error": error if status == "failed" else None,
            "attempts": self.attempts,
            **counts,
            "children": [child.record() for child in self.children],
        }
