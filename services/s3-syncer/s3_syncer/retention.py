"""Ended jobs and file tasks are forgotten after a while."""

from __future__ import annotations

import asyncio

from s3_syncer.deletion_repository import DeletionRepository
from s3_syncer.file_task_repository import FileTaskRepository
from s3_syncer.repository import SyncRepository
from shared.db.unit_of_work import UnitOfWork

EVERY_SECONDS = 600.0
JOBS_AT_ONCE = 10
FILE_TASKS_AT_ONCE = 1000
FILE_TASKS_KEPT_SECONDS = 14 * 24 * 3600.0
"""Longer than their commands stay in Kafka: a command that comes again must find that its task has ended."""
LATE_SECONDS = 24 * 3600.0
DELETIONS_AT_ONCE = 1000
DELETIONS_KEPT_SECONDS = 60 * 24 * 3600.0
"""Longer than dead letters are kept: what is replayed must find that its medium is gone."""


class Retention:
    """Removes jobs, with their children and results, so long after their end."""

    def __init__(self, unit_of_work: UnitOfWork, kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._kept_seconds = kept_seconds

    async def run(self) -> None:
        """Sweep for as long as the process lives; returns only by cancellation."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            async with self._unit_of_work.begin() as transaction:
                await SyncRepository(transaction.connection).prune_jobs(self._kept_seconds, JOBS_AT_ONCE)
                tasks = FileTaskRepository(transaction.connection)
                await tasks.prune(FILE_TASKS_KEPT_SECONDS, FILE_TASKS_AT_ONCE)
                deletions = DeletionRepository(transaction.connection)
                await deletions.remove_late_rows(LATE_SECONDS)
                await deletions.prune(DELETIONS_KEPT_SECONDS, DELETIONS_AT_ONCE)
