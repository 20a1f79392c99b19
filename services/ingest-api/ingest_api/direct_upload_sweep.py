"""What nobody tells of: announced files that never came, and objects that could not be taken out of the bucket."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ingest_api.announcement import DirectUpload, expired
from ingest_api.direct_uploads import DirectUploads
from ingest_api.repositories.direct_uploads import DirectUploadRepository
from ingest_api.settings import IngestSettings
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.errors import StoreRefused

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 100


class DirectUploadSweep:
    """Works in batches; several replicas at once do no harm."""

    def __init__(self, uploads: DirectUploads, database: Database, settings: IngestSettings) -> None:
        self._uploads = uploads
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Sweep again and again; returns only by cancellation."""
        while True:
            try:
                await self.sweep_once()
            except (InfrastructureUnavailable, MessageError) as error:
                log.warning("could not sweep the direct uploads", extra={"detail": str(error)})
            await asyncio.sleep(self._settings.direct_upload_sweep_seconds)

    async def sweep_once(self) -> None:
        settings = self._settings
        async with self._database.connection() as connection:
            uploads = DirectUploadRepository(connection)
            to_remove = await uploads.to_remove(BATCH_ROWS)
            late = await uploads.expired(settings.direct_upload_under_way_seconds, BATCH_ROWS)
        for upload in to_remove:
            await self._uploads.remove_object(upload)
        for upload in late:
            await self._end(upload)
        async with self._database.connection() as connection:
            await DirectUploadRepository(connection).remove_finished(settings.failed_jobs_kept_seconds, BATCH_ROWS)

    async def _end(self, upload: DirectUpload) -> None:
        """Give an upload up, after a last look: a file that was sent and that nobody told of is taken all the same."""
        try:
            if await self._uploads.take(upload, None):
                return
        except StoreRefused as error:
            # Whether there is a file can't be known: it waits, and the others don't wait for it.
            log.warning("a late upload can't be looked at", extra={"key": upload.key, "detail": str(error)})
            return
        await self._uploads.refuse(upload, expired(upload))
        await self._uploads.remove_object(upload)
