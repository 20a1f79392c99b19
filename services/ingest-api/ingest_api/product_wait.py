"""Waiting for the end of a change, for the callers that asked for it."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from ingest_api.notifications import NewsHub
from ingest_api.product_change import Change
from ingest_api.repositories.product_changes import ProductChangeRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable

LOOK_EVERY_SECONDS = 2.0
"""How often the change is read though nothing was heard, in case a notification was lost."""


class ChangeWait:
    """Watches changes through their rows; at most `places` callers wait at once, each so many seconds at most."""

    def __init__(self, database: Database, hub: NewsHub, *, places: int, seconds: float) -> None:
        self._database = database
        self._hub = hub
        self._free_places = places
        self._seconds = seconds

    async def read(self, change_id: UUID) -> Change | None:
        async with self._database.connection() as connection:
            return await ProductChangeRepository(connection).get(change_id)

    async def wait(self, change_id: UUID) -> Change | None:
        """The change at its end, or as it is at the deadline; None when it can't be read then."""
        deadline = time.monotonic() + (self._seconds if self._free_places > 0 else 0.0)
        self._free_places -= 1
        try:
            return await self._watch(change_id, deadline)
        except InfrastructureUnavailable:
            # The change is committed and goes on: the caller polls.
            return None
        finally:
            self._free_places += 1

    async def _watch(self, change_id: UUID, deadline: float) -> Change | None:
        with self._hub.listening_for(str(change_id)) as news:
            while True:
                news.clear()
                change = await self.read(change_id)
                seconds_left = deadline - time.monotonic()
                if change is None or change.is_finished or seconds_left <= 0:
                    return change
                try:
                    async with asyncio.timeout(min(seconds_left, LOOK_EVERY_SECONDS)):
                        await news.wait()
                except TimeoutError:
                    continue
