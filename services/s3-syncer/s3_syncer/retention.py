"""Ended jobs and file tasks are forgotten after a while."""

from __future__ import annotations

from s3_syncer.deletion_repository import DeletionRepository
from s3_syncer.file_task_repository import FileTaskRepository
from s3_syncer.repository import SyncRepository
from shared.db.batches import RemoveSome, remove_in_batches
from shared.db.unit_of_work import UnitOfWork

JOBS_AT_ONCE = 10
FILE_TASKS_AT_ONCE = 1000
FILE_TASKS_KEPT_SECONDS = 14 * 24 * 3600.0
"""Longer than their commands stay in Kafka: a command that comes again must find that its task has ended."""
LATE_SECONDS = 2 * 3600.0
DELETIONS_AT_ONCE = 1000
SELECTIONS_AT_ONCE = 10_000
SELECTIONS_KEPT_SECONDS = 60 * 24 * 3600.0
"""Longer than dead letters are kept: a job whose start is replayed must find what it was selected for."""
DELETIONS_KEPT_SECONDS = 60 * 24 * 3600.0
"""Longer than dead letters are kept: what is replayed must find that its medium is gone."""


class Retention:
    """Removes jobs, with their children and results, so long after their end."""

    def __init__(self, unit_of_work: UnitOfWork, kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._kept_seconds = kept_seconds

    async def sweep(self) -> dict[str, int]:
        """Remove what is over by now, in batches; how many rows of what."""
        return {
            "sync_jobs": await self._all(
                JOBS_AT_ONCE,
                lambda connection: SyncRepository(connection).prune_jobs(self._kept_seconds, JOBS_AT_ONCE),
            ),
            "file_tasks": await self._all(
                FILE_TASKS_AT_ONCE,
                lambda connection: FileTaskRepository(connection).prune(FILE_TASKS_KEPT_SECONDS, FILE_TASKS_AT_ONCE),
            ),
            "selections": await self._all(
                SELECTIONS_AT_ONCE,
                lambda connection: SyncRepository(connection).prune_selections(
                    SELECTIONS_KEPT_SECONDS, SELECTIONS_AT_ONCE
                ),
            ),
            "deletions": await self._remove_deletions(),
        }

    async def _remove_deletions(self) -> int:
        async with self._unit_of_work.begin() as transaction:
            await DeletionRepository(transaction.connection).remove_late_rows(LATE_SECONDS)
        return await self._all(
            DELETIONS_AT_ONCE,
            lambda connection: DeletionRepository(connection).prune(DELETIONS_KEPT_SECONDS, DELETIONS_AT_ONCE),
        )

    async def _all(self, rows_at_once: int, remove: RemoveSome) -> int:
        return await remove_in_batches(self._unit_of_work.database, rows_at_once, remove)
