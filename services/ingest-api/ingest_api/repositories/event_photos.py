"""Photos of events, as face-embedder tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import EventPhotoChangedV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "event_photos.sql")


class EventPhotoRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def record(self, event: EventPhotoChangedV1) -> None:
        """Take over a fact that is newer than what was known of the photo."""
        await self._connection.execute(
            QUERIES["record"],
            event.photo_id,
            event.event_id,
            event.version,
            event.s3_key,
            event.image_key,
            event.status.value,
            event.faces,
            event.confidence,
            event.code,
            event.detail,
            event.changed_at,
        )
