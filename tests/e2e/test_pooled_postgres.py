"""Every service on a PgBouncer in transaction mode: few server connections, and nobody notices that they are shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from shared.db.pool import Database
from shared.db.schemas import SCHEMAS, role_of
from shared.messaging.errors import InfrastructureUnavailable
from shared.testing.databases import TestDatabase, TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.pgbouncer import SERVERS_PER_ROLE, PgBouncerServer, pgbouncer_program
from tests.system import MODULES, System, bucket_environment, running_system

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        pgbouncer_program() is None,
        reason="PgBouncer was not tested: install the Debian package `pgbouncer` (apt-get install pgbouncer)",
    ),
]


@pytest.fixture(scope="module")
async def pooled_database(databases: TestDatabases) -> AsyncIterator[TestDatabase]:
    made = await databases.create()
    yield made
    await databases.drop(made)


@pytest.fixture(scope="module")
async def pgbouncer(
    postgres_server: PostgresServer, pooled_database: TestDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PgBouncerServer]:
    passwords = {role_of(schema): password for schema, password in pooled_database.passwords.items()}
    folder = tmp_path_factory.mktemp("pgbouncer")
    server = PgBouncerServer(folder, free_port(), postgres_server.port, passwords)
    await server.start()
    yield server
    if server.running:
        await server.stop()


@pytest.fixture(scope="module")
async def system(
    pooled_database: TestDatabase,
    pgbouncer: PgBouncerServer,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    face_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("pooled")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_FACE_MODELS_FOLDER": str(face_models),
        "MEDIABUS_FACE_WORKERS": "1",
        "MEDIABUS_RENDER_PROCESSES": "1",
    }
    made = System(pooled_database, kafka_server.bootstrap, folder / "media", folder, environment)
    made.pooled = pgbouncer.pooled
    async with running_system(made):
        await made.make_superadmin()
        await made.start_all(*MODULES)
        yield made


@pytest.fixture
async def api(system: System) -> AsyncIterator[Api]:
    async with signed_in(system, system.services[0].base_url) as made:
        yield made


async def test_pictures_go_through_all_services_on_few_server_connections(system: System, api: Api) -> None:
    accepted = await asyncio.gather(*(api.upload(photo_jpeg(64, 48, seed=seed)) for seed in range(12)))
    await api.all_completed([each["jobId"] for each in accepted])

    async def everywhere() -> bool:
        # s3-syncer copies what image-processor stored, and reconciler knows of both.
        copied = await system.rows("ingest-api", "SELECT count(*) AS media FROM media WHERE storage_status = 'synced'")
        known = await system.rows("reconciler", "SELECT count(*) AS media FROM media WHERE on_disk AND in_bucket")
        assert (copied[0]["media"], known[0]["media"]) == (12, 12)
        return True

    await eventually(everywhere, within_seconds=60, every_seconds=0.2, why="all copies are told")
    # Sessions that go past the pool have names of their own, such as ingest-api-relay.
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = $2 AND application_name = $3"
    admin = await asyncpg.connect(system.database.admin_dsn)
    try:
        for service in MODULES:
            shared = await admin.fetchval(sql, system.database.name, role_of(SCHEMAS[service]), service)
            assert 1 <= shared <= SERVERS_PER_ROLE, f"{service} has {shared} server connections"
    finally:
        await admin.close()


async def test_services_go_on_after_pgbouncer_came_back(system: System, api: Api, pgbouncer: PgBouncerServer) -> None:
    pids = [service.pid for service in system.services]
    await pgbouncer.kill()
    ready = await api.http.get("/health/ready")
    assert ready.status_code == 503, ready.text
    await pgbouncer.start()
    await asyncio.gather(*(service.wait_until_ready() for service in system.services))
    accepted = await api.upload(photo_jpeg(64, 48, seed=99))
    assert (await api.ended(accepted["jobId"]))["status"] == "completed"
    assert [service.pid for service in system.services if service.running] == pids


async def test_many_connections_share_few_and_each_sees_its_own_schema(
    pooled_database: TestDatabase, pgbouncer: PgBouncerServer
) -> None:
    opened = {}
    for service in SCHEMAS:
        dsn = pooled_database.dsn(service)
        opened[service] = Database(pgbouncer.pooled(dsn), application_name="crowd", max_connections=8, session_dsn=dsn)

    async def ask(service: str, number: int) -> None:
        async with opened[service].connection() as connection, connection.transaction():
            sql = "SELECT current_user || ' ' || current_schema(), $1::integer, $2::jsonb"
            row = await connection.fetchrow(sql, number, {"number": number})
        assert row is not None
        assert tuple(row) == (f"{role_of(SCHEMAS[service])} {SCHEMAS[service]}", number, {"number": number})

    try:
        await asyncio.gather(*(ask(service, number) for number in range(40) for service in SCHEMAS))
        async with opened["image-processor"].connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT * FROM ingest.users")
    finally:
        await asyncio.gather(*(database.close() for database in opened.values()))


async def test_another_roles_password_opens_nothing(pooled_database: TestDatabase, pgbouncer: PgBouncerServer) -> None:
    ours = urlsplit(pooled_database.dsn("ingest-api"))
    theirs = urlsplit(pooled_database.dsn("s3-syncer"))
    mixed = ours._replace(netloc=f"{ours.username}:{theirs.password}@127.0.0.1:{ours.port}").geturl()
    database = Database(pgbouncer.pooled(mixed), application_name="stranger", session_dsn=mixed)
    with pytest.raises(InfrastructureUnavailable, match=r"(password|SASL) authentication failed"):
        await database.ping()
    await database.close()
