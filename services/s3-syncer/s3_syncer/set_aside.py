"""Copies that wait below `set-aside/`: those whose task has ended well go, of the others it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from s3_syncer.file_task_repository import FileTaskRepository
from shared.db.unit_of_work import UnitOfWork
from shared.events import SET_ASIDE_PREFIX
from shared.messaging.errors import MessageError
from shared.storage.object_store import ObjectInfo, ObjectStore
from shared.telemetry import metrics

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 3600.0
PAGE_FILES: Final = 500
STAYING_SECONDS: Final = 24 * 3600.0
"""Older than any change under way: then nobody comes for it."""


class SetAside:
    """Removes copies that a task could not remove at its end; doing it twice, or by several replicas, does no harm.

    Everything else there is left alone: where a change could be neither made nor taken back, it is the only copy.
    """

    def __init__(self, unit_of_work: UnitOfWork, stores: Sequence[ObjectStore]) -> None:
        self._unit_of_work = unit_of_work
        self._stores = stores

    async def run(self) -> None:
        """Sweep for as long as the process lives; raises while a store or PostgreSQL is away."""
        while True:
            await self.sweep()
            await asyncio.sleep(EVERY_SECONDS)

    async def sweep(self) -> None:
        """Look at everything that is set aside; usually that is nothing."""
        staying: list[str] = []
        for store in self._stores:
            async for page in _pages(store.list(SET_ASIDE_PREFIX)):
                staying += await self._sweep_page(store, page)
        metrics.set_aside_files.set(len(staying))
        if staying:
            log.warning("files stay set aside", extra={"files": len(staying), "object_key": staying[0]})

    async def _sweep_page(self, store: ObjectStore, page: Sequence[ObjectInfo]) -> list[str]:
        """The keys that stay though they are old."""
        async with self._unit_of_work.begin() as transaction:
            over = await FileTaskRepository(transaction.connection).succeeded(_ids(page))
        staying = []
        for info in page:
            is_over = not over.isdisjoint(_ids([info]))
            if is_over and await _removed(store, info.key):
                continue
            if is_over or (datetime.now(UTC) - info.modified_at).total_seconds() > STAYING_SECONDS:
                staying.append(info.key)
        return staying


async def _removed(store: ObjectStore, key: str) -> bool:
    try:
        await store.delete(key)
    except MessageError as error:
        log.warning("a file that was set aside can't be removed", extra={"object_key": key, "detail": str(error)})
        return False
    return True


def _ids(page: Iterable[ObjectInfo]) -> set[UUID]:
    """Whose files they are: those of a task, or of a change of somebody else's."""
    found = set()
    for info in page:
        try:
            found.add(UUID(info.key.split("/")[1]))
        except ValueError:
            continue
    return found


async def _pages(listed: AsyncIterator[ObjectInfo]) -> AsyncIterator[list[ObjectInfo]]:
    page: list[ObjectInfo] = []
    async for info in listed:
        page.append(info)
        if len(page) == PAGE_FILES:
            yield page
            page = []
    if page:
        yield page
