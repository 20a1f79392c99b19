"""The embedded servers under the supervisor and alone: what they keep, who may run them, what they refuse."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local import identity
from deploy.local.errors import StackError
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from shared.messaging.topics import TOPICS
from tests.integration.stack_commands import StackCommands, as_ordinary_user, gone, until

pytestmark = pytest.mark.stack

TOPIC = TopicPartition(TOPICS[0].name, 0)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[StackCommands]:
    commands = StackCommands(tmp_path / "stack", servers="all", prefix=as_ordinary_user())
    yield commands
    commands.stop()


async def test_an_ordinary_users_stack_keeps_everything_over_a_killed_supervisor(stack: StackCommands) -> None:
    stack.start()
    before = stack.facts()
    await _write_everywhere(before)
    queried = stack.run("psql", "--service", "ingest-api", "--", "-Atc", "SELECT current_user, current_schema()")
    assert queried.stdout.strip() == "mediabus_ingest|ingest", queried.stderr

    pids = stack.recorded_pids()
    assert {"postgres", "kafka", "object-store"} <= set(pids)
    os.kill(stack.folder.supervisor_pid() or 0, signal.SIGKILL)
    stack.start()

    # Ports are those of before, so whoever read stack.json earlier still finds everything.
    after = stack.facts()
    assert {**after, "services": None} == {**before, "services": None}
    until(lambda: gone(pids), "the processes of before are gone")
    await _read_everywhere(after)


async def _write_everywhere(facts: dict[str, dict[str, str]]) -> None:
    connection = await asyncpg.connect(_dsn(facts))
    await connection.execute("CREATE TABLE kept AS SELECT '[1,2]'::faces.vector AS embedding")
    await connection.close()
    producer = AIOKafkaProducer(bootstrap_servers=facts["kafka"]["bootstrap"], acks="all")
    await producer.start()
    await producer.send_and_wait(TOPIC.topic, b"kept", partition=TOPIC.partition)
    await producer.stop()
    async with _store(facts).client() as client:
        await client.put_object(Bucket=facts["s3"]["bucket"], Key="a/kept", Body=b"kept", Metadata={"sha256": "1"})


async def _read_everywhere(facts: dict[str, dict[str, str]]) -> None:
    connection = await asyncpg.connect(_dsn(facts))
    assert await connection.fetchval("SELECT embedding::text FROM kept") == "[1,2]"
    assert await connection.fetchval("SHOW fsync") == "on"
    await connection.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=facts["kafka"]["bootstrap"], auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TOPIC])
    assert (await asyncio.wait_for(consumer.getone(), timeout=30)).value == b"kept"
    await consumer.stop()
    async with _store(facts).client() as client:
        answer = await client.get_object(Bucket=facts["s3"]["bucket"], Key="a/kept")
        assert await answer["Body"].read() == b"kept"
        assert answer["Metadata"] == {"sha256": "1"}


def _dsn(facts: dict[str, dict[str, str]]) -> str:
    postgres = facts["postgres"]
    place = f"{postgres['host']}:{postgres['port']}/{postgres['database']}"
    return f"postgresql://{postgres['user']}:{postgres['password']}@{place}"


def _store(facts: dict[str, dict[str, str]]) -> ObjectStoreServer:
    s3 = facts["s3"]
    port = int(s3["endpoint"].rpartition(":")[2])
    return ObjectStoreServer(Path(), port, s3["accessKey"], s3["secretKey"], region=s3["region"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_root_runs_postgresql_as_somebody_else_in_every_way_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = list(identity.unprivileged_identities())
    server = PostgresServer(tmp_path / "postgres", free_port())
    owners = []
    for way in ways:
        monkeypatch.setattr(identity, "unprivileged_identities", lambda way=way: iter([way]))
        await server.start()
        owners.append(server.cluster_folder.stat().st_uid)
        connection = await asyncpg.connect(server.admin_dsn())
        await connection.execute("CREATE TABLE IF NOT EXISTS visits AS SELECT 1 WHERE false")
        await connection.close()
        await server.stop()
    assert len(set(owners)) == len(ways)


async def test_a_server_refuses_a_folder_in_use_and_comes_back_after_a_crash(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    server = PostgresServer(tmp_path / "postgres", free_port())
    await server.start()
    with pytest.raises(StackError, match="runs already"):
        await server.start()
    with pytest.raises(StackError, match=f"is in use: postgres runs there with pid {server.pid}"):
        await PostgresServer(server.data_folder, free_port()).start()
    connection = await asyncpg.connect(server.admin_dsn())
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    assert await server.kill() == -signal.SIGKILL
    assert not server.running
    connection.terminate()
    await server.start()
    connection = await asyncpg.connect(server.admin_dsn())
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()
    await server.stop()

    taken = ObjectStoreServer(tmp_path / "store", kafka_server.port, "access", "secret-secret")
    with pytest.raises(StackError, match=f"needs port {kafka_server.port}"):
        await taken.start()
