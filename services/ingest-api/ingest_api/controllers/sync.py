"""Storage sync: jobs that move stored files between disk and bucket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.dry_run import DryAnswer, DryRun, dry_answer
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, decode_cursor, encode_cursor, id_of
from ingest_api.problem_details import FieldError, InvalidFields
from ingest_api.repositories.sync_jobs import SyncJobRepository
from ingest_api.storage_sync import StorageSync, no_such_job
from ingest_api.sync_jobs import (
    CHILDREN_LISTED,
    CHILDREN_SHOWN,
    RESULTS_SHOWN,
    KeptResult,
    SyncJob,
    bytes_per_second,
    eta_seconds,
)
from ingest_api.sync_request import SyncBody, request_of
from shared.db.pool import Database
from shared.events import SyncJobStatus, SyncOperation

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class SyncResultAnswer(msgspec.Struct, rename="camel"):
    """What became of one medium; `jobId` is the child that worked on it."""

    media_id: UUID
    job_id: UUID
    status: Literal["done", "skipped", "failed"]
    bytes_moved: int
    code: str | None
    detail: str | None


class SyncJobPart(msgspec.Struct, rename="camel", kw_only=True):
    """A child among `childJobs`; it has none itself. `childCount` counts all children, `childJobs` are the first."""

    id: UUID
    operation: SyncOperation
    is_parent: bool
    parent_job_id: UUID | None
    batch_index: int | None
    batch_size: int | None
    status: SyncJobStatus
    total_files: int
    processed_files: int
    failed_files: int
    total_bytes: int
    moved_bytes: int
    bytes_per_second: int | None
    eta_seconds: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    retry_of: UUID | None
    requested_by: UUID
    child_count: int
    child_jobs: list[SyncJobPart]


class SyncJobAnswer(SyncJobPart, rename="camel", kw_only=True):
    results: list[SyncResultAnswer]


class SyncJobList(msgspec.Struct, rename="camel"):
    jobs: list[SyncJobAnswer]
    next_cursor: str | None


class SyncChildList(msgspec.Struct, rename="camel"):
    jobs: list[SyncJobPart]
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
        """Newest first. A parent's counts are the sums of its `childCount` children, the first 50 of which are its
        `childJobs`. `results`: failures first, then the newest, 500 in all. `nextCursor` is null on the last page."""
        async with database.connection() as connection:
            sync = SyncJobRepository(connection)
            jobs = await sync.newest(id_of(cursor), limit + 1, children=CHILDREN_LISTED)
            page = jobs[:limit]
            results = await sync.results_of_many([job.id for job in page], RESULTS_SHOWN // limit)
        now = datetime.now(UTC)
        answers = [_answer(job, results[job.id], now) for job in page]
        return SyncJobList(answers, cursor_behind(jobs, limit))

    @post(summary="Start a storage job", status_code=202)
    async def start(
        self,
        request: SignedInRequest,
        data: JSONBody[SyncBody],
        storage_sync: NamedDependency[StorageSync],
        dryRun: DryRun = False,
    ) -> Response[SyncAnswer | DryAnswer]:
        """`operation` is one of upload_to_s3, download_from_s3, delete_s3, delete_local, hard_delete, rename; rename
        needs `renamePrefix` {from, to}. Large selections become a parent with children, by `profile`.

        Select by `mediaIds` (at most 10000), by `filter`, of which s3-syncer decides when the job begins, or by
        `matching`: all media with stored files that the list of media shows under these filters at the moment of the
        call, up to 1000000. With `dryRun=true` the answer is 200 with how many media it would be, and nothing is done;
        what a `filter` selects is not known before.
        """
        wanted = request_of(data)
        if dryRun:
            if wanted.filter is not None:
                raise InvalidFields(FieldError("filter", "is not counted before the job begins: use matching"))
            return dry_answer(await storage_sync.count(wanted))
        job_id = await storage_sync.start(wanted, request.user.user_id)
        message = f"The job waits; follow it at {self.path}/{job_id} or by sync:progress."
        return Response(_waiting(job_id, message), status_code=202)

    @get("/{job_id:uuid}", summary="Read a storage job")
    async def read(self, job_id: FromPath[UUID], database: NamedDependency[Database]) -> SyncJobAnswer:
        """With its first 200 children, and up to 500 results: failures first, then the newest."""
        async with database.connection() as connection:
            sync = SyncJobRepository(connection)
            job = await sync.get(job_id, children=CHILDREN_SHOWN)
            if job is None:
                raise no_such_job()
            results = await sync.results(job, RESULTS_SHOWN)
        return _answer(job, results, datetime.now(UTC))

    @get("/{job_id:uuid}/children", summary="List the children of a storage job")
    async def children(
        self,
        job_id: FromPath[UUID],
        database: NamedDependency[Database],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> SyncChildList:
        """By `batchIndex`; none of a job that is no parent. `nextCursor` is null on the last page."""
        behind = None if cursor is None else decode_cursor(cursor, batch_index_of)
        async with database.connection() as connection:
            job = await SyncJobRepository(connection).get(job_id, children=limit + 1, behind=behind)
        if job is None:
            raise no_such_job()
        now, page = datetime.now(UTC), job.children[:limit]
        following = encode_cursor(str(page[-1].batch_index)) if len(job.children) > limit else None
        return SyncChildList([_part(child, now) for child in page], following)

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


def batch_index_of(text: str) -> int:
    """Raises ValueError unless it is one that a job may have."""
    index = int(text)
    if not 0 <= index < 2**31:
        raise ValueError(f"batch indexes are from 0 to {2**31 - 1}, not {index}")
    return index


def _answer(job: SyncJob, results: Iterable[KeptResult], now: datetime) -> SyncJobAnswer:
    return SyncJobAnswer(**_facts(job, now), results=[SyncResultAnswer(**asdict(result)) for result in results])


def _part(job: SyncJob, now: datetime) -> SyncJobPart:
    return SyncJobPart(**_facts(job, now))


def _facts(job: SyncJob, now: datetime) -> dict[str, Any]:
    return {
        "id": job.id,
        "operation": job.operation,
        "is_parent": job.is_parent,
        "parent_job_id": job.parent_job_id,
        "batch_index": job.batch_index,
        "batch_size": job.batch_size,
        "status": job.status,
        "total_files": job.total_files,
        "processed_files": job.processed_files,
        "failed_files": job.failed_files,
        "total_bytes": job.total_bytes,
        "moved_bytes": job.moved_bytes,
        "bytes_per_second": bytes_per_second(job, now),
        "eta_seconds": eta_seconds(job, now),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "error": job.error,
        "retry_of": job.retry_of,
        "requested_by": job.requested_by,
        "child_count": job.child_count,
        "child_jobs": [_part(child, now) for child in job.children],
    }


def _waiting(job_id: UUID, message: str) -> SyncAnswer:
    return SyncAnswer(True, job_id, SyncJobStatus.WAITING, message)
