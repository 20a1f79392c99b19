"""Events, as far as photos and faces need to know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from face_embedder.packs import PackId
from face_embedder.repositories.packs import pack_of
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import PhotoEventChangedV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "events.sql")


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """`number` names its folder in the bucket. `keeps_faces` until it is deleted or its time is over.

    `pack` is that whose faces are searched, None where none has found any.
    """

    event_id: UUID
    number: int
    auto_index: bool
    is_searchable: bool
    is_deleted: bool
    keeps_faces: bool
    pack: PackId | None


class Events:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def know(self, event: PhotoEventChangedV1) -> None:
        """Take over what was told, unless something newer was told before."""
        await self._connection.execute(
            QUERIES["know"],
            event.event_id,
            event.number,
            event.version,
            event.auto_index,
            event.is_searchable,
            event.faces_expire_at,
            event.is_deleted,
        )

    async def ensure(self, event_id: UUID, number: int) -> None:
        """Have a row for an event that nothing else was told of yet."""
        await self._connection.execute(QUERIES["ensure"], event_id, number)

    async def get(self, event_id: UUID) -> KnownEvent | None:
        row = await self._connection.fetchrow(QUERIES["get"], event_id)
        return _event(row) if row else None

    async def of_number(self, number: int) -> KnownEvent | None:
        row = await self._connection.fetchrow(QUERIES["of_number"], number)
        return _event(row) if row else None

    async def lock(self, event_id: UUID) -> KnownEvent | None:
        """The event, to which nobody else adds photos until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock"], event_id)
        return _event(row) if row else None


def _event(row: Mapping[str, Any]) -> KnownEvent:
    return KnownEvent(
        event_id=row["event_id"],
        number=row["number"],
        auto_index=row["auto_index"],
        is_searchable=row["is_searchable"],
        is_deleted=row["is_deleted"],
        keeps_faces=not row["is_deleted"] and not row["is_over"],
        pack=pack_of(row),
    )
