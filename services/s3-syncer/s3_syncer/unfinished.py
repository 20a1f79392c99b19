"""Uploads in parts that killed processes left behind in the bucket."""

from __future__ import annotations

import asyncio
import logging

from shared.storage.s3 import S3Store

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
UPLOADS_AT_ONCE = 1000


class UnfinishedUploads:
    """Aborts those that began so long ago that nobody sends them any more: their parts take up space unseen."""

    def __init__(self, bucket: S3Store, kept_seconds: float) -> None:
        self._bucket = bucket
        self._kept_seconds = kept_seconds

    async def run(self) -> None:
        """Sweep for as long as the process lives; raises while the bucket is away."""
        while True:
            aborted = await self._bucket.abort_unfinished(older_than_seconds=self._kept_seconds, limit=UPLOADS_AT_ONCE)
            if aborted:
                log.info("unfinished uploads were aborted", extra={"uploads": aborted})
            # As many as were allowed at once: there may be more.
            if aborted < UPLOADS_AT_ONCE:
                await asyncio.sleep(EVERY_SECONDS)
