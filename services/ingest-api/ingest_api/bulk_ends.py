"""Telling who asked for something to be done with many media that it has ended."""

from __future__ import annotations

import asyncio
import logging
from typing import Final
from uuid import UUID

from ingest_api.catalogue import ChangedJob
from ingest_api.repositories.bulk_jobs import BulkJobRepository
from ingest_api.repositories.notices import NoticeRepository
from shared.db.unit_of_work import UnitOfWork
from shared.work_list import work_off

log = logging.getLogger(__name__)

LOOKED_AT_ONCE: Final = 50
"""The others have their turn a second later: many that take long hold up nobody's end."""


class BulkEnds:
    """Looks at selections whose end is still to be told; any number of replicas share that.

    What ends a parent is often one of several answers at the same time, none of which sees the others: nobody is sure
    to be the last. So it is looked at from outside, about every second.
    """

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._behind: UUID | None = None

    async def run(self) -> None:
        """Tell of ends for as long as the process lives."""
        await work_off(self.tell_ends, asyncio.Event(), log, "ends of selections wait to be told")

    async def tell_ends(self) -> bool:
        """Tell of those that have ended, each once; False, since the others take their time."""
        async with self._unit_of_work.begin() as tx:
            parents = BulkJobRepository(tx.connection)
            ended = []
            looked_at = await parents.lock_ends_to_tell(self._behind, LOOKED_AT_ONCE)
            for parent_id, requester in looked_at.items():
                job = await parents.get(parent_id, children=0)
                if job is not None and job.has_ended:
                    await parents.note_end_told(parent_id)
                    ended.append((job, requester))
            for job, requester in ended:
                changed = ChangedJob(job.id, None, requester)
                await NoticeRepository(tx.connection).add("jobs:progress", changed, job.notice())
        self._behind = max(looked_at) if len(looked_at) == LOOKED_AT_ONCE else None
        return False
