"""Settings and the record of their changes, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "settings.sql")


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """One document; `name` is its key on the topic."""

    name: str
    version: int
    document: Mapping[str, Any]
    updated_by: UUID
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """Who changed which fields of a document; `before` and `after` hold these fields alone, as callers name them."""

    id: UUID
    name: str
    version: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    changed_by: UUID
    changed_by_email: str
    changed_at: datetime


class SettingsRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def lock(self, name: str) -> None:
        """Keep every other writer of this document waiting until the transaction ends."""
        await self._connection.execute(QUERIES["lock_settings"], name)

    async def get(self, name: str) -> StoredSettings | None:
        row = await self._connection.fetchrow(QUERIES["settings"], name)
        return None if row is None else StoredSettings(name, **row)

    async def all(self) -> list[StoredSettings]:
        return [StoredSettings(**row) for row in await self._connection.fetch(QUERIES["all_settings"])]

    async def write(self, settings: StoredSettings) -> None:
        await self._connection.execute(
            QUERIES["write_settings"],
            settings.name,
            settings.version,
            settings.document,
            settings.updated_by,
            settings.updated_at,
        )

    async def note(self, change: SettingsChange) -> None:
        await self._connection.execute(
            QUERIES["note_change"],
            change.id,
            change.name,
            change.version,
            change.before,
            change.after,
            change.changed_by,
            change.changed_by_email,
            change.changed_at,
        )

    async def changes(self, after: UUID | None, limit: int) -> list[SettingsChange]:
        """Newest first."""
        return [SettingsChange(**row) for row in await self._connection.fetch(QUERIES["list_changes"], after, limit)]
