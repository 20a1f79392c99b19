"""Asking the clock: what is due, other times, runs beside them, and decisions about purges that wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from ingest_api.answers import Answers
from ingest_api.problem_details import RETRY_AFTER_SECONDS, Conflict, FieldError, InvalidFields, Problem, retry_after
from ingest_api.repositories.schedules import Schedule, ScheduleRepository, ScheduleRun
from shared.cron import InvalidTiming, Timing
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    ChangeScheduleV1,
    DecideOnScheduleRunV1,
    DescribeDueMediaV1,
    MissedFirings,
    RunScheduleV1,
    ScheduleRunStatus,
)
from shared.identifiers import new_id
from shared.scheduling import MEDIA_PURGE

ANSWER_SECONDS = 10.0
_FIELDS = {"cron": "cron", "time_zone": "timeZone"}
_DECIDED = {"approve": ScheduleRunStatus.RUNNING, "refuse": ScheduleRunStatus.REFUSED}


class Scheduling:
    """What is asked for is durable, and shown as if it were done until cleanup-scheduler tells what came of it."""

    def __init__(self, answers: Answers, unit_of_work: UnitOfWork) -> None:
        self._answers = answers
        self._unit_of_work = unit_of_work

    async def schedule(self, name: str) -> tuple[Schedule, ScheduleRun | None]:
        """A schedule with its newest run; Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            schedules = ScheduleRepository(connection)
            schedule = await schedules.get(name)
            if schedule is None:
                raise no_such_schedule()
            return schedule, (await schedules.last_runs([name])).get(name)

    async def change(
        self,
        name: str,
        user_id: UUID,
        *,
        cron: str | None = None,
        time_zone: str | None = None,
        missed: MissedFirings | None = None,
        is_paused: bool | None = None,
    ) -> Schedule:
        """Change what is given; InvalidFields says what is wrong with a time, and what would be right."""
        now = datetime.now(UTC)
        async with self._unit_of_work.begin() as transaction:
            schedules = ScheduleRepository(transaction.connection)
            schedule = await schedules.lock(name)
            if schedule is None:
                raise no_such_schedule()
            timing = timing_of(cron or schedule.cron, time_zone or schedule.time_zone)
            is_other = timing != Timing(schedule.cron, schedule.time_zone)
            resumes = schedule.is_paused and is_paused is False
            changes = {"cron": cron, "timeZone": time_zone, "missed": missed, "paused": is_paused}
            given = {field: value for field, value in changes.items() if value is not None}
            wanted = replace(
                schedule,
                cron=timing.cron,
                time_zone=timing.time_zone,
                missed=missed or schedule.missed,
                is_paused=schedule.is_paused if is_paused is None else is_paused,
                next_due_at=timing.following(now) if is_other or resumes else schedule.next_due_at,
                changed_at=now,
            )
            if not given:
                return schedule
            expected = await schedules.expect(wanted)
            await schedules.note_request(name, "change", user_id, now, changes=given)
            transaction.publish(
                ChangeScheduleV1(
                    change_id=new_id(),
                    name=name,
                    cron=cron,
                    time_zone=time_zone,
                    missed=missed,
                    is_paused=is_paused,
                    requested_by=user_id,
                    requested_at=now,
                )
            )
        return expected

    async def run_now(self, name: str, user_id: UUID) -> ScheduleRun:
        """Have a schedule's work done now, beside its due times."""
        now = datetime.now(UTC)
        command = RunScheduleV1(run_id=new_id(), name=name, requested_by=user_id, requested_at=now)
        async with self._unit_of_work.begin() as transaction:
            schedules = ScheduleRepository(transaction.connection)
            if await schedules.get(name) is None:
                raise no_such_schedule()
            run = await schedules.add_run(command.run_id, name, user_id, now)
            await schedules.note_request(name, "run", user_id, now, run_id=command.run_id)
            transaction.publish(command)
        return run

    async def decide(self, run_id: UUID, decision: Literal["approve", "refuse"], user_id: UUID) -> ScheduleRun:
        """Approve or refuse a run that waits; 409 where it does not."""
        now = datetime.now(UTC)
        async with self._unit_of_work.begin() as transaction:
            schedules = ScheduleRepository(transaction.connection)
            run = await schedules.lock_run(run_id)
            if run is None:
                raise no_such_run()
            if run.status is not ScheduleRunStatus.WAITING_FOR_APPROVAL:
                wanted = ScheduleRunStatus.WAITING_FOR_APPROVAL
                raise Conflict(
                    "run_in_other_state", f"The run is {run.status}; to {decision} it, it has to be {wanted}."
                )
            expected = await schedules.expect_run(run_id, _DECIDED[decision], user_id, now)
            await schedules.note_request(run.name, decision, user_id, now, run_id=run_id)
            transaction.publish(
                DecideOnScheduleRunV1(
                    run_id=run_id, name=run.name, decision=decision, decided_by=user_id, decided_at=now
                )
            )
        return expected

    async def due_media(self, at: datetime | None, retention_days: int | None, limit: int) -> dict[str, Any]:
        """What the purge of a moment would take, by default the next one; 503 where the clock does not answer."""
        if at is None:
            at = (await self.schedule(MEDIA_PURGE))[0].next_due_at
        question = partial(DescribeDueMediaV1, at=at, retention_days=retention_days, limit=limit)
        answer = await self._answers.ask(question, ANSWER_SECONDS)
        if answer is not None and answer.body is not None:
            return answer.body
        detail = (answer and answer.problem) or "cleanup-scheduler did not answer in time; try again shortly"
        detail = f"{detail[:1].upper()}{detail[1:]}."
        raise Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS))


def timing_of(cron: str, time_zone: str) -> Timing:
    """InvalidFields where it is none."""
    try:
        return Timing.of(cron, time_zone)
    except InvalidTiming as error:
        raise InvalidFields(FieldError(_FIELDS[error.field], error.detail, f"no_{error.field}")) from None


def no_such_schedule() -> Problem:
    return Problem(404, "not_found", "There is no schedule with this name: GET /api/admin/schedules lists them.")


def no_such_run() -> Problem:
    return Problem(404, "not_found", "There is no run with this id, or it is not kept any more.")
