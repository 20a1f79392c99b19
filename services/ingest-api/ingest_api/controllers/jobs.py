"""Jobs: reading, listing, trying again."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.bulk import cancelled_detail
from ingest_api.bulk_cancellation import BulkCancellation
from ingest_api.catalogue import Records
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.job_retry import JobRetry
from ingest_api.known_jobs import find_job, newest_jobs, no_such_job
from ingest_api.repositories.bulk_jobs import BulkJobRepository
from shared.db.pool import Database

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
StatusFilter = Literal["waiting", "active", "completed", "failed", "cancelled"]


class JobList(msgspec.Struct, rename="camel"):
    jobs: list[dict[str, Any]]
    next_cursor: str | None


class CancelAnswer(msgspec.Struct, rename="camel"):
    success: bool
    job_id: UUID
    status: str
    message: str


class JobController(Controller):
    """The processing of uploads, and of many media at once; for admins."""

    path = "/api/admin/media/jobs"
    tags = ("Jobs",)
    guards = (require(Role.ADMIN),)

    @get(summary="List jobs")
    async def list_jobs(
        self,
        database: NamedDependency[Database],
        records: NamedDependency[Records],
        status: FromQuery[StatusFilter | None] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> JobList:
        """Newest first; `nextCursor` is null on the last page."""
        async with database.connection() as connection:
            jobs = await newest_jobs(connection, status, id_of(cursor), limit + 1)
        page = jobs[:limit]
        next_cursor = cursor_behind(jobs, limit)
        return JobList([records.listed_job(job) for job in page], next_cursor)

    @get("/{job_id:uuid}", summary="Read a job")
    async def read(
        self, job_id: FromPath[UUID], database: NamedDependency[Database], records: NamedDependency[Records]
    ) -> dict[str, Any]:
        """Progress is 0, 10 (decoding), 50 (rendered), 80 (stored) or 100.

        The parent of a bulk upload, and of a call about many media, has besides `total`, `completed`, `failed` and
        `cancelled` counts and its `children`; its progress is the percentage of children with an outcome, and it failed
        only if all of them did. One that was cancelled is `cancelled` once what had begun has ended: the others of the
        `total` are as they were, and those that were queued already are `cancelled` each.
        """
        async with database.connection() as connection:
            if job := await find_job(connection, job_id):
                return records.job(job)
            if parent := await BulkJobRepository(connection).get(job_id):
                return parent.record()
        raise no_such_job()

    @post("/{job_id:uuid}/retry", summary="Try a failed job again", status_code=202)
    async def retry(
        self, job_id: FromPath[UUID], job_retry: NamedDependency[JobRetry], records: NamedDependency[Records]
    ) -> dict[str, Any]:
        """The job waits again, with the file that was uploaded. 409 unless it failed and its file is still there."""
        return records.job(await job_retry.retry(job_id))

    @post("/{job_id:uuid}/cancel", summary="Cancel a job about many media", status_code=202)
    async def cancel(
        self,
        request: SignedInRequest,
        job_id: FromPath[UUID],
        bulk_cancellation: NamedDependency[BulkCancellation],
    ) -> CancelAnswer:
        """Of a selection that is deleted, restored or rendered anew nothing more is begun, and what is done stays done.

        Media that go for good already go, and pictures that are being rendered are: until then the job is `waiting` or
        `active`, then `cancelled`. Pictures that are queued are not rendered. Cancelling twice is cancelling once. 409
        `job_not_cancellable` where nothing is left to begin, and for jobs about one picture.
        """
        job = await bulk_cancellation.cancel(job_id, request.user.user_id)
        return CancelAnswer(True, job.id, job.status, cancelled_detail(job))
