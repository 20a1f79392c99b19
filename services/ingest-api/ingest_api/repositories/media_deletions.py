"""Deletions and restorations of media, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """How many deletions are not completed, and for how long the oldest is not; `asked_for` leaves purges out."""

    count: int
    asked_for: int
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
        return next(iter(await self.lock_many([media_id])), None)

    async def lock_many(self, media_ids: Sequence[UUID]) -> list[LockedMedium]:
        """Those that there are, in the order of their ids."""
        return [locked_medium(row) for row in await self._connection.fetch(QUERIES["lock"], list(media_ids))]

    async def delete_softly(self, media_id: UUID, deleted_by: UUID | None) -> LockedMedium:
        return locked_medium(await self._connection.fetchrow(QUERIES["delete_softly"], media_id, deleted_by))

    async def restore(self, media_id: UUID, restored_by: UUID) -> LockedMedium:
        return locked_medium(await self._connection.fetchrow(QUERIES["restore"], media_id, restored_by))

    async def timeline(self, media_id: UUID, limit: int) -> list[TimelineEntry]:
        """The newest first."""
        return [TimelineEntry(**row) for row in await self._connection.fetch(QUERIES["timeline"], media_id, limit)]

    async def begin(
        self,
        deletion_ids: Mapping[UUID, UUID],
        *,
        keeps_bucket: bool,
        reason: DeletionReason,
        purge_id: UUID | None,
        requested_by: UUID | None,
        is_told: bool,
    ) -> list[Deletion]:
        """Hide media for ever and note who has to answer; `deletion_ids` by medium, whose rows are locked."""
        rows = await self._connection.fetch(
            QUERIES["begin"],
            list(deletion_ids),
            list(deletion_ids.values()),
            keeps_bucket,
            reason.value,
            purge_id,
            requested_by,
            is_told,
            list(ANSWERING),
        )
        return [_deletion(row) for row in rows]

    async def get(self, deletion_id: UUID) -> Deletion | None:
        row = await self._connection.fetchrow(QUERIES["deletion"], deletion_id)
        return None if row is None else _deletion(row)

    async def lock_deletions(self, deletion_ids: Iterable[UUID]) -> list[Deletion]:
        """Those that are known, in the order of their ids."""
        return [_deletion(row) for row in await self._connection.fetch(QUERIES["lock_deletions"], list(deletion_ids))]

    async def newest(self, after: UUID | None, is_open: bool | None, limit: int) -> list[Deletion]:
        """Newest first."""
        return [_deletion(row) for row in await self._connection.fetch(QUERIES["newest"], after, is_open, limit)]

    async def save(self, deletions: Sequence[Deletion]) -> None:
        """Record how open deletions stand, whose rows are locked."""
        await self._connection.execute(QUERIES["save"], [_state(deletion) for deletion in deletions])

    async def note_trouble(self, deletion_id: UUID, trouble: Mapping[str, Any]) -> None:
        await self._connection.execute(QUERIES["note_trouble"], deletion_id, dict(trouble))

    async def renderings(self, media_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many renderings of media have no end yet; media without any are left out."""
        rows = await self._connection.fetch(QUERIES["renderings"], list(media_ids))
        return {row["media_id"]: row["renderings"] for row in rows}

    async def stored_keys(self, media_ids: Sequence[UUID]) -> dict[UUID, tuple[str, ...]]:
        """By medium; media without any are left out."""
        return _keys(await self._connection.fetch(QUERIES["stored_keys"], list(media_ids)))

    async def staging_keys(self, media_ids: Sequence[UUID]) -> dict[UUID, tuple[str, ...]]:
        """By medium; media without any are left out."""
        return _keys(await self._connection.fetch(QUERIES["staging_keys"], list(media_ids)))

    async def complete(self, deletions: Sequence[Deletion]) -> list[Deletion]:
        """Remove the records and everything that names them."""
        media_ids = [deletion.media_id for deletion in deletions]
        rows = await self._connection.fetch(QUERIES["complete"], [_state(one) for one in deletions], media_ids)
        await self._connection.execute(QUERIES["forget_names"], [deletion.id for deletion in deletions], media_ids)
        return [_deletion(row) for row in rows]

    async def take_silent(self, limit: int) -> list[Deletion]:
        """Open deletions of which nothing was heard for long, locked until the transaction ends."""
        return [_deletion(row) for row in await self._connection.fetch(QUERIES["take_silent"], limit)]

    async def ask_later(self, deletion_ids: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["ask_later"], list(deletion_ids))

    async def count_open(self) -> OpenDeletions:
        row = await self._connection.fetchrow(QUERIES["count_open"])
        assert row is not None, "counting gives one row"
        return OpenDeletions(row["open"], row["asked_for"], row["oldest_seconds"])

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


def _state(deletion: Deletion) -> dict[str, Any]:
    return {
        "id": str(deletion.id),
        "media_id": str(deletion.media_id),
        "owing": sorted(deletion.owing),
        "slices": deletion.slices,
        "trouble": deletion.trouble,
        "stage": deletion.stage,
    }


def _keys(rows: Iterable[asyncpg.Record]) -> dict[UUID, tuple[str, ...]]:
    keys: dict[UUID, set[str]] = {}
    for row in rows:
        keys.setdefault(row["media_id"], set()).add(row["key"])
    return {media_id: tuple(sorted(of_medium)) for media_id, of_medium in keys.items()}
