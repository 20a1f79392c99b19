"""One LISTEN connection per process, from which whoever waits for news of an uploader or a job is woken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from ingest_api.repositories.notices import CHANNEL
from shared.db import pool
from shared.messaging.errors import InfrastructureUnavailable

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 5.0


class NewsHub:
    """Wakes sleepers; what happened they read from the database themselves.

    A notification is a hint and the tables are the truth. So a lost one costs only time: sleepers look for themselves
    now and then, and after a reconnection all of them are woken, for nobody knows what was said meanwhile.
    """

    def __init__(self, dsn: str, *, application_name: str) -> None:
        self._dsn = dsn
        self._application_name = application_name
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
        delay_seconds = 0.1
        while True:
            try:
                connection = await pool.connect(self._dsn, application_name=f"{self._application_name}-news")
            except InfrastructureUnavailable as error:
                log.warning("waiting for PostgreSQL to listen", extra={"detail": str(error)})
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 2, LONGEST_BACKOFF_SECONDS)
                continue
            delay_seconds = 0.1
            try:
                await self._listen(connection)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("stopped listening, will connect again", extra={"detail": repr(error)})
            finally:
                connection.terminate()

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.add_listener(CHANNEL, self._hear)
        self._wake_all()
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            # A connection that died without a word is found out here.
            await connection.execute("SELECT 1", timeout=HEARTBEAT_SECONDS)

    def _hear(self, *notification: object) -> None:
        for topic in str(notification[-1]).split():
            for event in self._sleepers.get(topic, ()):
                event.set()

    def _wake_all(self) -> None:
        for sleepers in self._sleepers.values():
            for event in sleepers:
                event.set()
