"""s3-syncer as a process: commands in, files moved and facts out, on real Kafka, PostgreSQL, disk and bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import SyncOperation
from shared.messaging.topics import SYNC_EVENTS, dead_letter_topic
from shared.testing.databases import TestDatabase
from tests.bus import Bus
from tests.running_service import RunningService
from tests.sync_world import SyncWorld
from tests.system import System, running_system

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    database: TestDatabase = await databases.create()
    folder: Path = tmp_path_factory.mktemp("s3-syncer")
    environment = {
        "MEDIABUS_S3_ENDPOINT": object_store_server.endpoint,
        "MEDIABUS_S3_ACCESS_KEY": object_store_server.access_key,
        "MEDIABUS_S3_SECRET_KEY": object_store_server.secret_key,
        "MEDIABUS_FILE_RETRY_SECONDS": "0.05",
        "MEDIABUS_LOCAL_FIRST_POLL_SECONDS": "0.1",
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "2",
    }
    made = System(database, kafka_server.bootstrap, folder / "media", folder, environment=environment)
    async with running_system(made):
        yield made
    await databases.drop(database)


@pytest.fixture(scope="module")
async def syncer(system: System) -> RunningService:
    return await system.started("s3-syncer")


@pytest.fixture
async def world(
    system: System, syncer: RunningService, object_store_server: ObjectStoreServer
) -> AsyncIterator[SyncWorld]:
    if not syncer.running:
        syncer.start()
        await syncer.wait_until_ready()
    async with (
        Bus(system.kafka_bootstrap, SYNC_EVENTS, dead_letter_topic("s3-syncer")) as bus,
        object_store_server.client() as client,
    ):
        yield SyncWorld(system, bus, client)


async def test_a_job_uploads_its_pictures(world: SyncWorld) -> None:
    pictures = await world.pictures(3)
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, pictures)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("completed", 3, 0)
    assert ended["moved_bytes"] == ended["total_bytes"] == sum(len(c) for p in pictures for c in p.contents.values())
    for picture in pictures:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)
        assert world.placements(picture) == ["synced"]
