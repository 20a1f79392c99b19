"""Storage jobs: what runs, how far it is, and beginning a new one."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.cursors import cursor_behind, id_of
from ingest_api.pages.page import PageController, Pages
from ingest_api.pages.sync_view import JobView
from ingest_api.repositories.sync_jobs import SyncJobRepository
from ingest_api.storage_sync import no_such_job
from ingest_api.sync_jobs import CHILDREN_LISTED
from shared.db.pool import Database
from shared.events import StorageStatus, SyncOperation

JOBS_PER_PAGE = 20
RESULTS_PER_PAGE = 200


class SyncPages(PageController):
    path = "/admin/media/sync"
    guards = (require(Role.SUPERADMIN),)

    @get()
    async def jobs(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Newest first; a parent's progress is the sum of its children's."""
        async with database.connection() as connection:
            found = await SyncJobRepository(connection).newest(
                id_of(cursor), JOBS_PER_PAGE + 1, children=CHILDREN_LISTED
            )
        shown, now = found[:JOBS_PER_PAGE], datetime.now(UTC)
        older = cursor_behind(found, JOBS_PER_PAGE)
        return pages.answer(
            request,
            "sync/jobs.html",
            jobs=[JobView.of(job, now) for job in shown],
            is_first_page=cursor is None,
            older=older and f"{self.path}?cursor={older}",
            operations=list(SyncOperation),
            storage_statuses=list(StorageStatus),
        )

    @get("/{job_id:uuid}")
    async def job(
        self,
        request: SignedInRequest,
        job_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
    ) -> Response[str]:
        """One job with what became of its files: failures first."""
        async with database.connection() as connection:
            sync = SyncJobRepository(connection)
            job = await sync.get(job_id)
            if job is None:
                raise no_such_job()
            results = await sync.results(job, RESULTS_PER_PAGE)
        view = JobView.of(job, datetime.now(UTC))
        return pages.answer(request, "sync/job.html", job=view, results=results, most_results=RESULTS_PER_PAGE)
