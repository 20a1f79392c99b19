"""Uploads in parts that killed processes left behind in the bucket."""

from __future__ import annotations

from shared.storage.s3 import S3Store

UPLOADS_AT_ONCE = 1000


class UnfinishedUploads:
    """Aborts those that began so long ago that nobody sends them any more: their parts take up space unseen."""

    def __init__(self, bucket: S3Store, kept_seconds: float) -> None:
        self._bucket = bucket
        self._kept_seconds = kept_seconds

    async def sweep(self) -> dict[str, int]:
        """Abort what is old by now; how many uploads. A store that lists none has a term of its own for them."""
        aborted, batch = 0, UPLOADS_AT_ONCE
        # As many as were allowed at once: there may be more.
        while batch == UPLOADS_AT_ONCE:
            batch = await self._bucket.abort_unfinished(older_than_seconds=self._kept_seconds, limit=UPLOADS_AT_ONCE)
            aborted += batch
        return {"aborted_uploads": aborted}
