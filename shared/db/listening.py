"""LISTEN on one channel for as long as a process lives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from shared.db import pool
from shared.messaging.errors import InfrastructureUnavailable

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0


class Listener:
    """Hands each payload of a channel to `hear`; connects again whenever the connection is lost.

    What was said meanwhile nobody repeats, so `caught_up` is called after every connection: whoever waits for news then
    has to look at the tables.
    """

    def __init__(
        self,
        dsn: str,
        channel: str,
        *,
        application_name: str,
        hear: Callable[[str], None],
        caught_up: Callable[[], None],
    ) -> None:
        self._dsn = dsn
        self._channel = channel
        self._application_name = application_name
        self._hear = hear
        self._caught_up = caught_up

    async def run(self) -> None:
        """Listen; returns only by cancellation."""
        delay_seconds = FIRST_BACKOFF_SECONDS
        while True:
            started_at = time.monotonic()
            try:
                await self._serve()
            except (InfrastructureUnavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning(
                    "not listening, will connect again", extra={"channel": self._channel, "detail": repr(error)}
                )
            if time.monotonic() - started_at > LONGEST_BACKOFF_SECONDS:
                delay_seconds = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, LONGEST_BACKOFF_SECONDS)

    async def _serve(self) -> None:
        connection = await pool.connect(self._dsn, application_name=self._application_name)
        try:
            await self._listen(connection)
        finally:
            connection.terminate()

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(self._channel, lambda *notification: self._hear(str(notification[-1])))
        self._caught_up()
        while not lost.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await lost.wait()
            except TimeoutError:
                # A connection that died without a word is found out here.
                await connection.execute("SELECT 1", timeout=HEARTBEAT_SECONDS)
        raise InfrastructureUnavailable("postgresql", "the listening connection was closed")
