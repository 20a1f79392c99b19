"""What is kept for a time only: jobs, staged files of failed ones, syncs, records of what people did, notices."""

from __future__ import annotations

from ingest_api.bulk_retention import BulkRetention
from ingest_api.dead_letter_retention import DeadLetterRetention, LettersKept
from ingest_api.repositories.accounts import AccountRepository
from ingest_api.repositories.event_photos import EventPhotoRepository
from ingest_api.repositories.face_erasures import FaceErasureRepository
from ingest_api.repositories.face_searches import FaceSearchRepository
from ingest_api.repositories.face_syncs import FaceSyncRepository
from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.media_deletions import MediaDeletionRepository
from ingest_api.repositories.notices import NoticeRepository
from ingest_api.repositories.people import PeopleRepository
from ingest_api.repositories.replicas import ReplicaRepository
from ingest_api.repositories.schedules import ScheduleRepository
from ingest_api.repositories.sync_jobs import SyncJobRepository
from ingest_api.settings import HOUR_SECONDS, IngestSettings
from shared.db.batches import RemoveSome, remove_in_batches
from shared.db.pool import Database
from shared.storage.staging import Staging

BATCH_ROWS = 500
BATCH_SYNC_JOBS = 20
"""Each with its children and results."""


class Retention:
    """Removes in batches, so that no transaction is long; several replicas at once do no harm."""

    def __init__(self, database: Database, staging: Staging, settings: IngestSettings) -> None:
        self._database = database
        self._staging = staging
        self._settings = settings

    async def sweep(self) -> dict[str, int]:
        """Remove what is over by now; how many rows of what."""
        settings = self._settings
        return {
            "completed_jobs": await self._all(
                BATCH_ROWS,
                lambda connection: JobRepository(connection).remove_completed(
                    settings.completed_jobs_kept_seconds, settings.completed_jobs_kept, BATCH_ROWS
                ),
            ),
            "cancelled_jobs": await self._all(
                BATCH_ROWS,
                lambda connection: JobRepository(connection).remove_cancelled(
                    settings.completed_jobs_kept_seconds, BATCH_ROWS
                ),
            ),
            "failed_jobs": await self._remove_failed(),
            "bulk_jobs": await BulkRetention(self._database, settings.completed_jobs_kept_seconds).sweep(),
            "sync_jobs": await self._all(
                BATCH_SYNC_JOBS,
                lambda connection: SyncJobRepository(connection).remove_finished(
                    settings.sync_jobs_kept_seconds, BATCH_SYNC_JOBS
                ),
            ),
            "face_syncs": await self._all(
                BATCH_ROWS,
                lambda connection: FaceSyncRepository(connection).remove_finished(
                    settings.face_syncs_kept_seconds, BATCH_ROWS
                ),
            ),
            "face_searches": await self._all(
                BATCH_ROWS,
                lambda connection: FaceSearchRepository(connection).remove_records(
                    settings.face_searches_kept_seconds, BATCH_ROWS
                ),
            ),
            "face_search_results": await self._all(
                BATCH_ROWS,
                lambda connection: FaceSearchRepository(connection).remove_results(
                    settings.face_search_results_kept_seconds, BATCH_ROWS
                ),
            ),
            "face_erasures": await self._all(
                BATCH_ROWS, lambda connection: FaceErasureRepository(connection).remove_unconfirmed(BATCH_ROWS)
            ),
            "replicas": await self._all(
                BATCH_ROWS, lambda connection: ReplicaRepository(connection).remove_silent(HOUR_SECONDS, BATCH_ROWS)
            ),
            "people_changes": await self._all(
                BATCH_ROWS,
                lambda connection: PeopleRepository(connection).remove_changes(
                    settings.people_changes_kept_seconds, BATCH_ROWS
                ),
            ),
            "people": await self._all(
                BATCH_ROWS,
                lambda connection: PeopleRepository(connection).remove_gone(
                    settings.people_gone_kept_seconds, BATCH_ROWS
                ),
            ),
            "deletion_receipts": await self._all(
                BATCH_ROWS,
                lambda connection: MediaDeletionRepository(connection).remove_receipts(
                    settings.deletion_receipts_kept_seconds, BATCH_ROWS
                ),
            ),
            "photo_removals": await self._all(
                BATCH_ROWS,
                lambda connection: EventPhotoRepository(connection).remove_completed_removals(
                    settings.deletion_receipts_kept_seconds, BATCH_ROWS
                ),
            ),
            "account_changes": await self._all(
                BATCH_ROWS,
                lambda connection: AccountRepository(connection).remove_old_changes(
                    settings.account_changes_kept_seconds, BATCH_ROWS
                ),
            ),
            "schedule_runs": await self._all(
                BATCH_ROWS,
                lambda connection: ScheduleRepository(connection).remove_ended_runs(
                    settings.schedule_runs_kept_seconds, BATCH_ROWS
                ),
            ),
            "dead_letters": await DeadLetterRetention(self._database, LettersKept.of(settings)).remove(),
            "idempotency_keys": await self._all(
                BATCH_ROWS,
                lambda connection: JobRepository(connection).remove_old_idempotency_keys(
                    settings.idempotency_keys_kept_seconds, BATCH_ROWS
                ),
            ),
            "notices": await self._all(
                BATCH_ROWS,
                lambda connection: NoticeRepository(connection).prune(settings.notices_kept_seconds, BATCH_ROWS),
            ),
        }

    async def _all(self, rows_at_once: int, remove: RemoveSome) -> int:
        return await remove_in_batches(self._database, rows_at_once, remove)

    async def _remove_failed(self) -> int:
        """The jobs first: a file without a job is found by the staging sweep, a job without its file fails a retry."""
        removed = 0
        keys: list[str | None] = [None] * BATCH_ROWS
        while len(keys) == BATCH_ROWS:
            async with self._database.connection() as connection:
                keys = await JobRepository(connection).remove_failed(
                    self._settings.failed_jobs_kept_seconds, BATCH_ROWS
                )
            removed += len(keys)
            for key in keys:
                if key is not None:
                    await self._staging.delete(key)
        return removed
