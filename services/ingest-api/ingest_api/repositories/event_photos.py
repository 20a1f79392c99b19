"""Photos of events, as face-embedder tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import EventPhotoChangedV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "event_photos.sql")


@dataclass(frozen=True, slots=True)
class PhotoKeys:
    """Where a photo lies: its preview, and its original if there is one. Nobody is shown one that was removed."""

    s3_key: str
    image_key: str | None
    is_shown: bool


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

    async def keys(self, event_id: UUID, photo_ids: Sequence[UUID]) -> dict[UUID, PhotoKeys]:
        """Of those of the photos that are known."""
        rows = await self._connection.fetch(QUERIES["shown"], event_id, list(photo_ids))
        return {row["id"]: PhotoKeys(row["s3_key"], row["image_key"], row["is_shown"]) for row in rows}
