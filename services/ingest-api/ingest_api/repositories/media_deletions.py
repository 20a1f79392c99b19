"""Deletions and restorations of media, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ingest_api.catalogue import Media
from ingest_api.media_deletion import ANSWERING, Deletion
from ingest_api.repositories.media import media_of
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import DeletionReason

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "media_deletions.sql")


@dataclass(frozen=True, slots=True)
class LockedMedium:
    """A medium whose row is locked until the transaction ends. `deletion_id` is set once it goes for good."""

    media: Media
    version: int
    deletion_id: UUID | None


@dataclass(frozen=True, slots=True)
class OpenDeletions:
    """How many deletions are not completed, and for how long the oldest is not."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something that happened to a medium; `job_id` and `code` are of a rendering, `done_by` of what somebody did."""

    what: str
    happened_at: datetime
    done_by: UUID | None
    job_id: UUID | None
    code: str | None


class MediaDeletionRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def lock(self, media_id: UUID) -> LockedMedium | None:
        row = await self._connection.fetchrow(QUERIES["lock"], media_id)
        return None if row is None else locked_medium(row)

    async def delete_softly(self, media_id: UUID, deleted_by: UUID | None) -> LockedMedium:
        return locked_medium(await self._connection.fetchrow(QUERIES["delete_softly"], media_id, deleted_by))

    async def restore(self, media_id: UUID, restored_by: UUID) -> LockedMedium:
        return locked_medium(await self._connection.fetchrow(QUERIES["restore"], media_id, restored_by))

    async def timeline(self, media_id: UUID, limit: int) -> list[TimelineEntry]:
        """The newest first."""
        return [TimelineEntry(**row) for row in await self._connection.fetch(QUERIES["timeline"], media_id, limit)]

    async def begin(
        self,
        media_id: UUID,
        deletion_id: UUID,
        *,
        keeps_bucket: bool,
        reason: DeletionReason,
        purge_id: UUID | None,
        requested_by: UUID | None,
        is_told: bool,
    ) -> Deletion:
        """Hide a medium for ever and note who has to answer."""
        return _deletion(
            await self._connection.fetchrow(
                QUERIES["begin"],
                media_id,
                deletion_id,
                keeps_bucket,
                reason.value,
                purge_id,
                is_told,
                requested_by,
                list(ANSWERING),
            )
        )

    async def get(self, deletion_id: UUID) -> Deletion | None:
        row = await self._connection.fetchrow(QUERIES["deletion"], deletion_id)
        return None if row is None else _deletion(row)

    async def lock_deletion(self, deletion_id: UUID) -> Deletion | None:
        row = await self._connection.fetchrow(QUERIES["lock_deletion"], deletion_id)
        return None if row is None else _deletion(row)

    async def newest(self, after: UUID | None, is_open: bool | None, limit: int) -> list[Deletion]:
        """Newest first."""
        return [_deletion(row) for row in await self._connection.fetch(QUERIES["newest"], after, is_open, limit)]

    async def answer(
        self, deletion_id: UUID, service: str, facts: Mapping[str, Any], *, replaces: bool
    ) -> Deletion | None:
        """Record what a service told; None for a deletion that nobody knows any more.

        With `replaces` it takes the place of what the service told before, else the first word counts.
        """
        row = await self._connection.fetchrow(QUERIES["answer"], deletion_id, service, dict(facts), replaces)
        return None if row is None else _deletion(row)

    async def note_trouble(self, deletion_id: UUID, trouble: Mapping[str, Any]) -> None:
        await self._connection.execute(QUERIES["note_trouble"], deletion_id, dict(trouble))

    async def renderings(self, media_id: UUID) -> int:
        """How many renderings of the medium have no end yet."""
        return int(await self._connection.fetchval(QUERIES["renderings"], media_id))

    async def renderings_of(self, media_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The same of several media; those without any are left out."""
        rows = await self._connection.fetch(QUERIES["renderings_of_many"], list(media_ids))
        return {row["media_id"]: row["renderings"] for row in rows}

    async def stored_keys(self, media_id: UUID) -> tuple[str, ...]:
        rows = await self._connection.fetch(QUERIES["stored_keys"], media_id)
        return tuple(sorted({row["key"] for row in rows}))

    async def staging_keys(self, media_id: UUID) -> tuple[str, ...]:
        rows = await self._connection.fetch(QUERIES["staging_keys"], media_id)
        return tuple(sorted({row["staging_key"] for row in rows}))

    async def begin_removing(self, deletion_id: UUID) -> None:
        await self._connection.execute(QUERIES["begin_removing"], deletion_id)

    async def complete(self, deletion: Deletion) -> Deletion:
        """Remove the record and everything that names it."""
        completed = _deletion(await self._connection.fetchrow(QUERIES["complete"], deletion.id, deletion.media_id))
        await self._connection.execute(QUERIES["forget_names"], deletion.id, deletion.media_id)
        return completed

    async def take_silent(self, limit: int) -> list[Deletion]:
        """Open deletions of which nothing was heard for long, locked until the transaction ends."""
        return [_deletion(row) for row in await self._connection.fetch(QUERIES["take_silent"], limit)]

    async def ask_later(self, deletion_id: UUID) -> None:
        await self._connection.execute(QUERIES["ask_later"], deletion_id)

    async def count_open(self) -> OpenDeletions:
        row = await self._connection.fetchrow(QUERIES["count_open"])
        assert row is not None, "counting gives one row"
        return OpenDeletions(row["open"], row["oldest_seconds"])

    async def remove_receipts(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` receipts and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_receipts"], older_than_seconds, limit))


def deleted_at_of(locked: LockedMedium) -> datetime:
    assert locked.media.deleted_at is not None, "the medium was deleted in this transaction"
    return locked.media.deleted_at


def locked_medium(row: asyncpg.Record | None) -> LockedMedium:
    assert row is not None, "the medium's row is locked"
    return LockedMedium(media_of(row), row["deletion_version"], row["deletion_id"])


def _deletion(row: asyncpg.Record | None) -> Deletion:
    assert row is not None, "the deletion's row is locked"
    known = {field.name for field in fields(Deletion)}
    stored = {name: value for name, value in row.items() if name in known}
    return Deletion(**stored | {"owing": frozenset(stored["owing"]), "reason": DeletionReason(stored["reason"])})
