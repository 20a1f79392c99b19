"""A storage job as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ingest_api.sync_jobs import SyncJob, bytes_per_second, eta_seconds
from shared.events import SyncJobStatus

CHIP_KINDS: Final = {
    SyncJobStatus.WAITING: "busy",
    SyncJobStatus.ACTIVE: "accent",
    SyncJobStatus.COMPLETED: "good",
    SyncJobStatus.FAILED: "bad",
    SyncJobStatus.CANCELLED: "",
}


@dataclass(frozen=True, slots=True)
class JobView:
    """`job` with what is reckoned from it at one moment; `children` are those of its batches that are shown."""

    job: SyncJob
    bytes_per_second: int | None
    eta_seconds: int | None
    children: tuple[JobView, ...]

    @classmethod
    def of(cls, job: SyncJob, now: datetime) -> JobView:
        children = tuple(cls.of(child, now) for child in job.children)
        return cls(job, bytes_per_second(job, now), eta_seconds(job, now), children)

    @property
    def share_percent(self) -> int:
        """Of the files that ended, whatever their outcome; an empty job that ended is whole."""
        if not self.job.total_files:
            return 100 if self.job.is_finished else 0
        return 100 * self.job.ended_files // self.job.total_files

    @property
    def batch_count(self) -> int:
        return self.job.child_count

    @property
    def chip_kind(self) -> str:
        return CHIP_KINDS[self.job.status]

    @property
    def progress_kind(self) -> str:
        if self.job.failed_files:
            return "bad"
        return "good" if self.job.status is SyncJobStatus.COMPLETED else ""

    @property
    def may_cancel(self) -> bool:
        return not self.job.is_finished

    @property
    def may_retry(self) -> bool:
        is_over = self.job.is_finished and self.job.status is not SyncJobStatus.CANCELLED
        return is_over and self.job.failed_files > 0 and self.job.parent_job_id is None
