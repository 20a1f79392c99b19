"""The whole system on servers of its own, as the embedded stack runs it, for the length of one measurement."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from deploy.local.server import EmbeddedServer
from deploy.local.topology import SERVICES
from shared.messaging.topics import ensure_topics
from shared.testing.databases import TestDatabases
from tests.api_client import signed_in
from tests.running_service import RunningService
from tests.system import System, running_system

BUCKET: Final = "mediabus"
_NICENESS: Final = {service.name: service.niceness for service in SERVICES}


@dataclass
class Site:
    """A running ingest-api, and an image-processor to be started and stopped at will."""

    system: System
    postgres: PostgresServer
    kafka: KafkaServer
    store: ObjectStoreServer
    ingest: RunningService
    processor: RunningService
    api_key: str
    folder: Path

    async def start_processor(self) -> None:
        self.processor.start()
        await self.processor.wait_until_ready()

    async def stop_processor(self) -> None:
        await self.processor.stop()

    async def ended(self, job_ids: Sequence[str], within_seconds: float) -> dict[str, int]:
        """How many of the jobs have which status, once all have an outcome or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while True:
            rows = await self.system.rows(
                "ingest-api",
                "SELECT status, count(*) AS jobs FROM jobs WHERE id = ANY($1::uuid[]) GROUP BY status",
                job_ids,
            )
            found = {row["status"]: row["jobs"] for row in rows}
            unfinished = len(set(job_ids)) - found.get("completed", 0) - found.get("failed", 0)
            if unfinished == 0 or loop.time() > deadline:
                return found
            await asyncio.sleep(0.02 if unfinished < 50 else 0.5)

    @property
    def server_pids(self) -> list[int]:
        return [pid for pid in (self.postgres.pid, self.kafka.pid) if pid is not None]


@asynccontextmanager
async def running_site(folder: Path) -> AsyncIterator[Site]:
    """Start servers and ingest-api; everything has ended when the block is left."""
    async with AsyncExitStack() as stack:
        postgres = PostgresServer(folder / "postgres", free_port())
        kafka = KafkaServer(folder / "kafka", free_port())
        object_store = ObjectStoreServer(folder / "object-store", free_port(), "bench-access", "bench-secret-key")
        await asyncio.gather(*(_started(server, stack) for server in (postgres, kafka, object_store)))
        await asyncio.gather(ensure_topics(kafka.bootstrap), object_store.create_bucket(BUCKET))
        database = await (await TestDatabases.prepare(postgres.admin_dsn)).create()
        environment = {
            "MEDIABUS_S3_ENDPOINT": object_store.endpoint,
            "MEDIABUS_S3_ACCESS_KEY": object_store.access_key,
            "MEDIABUS_S3_SECRET_KEY": object_store.secret_key,
            # What is measured is answered with its outcome, on a busy machine too.
            "MEDIABUS_RECONCILE_WAIT_SECONDS": "300",
        }
        system = System(database, kafka.bootstrap, folder / "media", folder, environment)
        await stack.enter_async_context(running_system(system))
        await system.make_superadmin()
        ingest = await system.started("ingest-api")
        processor = system.service("image-processor", niceness=_NICENESS["image-processor"])
        yield Site(system, postgres, kafka, object_store, ingest, processor, await _api_key(system, ingest), folder)


async def _started(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    stack.push_async_callback(server.stop)
    await server.start()


async def _api_key(system: System, ingest: RunningService) -> str:
    async with signed_in(system, ingest.base_url) as api:
        answer = await api.http.post("/api/admin/api-keys", json={"name": "bench", "role": "admin"})
        if answer.status_code != 201:
            raise RuntimeError(f"no API key: {answer.status_code} {answer.text}")
        return str(answer.json()["key"])


def say(text: str) -> None:
    """Progress, beside the table."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
