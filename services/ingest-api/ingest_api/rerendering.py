"""Having stored pictures rendered anew: a parent at once, its jobs page by page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ingest_api.all_that_match import count_matching
from ingest_api.catalogue import Job
from ingest_api.entity_labels import EntityLabels
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.media import MediaRepository
from ingest_api.repositories.rerenders import NOT_RENDERED, RerenderRepository, Selected
from ingest_api.rerenders import Rerender, Selection, command_of, commands_of, refusal_of
from ingest_api.selections import nothing_matches, unknown_ids
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.telemetry import metrics
from shared.work_list import work_off

log = logging.getLogger(__name__)

QUEUE_TYPE: Final = "watermark"
PAGE_MEDIA: Final = 100
MOST_PENDING: Final = 1000
"""More pictures are not queued at once: what waits behind them in the outbox is an upload, and what is decided late is
decided on how things are then."""


@dataclass(frozen=True, slots=True)
class StartedParent:
    """`total` is how many media were selected."""

    id: UUID
    total: int


class Rerendering:
    """Makes parents, turns them into jobs, and tries failed jobs again.

    `copies_by_itself` tells whether pictures that are stored locally first get their copy in the bucket now.
    """

    def __init__(self, unit_of_work: UnitOfWork, copies_by_itself: Callable[[], bool]) -> None:
        self._unit_of_work = unit_of_work
        self._copies_by_itself = copies_by_itself
        self._wanted = asyncio.Event()
        self._labels = EntityLabels()

    async def count(self, selection: Selection) -> int:
        """How many media the call would select; raises InvalidFields for ids that no medium has, and for too many."""
        async with self._unit_of_work.database.connection() as connection:
            return (await _counted(connection, new_id(), selection))[0]

    async def start(self, selection: Selection, requested_by: UUID) -> StartedParent:
        """Raises InvalidFields for ids that no medium has, and a selection of none or of too many."""
        parent_id = new_id()
        async with self._unit_of_work.begin() as tx:
            rerenders = RerenderRepository(tx.connection)
            total, counted_at = await _counted(tx.connection, parent_id, selection)
            if not total:
                if selection.matching is not None:
                    raise nothing_matches(" that was ever rendered")
                raise InvalidFields(FieldError("filter", "selects no medium that was ever rendered"))
            await rerenders.add_parent(parent_id, requested_by, selection, total, counted_at)
        self._wanted.set()
        return StartedParent(parent_id, total)

    async def run(self) -> None:
        """Plan what is wanted, for as long as the process lives; any number of replicas share the work."""
        await work_off(self.plan_page, self._wanted, log, "selections wait to be planned")

    async def plan_page(self) -> bool:
        """Make the jobs of one page; False when nothing is to be planned, or enough pictures wait already."""
        async with self._unit_of_work.begin() as tx:
            rerenders = RerenderRepository(tx.connection)
            parent = await rerenders.lock_unplanned()
            if parent is None or await rerenders.pending(MOST_PENDING) >= MOST_PENDING:
                return False
            page = await rerenders.page(parent, PAGE_MEDIA)
            planned = [self._rerender(selected, parent.id) for selected in page.media]
            await rerenders.add_page(parent, planned, page.cursor)
            commands = commands_of(planned)
            tx.publish(*commands)
        for command in commands:
            metrics.media_jobs_added_total.labels(self._labels.label(command.entity_type), QUEUE_TYPE).inc()
        return True

    async def retry(self, job: Job) -> Job:
        """Have a failed job done again as things are now. Raises Problem 409 where that makes no sense."""
        async with self._unit_of_work.begin() as tx:
            rerenders = RerenderRepository(tx.connection)
            media = await MediaRepository(tx.connection).get(job.media_id)
            if media is None or media.revision >= job.revision:
                raise not_retryable("The medium was rendered anew, replaced or removed since.")
            if (refusal := refusal_of(media)) is not None:
                raise not_retryable(refusal.detail)
            resumed = await rerenders.resume(job.id)
            if resumed is None:
                raise not_retryable("The job changed in this very moment: read it again.")
            command = command_of(
                media,
                job_id=job.id,
                revision=job.revision,
                settings_version=await rerenders.settings_version(media.entity_type),
                copies_by_itself=self._copies_by_itself(),
                now=datetime.now(UTC),
                # Who tries again what was cancelled as a whole wants this one.
                parent_job_id=await rerenders.running_parent(job.id),
            )
            tx.publish(command)
        return resumed

    def _rerender(self, selected: Selected, parent_id: UUID) -> Rerender:
        media = selected.media
        if (refusal := refusal_of(media)) is not None:
            return Rerender(media, None, refusal)
        command = command_of(
            media,
            job_id=new_id(),
            revision=max(media.revision, media.last_revision) + 1,
            settings_version=selected.settings_version,
            copies_by_itself=self._copies_by_itself(),
            now=datetime.now(UTC),
            parent_job_id=parent_id,
        )
        return Rerender(media, command, None)


async def _counted(
    connection: PooledConnection[Any], parent_id: UUID, selection: Selection
) -> tuple[int, datetime | None]:
    """How many media are selected, and when those that match were counted."""
    if selection.matching is not None:
        counted = await count_matching(connection, selection.matching, NOT_RENDERED, parent_id)
        return counted.media, counted.at
    rerenders = RerenderRepository(connection)
    if selection.filter is not None:
        return await rerenders.count(parent_id, selection.filter), None
    ids = selection.media_ids or ()
    if unknown := await rerenders.unknown_media(ids):
        raise unknown_ids(unknown)
    return len(ids), None


def not_retryable(detail: str) -> Problem:
    return Problem(409, "job_not_retryable", detail)
