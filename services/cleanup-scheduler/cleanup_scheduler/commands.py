"""What people ask of the clock."""

from __future__ import annotations

from collections.abc import Mapping

from cleanup_scheduler.catalogue import Definition
from cleanup_scheduler.clock import Clock
from cleanup_scheduler.errors import UnknownSchedule
from cleanup_scheduler.repositories.runs import Runs
from cleanup_scheduler.repositories.schedules import Schedules
from cleanup_scheduler.runs import new_run
from shared.cron import InvalidTiming, Timing
from shared.db.unit_of_work import UnitOfWork
from shared.events import ChangeScheduleV1, RunScheduleV1
from shared.messaging.delivery import Delivery
from shared.messaging.errors import PermanentError


class Commands:
    """Carries out changes of schedules and runs beside their due times."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        clock: Clock,
        definitions: Mapping[str, Definition],
        absent: frozenset[str] = frozenset(),
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._definitions = definitions
        self._absent = absent

    async def run_now(self, command: RunScheduleV1, delivery: Delivery) -> None:
        """Have a schedule's work done now; its due times stay as they are."""
        if (definition := self._definitions.get(command.name)) is None:
            raise UnknownSchedule(command.name)
        run = new_run(
            definition,
            command.requested_at,
            self._clock.now(),
            self._absent,
            run_id=command.run_id,
            requested_by=command.requested_by,
        )
        async with self._unit_of_work.begin(delivery) as transaction:
            added = await Runs(transaction.connection).add(run)
            if added is not None:
                transaction.publish(*added.beginning())
            await Schedules(transaction.connection).wake()

    async def change(self, command: ChangeScheduleV1, delivery: Delivery) -> None:
        """Change a schedule; what passed while it was paused, or before the change, is not made up for."""
        now = self._clock.now()
        async with self._unit_of_work.begin(delivery) as transaction:
            schedules = Schedules(transaction.connection)
            schedule = await schedules.lock(command.name)
            if schedule is None:
                raise UnknownSchedule(command.name)
            try:
                timing = Timing.of(command.cron or schedule.timing.cron, command.time_zone or schedule.timing.time_zone)
            except InvalidTiming as error:
                raise PermanentError("invalid_schedule", f"{error.field}: {error.detail}") from error
            is_paused = schedule.is_paused if command.is_paused is None else command.is_paused
            resumes = schedule.is_paused and not is_paused
            changed = await schedules.change(
                schedule.name,
                timing,
                command.missed or schedule.missed,
                timing.following(now) if resumes or timing != schedule.timing else schedule.next_due_at,
                now,
                is_paused=is_paused,
            )
            transaction.publish(changed.told())
            await schedules.wake()
