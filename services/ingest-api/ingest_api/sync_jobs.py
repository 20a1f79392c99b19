"""What is known of storage jobs, and how callers read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from shared.events import SyncJobStatus, SyncOperation

RESULTS_KEPT = 1000
"""Per job that somebody asked for, its children's together."""
RESULTS_SHOWN = 500
"""In one answer, whatever number of jobs it tells of."""

Profile = Literal["default", "large"]
"""How large jobs are split; the settings say what each means."""

FINAL = frozenset({SyncJobStatus.COMPLETED, SyncJobStatus.FAILED, SyncJobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class SyncJob:
    """One job. A parent's counts are the sums of its children's; processed and failed never exceed the total."""

    id: UUID
    parent_job_id: UUID | None
    is_parent: bool
    batch_index: int | None
    batch_size: int | None
    operation: SyncOperation
    status: SyncJobStatus
    total_files: int
    processed_files: int
    failed_files: int
    total_bytes: int
    moved_bytes: int
    error: str | None
    retry_of: UUID | None
    requested_by: UUID
    delete_source: bool
    rename_prefix: tuple[str, str] | None
    profile: Profile
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    children: tuple[SyncJob, ...] = ()

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL

    @property
    def ended_files(self) -> int:
        return self.processed_files + self.failed_files


@dataclass(frozen=True, slots=True)
class KeptResult:
    """What became of one medium of a job; `job_id` is the child that worked on it."""

    job_id: UUID
    media_id: UUID
    status: str
    bytes_moved: int
    code: str | None
    detail: str | None


def assembled(rows: Iterable[SyncJob]) -> list[SyncJob]:
    """Jobs without a parent among the rows, newest first, each with its children by batch index."""
    by_id = {job.id: job for job in rows}
    children: dict[UUID, list[SyncJob]] = {}
    roots: list[SyncJob] = []
    for job in by_id.values():
        if job.parent_job_id in by_id:
            children.setdefault(job.parent_job_id, []).append(_counted(job))
        else:
            roots.append(job)
    return [with_children(root, children.get(root.id, ())) for root in sorted(roots, key=lambda job: job.id)[::-1]]


def with_children(job: SyncJob, children: Sequence[SyncJob]) -> SyncJob:
    """The job with its children, counted as they are.

    Facts of parent and children may be of different moments. The sums are of the children alone, and the total is the
    larger of what the parent said and what the children hold, so the parts never exceed it.
    """
    if not job.is_parent:
        return _counted(job)
    in_order = sorted(children, key=lambda child: (child.batch_index is None, child.batch_index or 0, child.id))
    return replace(
        job,
        total_files=max(job.total_files, sum(child.total_files for child in in_order)),
        processed_files=sum(child.processed_files for child in in_order),
        failed_files=sum(child.failed_files for child in in_order),
        total_bytes=max(job.total_bytes, sum(child.total_bytes for child in in_order)),
        moved_bytes=sum(child.moved_bytes for child in in_order),
        children=tuple(in_order),
    )


def _counted(job: SyncJob) -> SyncJob:
    return replace(job, total_files=max(job.total_files, job.ended_files))


def bytes_per_second(job: SyncJob, now: datetime) -> int | None:
    """From the first file's begin to the job's end, or to now; None before."""
    elapsed_seconds = _elapsed_seconds(job, now)
    return None if elapsed_seconds is None else round(job.moved_bytes / elapsed_seconds)


def eta_seconds(job: SyncJob, now: datetime) -> int | None:
    """How long the remaining files take at the pace of those that ended; None while there is no pace, or no need."""
    elapsed_seconds = _elapsed_seconds(job, now)
    if elapsed_seconds is None or not job.ended_files or job.is_finished:
        return None
    return round(elapsed_seconds * (job.total_files - job.ended_files) / job.ended_files)


def _elapsed_seconds(job: SyncJob, now: datetime) -> float | None:
    if job.started_at is None:
        return None
    # Clocks of two machines may disagree, and the first files may take no time.
    return max(0.001, ((job.finished_at or now) - job.started_at).total_seconds())


def progress_notice(job: SyncJob) -> Mapping[str, Any]:
    """What the requester of a job is told over the WebSocket."""
    return {
        "operation": job.operation.value,
        "status": job.status.value,
        "totalFiles": job.total_files,
        "processedFiles": job.processed_files,
        "failedFiles": job.failed_files,
        "totalBytes": job.total_bytes,
        "movedBytes": job.moved_bytes,
        "error": job.error,
    }
