"""Telling that the time has come, once per due time however many replicas look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from cleanup_scheduler.catalogue import Definition
from cleanup_scheduler.clock import Clock
from cleanup_scheduler.due_times import Fire, Move, decide
from cleanup_scheduler.ending import count_end
from cleanup_scheduler.repositories.runs import Runs
from cleanup_scheduler.repositories.schedules import CHANNEL, Schedule, Schedules
from cleanup_scheduler.runs import new_run
from shared.cron import Timing
from shared.db.listening import Listener
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.telemetry import metrics

log = logging.getLogger(__name__)

HELD_SECONDS: Final = 0.5
"""How soon a due time is looked at again that another replica is at: it may die there."""


class Firing:
    """Sleeps until something is due; replicas share the schedules by locks of rows.

    In one transaction: the schedule is locked, its run recorded, the due time told, and the next one set.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        clock: Clock,
        definitions: Mapping[str, Definition],
        *,
        time_zone: str,
        late_after_seconds: float,
        absent: frozenset[str] = frozenset(),
    ) -> None:
        """`absent` services are not part of this system, and owe nothing."""
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._definitions = definitions
        self._time_zone = time_zone
        self._late_after = timedelta(seconds=late_after_seconds)
        self._absent = absent
        self._names = list(definitions)
        self._news = asyncio.Event()
        database = unit_of_work.database
        self._listener = Listener(
            database.session_dsn,
            CHANNEL,
            application_name=f"{database.application_name}-schedules",
            hear=lambda _: self._news.set(),
            caught_up=self._news.set,
        )

    async def listen(self) -> None:
        """Hear of changes; never ends."""
        await self._listener.run()

    async def run(self) -> None:
        """Fire for as long as the process lives; returns only by cancellation."""
        await self.arrange()
        while True:
            self._news.clear()
            await self._clock.wait_until(await self.turn(), self._news)

    async def arrange(self) -> None:
        """Have every schedule that this version defines; those that nobody changed as it defines them."""
        now = self._clock.now()
        async with self._unit_of_work.begin() as transaction:
            # In the order of names: replicas that start together wait for each other, and never in a ring.
            for definition in sorted(self._definitions.values(), key=lambda one: one.name):
                timing = Timing.of(definition.cron, self._time_zone)
                arranged = await Schedules(transaction.connection).arrange(
                    definition.name, timing, definition.missed, timing.following(now), now
                )
                if arranged is not None:
                    transaction.publish(arranged.told())

    async def turn(self) -> datetime | None:
        """Do what is due now, and tell when something will be."""
        while await self._fire_one():
            pass
        while await self._end_one():
            pass
        async with self._unit_of_work.begin() as transaction:
            moments = (
                await Schedules(transaction.connection).next_due(self._names),
                await Runs(transaction.connection).next_deadline(),
            )
        now = self._clock.now()
        overdue_seconds = 0.0 if moments[0] is None else (now - moments[0]).total_seconds()
        metrics.schedule_overdue_seconds.set(max(overdue_seconds, 0.0))
        soon = now + timedelta(seconds=HELD_SECONDS)
        return min((max(moment, soon) for moment in moments if moment is not None), default=None)

    async def _fire_one(self) -> bool:
        now = self._clock.now()
        async with self._unit_of_work.begin() as transaction:
            schedules = Schedules(transaction.connection)
            schedule = await schedules.lock_due(self._names, now)
            if schedule is None:
                return False
            decision = decide(
                schedule.timing,
                schedule.missed,
                next_due_at=schedule.next_due_at,
                last_due_at=schedule.last_due_at,
                now=now,
                late_after=self._late_after,
            )
            if isinstance(decision, Fire):
                await self._fire(transaction, schedule, decision, now)
            elif isinstance(decision, Move):
                log.warning(
                    "the clock was set back far: due times are counted from its time now",
                    extra={"schedule": schedule.name, "last_due_at": str(schedule.last_due_at)},
                )
                transaction.publish((await schedules.move_on(schedule.name, decision.next_due_at, None, now)).told())
        return True

    async def _fire(self, transaction: Transaction, schedule: Schedule, decision: Fire, now: datetime) -> None:
        run = new_run(self._definitions[schedule.name], decision.due_at, now, self._absent, missed=decision.missed)
        if decision.is_skipped:
            detail = (
                f"due_time_missed: no clock ran from then until {now.isoformat()}, and missed due times are skipped"
            )
            run = run.skipped(detail, now)
        added = await Runs(transaction.connection).add(run)
        if added is not None:
            transaction.publish(*added.beginning())
            metrics.schedule_late_seconds.labels(schedule.name).set((now - decision.due_at).total_seconds())
        moved = await Schedules(transaction.connection).move_on(
            schedule.name, decision.next_due_at, decision.due_at, now
        )
        transaction.publish(moved.told())

    async def _end_one(self) -> bool:
        """End a run that was not answered in time."""
        now = self._clock.now()
        async with self._unit_of_work.begin() as transaction:
            runs = Runs(transaction.connection)
            run = await runs.lock_late(now)
            if run is None:
                return False
            ended = await runs.save(run.left_open(now))
            transaction.publish(ended.told(await runs.answers(run.run_id)))
        count_end(ended)
        return True
