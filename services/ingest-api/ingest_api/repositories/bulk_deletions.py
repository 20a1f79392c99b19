"""Selections of media that are deleted or restored, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from ingest_api import media_filters
from ingest_api.repositories.matching import Matched, MatchingRepository
from ingest_api.repositories.media_deletions import LockedMedium, MediaDeletionRepository, locked_medium
from ingest_api.zip_stream import EntryRefusal
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MediaFilter

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "bulk_deletions.sql")

BulkKind = Literal["delete", "hard_delete", "restore"]


@dataclass(frozen=True, slots=True)
class BulkSelection:
    """Media by their ids, by what they are, or by the filters of a list; exactly one is given.

    `filter` selects the deleted media or the others.
    """

    kind: BulkKind
    media_ids: tuple[UUID, ...] | None
    filter: MediaFilter | None
    matching: media_filters.MediaFilter | None
    is_of_deleted: bool
    confirmed: int | None = None


@dataclass(frozen=True, slots=True)
class UnplannedDeletion:
    """A parent that has media left; `cursor` is the last one that was looked at, `items` how many have been."""

    id: UUID
    requested_by: UUID
    requested_at: datetime
    selection: BulkSelection
    cursor: UUID | None
    items: int


@dataclass(frozen=True, slots=True)
class PageOfMedia:
    """Media of a selection, locked until the transaction ends; behind `cursor` there are more, unless it is None."""

    media: Sequence[LockedMedium]
    cursor: UUID | None


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

    async def add_parent(
        self,
        parent_id: UUID,
        requested_by: UUID,
        selection: BulkSelection,
        total: int,
        requested_at: datetime | None = None,
    ) -> None:
        wanted, matching = selection.filter, selection.matching
        await self._connection.execute(
            QUERIES["add_parent"],
            parent_id,
            requested_by,
            selection.kind,
            None if selection.media_ids is None else list(selection.media_ids),
            None if wanted is None else wanted.model_dump(mode="json", exclude_none=True),
            selection.is_of_deleted,
            total,
            None if matching is None else matching.asked(),
            requested_at,
        )

    async def lock_unplanned(self, kinds: Sequence[BulkKind]) -> UnplannedDeletion | None:
        """Of these kinds the parent that has got least and is in no other hands, locked until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock_unplanned"], list(kinds))
        if row is None:
            return None
        ids = None if row["media_ids"] is None else tuple(row["media_ids"])
        wanted = None if row["filter"] is None else MediaFilter.model_validate(row["filter"])
        matching = None if row["matching"] is None else media_filters.read_filter(row["matching"])
        selection = BulkSelection(row["kind"], ids, wanted, matching, row["is_of_deleted"])
        return UnplannedDeletion(
            row["id"], row["uploader"], row["created_at"], selection, row["plan_cursor"], row["items"]
        )

    async def page(self, parent: UnplannedDeletion, limit: int) -> PageOfMedia:
        """The media behind the cursor."""
        selection = parent.selection
        if selection.matching is not None:
            return await self._matching_page(parent, selection.matching, limit)
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
        media = [locked_medium(row) for row in rows]
        return PageOfMedia(media, media[-1].media.id if len(media) == limit else None)

    async def _matching_page(
        self, parent: UnplannedDeletion, wanted: media_filters.MediaFilter, limit: int
    ) -> PageOfMedia:
        matched = Matched(wanted, (), parent.id, parent.requested_at)
        page = await MatchingRepository(self._connection).page(matched, parent.cursor, limit)
        locked = await MediaDeletionRepository(self._connection).lock_many(page.media_ids)
        # Between finding and locking somebody may have deleted or restored one of them: then it is theirs.
        media = [one for one in locked if (one.media.deleted_at is not None) == wanted.deleted]
        return PageOfMedia(media, page.cursor)

    async def add_page(self, parent: UnplannedDeletion, page: Sequence[DoneWithMedium], cursor: UUID | None) -> None:
        """Record what became of a page and move the cursor; without one the selection has come to its end."""
        items = [_item(parent.items + number, one) for number, one in enumerate(page)]
        await self._connection.execute(QUERIES["add_page"], parent.id, cursor, items)


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
