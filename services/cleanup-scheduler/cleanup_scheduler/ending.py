"""The end of runs: answers are added up, and whoever looks on is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from cleanup_scheduler.clock import Clock
from cleanup_scheduler.repositories.runs import Runs
from cleanup_scheduler.runs import Run
from shared.db.unit_of_work import UnitOfWork
from shared.events import ScheduledWorkDoneV1, ScheduleRunStatus
from shared.messaging.delivery import Delivery
from shared.telemetry import metrics

log = logging.getLogger(__name__)


class Ending:
    """Takes the answers of those who did the work."""

    def __init__(self, unit_of_work: UnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def take(self, event: ScheduledWorkDoneV1, delivery: Delivery) -> None:
        """Add an answer to its run; the last one ends it. A second answer of a service changes nothing."""
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            run = await runs.lock(event.run_id)
            if run is None or not run.takes_answers or not await runs.add_answer(event):
                return
            answers = await runs.answers(run.run_id)
            saved = await runs.save(run.answered(answers, self._clock.now()))
            transaction.publish(saved.told(answers))
        if event.error is not None:
            log.warning(
                "scheduled work failed",
                extra={"schedule": event.name, "service": event.service, "detail": event.error},
            )
        if saved.ended_at != run.ended_at:
            count_end(saved)


def count_from_the_start(names: Iterable[str]) -> None:
    """What first appears with its first event shows no increase then: what alerts watch is there before."""
    for name in names:
        for status in (ScheduleRunStatus.FAILED, ScheduleRunStatus.OPEN):
            metrics.schedule_runs_ended_total.labels(name, status.value)


def count_end(run: Run) -> None:
    metrics.schedule_runs_ended_total.labels(run.name, run.status.value).inc()
