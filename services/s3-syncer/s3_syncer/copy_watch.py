"""How the local_first queue stands, for the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from s3_syncer.repository import SyncRepository
from shared.db.unit_of_work import UnitOfWork
from shared.telemetry import metrics

EVERY_SECONDS = 5.0


class CopyWatch:
    """Looks at the queue now and then; every replica tells the same of it."""

    def __init__(self, unit_of_work: UnitOfWork, *, is_on: Callable[[], bool | None]) -> None:
        self._unit_of_work = unit_of_work
        self._is_on = is_on

    async def run(self) -> None:
        """Look for as long as the process lives; returns only by cancellation."""
        while True:
            await self._look()
            await asyncio.sleep(EVERY_SECONDS)

    async def _look(self) -> None:
        async with self._unit_of_work.begin() as transaction:
            queue = await SyncRepository(transaction.connection).copies_waiting()
        metrics.bucket_copies_waiting.set(queue.waiting)
        metrics.bucket_copies_given_up.set(queue.given_up)
        # What waits because somebody switched copying off is no fault.
        metrics.bucket_copies_oldest_seconds.set(queue.oldest_seconds if self._is_on() else 0.0)
