"""Staged uploads go once their picture is committed, and not a moment earlier."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from pathlib import Path

from image_processor.imaging import SCRATCH_FOLDER
from image_processor.repository import ImageRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.keys import STAGING_PREFIX
from shared.storage.local_disk import LocalDiskStore
from shared.storage.staging import Staging

log = logging.getLogger(__name__)

SWEEP_ROWS = 200
DELETED_MEDIA_KNOWN_SECONDS = 60 * 24 * 3600.0
"""Longer than dead letters are kept: a command that is replayed must find that its medium is gone."""
CANCELLED_KNOWN_SECONDS = 30 * 24 * 3600.0
"""Longer than topics keep a command and it is put off; what a person replays is rendered whatever was cancelled."""
SCRATCH_KEPT_SECONDS = 3600.0
"""No picture takes so long: nobody reads a file of this machine's that was written before."""


class StagingRemoval:
    """Removes staged files; what a crash or an absent store left is found again by the sweep."""

    def __init__(self, staging: Staging, disk: LocalDiskStore, database: Database, *, sweep_seconds: float) -> None:
        self._staging = staging
        self._disk = disk
        self._database = database
        self._sweep_seconds = sweep_seconds

    async def remove(self, staging_key: str) -> None:
        """Remove one file and forget that it was to be removed; trouble is left to the sweep.

        The picture is committed already, so its message must not fail for this.
        """
        try:
            await self._staging.delete(staging_key)
            async with self._database.connection() as connection:
                await ImageRepository(connection).forget_removal(staging_key)
        except (InfrastructureUnavailable, MessageError) as error:
            log.warning("staged file is left to the sweep", extra={"key": staging_key, "detail": str(error)})

    async def sweep(self) -> None:
        """Remove what should be gone; ends only by cancellation."""
        scratch_swept_at = float("-inf")
        while True:
            await asyncio.sleep(self._sweep_seconds)
            async with self._database.connection() as connection:
                keys = await ImageRepository(connection).removals_left(
                    older_than_seconds=self._sweep_seconds, limit=SWEEP_ROWS
                )
            for key in keys:
                await self.remove(key)
            if time.monotonic() - scratch_swept_at > SCRATCH_KEPT_SECONDS:
                await remove_scratch(self._disk, older_than_seconds=SCRATCH_KEPT_SECONDS)
                async with self._database.connection() as connection:
                    await ImageRepository(connection).prune_deleted(DELETED_MEDIA_KNOWN_SECONDS)
                    await ImageRepository(connection).prune_cancelled(CANCELLED_KNOWN_SECONDS)
                scratch_swept_at = time.monotonic()


async def remove_scratch(disk: LocalDiskStore, *, older_than_seconds: float) -> None:
    """Remove what a killed process left: copies of uploads that it read from the bucket, and variants it had rendered.

    Only a process on this machine sees them, and ingest-api, which removes its own, may run on another.
    """
    async for path in disk.list_temporary(STAGING_PREFIX, older_than_seconds=older_than_seconds):
        await disk.run(path, lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]
    scratch = disk.root / SCRATCH_FOLDER
    before = time.time() - older_than_seconds
    for folder in await disk.run(scratch, lambda: _folders_older_than(scratch, before)):
        await disk.run(folder, lambda folder=folder: shutil.rmtree(folder, ignore_errors=True))  # type: ignore[misc]


def _folders_older_than(parent: Path, before: float) -> list[Path]:
    if not parent.is_dir():
        return []
    with os.scandir(parent) as entries:
        return [Path(entry.path) for entry in entries if entry.stat(follow_symlinks=False).st_mtime < before]
