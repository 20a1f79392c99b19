"""What the tests of the kernel share, and those of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.kafka_server import KafkaServer
from shared.identifiers import new_id
from shared.messaging.topics import dead_letter_topic, ensure_topics, retry_topic
from shared.testing.databases import TestDatabase, TestDatabases
from shared.testing.topics import remove_topics
from tests.ingest_site import IngestSite, running_site
from tests.integration.kernel_world import FACTS, ORDERS, World


@pytest.fixture
async def world(database: TestDatabase, kafka_server: KafkaServer) -> AsyncIterator[World]:
    """Topics are made anew for each test, so that no test sees what another left."""
    service = f"service-{new_id().hex[-8:]}"
    topics = [ORDERS, FACTS, retry_topic(service), dead_letter_topic(service)]
    await remove_topics(kafka_server.bootstrap, [ORDERS.name, FACTS.name])
    await ensure_topics(kafka_server.bootstrap, topics)
    made = World(service, database.dsn("image-processor"), kafka_server.bootstrap)
    connection = await asyncpg.connect(made.dsn)
    await connection.execute("CREATE TABLE effects (customer text, number int, attempt int, position bigserial)")
    await connection.close()
    yield made
    await asyncio.gather(*(process.stop() for process in made.processes))


@pytest.fixture(scope="module")
async def cli_site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    """What a module's commands ask."""
    database = await databases.create()
    async with running_site(database, tmp_path_factory.mktemp("site") / "media") as made:
        yield made
    await databases.drop(database)
