"""Selections that are rendered anew, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from ingest_api import media_filters
from ingest_api.catalogue import Job, Media, MediaStatus
from ingest_api.repositories.jobs import job_of
from ingest_api.repositories.matching import Matched, MatchingRepository
from ingest_api.repositories.media import media_of
from ingest_api.rerenders import Rerender, Selection
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MediaFilter

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "rerenders.sql")

NOT_RENDERED: Final[tuple[MediaStatus, ...]] = ("failed",)


@dataclass(frozen=True, slots=True)
class UnplannedParent:
    """A selection of which not every medium has been looked at; `cursor` is the last one that has."""

    id: UUID
    requested_by: UUID
    requested_at: datetime
    selection: Selection
    cursor: UUID | None
    items: int


@dataclass(frozen=True, slots=True)
class Selected:
    """A medium of a selection; `settings_version` is that of its entity type, 0 while nobody set any."""

    media: Media
    settings_version: int


@dataclass(frozen=True, slots=True)
class PageOfSelection:
    """Media of a selection, locked until the transaction ends; behind `cursor` there are more, unless it is None."""

    media: Sequence[Selected]
    cursor: UUID | None


class RerenderRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def unknown_media(self, media_ids: Sequence[UUID]) -> list[UUID]:
        """Those of the ids that no medium of the catalogue has, in their order."""
        return [row["id"] for row in await self._connection.fetch(QUERIES["unknown_media"], list(media_ids))]

    async def count(self, parent_id: UUID, wanted: MediaFilter) -> int:
        """How many media a filter selects for a parent that is added now."""
        return int(await self._connection.fetchval(QUERIES["count_selected"], parent_id, *_fields(wanted)))

    async def add_parent(
        self,
        parent_id: UUID,
        requested_by: UUID,
        selection: Selection,
        selected: int,
        requested_at: datetime | None = None,
    ) -> None:
        ids = None if selection.media_ids is None else list(selection.media_ids)
        wanted = None if selection.filter is None else selection.filter.model_dump(mode="json")
        matching = None if selection.matching is None else selection.matching.asked()
        await self._connection.execute(
            QUERIES["add_parent"], parent_id, requested_by, ids, wanted, selected, matching, requested_at
        )

    async def lock_unplanned(self) -> UnplannedParent | None:
        """The parent of which least is planned and that nobody else plans, locked until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock_unplanned"])
        if row is None:
            return None
        ids = None if row["media_ids"] is None else tuple(row["media_ids"])
        wanted = None if row["filter"] is None else MediaFilter.model_validate(row["filter"])
        matching = None if row["matching"] is None else media_filters.read_filter(row["matching"])
        return UnplannedParent(
            row["id"],
            row["uploader"],
            row["created_at"],
            Selection(ids, wanted, matching),
            row["plan_cursor"],
            row["items"],
        )

    async def pending(self, most: int) -> int:
        """How many pictures wait to be rendered anew or are worked on, counted up to `most`."""
        return int(await self._connection.fetchval(QUERIES["pending"], most))

    async def page(self, parent: UnplannedParent, limit: int) -> PageOfSelection:
        """The media behind the cursor."""
        if (matching := parent.selection.matching) is not None:
            matched = Matched(matching, NOT_RENDERED, parent.id, parent.requested_at)
            found = await MatchingRepository(self._connection).page(matched, parent.cursor, limit)
            rows = await self._connection.fetch(QUERIES["named_page"], list(found.media_ids), None, limit)
            return PageOfSelection([_selected(row) for row in rows], found.cursor)
        if (wanted := parent.selection.filter) is not None:
            rows = await self._connection.fetch(
                QUERIES["filtered_page"], parent.id, parent.cursor, *_fields(wanted), limit
            )
        else:
            ids = list(parent.selection.media_ids or ())
            rows = await self._connection.fetch(QUERIES["named_page"], ids, parent.cursor, limit)
        media = [_selected(row) for row in rows]
        return PageOfSelection(media, media[-1].media.id if len(media) == limit else None)

    async def add_page(self, parent: UnplannedParent, page: Sequence[Rerender], cursor: UUID | None) -> None:
        """Record the jobs of a page and the media that were refused, and move the cursor.

        Without a cursor the selection has come to its end.
        """
        items = [_item(parent.items + number, one) for number, one in enumerate(page)]
        await self._connection.execute(QUERIES["add_page"], parent.id, cursor, items, parent.requested_by)

    async def resume(self, job_id: UUID) -> Job | None:
        """Have a failed job wait again; None if it is not failed."""
        row = await self._connection.fetchrow(QUERIES["resume"], job_id)
        return None if row is None else job_of(row)

    async def running_parent(self, job_id: UUID) -> UUID | None:
        """The parent of a job, unless it was cancelled."""
        parent_id: UUID | None = await self._connection.fetchval(QUERIES["running_parent"], job_id)
        return parent_id

    async def settings_version(self, entity_type: str) -> int:
        return await self._connection.fetchval(QUERIES["settings_version"], entity_type) or 0


def _selected(row: asyncpg.Record) -> Selected:
    return Selected(media_of(row), row["settings_version"])


def _fields(wanted: MediaFilter) -> tuple[str | None, str | None, str | None]:
    return wanted.entity_type, wanted.entity_id, wanted.storage_status


def _item(position: int, one: Rerender) -> dict[str, Any]:
    command, refusal = one.command, one.refusal
    return {
        "position": position,
        "media_id": str(one.media.id),
        "filename": one.media.filename,
        "job_id": str(command.job_id) if command else None,
        "revision": command.revision if command else None,
        "entity_type": one.media.entity_type,
        "error_code": refusal.code if refusal else None,
        "error_detail": refusal.detail if refusal else None,
    }
