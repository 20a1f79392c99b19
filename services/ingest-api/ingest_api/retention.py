"""What is kept for a time only: jobs, staged files of failed ones, syncs, notices, Idempotency-Keys."""

from __future__ import annotations

import asyncio
import logging

from ingest_api.repositories.bulk_jobs import BulkJobRepository
from ingest_api.repositories.face_erasures import FaceErasureRepository
from ingest_api.repositories.face_searches import FaceSearchRepository
from ingest_api.repositories.face_syncs import FaceSyncRepository
from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.media_deletions import MediaDeletionRepository
from ingest_api.repositories.notices import NoticeRepository
from ingest_api.repositories.people import PeopleRepository
from ingest_api.repositories.sync_jobs import SyncJobRepository
from ingest_api.settings import IngestSettings
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.staging import Staging

log = logging.getLogger(__name__)

BATCH_ROWS = 500
BATCH_SYNC_JOBS = 20
"""Each with its children and results."""


class Retention:
    """Removes in batches, so that no transaction is long; several replicas at once do no harm."""

    def __init__(self, database: Database, staging: Staging, settings: IngestSettings) -> None:
        self._database = database
        self._staging = staging
        self._settings = settings

    async def run(self) -> None:
        """Sweep again and again; returns only by cancellation."""
        while True:
            try:
                await self.sweep_once()
            except (InfrastructureUnavailable, MessageError) as error:
                log.warning("could not remove what is over", extra={"detail": str(error)})
            await asyncio.sleep(self._settings.retention_every_seconds)

    async def sweep_once(self) -> None:
        await self._remove_completed()
        await self._remove_failed()
        await self._remove_bulk_jobs()
        await self._remove_sync_jobs()
        await self._remove_face_syncs()
        await self._remove_face_searches()
        await self._remove_people()
        await self._remove_receipts()
        async with self._database.connection() as connection:
            await JobRepository(connection).remove_old_idempotency_keys(self._settings.idempotency_keys_kept_seconds)
            await NoticeRepository(connection).prune(self._settings.notices_kept_seconds)

    async def _remove_completed(self) -> None:
        settings = self._settings
        removed = BATCH_ROWS
        while removed == BATCH_ROWS:
            async with self._database.connection() as connection:
                removed = await JobRepository(connection).remove_completed(
                    settings.completed_jobs_kept_seconds, settings.completed_jobs_kept, BATCH_ROWS
                )

    async def _remove_sync_jobs(self) -> None:
        removed = BATCH_SYNC_JOBS
        while removed == BATCH_SYNC_JOBS:
            async with self._database.connection() as connection:
                removed = await SyncJobRepository(connection).remove_finished(
                    self._settings.sync_jobs_kept_seconds, BATCH_SYNC_JOBS
                )

    async def _remove_face_syncs(self) -> None:
        removed = BATCH_ROWS
        while removed == BATCH_ROWS:
            async with self._database.connection() as connection:
                removed = await FaceSyncRepository(connection).remove_finished(
                    self._settings.face_syncs_kept_seconds, BATCH_ROWS
                )

    async def _remove_face_searches(self) -> None:
        settings = self._settings
        removed = BATCH_ROWS
        while removed == BATCH_ROWS:
            async with self._database.connection() as connection:
                searches = FaceSearchRepository(connection)
                await searches.remove_results(settings.face_search_results_kept_seconds)
                await FaceErasureRepository(connection).remove_unconfirmed()
                removed = await searches.remove_records(settings.face_searches_kept_seconds, BATCH_ROWS)

    async def _remove_receipts(self) -> None:
        removed = BATCH_ROWS
        while removed == BATCH_ROWS:
            async with self._database.connection() as connection:
                removed = await MediaDeletionRepository(connection).remove_receipts(
                    self._settings.deletion_receipts_kept_seconds, BATCH_ROWS
                )

    async def _remove_people(self) -> None:
        settings = self._settings
        removed = BATCH_ROWS
        while removed == BATCH_ROWS:
            async with self._database.connection() as connection:
                people = PeopleRepository(connection)
                changes = await people.remove_changes(settings.people_changes_kept_seconds, BATCH_ROWS)
                removed = max(changes, await people.remove_gone(settings.people_gone_kept_seconds, BATCH_ROWS))

    async def _remove_bulk_jobs(self) -> None:
        removed = BATCH_ROWS
        while removed == BATCH_ROWS:
            async with self._database.connection() as connection:
                removed = await BulkJobRepository(connection).remove_without_jobs(
                    BATCH_ROWS, rerenders_kept_seconds=self._settings.completed_jobs_kept_seconds
                )

    async def _remove_failed(self) -> None:
        """The jobs first: a file without a job is found by the staging sweep, a job without its file fails a retry."""
        keys: list[str | None] = [None] * BATCH_ROWS
        while len(keys) == BATCH_ROWS:
            async with self._database.connection() as connection:
                keys = await JobRepository(connection).remove_failed(
                    self._settings.failed_jobs_kept_seconds, BATCH_ROWS
                )
            for key in keys:
                if key is not None:
                    await self._staging.delete(key)
