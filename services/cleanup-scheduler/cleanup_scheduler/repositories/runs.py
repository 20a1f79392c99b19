"""What came of due times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from cleanup_scheduler.runs import Run
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import ScheduledWorkDoneV1, ScheduleRunStatus, WorkAnswer

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "runs.sql")


class Runs:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, run: Run) -> Run | None:
        """None where the due time has its run already, or this run was asked for before."""
        row = await self._connection.fetchrow(
            QUERIES["add"],
            run.run_id,
            run.name,
            run.trigger,
            run.status.value,
            run.due_at,
            run.missed,
            run.started_at,
            run.ended_at,
            run.answer_by,
            list(run.owing),
            run.detail,
            run.requested_by,
            run.changed_at,
        )
        return _run(row) if row else None

    async def lock(self, run_id: UUID) -> Run | None:
        row = await self._connection.fetchrow(QUERIES["lock"], run_id)
        return _run(row) if row else None

    async def save(self, run: Run) -> Run:
        """The run under its next version."""
        row = await self._connection.fetchrow(
            QUERIES["save"],
            run.run_id,
            run.status.value,
            run.started_at,
            run.ended_at,
            run.answer_by,
            list(run.owing),
            run.needs_approval_because,
            run.detail,
            run.decided_by,
            run.changed_at,
        )
        assert row is not None, "the run's row is gone while it is locked"
        return _run(row)

    async def lock_late(self, now: datetime) -> Run | None:
        """One whose answers are due, that nobody else is at."""
        row = await self._connection.fetchrow(QUERIES["lock_late"], now)
        return _run(row) if row else None

    async def next_deadline(self) -> datetime | None:
        moment: datetime | None = await self._connection.fetchval(QUERIES["next_deadline"])
        return moment

    async def add_answer(self, event: ScheduledWorkDoneV1) -> bool:
        """False where the service has answered before."""
        added = await self._connection.fetchval(
            QUERIES["add_answer"], event.run_id, event.service, event.counts, event.error, event.ended_at
        )
        return bool(added)

    async def answers(self, run_id: UUID) -> list[WorkAnswer]:
        return [WorkAnswer(**row) for row in await self._connection.fetch(QUERIES["answers"], run_id)]

    async def prune(self, ended_before: datetime, limit: int) -> int:
        return int(await self._connection.fetchval(QUERIES["prune"], ended_before, limit))


def _run(row: Mapping[str, Any]) -> Run:
    values = dict(row)
    return Run(**values | {"status": ScheduleRunStatus(values["status"]), "owing": tuple(values["owing"])})
