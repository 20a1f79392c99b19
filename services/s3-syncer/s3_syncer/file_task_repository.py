"""File tasks in PostgreSQL: what was asked for, how far it got, what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from s3_syncer.file_steps import StepRecord
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import FileStep, FileStepResult, FileTaskEndedV1, RunFileTaskV1

QUERIES = load_queries(Path(__file__).with_name("file_tasks.sql"))

Verdict = Literal["succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class FileTask:
    """One task; `verdict` is set once it is known how it ends, `ended_at` once that is told, without its steps."""

    task_id: UUID
    scope: str
    steps: tuple[FileStep, ...]
    is_atomic: bool
    records: tuple[StepRecord, ...]
    verdict: Verdict | None
    results: tuple[FileStepResult, ...]
    ended_at: datetime | None

    def told(self, verdict: Verdict, results: Sequence[FileStepResult], ended_at: datetime) -> FileTaskEndedV1:
        return FileTaskEndedV1(
            task_id=self.task_id,
            scope=self.scope,
            succeeded=verdict == "succeeded",
            results=tuple(results),
            ended_at=ended_at,
        )


class FileTaskRepository:
    """The only reader and writer of the tasks' table, inside the caller's transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def arrive(self, command: RunFileTaskV1) -> None:
        """Put a task at the end of its scope's queue; one that came before keeps its place."""
        steps = [step.model_dump(mode="json") for step in command.steps]
        await self._connection.execute(
            QUERIES["arrive_file_task"], command.task_id, command.scope, steps, command.is_atomic
        )

    async def get(self, task_id: UUID) -> FileTask:
        return _task(await self._connection.fetchrow(QUERIES["file_task"], task_id))

    async def hold(self, scope: str, holder: UUID, hold_seconds: float) -> FileTask | None:
        """The first task of a scope that has not ended; None where there is none, or somebody else holds it."""
        row = await self._connection.fetchrow(QUERIES["hold_file_task"], scope, holder, hold_seconds)
        return None if row is None else _task(row)

    async def renew(self, task_id: UUID, holder: UUID, hold_seconds: float) -> bool:
        """Whether the holder still holds the task."""
        return bool(await self._connection.fetchval(QUERIES["renew_file_task"], task_id, holder, hold_seconds))

    async def note(self, task_id: UUID, holder: UUID, records: Sequence[StepRecord], verdict: Verdict | None) -> bool:
        """Write down how far the holder got; False once it holds the task no longer."""
        noted = [record.model_dump(mode="json", exclude_none=True) for record in records]
        return bool(await self._connection.fetchval(QUERIES["note_file_task"], task_id, holder, noted, verdict))

    async def end(
        self,
        task_id: UUID,
        holder: UUID | None,
        verdict: Verdict,
        results: Sequence[FileStepResult],
        ended_at: datetime,
    ) -> bool:
        """Whether the task ends now; without a holder whoever holds it loses it."""
        told = [result.model_dump(mode="json", exclude_none=True) for result in results]
        ended = await self._connection.fetchval(QUERIES["end_file_task"], task_id, holder, told, verdict, ended_at)
        return bool(ended)

    async def succeeded(self, task_ids: Collection[UUID]) -> set[UUID]:
        """Those of these tasks that have ended well."""
        rows = await self._connection.fetch(QUERIES["succeeded_file_tasks"], list(task_ids))
        return {row["task_id"] for row in rows}

    async def release(self, holder: UUID) -> None:
        await self._connection.execute(QUERIES["release_file_tasks"], holder)

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit`, and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune_file_tasks"], older_than_seconds, limit))


def _task(row: Mapping[str, Any] | None) -> FileTask:
    assert row is not None, "the task's row is gone while it is worked on"
    return FileTask(
        task_id=row["task_id"],
        scope=row["scope"],
        steps=tuple(FileStep.model_validate(step) for step in row["steps"]),
        is_atomic=row["is_atomic"],
        records=tuple(StepRecord.model_validate(record) for record in row["records"]),
        verdict=row["verdict"],
        results=tuple(FileStepResult.model_validate(result) for result in row["results"] or ()),
        ended_at=row["ended_at"],
    )
