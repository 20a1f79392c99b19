"""What the service knows of jobs, media and results: values that travel between its modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from s3_syncer.planning import storage_status
from shared.events import (
    MediaStorageChangedV1,
    StoredFile,
    SyncJobChangedV1,
    SyncJobStatus,
    SyncOperation,
    SyncResult,
)

StoreName = Literal["disk", "s3"]


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`."""

    job_id: UUID
    parent_job_id: UUID | None
    is_parent: bool
    batch_index: int | None
    batch_size: int | None
    version: int
    operation: SyncOperation
    status: SyncJobStatus
    delete_source: bool
    rename_prefix: tuple[str, str] | None
    total_files: int
    processed_files: int
    failed_files: int
    total_bytes: int
    moved_bytes: int
    error: str | None
    retry_of: UUID | None
    requested_by: UUID
    cancel_requested: bool
    planned: bool
    plan_cursor: UUID | None
    planned_files: int
    children: int
    children_ended: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def changed(self, results: Sequence[SyncResult] = ()) -> SyncJobChangedV1:
        """The fact that tells how the job stands."""
        return SyncJobChangedV1(
            job_id=self.job_id,
            parent_job_id=self.parent_job_id,
            is_parent=self.is_parent,
            batch_index=self.batch_index,
            batch_size=self.batch_size,
            version=self.version,
            operation=self.operation,
            status=self.status,
            total_files=self.total_files,
            processed_files=self.processed_files,
            failed_files=self.failed_files,
            total_bytes=self.total_bytes,
            moved_bytes=self.moved_bytes,
            error=self.error,
            retry_of=self.retry_of,
            requested_by=self.requested_by,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            recent_results=tuple(results),
        )


@dataclass(frozen=True, slots=True)
class Medium:
    """Where one medium's files are, as far as is known."""

    media_id: UUID
    revision: int
    files: tuple[StoredFile, ...]
    on_disk: bool
    in_bucket: bool

    def placed(self, **changes: object) -> Medium:
        return replace(self, **changes)  # type: ignore[arg-type]

    def storage_changed(self, changed_at: datetime, *, copy_waits: bool = False) -> MediaStorageChangedV1:
        """The fact that tells where it is; `changed_at` is PostgreSQL's clock, read under the lock of the medium's row.

        Readers go by it, and facts of one medium come from several replicas, whose own clocks differ.
        """
        return MediaStorageChangedV1(
            media_id=self.media_id,
            revision=self.revision,
            on_disk=self.on_disk,
            in_bucket=self.in_bucket,
            storage_status=storage_status(on_disk=self.on_disk, in_bucket=self.in_bucket, copy_waits=copy_waits),
            files=self.files,
            changed_at=changed_at,
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that may go once the record that no longer names it is committed."""

    store: StoreName
    key: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one medium: where its files are now, and what may be removed then."""

    before: Medium
    after: Medium
    bytes_moved: int = 0
    removals: tuple[Removal, ...] = ()
    code: str | None = None
    detail: str | None = None

    @property
    def result(self) -> SyncResult:
        status: Literal["done", "skipped", "failed"] = "skipped"
        if self.code is not None:
            status = "failed"
        elif self.after != self.before or self.bytes_moved or self.removals:
            status = "done"
        return SyncResult(
            media_id=self.before.media_id,
            status=status,
            bytes_moved=self.bytes_moved,
            code=self.code,
            detail=self.detail,
        )

    @classmethod
    def failed(cls, medium: Medium, code: str, detail: str) -> Outcome:
        return cls(medium, medium, code=code, detail=detail)
