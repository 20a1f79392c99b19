"""Staged files that nobody needs: left by crashes, or by commits of which the answer was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.product_changes import ProductChangeRepository
from ingest_api.repositories.staging_leases import StagingLeaseRepository
from shared.db.pool import Database
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.keys import STAGING_PREFIX
from shared.storage.local_disk import LocalDiskStore
from shared.storage.staging import Staging

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0
DOUBT_SECONDS = 15.0
"""After so long a statement whose answer was lost has either taken effect or never will."""
PAGE_ROWS = 500
HOLDS_PER_TIME = 4


class StagingSweep:
    """Asks the jobs before it removes anything."""

    def __init__(
        self, staging: Staging, disk: LocalDiskStore, database: Database, *, orphans_kept_seconds: float
    ) -> None:
        self._staging = staging
        self._disk = disk
        self._database = database
        self._orphans_kept_seconds = orphans_kept_seconds
        self._doubtful: dict[str, float] = {}

    def doubt(self, key: str) -> None:
        """Whether the job of this file was committed is unknown: find out when PostgreSQL can tell."""
        self._doubtful[key] = time.monotonic()

    async def run(self) -> None:
        """Resolve doubts within a minute; returns only by cancellation."""
        while True:
            try:
                await self.resolve_doubts()
            except (InfrastructureUnavailable, MessageError) as error:
                log.warning("could not find out about staged files", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    @asynccontextmanager
    async def holding(self, keys: Callable[[], Sequence[str]]) -> AsyncIterator[None]:
        """Leave alone what an upload has staged so far, on every replica, however long the block takes.

        A short one writes nothing for that.
        """
        upload_id = new_id()
        task = asyncio.create_task(self._keep_holding(upload_id, keys))
        try:
            yield
        finally:
            task.cancel()
            held = (await asyncio.gather(task, return_exceptions=True))[0]
            if not isinstance(held, asyncio.CancelledError | None):
                log.error("an upload's files were not held", exc_info=held)

    async def _keep_holding(self, upload_id: UUID, keys: Callable[[], Sequence[str]]) -> None:
        is_held = False
        try:
            while True:
                # Several times before the first file is old enough to be swept: a failure of one is no harm.
                await asyncio.sleep(self._orphans_kept_seconds / HOLDS_PER_TIME)
                try:
                    async with self._database.connection() as connection:
                        is_held = True
                        await StagingLeaseRepository(connection).hold(upload_id, keys(), self._orphans_kept_seconds)
                except (InfrastructureUnavailable, MessageError) as error:
                    log.warning("could not hold staged files", extra={"detail": str(error)})
        finally:
            if is_held:
                # Otherwise the lease runs out by itself.
                with suppress(InfrastructureUnavailable):
                    async with self._database.connection() as connection:
                        await StagingLeaseRepository(connection).release(upload_id)

    async def resolve_doubts(self, older_than_seconds: float = DOUBT_SECONDS) -> None:
        due = [key for key, since in self._doubtful.items() if time.monotonic() - since >= older_than_seconds]
        if due:
            await self._remove_unknown(due)
            for key in due:
                self._doubtful.pop(key, None)

    async def sweep(self) -> dict[str, int]:
        """Remove what arrived long ago and no job knows, and what nobody has written to for as long; how many files.

        An upload under way has a file whose time is that of its last bytes, so a slow one is young.
        """
        async with self._database.connection() as connection:
            await StagingLeaseRepository(connection).remove_over()
        page: list[str] = []
        removed = unfinished = 0
        async for info in self._staging.list_stale(older_than_seconds=self._orphans_kept_seconds):
            page.append(info.key)
            if len(page) >= PAGE_ROWS:
                removed += await self._remove_unknown(page)
                page = []
        removed += await self._remove_unknown(page)
        async for path in self._disk.list_temporary(STAGING_PREFIX, older_than_seconds=self._orphans_kept_seconds):
            await self._disk.run(path, lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]
            unfinished += 1
        return {"staged_files": removed, "unfinished_files": unfinished}

    async def _remove_unknown(self, keys: Sequence[str]) -> int:
        if not keys:
            return 0
        async with self._database.connection() as connection:
            # Who holds them first: an upload lets go of its files once their jobs are there, so one that ends between
            # the two questions is seen by its jobs.
            known = await StagingLeaseRepository(connection).held(keys)
            known |= set(await JobRepository(connection).known_staging_keys(keys))
            known |= await ProductChangeRepository(connection).known_staging_keys(keys)
        unknown = [key for key in keys if key not in known]
        for key in unknown:
            await self._staging.delete(key)
            log.info("removed a staged file that no job knows", extra={"key": key})
        return len(unknown)
