"""What is known of storage jobs, and how callers read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from shared.events import SyncJobStatus, SyncOperation

CHILDREN_LISTED = 50
"""Of each job in a list of jobs; `child_count` says how many there are."""
CHILDREN_SHOWN = 200
"""Of a job that is read by itself."""
RESULTS_KEPT = 1000
"""Per job that somebody asked for, its children's together."""
RESULTS_SHOWN = 500
"""In one answer, whatever number of jobs it tells of."""

Profile = Literal["default", "large"]
"""How large jobs are split; the settings say what each means."""

FINAL = frozenset({SyncJobStatus.COMPLETED, SyncJobStatus.FAILED, SyncJobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class ChildSums:
    """Of all children of a job."""

    count: int
    total_files: int
    processed_files: int
    failed_files: int
    total_bytes: int
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class SyncJob:
    """One job. A parent's counts are the sums of its children's; processed and failed never exceed the total.

    `children` are some of them, by batch index; `child_count` counts all.
    """

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
    child_count: int = 0
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


def counted(job: SyncJob, sums: ChildSums) -> SyncJob:
    """The job with the counts that callers read.

    Facts of parent and children may be of different moments. The sums are of the children alone, and the total is the
    larger of what the parent said and what the children hold, so the parts never exceed it.
    """
    if not job.is_parent:
        return replace(job, total_files=max(job.total_files, job.ended_files))
    return replace(
        job,
        total_files=max(job.total_files, sums.total_files),
        processed_files=sums.processed_files,
        failed_files=sums.failed_files,
        total_bytes=max(job.total_bytes, sums.total_bytes),
        moved_bytes=sums.moved_bytes,
        child_count=sums.count,
    )


def assembled(jobs: Iterable[SyncJob]) -> list[SyncJob]:
    """Those without a parent among them, newest first, each with its children by batch index."""
    by_id = {job.id: job for job in jobs}
    children: dict[UUID, list[SyncJob]] = {}
    roots: list[SyncJob] = []
    for job in by_id.values():
        if job.parent_job_id in by_id:
            children.setdefault(job.parent_job_id, []).append(job)
        else:
            roots.append(job)
    return [_with_children(root, children.get(root.id, ())) for root in sorted(roots, key=lambda job: job.id)[::-1]]


def _with_children(job: SyncJob, children: Sequence[SyncJob]) -> SyncJob:
    in_order = sorted(children, key=lambda child: (child.batch_index or 0, child.id))
    return replace(job, children=tuple(in_order)) if job.is_parent else job


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
