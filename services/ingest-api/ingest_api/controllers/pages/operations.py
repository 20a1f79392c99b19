"""Operating the system: services, what was given up, jobs that failed, the clock, and who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.dead_letters import cursor_of, position_of
from ingest_api.controllers.operations import SILENT_SHOWN_SECONDS
from ingest_api.controllers.schedules import DueMediaAnswer, schedule_answer
from ingest_api.cursors import cursor_behind, decode_cursor, id_of
from ingest_api.dead_letters import no_such_letter
from ingest_api.known_jobs import newest_jobs
from ingest_api.pages.operations_view import (
    RUN_KINDS,
    STANDING_KINDS,
    Totals,
    behind,
    details,
    original_headers,
    readable,
)
from ingest_api.pages.page import PageController, Pages
from ingest_api.payload_preview import preview
from ingest_api.repositories.accounts import AccountRepository
from ingest_api.repositories.audit import AuditArea, AuditRepository
from ingest_api.repositories.dead_letters import DeadLetterRepository, LetterFilter, LetterState
from ingest_api.repositories.replicas import ReplicaRepository
from ingest_api.repositories.schedules import ScheduleRepository
from ingest_api.scheduling import Scheduling
from ingest_api.service_overview import overview, replica_status
from ingest_api.settings import IngestSettings
from shared.db.pool import Database
from shared.events import ScheduleRunStatus
from shared.messaging.topics import SERVICES, TOPICS

HOME = "/admin/ops"
LETTERS_PER_PAGE = 30
JOBS_PER_PAGE = 30
RUNS_SHOWN = 20
RUNS_LOOKED_AT = 100
"""For those that wait for approval: they are among the newest, for they are asked for anew at each due time."""
ENTRIES_PER_PAGE = 40
DUE_SHOWN = 100
"""Media of the next purge; their number and size are told of all."""

ORIGINS = sorted(topic.name for topic in TOPICS if topic.kind in ("events", "commands"))


class OperationsPages(PageController):
    path = HOME
    guards = (require(Role.SUPERADMIN),)

    @get()
    async def services(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        settings: NamedDependency[IngestSettings],
    ) -> Response[str]:
        """How every service and each of its processes fares."""
        async with database.connection() as connection:
            replicas = await ReplicaRepository(connection).heard_within(SILENT_SHOWN_SECONDS)
            letters = await DeadLetterRepository(connection).open_by_service()
        now = datetime.now(UTC)
        services = overview(SERVICES, replicas, letters, now)
        return pages.answer(
            request,
            "operations/services.html",
            tab="services",
            services=services,
            totals=Totals.of(services),
            kinds=STANDING_KINDS,
            behind=behind,
            status_of=lambda replica: replica_status(replica, now),
            links=settings,
        )

    @get("/dead-letters")
    async def dead_letters(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        service: FromQuery[str | None] = None,
        topic: FromQuery[str | None] = None,
        wanted_state: Annotated[LetterState | Literal["any"], QueryParameter(name="state")] = "open",
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Newest first; those that nobody has settled unless asked for others."""
        wanted = LetterFilter(service or None, topic or None, None if wanted_state == "any" else wanted_state)
        after = None if cursor is None else decode_cursor(cursor, position_of)
        async with database.connection() as connection:
            found = await DeadLetterRepository(connection).newest(wanted, after, LETTERS_PER_PAGE + 1)
        shown = found[:LETTERS_PER_PAGE]
        query = {"service": wanted.service or "", "topic": wanted.topic or "", "state": wanted_state}
        older = None
        if len(found) > len(shown):
            older = f"{HOME}/dead-letters?{urlencode({**query, 'cursor': cursor_of(shown[-1])})}"
        return pages.answer(
            request,
            "operations/dead_letters.html",
            tab="dead_letters",
            letters=shown,
            wanted=query,
            services=SERVICES,
            topics=ORIGINS,
            states=(*get_args(LetterState), "any"),
            older=older,
        )

    @get("/dead-letters/{letter_id:uuid}")
    async def dead_letter(
        self,
        request: SignedInRequest,
        letter_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        settings: NamedDependency[IngestSettings],
    ) -> Response[str]:
        """One letter with its headers and its payload."""
        async with database.connection() as connection:
            letters = DeadLetterRepository(connection)
            row, letter = await letters.get(letter_id), await letters.message(letter_id)
            if row is None or letter is None:
                raise no_such_letter()
            who = await AccountRepository(connection).user(row.settled_by) if row.settled_by else None
        payload = preview(letter.payload)
        return pages.answer(
            request,
            "operations/dead_letter.html",
            tab="dead_letters",
            letter=row,
            settled_by=who.email if who else row.settled_by,
            original_headers=original_headers(letter.headers),
            payload=payload,
            content=readable(payload),
            trace_address=settings.trace_address(row.trace_id) if row.trace_id else None,
        )

    @get("/jobs")
    async def jobs(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Processing that failed, newest first; storage jobs have a page of their own."""
        async with database.connection() as connection:
            found = await newest_jobs(connection, "failed", id_of(cursor), JOBS_PER_PAGE + 1)
        shown = found[:JOBS_PER_PAGE]
        older = cursor_behind(found, JOBS_PER_PAGE)
        return pages.answer(
            request,
            "operations/jobs.html",
            tab="jobs",
            jobs=shown,
            older=older and f"{HOME}/jobs?cursor={older}",
        )

    @get("/schedules")
    async def schedules(
        self, request: SignedInRequest, pages: NamedDependency[Pages], database: NamedDependency[Database]
    ) -> Response[str]:
        """When what is due next, and what came of it last."""
        async with database.connection() as connection:
            repository = ScheduleRepository(connection)
            schedules = await repository.all()
            last_runs = await repository.last_runs([one.name for one in schedules])
            newest = await repository.newest_runs(None, None, RUNS_LOOKED_AT)
        return pages.answer(
            request,
            "operations/schedules.html",
            tab="schedules",
            schedules=[schedule_answer(one, last_runs.get(one.name)) for one in schedules],
            waiting=[run for run in newest if run.status is ScheduleRunStatus.WAITING_FOR_APPROVAL],
            kinds=RUN_KINDS,
        )

    @get("/schedules/{name:str}")
    async def schedule(
        self,
        request: SignedInRequest,
        name: FromPath[str],
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        scheduling: NamedDependency[Scheduling],
    ) -> Response[str]:
        """One schedule with its runs, newest first, and its times to change."""
        schedule, last_run = await scheduling.schedule(name)
        async with database.connection() as connection:
            runs = await ScheduleRepository(connection).newest_runs(name, None, RUNS_SHOWN)
        return pages.answer(
            request,
            "operations/schedule.html",
            tab="schedules",
            schedule=schedule_answer(schedule, last_run),
            runs=runs,
            kinds=RUN_KINDS,
        )

    @get("/due")
    async def due(
        self, request: SignedInRequest, pages: NamedDependency[Pages], scheduling: NamedDependency[Scheduling]
    ) -> Response[str]:
        """What the next purge would take; 503 while the clock does not answer."""
        due = msgspec.convert(await scheduling.due_media(None, None, DUE_SHOWN), DueMediaAnswer)
        return pages.answer(request, "operations/due.html", tab="schedules", due=due)

    @get("/audit")
    async def audit(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        area: FromQuery[AuditArea | Literal[""] | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Who did what, newest first."""
        async with database.connection() as connection:
            found = await AuditRepository(connection).newest(area or None, id_of(cursor), ENTRIES_PER_PAGE + 1)
        shown = found[:ENTRIES_PER_PAGE]
        older = cursor_behind(found, ENTRIES_PER_PAGE)
        return pages.answer(
            request,
            "operations/audit.html",
            tab="audit",
            entries=[(entry, details(entry)) for entry in shown],
            areas=get_args(AuditArea),
            area=area or "",
            older=older and f"{HOME}/audit?{urlencode({'area': area or '', 'cursor': older})}",
        )
