"""Galleries of events, as PostgreSQL holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.gallery import Gallery
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "galleries.sql")


class GalleryRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, gallery: Gallery, token_hash: bytes) -> None:
        await self._connection.execute(
            QUERIES["add"],
            gallery.id,
            gallery.event_id,
            gallery.name,
            token_hash,
            gallery.pin_hash,
            gallery.may_list,
            gallery.may_search,
            gallery.may_download,
            gallery.expires_at,
            gallery.created_by,
            gallery.created_at,
        )

    async def by_token(self, token_hash: bytes) -> Gallery | None:
        row = await self._connection.fetchrow(QUERIES["by_token"], token_hash)
        return None if row is None else Gallery(**row)

    async def of_event(self, event_id: UUID, after: UUID | None, limit: int) -> list[Gallery]:
        """Newest first, revoked ones too."""
        return [Gallery(**row) for row in await self._connection.fetch(QUERIES["of_event"], event_id, after, limit)]

    async def revoke(self, event_id: UUID, gallery_id: UUID) -> bool:
        """Whether there is such a gallery; it is closed from now on."""
        return bool(await self._connection.fetchval(QUERIES["revoke"], event_id, gallery_id))

    async def recent_searches(self, gallery_id: UUID, within_seconds: float) -> int:
        count: int = await self._connection.fetchval(QUERIES["recent_searches"], gallery_id, within_seconds)
        return count
