"""The end of a job, and of its parent with the last of its children."""

from __future__ import annotations

from s3_syncer.jobs import Job
from s3_syncer.planning import final_status
from s3_syncer.repository import SyncRepository
from shared.db.unit_of_work import Transaction
from shared.events import SyncJobStatus

SOME_FAILED = "some_failed: the results tell which files and why; retry works on those alone"


async def end_job(transaction: Transaction, sync: SyncRepository, job: Job) -> None:
    """End a job that nobody works on any more, and count it in its parent.

    A job ends once: its row is locked and its end is set once. Its parent ends in the transaction that counts the last
    child, or in the one that completes the plan, whichever is later; both lock the parent's row first.
    """
    ended = await sync.end_job(job.job_id, _status(job), _error(job))
    if ended is None:
        return
    transaction.publish(ended.changed())
    if ended.parent_job_id is not None:
        parent = await sync.count_ended_child(ended.parent_job_id)
        await end_parent_if_done(transaction, sync, parent)


async def end_parent_if_done(transaction: Transaction, sync: SyncRepository, parent: Job) -> None:
    """`parent` was read in this transaction, under its row's lock."""
    if not parent.planned or parent.children_ended < parent.children:
        return
    ended = await sync.end_job(parent.job_id, _status(parent), _error(parent))
    if ended is not None:
        transaction.publish(ended.changed())


def _status(job: Job) -> SyncJobStatus:
    return final_status(
        total=job.total_files,
        processed=job.processed_files,
        failed=job.failed_files,
        cancelled=job.cancel_requested,
    )


def _error(job: Job) -> str | None:
    return SOME_FAILED if job.failed_files else None
