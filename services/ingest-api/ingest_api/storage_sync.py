"""Asking s3-syncer for jobs: each call is one transaction that leaves its row and its command, or nothing.

Media that match the filters of a list are handed over first, page by page: s3-syncer knows where media are, and nothing
of their names.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ingest_api.all_that_match import count_matching
from ingest_api.problem_details import Conflict, Problem
from ingest_api.repositories.sync_jobs import NOT_STORED, SyncJobRepository
from ingest_api.selections import nothing_matches, unknown_ids
from ingest_api.settings import IngestSettings
from ingest_api.sync_jobs import Profile, SyncJob
from ingest_api.sync_request import NEEDS_S3, SyncRequest
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    CancelSyncJobV1,
    SelectSyncMediaV1,
    StartSyncJobV1,
    SyncJobStatus,
    SyncOperation,
)
from shared.identifiers import new_id
from shared.settings_feed import SettingsFeed
from shared.work_list import work_off

log = logging.getLogger(__name__)

PAGE_MEDIA: Final = 1000


class StorageSync:
    """Starts, cancels and retries; what becomes of a job is told by s3-syncer."""

    def __init__(self, unit_of_work: UnitOfWork, feed: SettingsFeed, settings: IngestSettings) -> None:
        self._unit_of_work = unit_of_work
        self._feed = feed
        self._settings = settings
        self._wanted = asyncio.Event()

    async def count(self, request: SyncRequest) -> int:
        """How many media the call would select; raises InvalidFields as `start` does, but for none.

        Of a `filter` s3-syncer decides when the job begins: it is not counted before.
        """
        async with self._unit_of_work.database.connection() as connection:
            return (await _counted(connection, new_id(), request))[0]

    async def start(self, request: SyncRequest, requested_by: UUID) -> UUID:
        """Raises InvalidFields for ids that no medium has and if none or too many match, Problem 409 where S3 is needed
        and switched off."""
        self._require_s3(request.operation)
        command = StartSyncJobV1(
            job_id=new_id(),
            operation=request.operation,
            media_ids=request.media_ids,
            filter=request.filter,
            delete_source=request.delete_source,
            rename_prefix=request.rename_prefix,
            requested_by=requested_by,
            requested_at=datetime.now(UTC),
            **self._batching(request.profile),
        )
        async with self._unit_of_work.begin() as tx:
            sync = SyncJobRepository(tx.connection)
            total, counted_at = await _counted(tx.connection, command.job_id, request)
            if request.matching is None:
                await _add(tx, command, total, request.profile)
            else:
                if not total:
                    raise nothing_matches(" that is stored anywhere")
                await sync.add(command, total, request.profile)
                await sync.add_selection(command, request.matching, counted_at)
        self._wanted.set()
        return command.job_id

    async def run(self) -> None:
        """Hand over what is selected, for as long as the process lives; any number of replicas share the work."""
        await work_off(self.hand_over_page, self._wanted, log, "selections wait to be handed over")

    async def hand_over_page(self) -> bool:
        """Tell s3-syncer of one page of a selection, and behind the last one to begin; False when there is none.

        The cursor moves with the page, so a crash hands nothing over twice and leaves nothing out.
        """
        async with self._unit_of_work.begin() as tx:
            sync = SyncJobRepository(tx.connection)
            selection = await sync.lock_selection()
            if selection is None:
                return False
            job_id = selection.command.job_id
            page = await sync.selection_page(selection, PAGE_MEDIA)
            if page.media_ids:
                tx.publish(SelectSyncMediaV1(job_id=job_id, media_ids=tuple(page.media_ids)))
            if page.cursor is not None:
                await sync.move_selection(job_id, page.cursor, len(page.media_ids))
                return True
            await sync.end_selection(job_id)
            selected_files = selection.selected + len(page.media_ids)
            tx.publish(selection.command.model_copy(update={"selected_files": selected_files}))
        return True

    async def retry(self, job_id: UUID, requested_by: UUID) -> UUID:
        """A new job of the files that failed; raises Problem 404, or 409 as `start`, or unless some files failed."""
        async with self._unit_of_work.begin() as tx:
            failed = await _found(tx, job_id)
            if (refusal := retry_refusal(failed)) is not None:
                raise refusal
            self._require_s3(failed.operation)
            command = StartSyncJobV1(
                job_id=new_id(),
                operation=failed.operation,
                retry_of=failed.id,
                delete_source=failed.delete_source,
                rename_prefix=failed.rename_prefix,
                requested_by=requested_by,
                requested_at=datetime.now(UTC),
                **self._batching(failed.profile),
            )
            await _add(tx, command, failed.failed_files, failed.profile)
        return command.job_id

    async def cancel(self, job_id: UUID, requested_by: UUID) -> SyncJob:
        """Raises Problem 404, or 409 for a job that has ended or is part of another one."""
        async with self._unit_of_work.begin() as tx:
            job = await _found(tx, job_id)
            if (refusal := cancel_refusal(job)) is not None:
                raise refusal
            selection = await SyncJobRepository(tx.connection).end_selection(job_id)
            if selection is not None:
                never_begun = {"selected_files": selection.selected, "is_cancelled": True}
                tx.publish(selection.command.model_copy(update=never_begun))
                return job
            tx.publish(CancelSyncJobV1(job_id=job_id, requested_by=requested_by, requested_at=datetime.now(UTC)))
        return job

    def _require_s3(self, operation: SyncOperation) -> None:
        if operation in NEEDS_S3 and not self._feed.current().s3_enabled:
            raise Conflict("s3_off", f"{operation} needs S3, which is switched off in the settings.")

    def _batching(self, profile: Profile) -> dict[str, int]:
        settings = self._settings
        if profile == "large":
            return {
                "min_files_for_batching": settings.sync_large_min_files_for_batching,
                "batch_size": settings.sync_large_batch_size,
            }
        return {
            "min_files_for_batching": settings.sync_min_files_for_batching,
            "batch_size": settings.sync_batch_size,
        }


async def _counted(connection: PooledConnection[Any], job_id: UUID, request: SyncRequest) -> tuple[int, datetime]:
    """How many media are selected, as far as that is known here, and when that was."""
    if request.matching is not None:
        counted = await count_matching(connection, request.matching, NOT_STORED, job_id)
        return counted.media, counted.at
    ids = request.media_ids or ()
    if unknown := await SyncJobRepository(connection).unknown_media(ids):
        raise unknown_ids(unknown)
    return len(ids), datetime.now(UTC)


def retry_refusal(job: SyncJob) -> Problem | None:
    """Why a job can't be retried; None if it can."""
    if job.parent_job_id is not None:
        return Conflict("part_of_job", f"This is a part of the job {job.parent_job_id}: retry that one.")
    if job.status is SyncJobStatus.CANCELLED:
        return Conflict("job_cancelled", "The job was cancelled: start a new one with the same selection.")
    if not job.is_finished:
        return Conflict("job_not_ended", f"The job is {job.status}: wait for its end, or cancel it.")
    if not job.failed_files:
        return Conflict("nothing_failed", "No file of this job failed, so there is none to try again.")
    return None


def cancel_refusal(job: SyncJob) -> Problem | None:
    """Why a job can't be cancelled; None if it can."""
    if job.parent_job_id is not None:
        return Conflict("part_of_job", f"This is a part of the job {job.parent_job_id}: cancel that one.")
    if job.is_finished:
        return Conflict("job_ended", f"The job is {job.status} already: there is nothing left to cancel.")
    return None


def no_such_job() -> Problem:
    return Problem(
        404, "not_found", "There is no storage job with this id; finished jobs are removed after their time."
    )


async def _add(tx: Transaction, command: StartSyncJobV1, total_files: int, profile: Profile) -> None:
    await SyncJobRepository(tx.connection).add(command, total_files, profile)
    tx.publish(command)


async def _found(tx: Transaction, job_id: UUID) -> SyncJob:
    job = await SyncJobRepository(tx.connection).get(job_id)
    if job is None:
        raise no_such_job()
    return job
