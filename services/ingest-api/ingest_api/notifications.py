"""One LISTEN connection per process, from which whoever waits for news of an uploader or a job is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ingest_api.repositories.notices import CHANNEL
from shared.db.listening import Listener


class NewsHub:
    """Wakes sleepers; what happened they read from the database themselves.

    A notification is a hint and the tables are the truth. So a lost one costs only time: sleepers look for themselves
    now and then, and after a reconnection all of them are woken, for nobody knows what was said meanwhile.
    """

    def __init__(self, dsn: str, *, application_name: str) -> None:
        self._listener = Listener(
            dsn, CHANNEL, application_name=f"{application_name}-news", hear=self._hear, caught_up=self._wake_all
        )
        self._sleepers: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening_for(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set at every news of the topic, the id of an uploader or a job; the listener clears it."""
        event = asyncio.Event()
        sleepers = self._sleepers.setdefault(topic, set())
        sleepers.add(event)
        try:
            yield event
        finally:
            sleepers.discard(event)
            if not sleepers:
                self._sleepers.pop(topic, None)

    async def run(self) -> None:
        """Listen for as long as the process lives; returns only by cancellation."""
        await self._listener.run()

    def _hear(self, payload: str) -> None:
        for topic in payload.split():
            for event in self._sleepers.get(topic, ()):
                event.set()

    def _wake_all(self) -> None:
        for sleepers in self._sleepers.values():
            for event in sleepers:
                event.set()
