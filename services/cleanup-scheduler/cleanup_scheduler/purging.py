"""What was deleted softly long enough ago goes for good: planned, guarded, commanded in batches, and followed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cleanup_scheduler.catalogue import DEFINITIONS
from cleanup_scheduler.clock import Clock
from cleanup_scheduler.ending import count_end
from cleanup_scheduler.guard import Guard
from cleanup_scheduler.repositories.ledger import Ledger
from cleanup_scheduler.repositories.runs import Runs
from cleanup_scheduler.runs import Run
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    MAX_PURGED_AT_ONCE,
    DecideOnScheduleRunV1,
    MediaDeletionCompletedV1,
    MediaPurgeTakenV1,
    PurgeMediaV1,
    ScheduleDueV1,
    ScheduledWorkDoneV1,
    ScheduleRunStatus,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import Postponed
from shared.scheduling import MEDIA_PURGE
from shared.settings_feed import SettingsFeed
from shared.telemetry import metrics

BATCHES_AT_ONCE: Final = 10
"""In one transaction."""
MOST_OUTSTANDING: Final = 2000
"""More media of all runs are not on their way out at once: nobody's commands wait behind those of a whole purge."""
LOOK_EVERY_SECONDS: Final = 30.0
LOST_AFTER: Final = timedelta(hours=20)
"""A command that was not taken by then is not waited for by the next night."""


class Purging:
    """Nothing is commanded but what the ledger shows as deleted; its owner looks again before anything goes.

    **Locks are taken in one order**, so that nobody waits in a circle: plans that are to be sent, purges by id, media
    by id, runs by id. Planning and deciding begin with a run that has no purges yet: whoever holds others' rows never
    waits for that one.
    """

    def __init__(self, unit_of_work: UnitOfWork, clock: Clock, feed: SettingsFeed, guard: Guard) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._feed = feed
        self._guard = guard
        self._news = asyncio.Event()

    # --- planning -------------------------------------------------------------------------------------------------

    async def begin(self, event: ScheduleDueV1, delivery: Delivery) -> None:
        """Plan the purge of a run; above the guard it waits for a person.

        Raises Postponed until the settings are known: nothing goes by defaults.
        """
        if not self._feed.caught_up:
            raise Postponed("settings_unknown", "what the settings say of purges is not read yet")
        settings = self._feed.current()
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            run = None if event.run_id is None else await runs.lock(event.run_id)
            if run is None or run.status is not ScheduleRunStatus.RUNNING:
                return
            if run.trigger == "clock" and not settings.auto_cleanup_enabled:
                skipped = run.skipped("cleanup_off: autoCleanupEnabled is false", self._clock.now())
                transaction.publish((await runs.save(skipped)).told())
                return
            await self._plan(transaction, run, run.due_at - timedelta(days=settings.soft_delete_retention_days))
        self._news.set()

    async def _plan(self, transaction: Transaction, run: Run, deleted_until: datetime) -> None:
        now = self._clock.now()
        ledger, runs = Ledger(transaction.connection), Runs(transaction.connection)
        await ledger.free_left(now - LOST_AFTER)
        await self._drop_waiting(transaction, now)
        due = await ledger.due(deleted_until)
        objection = self._guard.objection(due.media, await ledger.live())
        await ledger.add_plan(run.run_id, "waiting" if objection else "sending", deleted_until, now)
        if objection:
            transaction.publish((await runs.save(run.waiting(objection, now))).told())

    async def _drop_waiting(self, transaction: Transaction, now: datetime) -> None:
        """A later run takes all that an earlier one waits to take: two approvals would be for the same."""
        ledger, runs = Ledger(transaction.connection), Runs(transaction.connection)
        for run_id in await ledger.waiting_runs():
            # Always the run before its plan, as decisions do.
            run = await runs.lock(run_id)
            if run is not None and await ledger.set_stage(run_id, "waiting", "dropped"):
                detail = "not_approved: nobody approved it before the next run, which takes the same and more"
                dropped = replace(run.refused(now), detail=detail)
                transaction.publish((await runs.save(dropped)).told())

    async def decide(self, command: DecideOnScheduleRunV1, delivery: Delivery) -> None:
        """Begin a waiting purge, or drop it. A decision that comes too late changes nothing."""
        now = self._clock.now()
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            run = await runs.lock(command.run_id)
            if run is None:
                return
            approves = command.decision == "approve"
            fits = run.status is ScheduleRunStatus.WAITING_FOR_APPROVAL
            if fits and await Ledger(transaction.connection).set_stage(
                run.run_id, "waiting", "sending" if approves else "dropped"
            ):
                answer_by = now + DEFINITIONS[MEDIA_PURGE].answer_within
                run = run.approved(now, answer_by) if approves else run.refused(now)
                run = replace(run, decided_by=command.decided_by)
            transaction.publish((await runs.save(run)).told(await runs.answers(run.run_id)))
        self._news.set()

    # --- commanding -----------------------------------------------------------------------------------------------

    async def work_off(self) -> None:
        """Send what is planned, for as long as the process lives; returns only by cancellation."""
        while True:
            self._news.clear()
            while await self.turn():
                pass
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):
                    await self._news.wait()

    async def turn(self) -> bool:
        """Command some purges of one plan; False where there is no plan to send, or enough is on its way."""
        now = self._clock.now()
        async with self._unit_of_work.begin() as transaction:
            ledger = Ledger(transaction.connection)
            metrics.schedule_runs_waiting.set(len(await ledger.waiting_runs()))
            plan = await ledger.lock_sending()
            if plan is None:
                return False
            run_id, deleted_until = plan
            # Whole commands alone: one for each medium that is gone would be as many as there are media.
            room = (MOST_OUTSTANDING - await ledger.outstanding(now - LOST_AFTER)) // MAX_PURGED_AT_ONCE
            for _ in range(min(room, BATCHES_AT_ONCE)):
                purge_id = new_id()
                media = await ledger.take(deleted_until, purge_id, MAX_PURGED_AT_ONCE)
                if not media:
                    await ledger.set_stage(run_id, "sending", "sent")
                    await self._end(transaction, run_id)
                    break
                await ledger.add_purge(purge_id, run_id, len(media), now)
                transaction.publish(
                    PurgeMediaV1(purge_id=purge_id, run_id=run_id, media=tuple(media), requested_at=now)
                )
        return room > 0

    # --- following ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Have it looked whether more may be commanded."""
        self._news.set()

    async def taken(self, event: MediaPurgeTakenV1, delivery: Delivery) -> None:
        """Note which deletions of a purge have begun."""
        async with self._unit_of_work.begin(delivery) as transaction:
            run_id = await Ledger(transaction.connection).note_taken(event)
            if run_id is not None:
                await self._end(transaction, run_id)
        self.look()

    async def completed(self, transaction: Transaction, events: Sequence[MediaDeletionCompletedV1]) -> None:
        """Note that media are gone everywhere."""
        ledger = Ledger(transaction.connection)
        over = await ledger.note_completed(events)
        await ledger.forget([event.media_id for event in events])
        for run_id in sorted(over):
            await self._end(transaction, run_id)

    async def _end(self, transaction: Transaction, run_id: UUID) -> None:
        """End the run once its last purge is over. Under the run's lock: two that end at once see each other."""
        runs = Runs(transaction.connection)
        run = await runs.lock(run_id)
        counts = await Ledger(transaction.connection).outcome(run_id)
        if run is None or counts is None or not run.takes_answers:
            return
        now = self._clock.now()
        answer = ScheduledWorkDoneV1(run_id=run_id, name=run.name, service="ingest-api", counts=counts, ended_at=now)
        if await runs.add_answer(answer):
            answers = await runs.answers(run_id)
            ended = await runs.save(run.answered(answers, now))
            transaction.publish(ended.told(answers))
            count_end(ended)
