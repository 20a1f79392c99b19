"""Storage sync: jobs that move stored files between disk and bucket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.cursors import MAX_LIMIT, encode_cursor, id_of
from ingest_api.repositories.sync_jobs import SyncJobRepository
from ingest_api.storage_sync import StorageSync, no_such_job
from ingest_api.sync_jobs import RESULTS_SHOWN, job_record, result_record
from ingest_api.sync_request import SyncBody, request_of
from shared.db.pool import Database
from shared.events import SyncJobStatus

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class SyncJobList(msgspec.Struct, rename="camel"):
    jobs: list[dict[str, Any]]
    next_cursor: str | None


class SyncAnswer(msgspec.Struct, rename="camel"):
    success: bool
    job_id: UUID
    status: str
    message: str


class SyncController(Controller):
    """Copies, moves, renames and removals of stored files; for superadmins."""

    path = "/api/admin/media/sync"
    tags = ("Storage sync",)
    guards = (require(Role.SUPERADMIN),)

    @get(summary="List storage jobs")
    async def list_jobs(
        self,
        database: NamedDependency[Database],
        limit: Limit = 10,
        cursor: FromQuery[str | None] = None,
    ) -> SyncJobList:
        """Newest first, each with `childJobs`, whose sums its counts are, and `results`: failures first, then the
        newest, 500 in all. `nextCursor` is null on the last page."""
        async with database.connection() as connection:
            sync = SyncJobRepository(connection)
            jobs = await sync.newest(id_of(cursor), limit + 1)
            page = jobs[:limit]
            results = await sync.results_of_many([job.id for job in page], RESULTS_SHOWN // limit)
        now = datetime.now(UTC)
        records = [job_record(job, now) | {"results": list(map(result_record, results[job.id]))} for job in page]
        return SyncJobList(records, encode_cursor(str(page[-1].id)) if len(jobs) > limit else None)

    @post(summary="Start a storage job", status_code=202)
    async def start(
        self, request: SignedInRequest, data: JSONBody[SyncBody], storage_sync: NamedDependency[StorageSync]
    ) -> SyncAnswer:
        """`operation` is one of upload_to_s3, download_from_s3, delete_s3, delete_local, hard_delete, rename; rename
        needs `renamePrefix` {from, to}. Large selections become a parent with children, by `profile`."""
        job_id = await storage_sync.start(request_of(data), request.user.user_id)
        return _waiting(job_id, f"The job waits; follow it at {self.path}/{job_id} or by sync:progress.")

    @get("/{job_id:uuid}", summary="Read a storage job")
    async def read(self, job_id: FromPath[UUID], database: NamedDependency[Database]) -> dict[str, Any]:
        """With its children, and up to 500 results: failures first, then the newest."""
        async with database.connection() as connection:
            sync = SyncJobRepository(connection)
            job = await sync.get(job_id)
            if job is None:
                raise no_such_job()
            results = await sync.results(job, RESULTS_SHOWN)
        return job_record(job, datetime.now(UTC)) | {"results": list(map(result_record, results))}

    @post("/{job_id:uuid}/cancel", summary="Cancel a storage job", status_code=202)
    async def cancel(
        self, request: SignedInRequest, job_id: FromPath[UUID], storage_sync: NamedDependency[StorageSync]
    ) -> SyncAnswer:
        """Files in flight are finished, no other is begun, and what is done stays done. 409 once the job has ended."""
        job = await storage_sync.cancel(job_id, request.user.user_id)
        return SyncAnswer(True, job.id, job.status, "The job ends when the files in flight are finished.")

    @post("/{job_id:uuid}/retry", summary="Try the failed files of a storage job again", status_code=202)
    async def retry(
        self, request: SignedInRequest, job_id: FromPath[UUID], storage_sync: NamedDependency[StorageSync]
    ) -> SyncAnswer:
        """A new job, which `jobId` names, of the failed files alone; `retryOf` in it is the job of the address. 409
        unless that one has ended, was not cancelled, and some of its files failed."""
        retry_id = await storage_sync.retry(job_id, request.user.user_id)
        return _waiting(retry_id, f"A new job waits with the failed files; follow it at {self.path}/{retry_id}.")


def _waiting(job_id: UUID, message: str) -> SyncAnswer:
    return SyncAnswer(True, job_id, SyncJobStatus.WAITING, message)
