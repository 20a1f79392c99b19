"""Deleting and restoring many media in one call: a parent at once, its media page by page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from ingest_api.all_that_match import count_matching
from ingest_api.json_values import TrueOrFalse, WholeNumber
from ingest_api.media_deletions import MediaDeletions, conflict_of
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.bulk_deletions import (
    BulkDeletionRepository,
    BulkKind,
    BulkSelection,
    DoneWithMedium,
    UnplannedDeletion,
)
from ingest_api.repositories.media_deletions import LockedMedium, MediaDeletionRepository
from ingest_api.selections import (
    MatchingBody,
    SelectionBody,
    matching_filter,
    media_filter,
    nothing_matches,
    selection_errors,
    unknown_ids,
)
from ingest_api.zip_stream import EntryRefusal
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.identifiers import new_id
from shared.work_list import work_off

log = logging.getLogger(__name__)

PAGE_MEDIA: Final = 100
MOST_OPEN: Final = 1000
"""More deletions for good are not begun at once: others' commands never wait behind a long outbox."""
WITHOUT_FILES: Final[tuple[BulkKind, ...]] = ("delete", "restore")


class DeletionFilter(SelectionBody):
    """`deleted`: true selects among the deleted media instead of the others."""

    deleted: TrueOrFalse = False


class DeleteBody(BaseModel):
    """Either `mediaIds` (at most 10000), `filter` or `matching`; without `hard` the setting `deleteMode` decides."""

    model_config = ConfigDict(extra="forbid")

    mediaIds: list[UUID] | None = None
    filter: DeletionFilter | None = None
    matching: MatchingBody | None = None
    hard: TrueOrFalse | None = None
    confirm: WholeNumber | None = None


class RestoreBody(BaseModel):
    """Either `mediaIds` (at most 10000), or `filter` or `matching`, which select among the deleted media."""

    model_config = ConfigDict(extra="forbid")

    mediaIds: list[UUID] | None = None
    filter: SelectionBody | None = None
    matching: MatchingBody | None = None


@dataclass(frozen=True, slots=True)
class StartedParent:
    """`total` is how many media were selected."""

    id: UUID
    total: int


def selection_of_deletion(body: DeleteBody, is_hard: bool) -> BulkSelection:
    """Raises InvalidFields naming everything that is wrong."""
    chosen = body.filter or body.matching
    is_of_deleted = bool(chosen and chosen.deleted)
    plain = None if body.filter is None else SelectionBody(**body.filter.model_dump(exclude={"deleted"}))
    errors = [*selection_errors(body.mediaIds, plain, body.matching)]
    if is_of_deleted and not is_hard:
        field = "filter.deleted" if body.filter else "matching.deleted"
        errors.append(FieldError(field, "what is deleted already can only be deleted for good: send hard: true"))
    if errors:
        raise InvalidFields(*errors)
    return BulkSelection(
        kind="hard_delete" if is_hard else "delete",
        media_ids=None if body.mediaIds is None else tuple(dict.fromkeys(body.mediaIds)),
        filter=None if plain is None else media_filter(plain),
        matching=matching_filter(body.matching, of_deleted=None),
        is_of_deleted=is_of_deleted,
        confirmed=body.confirm,
    )


def selection_to_restore(body: RestoreBody) -> BulkSelection:
    """Raises InvalidFields naming everything that is wrong."""
    if errors := [*selection_errors(body.mediaIds, body.filter, body.matching)]:
        raise InvalidFields(*errors)
    return BulkSelection(
        kind="restore",
        media_ids=None if body.mediaIds is None else tuple(dict.fromkeys(body.mediaIds)),
        filter=None if body.filter is None else media_filter(body.filter),
        matching=matching_filter(body.matching, of_deleted=True),
        is_of_deleted=True,
    )


class BulkDeletions:
    """Makes parents and works them off; any number of replicas share the work."""

    def __init__(self, unit_of_work: UnitOfWork, deletions: MediaDeletions, *, confirm_above: int) -> None:
        self._unit_of_work = unit_of_work
        self._deletions = deletions
        self._confirm_above = confirm_above
        self._wanted = asyncio.Event()

    async def count(self, selection: BulkSelection) -> int:
        """How many media the call would select; raises InvalidFields for ids that no medium has, and for too many."""
        async with self._unit_of_work.database.connection() as connection:
            return (await _counted(connection, new_id(), selection))[0]

    async def start(self, selection: BulkSelection, requested_by: UUID) -> StartedParent:
        """Raises InvalidFields for ids that no medium has, a selection of none or of too many, and Problem 409 for more
        than a few that nobody has confirmed."""
        parent_id = new_id()
        async with self._unit_of_work.begin() as tx:
            bulk = BulkDeletionRepository(tx.connection)
            total, counted_at = await _counted(tx.connection, parent_id, selection)
            if not total:
                if selection.matching is not None:
                    raise nothing_matches()
                raise InvalidFields(FieldError("filter", "selects no medium"))
            self._require_confirmation(selection, total)
            await bulk.add_parent(parent_id, requested_by, selection, total, counted_at)
        self._wanted.set()
        return StartedParent(parent_id, total)

    def _require_confirmation(self, selection: BulkSelection, total: int) -> None:
        is_few = total <= self._confirm_above and selection.confirmed is None
        if selection.kind == "restore" or is_few or selection.confirmed == total:
            return
        detail = f"This deletes {total} media. Send confirm: {total} as well if that is what is meant."
        raise Problem(409, "confirmation_needed", detail, members={"count": total})

    async def run(self) -> None:
        """Work on what is wanted, for as long as the process lives."""
        await work_off(self.work_page, self._wanted, log, "selections wait to be deleted or restored")

    async def work_page(self) -> bool:
        """Delete or restore one page; False when nothing is left to do, or enough deletions are open already."""
        async with self._unit_of_work.begin() as tx:
            bulk = BulkDeletionRepository(tx.connection)
            parent = await bulk.lock_unplanned(get_args(BulkKind))
            if parent is not None and await self._must_wait(tx, parent):
                # While a store is away that may take long: what removes no files does not wait behind it.
                parent = await bulk.lock_unplanned(WITHOUT_FILES)
            if parent is None:
                return False
            page = await bulk.page(parent, PAGE_MEDIA)
            await bulk.add_page(parent, await self._done(tx, parent, page.media), page.cursor)
        return True

    async def _must_wait(self, tx: Transaction, parent: UnplannedDeletion) -> bool:
        if parent.selection.kind != "hard_delete":
            return False
        # A purge has a bound of its own: selections of people don't wait for the night's work.
        return (await MediaDeletionRepository(tx.connection).count_open()).asked_for >= MOST_OPEN

    async def _done(
        self, tx: Transaction, parent: UnplannedDeletion, page: Sequence[LockedMedium]
    ) -> list[DoneWithMedium]:
        if parent.selection.kind == "hard_delete":
            begun = await self._deletions.begin_many(tx, page, parent.requested_by)
            return [DoneWithMedium(one.media.id, one.media.filename, begun[one.media.id], None) for one in page]
        return [await self._one(tx, parent, medium) for medium in page]

    async def _one(self, tx: Transaction, parent: UnplannedDeletion, locked: LockedMedium) -> DoneWithMedium:
        medium, refusal = locked.media, None
        if parent.selection.kind == "delete":
            await self._deletions.hide(tx, locked, parent.requested_by)
        elif (conflict := conflict_of(locked)) is not None:
            refusal = EntryRefusal(conflict.code, conflict.detail)
        else:
            await self._deletions.bring_back(tx, locked, parent.requested_by)
        return DoneWithMedium(medium.id, medium.filename, None, refusal)


async def _counted(
    connection: PooledConnection[Any], parent_id: UUID, selection: BulkSelection
) -> tuple[int, datetime | None]:
    """How many media are selected, and when those that match were counted."""
    if selection.matching is not None:
        counted = await count_matching(connection, selection.matching, (), parent_id)
        return counted.media, counted.at
    bulk = BulkDeletionRepository(connection)
    if selection.filter is not None:
        return await bulk.count(parent_id, selection), None
    ids = selection.media_ids or ()
    if unknown := await bulk.unknown_media(ids):
        raise unknown_ids(unknown)
    return len(ids), None
