"""What pages tell of events at a glance, as PostgreSQL holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "event_overviews.sql")
MOST_COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class EventOverview:
    """`photos` is MOST_COUNTED + 1 where there are more; `requests` by guests wait for a decision."""

    cover_key: str | None
    photos: int
    requests: int


@dataclass(frozen=True, slots=True)
class UnfinishedRemoval:
    """A deleted event of which something is left."""

    id: UUID
    name: str
    files_removed: int
    removes_files: bool


class EventOverviewRepository:
    """Works on the connection it is given."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def of(self, event_ids: Sequence[UUID]) -> Mapping[UUID, EventOverview]:
        rows = await self._connection.fetch(QUERIES["overviews"], list(event_ids), MOST_COUNTED + 1)
        return {row["id"]: EventOverview(row["cover_key"], row["photos"], row["requests"]) for row in rows}

    async def photos_by_status(self, event_id: UUID) -> Mapping[str, int]:
        rows = await self._connection.fetch(QUERIES["photos_by_status"], event_id)
        return {row["status"]: row["photos"] for row in rows}

    async def unfinished_removals(self, owner: UUID | None, limit: int) -> list[UnfinishedRemoval]:
        """Of one owner, or of all; newest first."""
        rows = await self._connection.fetch(QUERIES["unfinished_removals"], owner, limit)
        return [UnfinishedRemoval(**row) for row in rows]
