"""Schedules: when what is due, what came of it, and what will go for good tonight."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.cursors import MAX_LIMIT, cursor_behind, id_of
from ingest_api.repositories.schedules import Schedule, ScheduleRepository, ScheduleRun
from ingest_api.scheduling import Scheduling, no_such_run
from shared.cron import Timing
from shared.db.pool import Database
from shared.events import MissedFirings, ScheduleRunStatus

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
PATH = "/api/admin/schedules"
NEXT_FIRINGS = 3


class WorkAnswerBody(msgspec.Struct, rename="camel"):
    """What one service did of a run; `error` where it failed."""

    service: str
    counts: dict[str, int]
    error: str | None
    ended_at: datetime


class ScheduleRunAnswer(msgspec.Struct, rename="camel"):
    """A run of a schedule. `missed` due times before `dueAt` were made up for by it. `owing` have not answered.

    `status`: `running`, `waiting_for_approval`, or an end: `done`, `failed`, `open` (not all answered in time; later
    answers are still counted), `skipped`, `refused`. `requestedBy` is null for the clock.
    """

    id: UUID
    schedule: str
    trigger: str
    status: ScheduleRunStatus
    due_at: datetime
    missed: int
    started_at: datetime | None
    ended_at: datetime | None
    answer_by: datetime | None
    counts: dict[str, int]
    answers: list[WorkAnswerBody]
    owing: list[str]
    needs_approval_because: str | None
    detail: str | None
    requested_by: UUID | None
    decided_by: UUID | None


class ScheduleAnswer(msgspec.Struct, rename="camel"):
    """When something is due. `nextFirings` are empty while it is paused."""

    name: str
    cron: str
    time_zone: str
    missed: MissedFirings
    paused: bool
    next_firings: list[datetime]
    changed_at: datetime
    last_run: ScheduleRunAnswer | None


class ScheduleList(msgspec.Struct, rename="camel"):
    schedules: list[ScheduleAnswer]


class ScheduleRunList(msgspec.Struct, rename="camel"):
    runs: list[ScheduleRunAnswer]
    next_cursor: str | None


class ScheduleChangeBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is left out stays. `cron` has five fields, read as Debian's cron does; `timeZone` is an IANA name.

    `missed` says what becomes of due times that passed while no clock ran: `run_once` or `skip`.
    """

    cron: str | None = None
    time_zone: str | None = None
    missed: MissedFirings | None = None
    paused: bool | None = None


class ScheduleRequestAnswer(msgspec.Struct, rename="camel"):
    request: str
    run_id: UUID | None
    changes: dict[str, Any] | None
    requested_by: UUID
    requested_at: datetime


class ScheduleRequestList(msgspec.Struct, rename="camel"):
    requests: list[ScheduleRequestAnswer]
    next_cursor: str | None


class DueMediumAnswer(msgspec.Struct, rename="camel"):
    media_id: UUID
    deleted_at: datetime
    files: int
    bytes: int


class DueMediaAnswer(msgspec.Struct, rename="camel"):
    """What would go for good: counts of all, and the first `items`. `needsApprovalBecause` says why it would wait."""

    at: datetime
    retention_days: int
    auto_cleanup_enabled: bool
    media: int
    files: int
    bytes: int
    live_media: int
    needs_approval_because: str | None
    items: list[DueMediumAnswer]


class ScheduleController(Controller):
    """The clock: its schedules, their runs, and what the next purge would take."""

    path = PATH
    tags = ("Schedules",)
    guards = (require(Role.SUPERADMIN),)

    @get("/", summary="List schedules")
    async def list_schedules(self, database: NamedDependency[Database]) -> ScheduleList:
        async with database.connection() as connection:
            repository = ScheduleRepository(connection)
            schedules = await repository.all()
            last_runs = await repository.last_runs([one.name for one in schedules])
        return ScheduleList([schedule_answer(one, last_runs.get(one.name)) for one in schedules])

    @get("/{name:str}", summary="Read a schedule")
    async def read_schedule(self, name: FromPath[str], scheduling: NamedDependency[Scheduling]) -> ScheduleAnswer:
        return schedule_answer(*await scheduling.schedule(name))

    @patch("/{name:str}", summary="Change a schedule")
    async def change_schedule(
        self,
        request: SignedInRequest,
        name: FromPath[str],
        data: JSONBody[ScheduleChangeBody],
        scheduling: NamedDependency[Scheduling],
    ) -> ScheduleAnswer:
        """The answer has the next three due times; 422 says what is wrong with an expression or a zone. What passed
        while a schedule was paused is not made up for."""
        await scheduling.change(
            name,
            request.user.user_id,
            cron=data.cron,
            time_zone=data.time_zone,
            missed=data.missed,
            is_paused=data.paused,
        )
        return schedule_answer(*await scheduling.schedule(name))

    @post("/{name:str}/run", summary="Run a schedule now", status_code=202)
    async def run_now(
        self, request: SignedInRequest, name: FromPath[str], scheduling: NamedDependency[Scheduling]
    ) -> Response[ScheduleRunAnswer]:
        """Beside its due times, and though it is paused. Follow the run at `Location`."""
        run = await scheduling.run_now(name, request.user.user_id)
        return Response(run_answer(run), status_code=202, headers={"Location": f"{PATH}/runs/{run.id}"})

    @get("/{name:str}/runs", summary="List runs of a schedule")
    async def list_runs_of_one(
        self,
        name: FromPath[str],
        database: NamedDependency[Database],
        scheduling: NamedDependency[Scheduling],
        limit: Limit = 20,
        cursor: FromQuery[str | None] = None,
    ) -> ScheduleRunList:
        """Newest first. `nextCursor` is null on the last page."""
        await scheduling.schedule(name)
        return await _runs(database, name, limit, cursor)

    @get("/{name:str}/audit", summary="Who asked what of a schedule")
    async def list_requests(
        self,
        name: FromPath[str],
        database: NamedDependency[Database],
        limit: Limit = 20,
        cursor: FromQuery[str | None] = None,
    ) -> ScheduleRequestList:
        """Changes, runs and decisions, newest first."""
        async with database.connection() as connection:
            requests = await ScheduleRepository(connection).requests(name, id_of(cursor), limit + 1)
        page = requests[:limit]
        return ScheduleRequestList(
            [
                ScheduleRequestAnswer(
                    one.request,
                    one.run_id,
                    None if one.changes is None else dict(one.changes),
                    one.requested_by,
                    one.requested_at,
                )
                for one in page
            ],
            cursor_behind(requests, limit),
        )

    @get("/runs", summary="List runs of all schedules")
    async def list_runs(
        self, database: NamedDependency[Database], limit: Limit = 20, cursor: FromQuery[str | None] = None
    ) -> ScheduleRunList:
        """Newest first. `nextCursor` is null on the last page."""
        return await _runs(database, None, limit, cursor)

    @get("/runs/{run_id:uuid}", summary="Read a run")
    async def read_run(self, run_id: FromPath[UUID], database: NamedDependency[Database]) -> ScheduleRunAnswer:
        async with database.connection() as connection:
            run = await ScheduleRepository(connection).run(run_id)
        if run is None:
            raise no_such_run()
        return run_answer(run)

    @post("/runs/{run_id:uuid}/approve", summary="Approve a run that waits", status_code=200)
    async def approve(
        self, request: SignedInRequest, run_id: FromPath[UUID], scheduling: NamedDependency[Scheduling]
    ) -> ScheduleRunAnswer:
        """It begins. What was restored since is not touched."""
        return run_answer(await scheduling.decide(run_id, "approve", request.user.user_id))

    @post("/runs/{run_id:uuid}/refuse", summary="Refuse a run that waits", status_code=200)
    async def refuse(
        self, request: SignedInRequest, run_id: FromPath[UUID], scheduling: NamedDependency[Scheduling]
    ) -> ScheduleRunAnswer:
        """Nothing goes; the next due time asks again."""
        return run_answer(await scheduling.decide(run_id, "refuse", request.user.user_id))

    @get("/due", summary="What will be deleted for good")
    async def due(
        self,
        scheduling: NamedDependency[Scheduling],
        at: FromQuery[datetime | None] = None,
        retention_days: Annotated[int | None, QueryParameter(name="retentionDays", ge=0, le=3650)] = None,
        limit: Annotated[int, QueryParameter(ge=0, le=1000)] = 100,
    ) -> DueMediaAnswer:
        """At the next purge or another moment, by the retention of the settings or another one. Changes nothing."""
        moment = at.astimezone(UTC) if at is not None else None
        return msgspec.convert(await scheduling.due_media(moment, retention_days, limit), DueMediaAnswer)


def schedule_answer(schedule: Schedule, last_run: ScheduleRun | None) -> ScheduleAnswer:
    timing = Timing(schedule.cron, schedule.time_zone)
    further = timing.next_few(schedule.next_due_at, NEXT_FIRINGS - 1)
    return ScheduleAnswer(
        name=schedule.name,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        missed=schedule.missed,
        paused=schedule.is_paused,
        next_firings=[] if schedule.is_paused else [schedule.next_due_at, *further],
        changed_at=schedule.changed_at,
        last_run=None if last_run is None else run_answer(last_run),
    )


def run_answer(run: ScheduleRun) -> ScheduleRunAnswer:
    kept = {
        name: value for name, value in asdict(run).items() if name not in {"name", "version", "changed_at", "answers"}
    }
    answers = [
        WorkAnswerBody(one["service"], one["counts"], one["error"], datetime.fromisoformat(one["ended_at"]))
        for one in run.answers
    ]
    return ScheduleRunAnswer(schedule=run.name, answers=answers, **kept)


async def _runs(database: Database, name: str | None, limit: int, cursor: str | None) -> ScheduleRunList:
    async with database.connection() as connection:
        runs = await ScheduleRepository(connection).newest_runs(name, id_of(cursor), limit + 1)
    page = runs[:limit]
    return ScheduleRunList([run_answer(run) for run in page], cursor_behind(runs, limit))
