"""The parents of bulk uploads, as PostgreSQL holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.bulk import BulkChild, BulkJob
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "jobs.sql")


class BulkJobRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def get(self, bulk_id: UUID) -> BulkJob | None:
        rows = await self._connection.fetch(QUERIES["bulk_job"], bulk_id)
        return BulkJob(bulk_id, [BulkChild(**row) for row in rows]) if rows else None

    async def remove_without_jobs(self, limit: int) -> int:
        """Remove at most `limit` parents and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_bulk_jobs"], limit))
