"""A process that replaces packs and does nothing else: for tests that kill it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from face_embedder.engine_settings import EngineSettings
from face_embedder.face_pool import FacePool
from face_embedder.presence import Presence
from face_embedder.replacing import Replacing
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.storage.local_disk import LocalDiskStore
from shared.worker_pool import WorkerPoolSettings


async def replace_packs(dsn: str, bucket_root: str, wanted: str, previous: str) -> None:
    """Until it is killed; the last two are the JSON of EngineSettings."""
    work = UnitOfWork(Database(dsn, application_name="replacer", max_connections=4), source="/tests", schema="faces")
    new, old = (EngineSettings.model_validate_json(engine) for engine in (wanted, previous))
    async with (
        LocalDiskStore(Path(bucket_root)) as bucket,
        FacePool(new, old, WorkerPoolSettings(workers=1), 1) as pool,
    ):
        presence = Presence(work, pool.packs, revision=1)
        replacing = Replacing(work, bucket, pool, presence, photos_at_once=2, limit_bytes=2**24, hold_seconds=1.5)
        async with asyncio.TaskGroup() as group:
            group.create_task(presence.run())
            group.create_task(replacing.run())


if __name__ == "__main__":
    asyncio.run(replace_packs(*sys.argv[1:]))
