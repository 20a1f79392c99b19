"""The stores of one process, opened together by its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from shared.settings import ServiceSettings
from shared.storage.local_disk import LocalDiskStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.storage.staging import BucketStaging, LocalStaging, Staging


@dataclass(frozen=True, slots=True)
class Stores:
    """`bucket` is None where no S3 endpoint is set."""

    disk: LocalDiskStore
    bucket: S3Store | None
    staging: Staging


@asynccontextmanager
async def open_stores(settings: ServiceSettings) -> AsyncIterator[Stores]:
    """Raises ValueError when the settings name bucket staging without a bucket; connects to nothing."""
    s3_settings = S3Settings.of(settings)
    async with AsyncExitStack() as stack:
        disk = await stack.enter_async_context(LocalDiskStore(settings.media_root))
        bucket = await stack.enter_async_context(S3Store(s3_settings)) if s3_settings else None
        if settings.staging_store == "local":
            yield Stores(disk, bucket, LocalStaging(disk))
        elif bucket is None:
            raise ValueError("MEDIABUS_STAGING_STORE is bucket: set MEDIABUS_S3_ENDPOINT and its keys, or use local")
        else:
            yield Stores(disk, bucket, BucketStaging(bucket, disk))
