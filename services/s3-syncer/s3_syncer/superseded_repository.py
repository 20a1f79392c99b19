"""Revisions whose files have to go, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MediaRevisionSupersededV1, StoredFile

QUERIES = load_queries(Path(__file__).with_name("superseded.sql"))


@dataclass(frozen=True, slots=True)
class SupersededRevision:
    """`keys` are those that its files had last, `present_keys` those of the revision that is there now."""

    media_id: UUID
    revision: int
    keys: frozenset[str]
    present_keys: frozenset[str]


class SupersededRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def note(self, event: MediaRevisionSupersededV1, *, kept_seconds: float) -> None:
        files = [file.model_dump(mode="json") for file in event.files]
        await self._connection.execute(QUERIES["note"], event.media_id, event.revision, files, kept_seconds)

    async def due(self, limit: int) -> list[SupersededRevision]:
        """Revisions whose files may go now, the longest due first."""
        return [
            SupersededRevision(row["media_id"], row["revision"], _keys(row["files"]), _keys(row["present_files"]))
            for row in await self._connection.fetch(QUERIES["due"], limit)
        ]

    async def forget(self, superseded: SupersededRevision) -> None:
        await self._connection.execute(QUERIES["forget"], superseded.media_id, superseded.revision)

    async def put_off(self, superseded: SupersededRevision, seconds: float) -> None:
        await self._connection.execute(QUERIES["put_off"], superseded.media_id, superseded.revision, seconds)


def _keys(files: Sequence[dict[str, Any]]) -> frozenset[str]:
    return frozenset(StoredFile.model_validate(file).key for file in files)
