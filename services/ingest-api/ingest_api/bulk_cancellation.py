"""Cancelling jobs that delete, restore or render many media: nothing more is begun, what is begun is finished."""

from __future__ import annotations

from uuid import UUID

from ingest_api.bulk import BulkJob
from ingest_api.catalogue import ChangedJob
from ingest_api.known_jobs import find_job, no_such_job
from ingest_api.problem_details import Problem
from ingest_api.repositories.bulk_jobs import BulkJobRepository
from ingest_api.repositories.notices import NoticeRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import RerenderingCancelledV1


class BulkCancellation:
    """The workers of all replicas look at the parent before each page, so nothing more is queued once it says so.

    What is queued already image-processor hears of, and answers for each picture: with what came of it where it had
    been begun, and else that it is cancelled.
    """

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def cancel(self, job_id: UUID, cancelled_by: UUID) -> BulkJob:
        """Have nothing more of a selection begun; cancelling twice is cancelling once.

        Raises Problem 404 for an unknown job, and 409 for one of which nothing is left to begin.
        """
        async with self._unit_of_work.begin() as tx:
            parents = BulkJobRepository(tx.connection)
            cancelled = await parents.cancel(job_id, cancelled_by)
            job = await parents.get(job_id, children=0)
            if job is None:
                raise await _no_parent(tx, job_id)
            if cancelled is not None:
                if job.has_ended:
                    await parents.note_end_told(job_id)
                elif cancelled.kind == "rerender":
                    tx.publish(RerenderingCancelledV1(job_id=job_id, cancelled_at=cancelled.cancelled_at))
                await NoticeRepository(tx.connection).add(
                    "jobs:progress", ChangedJob(job.id, None, cancelled.uploader), job.notice()
                )
            elif (refusal := cancel_refusal(job)) is not None:
                raise refusal
        return job


async def _no_parent(tx: Transaction, job_id: UUID) -> Problem:
    if await find_job(tx.connection, job_id) is None:
        return no_such_job()
    return _not_cancellable(
        "This job is about one picture: only those that delete, restore or render many are cancelled."
    )


def cancel_refusal(job: BulkJob) -> Problem | None:
    """Why a parent of which nothing is left to begin can't be cancelled; None if it was before."""
    if job.cancelled_at is not None:
        return None
    if job.has_ended:
        return _not_cancellable(f"The job is {job.status} already: there is nothing left to cancel.")
    return _not_cancellable("Everything that the job is about has been begun, and what is begun is finished.")


def _not_cancellable(detail: str) -> Problem:
    return Problem(409, "job_not_cancellable", detail)
