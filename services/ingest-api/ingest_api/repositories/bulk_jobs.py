"""The parents of bulk uploads and of selections that are rendered anew, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
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
ITEMS_REMOVED_AT_ONCE = 20_000


class BulkJobRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def get(self, bulk_id: UUID) -> BulkJob | None:
        kind = await self._connection.fetchval(QUERIES["kind"], bulk_id)
        if kind is None:
            return None
        rows = await self._connection.fetch(QUERIES[STATEMENTS[kind]], bulk_id, CHILDREN_SHOWN)
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
            # A parent without children yet is one row without a child.
            children=[_child(row) for row in rows if row["position"] is not None],
        )

    async def cancel(self, bulk_id: UUID, cancelled_by: UUID) -> UUID | None:
        """Have nothing more of a selection begun; who asked for it, or None if nothing of it is left to begin.

        Waits for the page that somebody works on now: what is done by the end of this transaction stays, and no further
        page is done after it.
        """
        requester: UUID | None = await self._connection.fetchval(QUERIES["cancel"], bulk_id, cancelled_by)
        return requester

    async def remove_without_jobs(self, kept_seconds: float, limit: int) -> int:
        """Remove at most `limit` parents that are so old, fewer where they had very many children; how many."""
        return len(
            await self._connection.fetch(QUERIES["remove_bulk_jobs"], kept_seconds, limit, ITEMS_REMOVED_AT_ONCE)
        )


def _child(row: asyncpg.Record) -> BulkChild:
    return BulkChild(**{field.name: row[field.name] for field in fields(BulkChild)})
