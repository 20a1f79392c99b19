"""Waking the relay after uploads, apart from their transactions."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from shared.db.pool import Database
from shared.db.queries import load_queries
from shared.messaging.errors import InfrastructureUnavailable
from shared.outbox.outgoing import channel_of

log = logging.getLogger(__name__)

QUERIES = load_queries(Path(__file__).with_name("queries") / "relay.sql")


class RelayAlarm:
    """Notifies the leading relay, in whichever replica it is, once for all uploads since the last time.

    Nothing depends on it but latency: the relay looks for itself every second.
    """

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._channel = channel_of(schema)
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def run(self) -> None:
        """Pass on every ring; returns only by cancellation."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            try:
                async with self._database.connection() as connection:
                    await connection.execute(QUERIES["wake_relay"], self._channel)
            except InfrastructureUnavailable as error:
                log.warning("could not wake the relay", extra={"detail": str(error)})
