"""Removing what became of many files or media at once, when nothing of it is needed any more."""

from __future__ import annotations

from typing import Final

from ingest_api.repositories.bulk_jobs import BulkJobRepository, OldParent
from shared.db.batches import remove_in_batches
from shared.db.pool import Database

PARENTS_AT_ONCE: Final = 100
ITEMS_OF_ONE: Final = 200
"""A parent of fewer items goes with others; one of more by itself."""
ITEMS_AT_ONCE: Final = 20_000


class BulkRetention:
    """Parents go after the last of their jobs, and after their time.

    **No transaction looks at more than `ITEMS_AT_ONCE` items, or removes more**: a parent of a million is looked at a
    part at a time, and goes so. It is shown to nobody once that begins; what a crash left goes with the next sweep.
    Jobs are never added to a parent that is planned, so what was not needed when it was looked at is not needed later.
    """

    def __init__(self, database: Database, kept_seconds: float) -> None:
        self._database = database
        self._kept_seconds = kept_seconds

    async def sweep(self) -> int:
        """Remove those that are over; how many. Several processes at it at once do no harm."""
        removed, last = 0, None
        while page := await self._page(last):
            idle = [parent for parent in page if not parent.items.is_needed]
            async with self._database.connection() as connection, connection.transaction():
                small = [parent.id for parent in idle if parent.items.looked_at < ITEMS_OF_ONE]
                removed += await BulkJobRepository(connection).remove(small)
            for parent in idle:
                if parent.items.looked_at >= ITEMS_OF_ONE and not await self._is_needed(parent):
                    removed += await self._remove_large(parent)
            last = page[-1]
        return removed

    async def _page(self, behind: OldParent | None) -> list[OldParent]:
        async with self._database.connection() as connection:
            return await BulkJobRepository(connection).old_parents(
                self._kept_seconds, behind, PARENTS_AT_ONCE, ITEMS_OF_ONE
            )

    async def _is_needed(self, parent: OldParent) -> bool:
        """Whether one of the items is that were not looked at yet."""
        items = parent.items
        while items.last_position is not None and not items.is_needed:
            async with self._database.connection() as connection:
                items = await BulkJobRepository(connection).older_items(parent.id, items.last_position, ITEMS_AT_ONCE)
        return items.is_needed

    async def _remove_large(self, parent: OldParent) -> int:
        async with self._database.connection() as connection:
            await BulkJobRepository(connection).begin_removing(parent.id)
        await remove_in_batches(
            self._database,
            ITEMS_AT_ONCE,
            lambda connection: BulkJobRepository(connection).remove_items(parent.id, ITEMS_AT_ONCE),
        )
        async with self._database.connection() as connection:
            return await BulkJobRepository(connection).remove([parent.id])
