"""PostgreSQL's own log: which statements were slow, and nothing of what they were about."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from shared.db.provision import provision
from shared.db.schemas import SCHEMAS
from shared.testing.waiting import eventually


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    folder = tmp_path_factory.mktemp("postgres")
    server = PostgresServer(folder, free_port(), slow_statement_millis=50, settings={"fsync": "off"})
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def connection(server: PostgresServer) -> AsyncIterator[asyncpg.Connection[Any]]:
    opened: asyncpg.Connection[Any] = await asyncpg.connect(server.admin_dsn())
    yield opened
    await opened.close()


async def test_slow_and_failed_statements_are_logged_without_their_values(
    server: PostgresServer, connection: asyncpg.Connection[Any]
) -> None:
    token = secrets.token_urlsafe(24)
    # The table is there before anything is looked at, so that what follows is in the log on account of its time.
    await connection.execute("CREATE TABLE known (token text PRIMARY KEY)")
    # One may have to wait for the machine, and count as slow.
    quick = [f"INSERT INTO known SELECT $1 || '{number}'" for number in range(10)]
    for statement in quick:
        await connection.execute(statement, token)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO known (token) SELECT $1 || '0'", token)
    await connection.fetch("SELECT pg_sleep(0.06), 'quick' = $1::text AS looked_for", token)
    log = await _log_with(server, "AS looked_for")
    assert "duration: " in log
    assert "INSERT INTO known (token) SELECT $1" in log, "the statement that failed is missing"
    assert not all(statement in log for statement in quick), "quick statements are logged"
    assert token not in log


async def test_passwords_of_roles_stay_out_of_the_log_even_where_every_statement_is_in_it(
    server: PostgresServer, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("SET log_min_duration_statement = 0")
    passwords = {schema: secrets.token_urlsafe(12) for schema in SCHEMAS.values()}
    await provision(connection, passwords)
    await connection.execute("SELECT 'after that'")
    log = await _log_with(server, "after that")
    assert not [schema for schema, password in passwords.items() if password in log]


async def _log_with(server: PostgresServer, text: str) -> str:
    async def log() -> str:
        written = server.log_path.read_text()
        assert text in written, written
        return written

    return str(await eventually(log, why=f"{text} is in the log"))
