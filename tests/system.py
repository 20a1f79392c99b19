"""The real services as processes, on a database of their own and shared real servers."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from shared.testing.databases import TestDatabase, TestDatabases
from tests.running_service import RunningService

MODULES = {
    "ingest-api": "ingest_api.app",
    "image-processor": "image_processor.app",
    "s3-syncer": "s3_syncer.app",
    "reconciler": "reconciler.app",
    "face-embedder": "face_embedder.app",
    "cleanup-scheduler": "cleanup_scheduler.app",
}
SUPERADMIN_EMAIL = "root@example.test"


def _where_it_is_noon() -> str:
    """Nightly schedules stay asleep there, at whatever hour the tests run; hourly ones come at their minutes."""
    behind_hours = datetime.now(UTC).hour - 12
    return f"Etc/GMT{behind_hours:+d}"


@dataclass
class System:
    """Starts services with one environment; `environment` holds what is common to all."""

    database: TestDatabase
    kafka_bootstrap: str
    media_root: Path
    log_folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    pooled: Callable[[str], str] | None = None
    """Where a pooler stands before PostgreSQL: from the address of the server to that of the pool."""
    superadmin_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    time_zone: str = field(default_factory=_where_it_is_noon)
    """One for all of its services, though the hour may end between the start of one and of another."""
    services: list[RunningService] = field(default_factory=list)

    def environment_of(self, service: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        dsn = self.database.dsn(service)
        pool = {} if self.pooled is None else {"MEDIABUS_POSTGRES_SESSION_DSN": dsn}
        return {
            "MEDIABUS_POSTGRES_DSN": dsn if self.pooled is None else self.pooled(dsn),
            **pool,
            "MEDIABUS_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "MEDIABUS_MEDIA_ROOT": str(self.media_root),
            "MEDIABUS_SIGNING_KEY": "00" * 32,
            "MEDIABUS_SELFIE_KEY": "11" * 32,
            "MEDIABUS_TIME_ZONE": self.time_zone,
            **self.environment,
            **(extra or {}),
        }

    def service(self, name: str, extra: Mapping[str, str] | None = None, niceness: int = 0) -> RunningService:
        """A process that is not started yet."""
        # The services refuse a media root that is not there: it may be a volume that is not mounted.
        self.media_root.mkdir(exist_ok=True)
        port = free_port(taken=[made.port for made in self.services])
        log_path = self.log_folder / f"{name}-{len(self.services)}.log"
        made = RunningService(MODULES[name], self.environment_of(name, extra), port, log_path, niceness)
        self.services.append(made)
        return made

    async def started(self, name: str, extra: Mapping[str, str] | None = None) -> RunningService:
        made = self.service(name, extra)
        made.start()
        await made.wait_until_ready()
        return made

    async def start_all(self, *names: str) -> None:
        """Start services side by side and wait until each is ready."""
        made = [self.service(name) for name in names]
        for service in made:
            service.start()
        await asyncio.gather(*(service.wait_until_ready() for service in made))

    async def make_superadmin(self) -> None:
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ingest_api.bootstrap_superadmin"],
            env={
                "PATH": os.environ["PATH"],
                **self.environment_of("ingest-api"),
                "MEDIABUS_SUPERADMIN_EMAIL": SUPERADMIN_EMAIL,
                "MEDIABUS_SUPERADMIN_PASSWORD": self.superadmin_password,
            },
            check=True,
            timeout=120,
        )

    async def rows(self, service: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """What a service's own role sees in its schema."""
        connection: asyncpg.Connection[Any] = await asyncpg.connect(self.database.dsn(service))
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def stop(self) -> None:
        await asyncio.gather(*(service.stop() for service in self.services if service.running))


@asynccontextmanager
async def running_system(system: System) -> AsyncIterator[System]:
    """End every process at the end of the block, whatever happened in it."""
    try:
        yield system
    finally:
        try:
            await system.stop()
        finally:
            for service in system.services:
                if service.running:
                    service.kill()


@asynccontextmanager
async def system_of_its_own(
    databases: TestDatabases, kafka: KafkaServer, folder: Path, environment: dict[str, str]
) -> AsyncIterator[System]:
    """A system whose database goes with it."""
    database = await databases.create()
    async with running_system(System(database, kafka.bootstrap, folder / "media", folder, environment)) as system:
        yield system
    await databases.drop(database)


def bucket_environment(object_store: ObjectStoreServer, endpoint: str | None = None) -> dict[str, str]:
    """Settings that lead services to the store, by another way where there is one in front of it."""
    return {
        "MEDIABUS_S3_ENDPOINT": endpoint or object_store.endpoint,
        "MEDIABUS_S3_ACCESS_KEY": object_store.access_key,
        "MEDIABUS_S3_SECRET_KEY": object_store.secret_key,
    }
