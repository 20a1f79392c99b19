"""Photographed events, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.photo_event import PhotoEvent
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "photo_events.sql")


@dataclass(frozen=True, slots=True)
class ConsentDecision:
    """What somebody decided about looking for faces on the photos of an event."""

    event_version: int
    face_search_enabled: bool
    consent_text: str | None
    consent_version: int
    expires_at: datetime | None
    decided_by: UUID
    decided_at: datetime


class PhotoEventRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, event: PhotoEvent) -> PhotoEvent:
        """The event with the number that it got."""
        row = await self._connection.fetchrow(
            QUERIES["add"],
            event.id,
            event.name,
            event.owner,
            event.auto_index,
            event.face_search_enabled,
            event.consent_text,
            event.consent_version,
            event.expires_at,
        )
        assert row is not None
        return _event(row)

    async def get(self, event_id: UUID) -> PhotoEvent | None:
        """The event, a deleted one too."""
        row = await self._connection.fetchrow(QUERIES["get"], event_id)
        return None if row is None else _event(row)

    async def locked(self, event_id: UUID) -> PhotoEvent | None:
        """The event, which nobody else changes, nor begins a sync of, until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock"], event_id)
        return None if row is None else _event(row)

    async def held(self, event_id: UUID) -> PhotoEvent | None:
        """The event, which nobody changes until the transaction ends; others may hold it too."""
        row = await self._connection.fetchrow(QUERIES["hold"], event_id)
        return None if row is None else _event(row)

    async def newest(self, owner: UUID | None, after: UUID | None, limit: int) -> list[PhotoEvent]:
        """Of one owner, or of all."""
        rows = await self._connection.fetch(QUERIES["newest"], owner, after, limit)
        return [_event(row) for row in rows]

    async def with_faces(self, owner: UUID | None, now: datetime, limit: int) -> list[PhotoEvent]:
        """Of one owner, or of all: those whose faces may still be kept."""
        rows = await self._connection.fetch(QUERIES["with_faces"], owner, now, limit)
        return [_event(row) for row in rows]

    async def save(self, event: PhotoEvent) -> PhotoEvent:
        """The event as its next version."""
        row = await self._connection.fetchrow(
            QUERIES["save"],
            event.id,
            event.name,
            event.auto_index,
            event.face_search_enabled,
            event.consent_text,
            event.consent_version,
            event.expires_at,
            event.is_deleted,
        )
        assert row is not None, "the event is gone while its row is locked"
        return _event(row)

    async def note_decision(self, event: PhotoEvent, decided_by: UUID) -> None:
        await self._connection.execute(
            QUERIES["note_decision"],
            event.id,
            event.version,
            event.face_search_enabled,
            event.consent_text,
            event.consent_version,
            event.expires_at,
            decided_by,
            event.updated_at,
        )

    async def decisions(self, event_id: UUID, before_version: int | None, limit: int) -> list[ConsentDecision]:
        """Newest first."""
        rows = await self._connection.fetch(QUERIES["decisions"], event_id, before_version, limit)
        return [ConsentDecision(**row) for row in rows]


def _event(row: Mapping[str, Any]) -> PhotoEvent:
    return PhotoEvent(**row)
