"""What the media library shows beside the records of media."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.media_library import JobState
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "media_library.sql")


class MediaLibraryRepository:
    """Works on the connection it is given."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def newest_jobs(self, media_ids: Sequence[UUID]) -> dict[UUID, JobState]:
        """The newest job of each medium; without those whose jobs retention has removed."""
        if not media_ids:
            return {}
        rows = await self._connection.fetch(QUERIES["newest_jobs"], media_ids)
        return {
            row["media_id"]: JobState(
                row["id"], row["status"], row["progress"], row["attempts"], row["error_code"], row["error_detail"]
            )
            for row in rows
        }

    async def entity_types(self, most: int) -> list[str]:
        """The first that media have, by name."""
        return [row["entity_type"] for row in await self._connection.fetch(QUERIES["entity_types"], most)]
