"""Runs of reconciler, as it tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import ReconcileRunChangedV1, ReconcileScope, RunCounts, RunStatus, StartReconcileRunV1
from shared.identifiers import new_id

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "reconcile_runs.sql")


@dataclass(frozen=True, slots=True)
class ReconcileRun:
    id: UUID
    plan_id: UUID | None
    version: int
    scope: ReconcileScope
    status: RunStatus
    remove_orphaned: bool
    recreate_missing: bool
    counts: RunCounts
    result: dict[str, Any] | None
    needs_approval_because: str | None
    error: str | None
    requested_by: UUID | None
    decided_by: UUID | None
    requested_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    run_id: UUID
    decision: str
    decided_by: UUID | None
    decided_at: datetime


class ReconcileRunRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, command: StartReconcileRunV1) -> None:
        """The run as it waits for reconciler to tell of it."""
        await self._connection.execute(
            QUERIES["add"],
            command.run_id,
            command.scope.kind,
            command.scope.product_id,
            command.remove_orphaned,
            command.recreate_missing,
            command.requested_by,
            command.requested_at,
        )
        await self.note_decision(command.run_id, "start", command.requested_by, command.requested_at)

    async def record(self, event: ReconcileRunChangedV1) -> None:
        """Take over a fact that is newer than what was known, and wake who waits for news of the run."""
        await self._connection.execute(
            QUERIES["record"],
            event.run_id,
            event.plan_id,
            event.version,
            event.scope.kind,
            event.scope.product_id,
            event.status.value,
            event.remove_orphaned,
            event.recreate_missing,
            event.counts.model_dump(),
            event.result,
            event.needs_approval_because,
            event.error,
            event.requested_by,
            event.decided_by,
            event.requested_at,
            event.changed_at,
        )

    async def get(self, run_id: UUID) -> ReconcileRun | None:
        row = await self._connection.fetchrow(QUERIES["get"], run_id)
        return _run(row) if row else None

    async def lock(self, run_id: UUID) -> ReconcileRun | None:
        row = await self._connection.fetchrow(QUERIES["lock"], run_id)
        return _run(row) if row else None

    async def expect(self, run_id: UUID, status: RunStatus, at: datetime) -> None:
        """Show what was decided until reconciler tells what came of it."""
        await self._connection.execute(QUERIES["expect"], run_id, status.value, at)

    async def newest(self, after: UUID | None, limit: int) -> list[ReconcileRun]:
        return [_run(row) for row in await self._connection.fetch(QUERIES["newest"], after, limit)]

    async def waiting(self, limit: int) -> list[ReconcileRun]:
        """Those whose plan waits for a person, newest first."""
        return [_run(row) for row in await self._connection.fetch(QUERIES["waiting"], limit)]

    async def note_decision(self, run_id: UUID, decision: str, decided_by: UUID | None, at: datetime) -> None:
        await self._connection.execute(QUERIES["note_decision"], new_id(), run_id, decision, decided_by, at)

    async def decisions(self, run_ids: Sequence[UUID]) -> dict[UUID, list[Decision]]:
        found: dict[UUID, list[Decision]] = {run_id: [] for run_id in run_ids}
        for row in await self._connection.fetch(QUERIES["decisions"], list(run_ids)):
            found[row["run_id"]].append(Decision(**row))
        return found


def _run(row: Mapping[str, Any]) -> ReconcileRun:
    values = dict(row)
    scope = ReconcileScope(kind=values.pop("scope_kind"), product_id=values.pop("product_id"))
    return ReconcileRun(
        **values | {"status": RunStatus(values["status"]), "counts": RunCounts(**values["counts"])}, scope=scope
    )
