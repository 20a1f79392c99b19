"""What the parts of s3-syncer stand on, without its process: its database, the disk and the bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.object_store import ObjectStoreServer
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.storage.local_disk import LocalDiskStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.testing.databases import TestDatabase


@dataclass(frozen=True)
class SyncerGround:
    """`rows` looks into the database past the parts."""

    unit_of_work: UnitOfWork
    disk: LocalDiskStore
    bucket: S3Store
    rows: asyncpg.Connection[Any]


@asynccontextmanager
async def syncer_ground(
    database: TestDatabase, object_store: ObjectStoreServer, folder: Path
) -> AsyncIterator[SyncerGround]:
    """Files lie in `folder/media`, which is made, and in the bucket of the tests."""
    media = folder / "media"
    media.mkdir()
    dsn = database.dsn("s3-syncer")
    settings = S3Settings(
        endpoint=object_store.endpoint,
        bucket="mediabus",
        access_key=object_store.access_key,
        secret_key=object_store.secret_key,
    )
    async with AsyncExitStack() as stack:
        pool = Database(dsn, application_name="tests", max_connections=6)
        stack.push_async_callback(pool.close)
        disk = await stack.enter_async_context(LocalDiskStore(media))
        bucket = await stack.enter_async_context(S3Store(settings))
        rows: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
        stack.push_async_callback(rows.close)
        yield SyncerGround(UnitOfWork(pool, source="/mediabus/s3-syncer", schema="sync"), disk, bucket, rows)
