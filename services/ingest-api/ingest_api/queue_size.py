"""How many jobs wait or are worked on, for the metrics."""

from __future__ import annotations

import asyncio
import logging

from ingest_api.repositories.jobs import JobRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

COUNT_EVERY_SECONDS = 2.0


class QueueSize:
    """Counts from the read model: an index scan over what is pending, whatever else the table holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Count again and again; returns only by cancellation."""
        while True:
            try:
                await self.count_once()
            except InfrastructureUnavailable as error:
                log.warning("could not count pending jobs", extra={"detail": str(error)})
            await asyncio.sleep(COUNT_EVERY_SECONDS)

    async def count_once(self) -> None:
        async with self._database.connection() as connection:
            counts = await JobRepository(connection).count_pending()
        for status in ("waiting", "active"):
            metrics.media_queue_size.labels(status).set(counts.get(status, 0))
