"""Selections of media that are deleted or restored, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from ingest_api.repositories.media_deletions import LockedMedium, locked_medium
from ingest_api.zip_stream import EntryRefusal
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MediaFilter

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "bulk_deletions.sql")

BulkKind = Literal["delete", "hard_delete", "restore"]


@dataclass(frozen=True, slots=True)
class BulkSelection:
    """Media by their ids or by what they are; exactly one is given. A filter selects the deleted or the others."""

    kind: BulkKind
    media_ids: tuple[UUID, ...] | None
    filter: MediaFilter | None
    is_of_deleted: bool
    confirmed: int | None = None


@dataclass(frozen=True, slots=True)
class UnplannedDeletion:
    """A parent that has media left; `cursor` is the last one that was looked at, `items` how many have been."""

    id: UUID
    requested_by: UUID
    selection: BulkSelection
    cursor: UUID | None
    items: int


@dataclass(frozen=True, slots=True)
class DoneWithMedium:
    """What became of one medium of a selection; `deletion_id` tells how a deletion for good goes on."""

    media_id: UUID
    filename: str
    deletion_id: UUID | None
    refusal: EntryRefusal | None


class BulkDeletionRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def unknown_media(self, media_ids: Sequence[UUID]) -> list[UUID]:
        rows = await self._connection.fetch(QUERIES["unknown_media"], list(media_ids))
        return [row["id"] for row in rows]

    async def count(self, before: UUID, selection: BulkSelection) -> int:
        assert selection.filter is not None, "only filters have to be counted"
        return int(
            await self._connection.fetchval(
                QUERIES["count_selected"], before, selection.is_of_deleted, *_fields(selection.filter)
            )
        )

    async def add_parent(self, parent_id: UUID, requested_by: UUID, selection: BulkSelection, total: int) -> None:
        wanted = selection.filter
        await self._connection.execute(
            QUERIES["add_parent"],
            parent_id,
            requested_by,
            selection.kind,
            None if selection.media_ids is None else list(selection.media_ids),
            None if wanted is None else wanted.model_dump(mode="json", exclude_none=True),
            selection.is_of_deleted,
            total,
        )

    async def lock_unplanned(self, kinds: Sequence[BulkKind]) -> UnplannedDeletion | None:
        """The oldest parent of these kinds that nobody else works on, locked until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock_unplanned"], list(kinds))
        if row is None:
            return None
        ids = None if row["media_ids"] is None else tuple(row["media_ids"])
        wanted = None if row["filter"] is None else MediaFilter.model_validate(row["filter"])
        selection = BulkSelection(row["kind"], ids, wanted, row["is_of_deleted"])
        return UnplannedDeletion(row["id"], row["uploader"], selection, row["plan_cursor"], row["items"])

    async def page(self, parent: UnplannedDeletion, limit: int) -> list[LockedMedium]:
        """The media behind the cursor, locked until the transaction ends."""
        selection = parent.selection
        if selection.filter is not None:
            rows = await self._connection.fetch(
                QUERIES["filtered_page"],
                parent.id,
                parent.cursor,
                selection.is_of_deleted,
                *_fields(selection.filter),
                limit,
            )
        else:
            rows = await self._connection.fetch(
                QUERIES["named_page"], list(selection.media_ids or ()), parent.cursor, limit
            )
        return [locked_medium(row) for row in rows]

    async def add_page(self, parent: UnplannedDeletion, page: Sequence[DoneWithMedium]) -> None:
        """Record what became of a page and move the cursor."""
        items = [_item(parent.items + number, one) for number, one in enumerate(page)]
        await self._connection.execute(QUERIES["add_page"], parent.id, page[-1].media_id, items)

    async def end_plan(self, parent_id: UUID) -> None:
        await self._connection.execute(QUERIES["end_plan"], parent_id)


def _fields(wanted: MediaFilter) -> tuple[str | None, str | None, str | None]:
    return wanted.entity_type, wanted.entity_id, wanted.storage_status


def _item(position: int, one: DoneWithMedium) -> dict[str, Any]:
    return {
        "position": position,
        "media_id": str(one.media_id),
        "filename": one.filename,
        "job_id": str(one.deletion_id) if one.deletion_id else None,
        "error_code": one.refusal.code if one.refusal else None,
        "error_detail": one.refusal.detail if one.refusal else None,
    }
