"""Recent pictures with their jobs, for the page that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ingest_api.pictures import Picture
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import StoredFile

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "pictures.sql")


class PictureRepository:
    """Works on the connection it is given."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def recent(self, after: UUID | None, uploaded_by: UUID | None, limit: int) -> list[Picture]:
        """Newest first; of everyone without `uploaded_by`."""
        rows = await self._connection.fetch(QUERIES["recent_pictures"], after, uploaded_by, limit)
        return [_picture(row) for row in rows]


def _picture(row: asyncpg.Record) -> Picture:
    variants = tuple(StoredFile.model_validate(variant) for variant in row["variants"])
    return Picture(**{**row, "variants": variants})
