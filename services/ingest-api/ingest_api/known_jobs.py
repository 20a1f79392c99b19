"""Jobs as callers know them: those that have their file, and announced uploads that wait for it or never got it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ingest_api.catalogue import Job, JobStatus
from ingest_api.problem_details import Problem
from ingest_api.repositories.direct_uploads import DirectUploadRepository
from ingest_api.repositories.jobs import JobRepository
from shared.db.pool import PooledConnection


async def find_job(connection: PooledConnection[Any], job_id: UUID) -> Job | None:
    jobs = JobRepository(connection)
    if job := await jobs.get(job_id):
        return job
    upload = await DirectUploadRepository(connection).get(job_id)
    if upload is None:
        return None
    # Received since the first look, or its job is over and gone.
    return await jobs.get(job_id) if upload.status == "received" else upload.as_job()


async def newest_jobs(
    connection: PooledConnection[Any], status: JobStatus | None, after: UUID | None, limit: int
) -> list[Job]:
    """Newest first."""
    jobs = await JobRepository(connection).newest(status, after, limit)
    if status in ("active", "completed", "cancelled"):
        return jobs
    announced = await DirectUploadRepository(connection).newest(status, after, limit)
    # One whose file arrived between the two looks is only a job.
    by_id = {upload.id: upload.as_job() for upload in announced} | {job.id: job for job in jobs}
    return sorted(by_id.values(), key=lambda job: job.id, reverse=True)[:limit]


def no_such_job() -> Problem:
    return Problem(404, "not_found", "There is no job with this id; finished jobs are removed after their time.")
