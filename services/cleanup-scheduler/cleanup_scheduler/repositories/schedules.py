"""What is due when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cleanup_scheduler.due_times import CLOCK_ERROR
from shared.cron import Timing
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MissedFirings, ScheduleChangedV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "schedules.sql")
CHANNEL = "schedules_cleanup"
"""NOTIFY channels are per database, so the schema's name is part of it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str
    timing: Timing
    missed: MissedFirings
    is_paused: bool
    next_due_at: datetime
    last_due_at: datetime | None
    version: int
    changed_at: datetime

    def told(self) -> ScheduleChangedV1:
        """What others hear of it."""
        return ScheduleChangedV1(
            name=self.name,
            version=self.version,
            cron=self.timing.cron,
            time_zone=self.timing.time_zone,
            missed=self.missed,
            is_paused=self.is_paused,
            next_due_at=self.next_due_at,
            changed_at=self.changed_at,
        )


class Schedules:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def arrange(
        self, name: str, timing: Timing, missed: MissedFirings, next_due_at: datetime, now: datetime
    ) -> Schedule | None:
        """Have a schedule as it is defined, unless people changed it; None where it is so already."""
        row = await self._connection.fetchrow(
            QUERIES["arrange"], name, timing.cron, timing.time_zone, missed.value, next_due_at, now
        )
        return _schedule(row) if row else None

    async def lock_due(self, names: Sequence[str], now: datetime) -> Schedule | None:
        """One that something is to be done about now, and that nobody else is at."""
        row = await self._connection.fetchrow(QUERIES["lock_due"], list(names), now, now + CLOCK_ERROR)
        return _schedule(row) if row else None

    async def lock(self, name: str) -> Schedule | None:
        row = await self._connection.fetchrow(QUERIES["lock"], name)
        return _schedule(row) if row else None

    async def next_due(self, names: Sequence[str]) -> datetime | None:
        moment: datetime | None = await self._connection.fetchval(QUERIES["next_due"], list(names))
        return moment

    async def move_on(self, name: str, next_due_at: datetime, last_due_at: datetime | None, now: datetime) -> Schedule:
        row = await self._connection.fetchrow(QUERIES["move_on"], name, next_due_at, last_due_at, now)
        assert row is not None, "the schedule's row is gone while it is locked"
        return _schedule(row)

    async def change(
        self,
        name: str,
        timing: Timing,
        missed: MissedFirings,
        next_due_at: datetime,
        now: datetime,
        *,
        is_paused: bool,
    ) -> Schedule:
        row = await self._connection.fetchrow(
            QUERIES["change"], name, timing.cron, timing.time_zone, missed.value, is_paused, next_due_at, now
        )
        assert row is not None, "the schedule's row is gone while it is locked"
        return _schedule(row)

    async def wake(self) -> None:
        """Have every replica look at the schedules again once this transaction has committed."""
        await self._connection.execute(QUERIES["wake"], CHANNEL)


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(
        row["name"],
        Timing(row["cron"], row["time_zone"]),
        MissedFirings(row["missed"]),
        row["is_paused"],
        row["next_due_at"],
        row["last_due_at"],
        row["version"],
        row["changed_at"],
    )
