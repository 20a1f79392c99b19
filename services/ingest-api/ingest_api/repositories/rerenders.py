"""Selections that are rendered anew, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.catalogue import Job, Media
from ingest_api.repositories.jobs import job_of
from ingest_api.repositories.media import media_of
from ingest_api.rerenders import Rerender, Selection
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import MediaFilter

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "rerenders.sql")


@dataclass(frozen=True, slots=True)
class UnplannedParent:
    """A selection of which not every medium has been looked at; `cursor` is the last one that has."""

    id: UUID
    requested_by: UUID
    selection: Selection
    cursor: UUID | None
    items: int


@dataclass(frozen=True, slots=True)
class Selected:
    """A medium of a selection; `settings_version` is that of its entity type, 0 while nobody set any."""

    media: Media
    settings_version: int


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

    async def add_parent(self, parent_id: UUID, requested_by: UUID, selection: Selection, selected: int) -> None:
        ids = None if selection.media_ids is None else list(selection.media_ids)
        wanted = None if selection.filter is None else selection.filter.model_dump(mode="json")
        await self._connection.execute(QUERIES["add_parent"], parent_id, requested_by, ids, wanted, selected)

    async def lock_unplanned(self) -> UnplannedParent | None:
        """The oldest parent that nobody else plans, locked until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock_unplanned"])
        if row is None:
            return None
        ids = None if row["media_ids"] is None else tuple(row["media_ids"])
        wanted = None if row["filter"] is None else MediaFilter.model_validate(row["filter"])
        return UnplannedParent(row["id"], row["uploader"], Selection(ids, wanted), row["plan_cursor"], row["items"])

    async def pending(self, most: int) -> int:
        """How many pictures wait to be rendered anew or are worked on, counted up to `most`."""
        return int(await self._connection.fetchval(QUERIES["pending"], most))

    async def page(self, parent: UnplannedParent, limit: int) -> list[Selected]:
        """The media behind the cursor, locked until the transaction ends."""
        if (wanted := parent.selection.filter) is not None:
            rows = await self._connection.fetch(
                QUERIES["filtered_page"], parent.id, parent.cursor, *_fields(wanted), limit
            )
        else:
            ids = list(parent.selection.media_ids or ())
            rows = await self._connection.fetch(QUERIES["named_page"], ids, parent.cursor, limit)
        return [Selected(media_of(row), row["settings_version"]) for row in rows]

    async def add_page(self, parent: UnplannedParent, page: Sequence[Rerender]) -> None:
        """Record the jobs of a page, and the media that were refused, and move the cursor."""
        items = [_item(parent.items + number, one) for number, one in enumerate(page)]
        await self._connection.execute(QUERIES["add_page"], parent.id, page[-1].media.id, items, parent.requested_by)

    async def end_plan(self, parent_id: UUID) -> None:
        await self._connection.execute(QUERIES["end_plan"], parent_id)

    async def resume(self, job_id: UUID) -> Job | None:
        """Have a failed job wait again; None if it is not failed."""
        row = await self._connection.fetchrow(QUERIES["resume"], job_id)
        return None if row is None else job_of(row)

    async def settings_version(self, entity_type: str) -> int:
        return await self._connection.fetchval(QUERIES["settings_version"], entity_type) or 0


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
