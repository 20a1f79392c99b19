"""Reading files that were stored earlier, wherever they lie now."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from pathlib import Path

from image_processor.storing import postponing_while_bucket_is_away
from shared.events import StoredFile
from shared.storage.errors import ObjectNotFound
from shared.storage.local_disk import LocalDiskStore
from shared.storage.s3 import S3Store
from shared.storage.staging import BucketStaging, LocalStaging, StagedFile


class StoredFiles:
    """Finds a file on the disk, else in the bucket."""

    def __init__(self, disk: LocalDiskStore, bucket: S3Store | None) -> None:
        self._disk = LocalStaging(disk)
        self._bucket = BucketStaging(bucket, disk) if bucket else None

    async def open(self, file: StoredFile, stack: AsyncExitStack) -> Path | None:
        """Its path, for reading, until the stack closes; None where neither store has it.

        Raises Postponed while the bucket that may hold it is away, ChecksumMismatch for a file of other bytes.
        """
        source = StagedFile(file.key, file.size_bytes, file.sha256)
        with suppress(ObjectNotFound):
            return await stack.enter_async_context(self._disk.open(source))
        if self._bucket is not None:
            with suppress(ObjectNotFound), postponing_while_bucket_is_away():
                return await stack.enter_async_context(self._bucket.open(source))
        return None
