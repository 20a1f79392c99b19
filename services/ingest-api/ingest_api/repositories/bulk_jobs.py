"""The parents of bulk uploads and of selections that are rendered anew, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import asyncpg

from ingest_api.bulk import BulkChild, BulkJob, BulkKind
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "bulk_jobs.sql")

STATEMENTS: Final[Mapping[BulkKind, str]] = MappingProxyType(
    {
        "upload": "upload_job",
        "rerender": "rerender_job",
        "delete": "settled_job",
        "hard_delete": "settled_job",
        "restore": "settled_job",
    }
)
CHILDREN_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class CancelledParent:
    """A selection that was cancelled in this moment."""

    uploader: UUID
    kind: BulkKind
    cancelled_at: datetime


@dataclass(frozen=True, slots=True)
class LookedAt:
    """So many of a parent's items, from the last on, and the first of them; whether one of these is still needed."""

    looked_at: int
    is_needed: bool
    last_position: int | None


@dataclass(frozen=True, slots=True)
class OldParent:
    """A parent whose time is over, as far as its items were looked at."""

    id: UUID
    created_at: datetime
    items: LookedAt


class BulkJobRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def get(self, bulk_id: UUID, *, children: int | None = None) -> BulkJob | None:
        """With at most so many `children`; unless they are given, with as many as are shown."""
        kind = await self._connection.fetchval(QUERIES["kind"], bulk_id)
        if kind is None:
            return None
        rows = await self._connection.fetch(
            QUERIES[STATEMENTS[kind]], bulk_id, CHILDREN_SHOWN if children is None else children
        )
        if not rows:
            return None
        first = rows[0]
        return BulkJob(
            id=bulk_id,
            kind=first["kind"],
            is_planned=first["is_planned"],
            selected=first["selected"],
            items=first["items"],
            completed=first["completed"],
            failed=first["failed"],
            begun=first["begun"],
            attempts=first["most_attempts"],
            cancelled_at=first["cancelled_at"],
            queued=first["queued"],
            not_begun=first["not_begun"],
            # A parent without children yet is one row without a child.
            children=[_child(row) for row in rows if row["position"] is not None],
        )

    async def cancel(self, bulk_id: UUID, cancelled_by: UUID) -> CancelledParent | None:
        """Have nothing more of a selection queued; None if it was cancelled before or nothing of it is left to begin.

        Waits for the page that somebody works on now: what is done by the end of this transaction stays, and no further
        page is done after it.
        """
        await self._connection.execute(QUERIES["lock"], bulk_id)
        row = await self._connection.fetchrow(QUERIES["cancel"], bulk_id, cancelled_by)
        return None if row is None else CancelledParent(**row)

    async def lock_ends_to_tell(self, behind: UUID | None, limit: int) -> Mapping[UUID, UUID]:
        """Who asked for the next selections of whose end nobody was told, by their ids; those that have not ended too.

        They are locked until the transaction ends; what another replica looks at is left out.
        """
        rows = await self._connection.fetch(QUERIES["lock_ends_to_tell"], behind, limit)
        return {row["id"]: row["uploader"] for row in rows}

    async def note_end_told(self, bulk_id: UUID) -> None:
        await self._connection.execute(QUERIES["note_end_told"], bulk_id)

    async def old_parents(
        self, kept_seconds: float, behind: OldParent | None, limit: int, items_looked_at: int
    ) -> list[OldParent]:
        """At most `limit` parents that are so old, the oldest first."""
        place = (None, None) if behind is None else (behind.created_at, behind.id)
        rows = await self._connection.fetch(QUERIES["old_parents"], kept_seconds, *place, limit, items_looked_at)
        return [OldParent(row["id"], row["created_at"], _looked_at(row)) for row in rows]

    async def older_items(self, bulk_id: UUID, before: int, limit: int) -> LookedAt:
        """The next items of a parent whose last ones were looked at."""
        return _looked_at(await self._connection.fetchrow(QUERIES["older_items"], bulk_id, before, limit))

    async def remove(self, bulk_ids: Sequence[UUID]) -> int:
        """Remove parents with all of their items; how many parents."""
        return len(await self._connection.fetch(QUERIES["remove_parents"], list(bulk_ids)))

    async def begin_removing(self, bulk_id: UUID) -> None:
        """Show a parent to nobody any more."""
        await self._connection.execute(QUERIES["begin_removing"], bulk_id)

    async def remove_items(self, bulk_id: UUID, limit: int) -> int:
        """Remove at most `limit` of a parent's items; how many."""
        return len(await self._connection.fetch(QUERIES["remove_items"], bulk_id, limit))


def _looked_at(row: asyncpg.Record | None) -> LookedAt:
    assert row is not None, "a count is one row"
    return LookedAt(row["looked_at"], row["is_needed"], row["last_position"])


def _child(row: asyncpg.Record) -> BulkChild:
    return BulkChild(**{field.name: row[field.name] for field in fields(BulkChild)})
