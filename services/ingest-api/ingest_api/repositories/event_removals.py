"""What is left of deleted events, as PostgreSQL holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "event_removals.sql")


@dataclass(frozen=True, slots=True)
class EventRemoval:
    """How far the removal of a deleted event is; `problem` is why it does not go on for now.

    `asked_seconds_ago` is the age of `asked_at` by one clock. `files_kept` came later; they are counted at the end.
    """

    event_id: UUID
    removes_files: bool
    asked_at: datetime
    asked_seconds_ago: float
    files_removed: int
    files_kept: int
    problem: str | None
    completed_at: datetime | None


class EventRemovalRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, event_id: UUID, asked_by: UUID, *, removes_files: bool) -> None:
        """Begins once what is being recorded of the event's photos has committed."""
        await self._connection.execute(QUERIES["add"], event_id, removes_files, asked_by)

    async def get(self, event_id: UUID) -> EventRemoval | None:
        row = await self._connection.fetchrow(QUERIES["get"], event_id)
        return None if row is None else _removal(row)

    async def claim(self, again_seconds: float) -> EventRemoval | None:
        """One that is due; it comes up again after so long unless it goes on or is completed."""
        row = await self._connection.fetchrow(QUERIES["claim"], again_seconds)
        return None if row is None else _removal(row)

    async def go_on(self, event_id: UUID, files: int, again_seconds: float) -> None:
        """Count files that are gone, and hold the removal for so long."""
        await self._connection.execute(QUERIES["go_on"], event_id, files, again_seconds)

    async def note_problem(self, event_id: UUID, problem: str) -> None:
        await self._connection.execute(QUERIES["note_problem"], event_id, problem)

    async def forget(self, event_id: UUID, limit: int) -> int:
        """Remove so many rows of each kind: its photos, who is on them, what was found and asked of them; how many."""
        removed = 0
        for kind in (
            "uploads",
            "photos",
            "photo_removals",
            "people",
            "photo_people",
            "people_changes",
            "search_results",
            "erasures",
        ):
            removed += affected_rows(await self._connection.execute(QUERIES[f"forget_{kind}"], event_id, limit))
        return removed

    async def complete(self, event_id: UUID, files_kept: int) -> None:
        """Nothing is left to do."""
        await self._connection.execute(QUERIES["complete"], event_id, files_kept)


def _removal(row: Mapping[str, Any]) -> EventRemoval:
    return EventRemoval(
        event_id=row["event_id"],
        removes_files=row["removes_files"],
        asked_at=row["asked_at"],
        asked_seconds_ago=row["asked_seconds_ago"],
        files_removed=row["files_removed"],
        files_kept=row["files_kept"],
        problem=row["problem"],
        completed_at=row["completed_at"],
    )
