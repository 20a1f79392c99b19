"""Staged files that nobody needs: left by crashes, or by commits of which the answer was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.product_changes import ProductChangeRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.keys import STAGING_PREFIX
from shared.storage.local_disk import LocalDiskStore
from shared.storage.staging import Staging

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0
DOUBT_SECONDS = 15.0
"""After so long a statement whose answer was lost has either taken effect or never will."""
PAGE_ROWS = 500


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
            known = set(await JobRepository(connection).known_staging_keys(keys))
            known |= await ProductChangeRepository(connection).known_staging_keys(keys)
        unknown = [key for key in keys if key not in known]
        for key in unknown:
            await self._staging.delete(key)
            log.info("removed a staged file that no job knows", extra={"key": key})
        return len(unknown)
