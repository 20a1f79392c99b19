"""The processes of the system, as PostgreSQL holds what they told last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import HeartbeatV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "replicas.sql")

MOST_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Replica:
    """What `HeartbeatV1` told."""

    service: str
    instance: str
    version: str
    started_at: datetime
    told_at: datetime
    every_seconds: float
    is_ready: bool
    problems: Mapping[str, str]
    lag_messages: Mapping[str, int]
    outbox_waiting: int | None


class ReplicaRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def record(self, event: HeartbeatV1) -> None:
        """Take over what is newer than what was known, by the clock of the process that tells."""
        await self._connection.execute(
            QUERIES["record"],
            event.service,
            event.instance,
            event.version,
            event.started_at,
            event.told_at,
            event.every_seconds,
            event.is_ready,
            event.problems,
            event.lag_messages,
            event.outbox_waiting,
            event.is_stopping,
        )

    async def heard_within(self, seconds: float) -> list[Replica]:
        """Those that have not ended, by service, the oldest first; at most 500."""
        return [Replica(**row) for row in await self._connection.fetch(QUERIES["heard_within"], seconds, MOST_SHOWN)]

    async def remove_silent(self, seconds: float, limit: int) -> int:
        """Remove at most `limit` and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["remove_silent"], seconds, limit))
