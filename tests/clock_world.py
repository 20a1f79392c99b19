"""cleanup-scheduler on PostgreSQL, in a time that the tests set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cleanup_scheduler.catalogue import Definition
from cleanup_scheduler.commands import Commands
from cleanup_scheduler.ending import Ending
from cleanup_scheduler.firing import Firing
from shared.cron import zone
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    Envelope,
    Event,
    MissedFirings,
    ScheduleDueV1,
    ScheduledWorkDoneV1,
    ScheduleRunChangedV1,
)
from shared.messaging.delivery import Delivery

USER = UUID(int=7)


def definition(
    name: str, cron: str, *workers: str, missed: MissedFirings = MissedFirings.RUN_ONCE, hours: float = 1
) -> Definition:
    return Definition(name, cron, missed, workers or ("worker",), timedelta(hours=hours))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def delivery_of(event: Event) -> Delivery:
    envelope = Envelope.new(event, "/test")
    return Delivery("cleanup-scheduler", envelope, event.topic.name, 0, 0, event.key().encode(), {}, event.payload(), 1)


@dataclass
class SetClock:
    """The time is what a test says; waiting ends at news alone."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    async def wait_until(self, moment: datetime | None, news: asyncio.Event) -> None:
        await news.wait()


@dataclass
class ClockWorld:
    """Replicas on one database, and one time for all."""

    databases: list[Database]
    clock: SetClock
    definitions: dict[str, Definition] = field(default_factory=dict)
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        self.works = [UnitOfWork(one, source="/mediabus/cleanup-scheduler", schema="cleanup") for one in self.databases]

    def replica(self, number: int = 0, absent: frozenset[str] = frozenset()) -> Firing:
        return Firing(
            self.works[number],
            self.clock,
            self.definitions,
            time_zone=self.time_zone,
            late_after_seconds=300,
            absent=absent,
        )

    async def begin(self, now: str, *definitions: Definition) -> Firing:
        self.definitions = {one.name: one for one in definitions}
        self.clock.moment = utc(now)
        firing = self.replica()
        await firing.arrange()
        return firing

    @property
    def commands(self) -> Commands:
        return Commands(self.works[0], self.clock, self.definitions)

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.databases[0].connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def told(self, event_type: type[Event]) -> list[dict[str, Any]]:
        """What was published of one type, oldest first."""
        sql = "SELECT payload FROM outbox WHERE headers->>'ce_type' = $1 ORDER BY id"
        return [json.loads(row["payload"]) for row in await self.rows(sql, event_type.event_type)]

    async def fired(self, name: str) -> list[str]:
        """The due times that were told, on the clock of the schedules' zone."""
        moments = [
            datetime.fromisoformat(one["due_at"]) for one in await self.told(ScheduleDueV1) if one["name"] == name
        ]
        return [moment.astimezone(zone(self.time_zone)).isoformat(timespec="minutes")[5:] for moment in moments]

    async def at(self, firing: Firing, *moments: str) -> None:
        for moment in moments:
            self.clock.moment = utc(moment)
            await firing.turn()

    async def live(self, firing: Firing, until: str) -> int:
        """Let time pass as the clock itself would, from one due time to the next; how often it woke."""
        turns = 0
        while True:
            following = await firing.turn()
            turns += 1
            if following is None or following > utc(until):
                self.clock.moment = utc(until)
                return turns
            self.clock.moment = following

    async def last_run(self, name: str) -> dict[str, Any]:
        return [run for run in await self.told(ScheduleRunChangedV1) if run["name"] == name][-1]

    async def answer(self, run: Mapping[str, Any], service: str, error: str | None = None, **counts: int) -> None:
        event = ScheduledWorkDoneV1(
            run_id=UUID(run["run_id"]),
            name=run["name"],
            service=service,
            counts=counts,
            error=error,
            ended_at=self.clock.now(),
        )
        await Ending(self.works[0], self.clock).take(event, delivery_of(event))


@asynccontextmanager
async def clock_world(dsn: str) -> AsyncIterator[ClockWorld]:
    """On a database that may have been used before: nothing of that is left."""
    opened = [Database(dsn, application_name="test") for _ in range(2)]
    async with opened[0].connection() as connection:
        await connection.execute("TRUNCATE schedules, runs, answers, media, purge_plans, purges, outbox, inbox CASCADE")
    yield ClockWorld(opened, SetClock(utc("01-01T00:00")))
    for one in opened:
        await one.close()
