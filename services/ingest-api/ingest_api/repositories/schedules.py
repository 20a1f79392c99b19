"""Schedules and their runs, as cleanup-scheduler tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MissedFirings, ScheduleChangedV1, ScheduleRunChangedV1, ScheduleRunStatus
from shared.identifiers import new_id

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "schedules.sql")


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str
    version: int
    cron: str
    time_zone: str
    missed: MissedFirings
    is_paused: bool
    next_due_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    id: UUID
    name: str
    version: int
    trigger: str
    status: ScheduleRunStatus
    due_at: datetime
    missed: int
    started_at: datetime | None
    ended_at: datetime | None
    answer_by: datetime | None
    counts: Mapping[str, int]
    answers: Sequence[Mapping[str, Any]]
    owing: Sequence[str]
    needs_approval_because: str | None
    detail: str | None
    requested_by: UUID | None
    decided_by: UUID | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """What a person asked for, and when."""

    id: UUID
    name: str
    request: str
    run_id: UUID | None
    changes: Mapping[str, Any] | None
    requested_by: UUID
    requested_at: datetime


class ScheduleRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    # --- what is told ---------------------------------------------------------------------------------------------

    async def record(self, event: ScheduleChangedV1) -> None:
        """Take over a fact that is newer than what was known."""
        await self._connection.execute(
            QUERIES["record"],
            event.name,
            event.version,
            event.cron,
            event.time_zone,
            event.missed.value,
            event.is_paused,
            event.next_due_at,
            event.changed_at,
        )

    async def record_run(self, event: ScheduleRunChangedV1) -> None:
        """Take over a fact that is newer than what was known."""
        await self._connection.execute(
            QUERIES["record_run"],
            event.run_id,
            event.name,
            event.version,
            event.trigger,
            event.status.value,
            event.due_at,
            event.missed,
            event.started_at,
            event.ended_at,
            event.answer_by,
            event.counts,
            [answer.model_dump(mode="json") for answer in event.answers],
            list(event.owing),
            event.needs_approval_because,
            event.detail,
            event.requested_by,
            event.decided_by,
            event.changed_at,
        )

    # --- schedules ------------------------------------------------------------------------------------------------

    async def all(self) -> list[Schedule]:
        return [_schedule(row) for row in await self._connection.fetch(QUERIES["all"])]

    async def get(self, name: str) -> Schedule | None:
        row = await self._connection.fetchrow(QUERIES["get"], name)
        return _schedule(row) if row else None

    async def lock(self, name: str) -> Schedule | None:
        row = await self._connection.fetchrow(QUERIES["lock"], name)
        return _schedule(row) if row else None

    async def expect(self, schedule: Schedule) -> Schedule:
        """Show what was asked for until cleanup-scheduler tells what came of it."""
        row = await self._connection.fetchrow(
            QUERIES["expect"],
            schedule.name,
            schedule.cron,
            schedule.time_zone,
            schedule.missed.value,
            schedule.is_paused,
            schedule.next_due_at,
            schedule.changed_at,
        )
        assert row is not None, "the schedule's row is gone while it is locked"
        return _schedule(row)

    # --- runs -----------------------------------------------------------------------------------------------------

    async def add_run(self, run_id: UUID, name: str, user_id: UUID, at: datetime) -> ScheduleRun:
        """A run as it waits for cleanup-scheduler to tell of it."""
        row = await self._connection.fetchrow(QUERIES["add_run"], run_id, name, at, user_id)
        assert row is not None
        return _run(row)

    async def run(self, run_id: UUID) -> ScheduleRun | None:
        row = await self._connection.fetchrow(QUERIES["run"], run_id)
        return _run(row) if row else None

    async def lock_run(self, run_id: UUID) -> ScheduleRun | None:
        row = await self._connection.fetchrow(QUERIES["lock_run"], run_id)
        return _run(row) if row else None

    async def expect_run(self, run_id: UUID, status: ScheduleRunStatus, user_id: UUID, at: datetime) -> ScheduleRun:
        row = await self._connection.fetchrow(QUERIES["expect_run"], run_id, status.value, user_id, at)
        assert row is not None, "the run's row is gone while it is locked"
        return _run(row)

    async def newest_runs(self, name: str | None, after: UUID | None, limit: int) -> list[ScheduleRun]:
        return [_run(row) for row in await self._connection.fetch(QUERIES["newest_runs"], name, after, limit)]

    async def last_runs(self, names: Sequence[str]) -> dict[str, ScheduleRun]:
        """The newest run of each schedule that has one."""
        rows = await self._connection.fetch(QUERIES["last_runs"], list(names))
        return {row["name"]: _run(row) for row in rows}

    async def remove_ended_runs(self, kept_seconds: float, limit: int) -> int:
        return int(await self._connection.fetchval(QUERIES["remove_ended_runs"], kept_seconds, limit))

    # --- who asked what -------------------------------------------------------------------------------------------

    async def note_request(
        self,
        name: str,
        request: str,
        user_id: UUID,
        at: datetime,
        *,
        run_id: UUID | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        await self._connection.execute(QUERIES["note_request"], new_id(), name, request, run_id, changes, user_id, at)

    async def requests(self, name: str, after: UUID | None, limit: int) -> list[ScheduleRequest]:
        """Newest first."""
        rows = await self._connection.fetch(QUERIES["requests"], name, after, limit)
        return [ScheduleRequest(**row) for row in rows]


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(**{**row, "missed": MissedFirings(row["missed"])})


def _run(row: Mapping[str, Any]) -> ScheduleRun:
    return ScheduleRun(**{**row, "status": ScheduleRunStatus(row["status"])})
