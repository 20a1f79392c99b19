"""Waiting for the outcome of a job, for callers who would rather wait than poll."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from ingest_api.catalogue import Job
from ingest_api.notifications import NewsHub
from ingest_api.repositories.jobs import JobRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable

LOOK_EVERY_SECONDS = 2.0
"""How often the job is read though nothing was heard, in case a notification was lost."""


class OutcomeWait:
    """Watches jobs through the read model; at most `places` callers wait at once."""

    def __init__(self, database: Database, hub: NewsHub, *, places: int) -> None:
        self._database = database
        self._hub = hub
        self._free_places = places

    async def wait(self, job_id: UUID, seconds: float) -> Job | None:
        """The finished job; None at the deadline, or at once when all places are taken."""
        if self._free_places <= 0 or seconds <= 0:
            return None
        self._free_places -= 1
        try:
            return await self._watch(job_id, time.monotonic() + seconds)
        except InfrastructureUnavailable:
            # The upload itself is safe and acknowledged: the caller polls.
            return None
        finally:
            self._free_places += 1

    async def _watch(self, job_id: UUID, deadline: float) -> Job | None:
        with self._hub.listening_for(str(job_id)) as news:
            while True:
                news.clear()
                async with self._database.connection() as connection:
                    job = await JobRepository(connection).get(job_id)
                if job is None or job.is_finished:
                    return job
                seconds_left = deadline - time.monotonic()
                if seconds_left <= 0:
                    return None
                try:
                    async with asyncio.timeout(min(seconds_left, LOOK_EVERY_SECONDS)):
                        await news.wait()
                except TimeoutError:
                    continue
