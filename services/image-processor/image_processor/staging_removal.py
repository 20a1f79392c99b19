"""Staged uploads go once their picture is committed, and not a moment earlier."""

from __future__ import annotations

import asyncio
import logging

from image_processor.repository import ImageRepository
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.staging import Staging

log = logging.getLogger(__name__)

SWEEP_ROWS = 200


class StagingRemoval:
    """Removes staged files; what a crash or an absent store left is found again by the sweep."""

    def __init__(self, staging: Staging, database: Database, *, sweep_seconds: float) -> None:
        self._staging = staging
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
        while True:
            await asyncio.sleep(self._sweep_seconds)
            async with self._database.connection() as connection:
                keys = await ImageRepository(connection).removals_left(
                    older_than_seconds=self._sweep_seconds, limit=SWEEP_ROWS
                )
            for key in keys:
                await self.remove(key)
