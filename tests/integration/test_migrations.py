"""Migrations: once, in order, unchanged afterwards, one at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.db.migrations import (
    Migration,
    MigrationError,
    migrate,
    pending,
    read_migrations,
    service_migrations,
    wait_until_migrated,
)
from shared.db.pool import Database
from shared.db.schemas import SCHEMAS, role_of
from shared.testing.databases import TestDatabase

FIRST = Migration("svc/0001_a", "CREATE TABLE a (n int)")
SECOND = Migration("svc/0002_b", "ALTER TABLE a ADD COLUMN m int")


def test_changed_or_vanished_files_are_refused() -> None:
    applied = {FIRST.name: FIRST.checksum}
    assert pending([FIRST, SECOND], applied) == [SECOND]
    with pytest.raises(MigrationError, match="was changed after it was applied"):
        pending([Migration(FIRST.name, "CREATE TABLE other (n int)")], applied)
    with pytest.raises(MigrationError, match="its file is gone"):
        pending([SECOND], applied)


def test_file_names_have_numbers_without_gaps(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0003_c.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match="expected 0002"):
        read_migrations(tmp_path, "svc")
    (tmp_path / "0003_c.sql").rename(tmp_path / "whatever.sql")
    with pytest.raises(MigrationError, match="must be named"):
        read_migrations(tmp_path, "svc")


@pytest.mark.stack
async def test_concurrent_migrators_apply_each_file_once(database: TestDatabase) -> None:
    connections = [await _in_an_empty_schema(database) for _ in range(4)]
    try:
        results = await asyncio.gather(*(migrate(connection, [FIRST, SECOND]) for connection in connections))
        assert sorted(results) == [[], [], [], [FIRST.name, SECOND.name]]
        assert await migrate(connections[0], [FIRST, SECOND]) == []
    finally:
        for connection in connections:
            await connection.close()


@pytest.mark.stack
async def test_a_failing_migration_leaves_nothing(database: TestDatabase) -> None:
    connection = await _in_an_empty_schema(database)
    try:
        broken = Migration("svc/0001_broken", "CREATE TABLE half (n int); SELECT 1/0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection, [broken])
        assert await connection.fetchval("SELECT to_regclass('half')") is None
        assert await migrate(connection, [FIRST]) == [FIRST.name]
    finally:
        await connection.close()


@pytest.mark.stack
@pytest.mark.parametrize("service", sorted(SCHEMAS))
async def test_a_service_is_migrated_once(database: TestDatabase, service: str) -> None:
    connection = await asyncpg.connect(database.dsn(service))
    try:
        assert await migrate(connection, service_migrations(service)) == []
    finally:
        await connection.close()


@pytest.mark.stack
async def test_a_service_waits_for_the_migrations_that_it_knows(database: TestDatabase) -> None:
    """A program newer than its schema would take good messages for bad ones."""
    pool = Database(database.dsn("image-processor"), application_name="test")
    try:
        await asyncio.wait_for(wait_until_migrated(pool, "image-processor"), 20)
        async with pool.connection() as connection:
            await connection.execute("DELETE FROM schema_migrations WHERE name LIKE 'image-processor/%'")
        waiting = asyncio.create_task(wait_until_migrated(pool, "image-processor"))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        async with pool.connection() as connection:
            await connection.executemany(
                "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                [(m.name, m.checksum) for m in service_migrations("image-processor") if "kernel" not in m.name],
            )
        await asyncio.wait_for(waiting, 20)
    finally:
        await pool.close()


async def _in_an_empty_schema(database: TestDatabase) -> asyncpg.Connection[Any]:
    """As cleanup-scheduler's role, in a schema that nobody has migrated yet."""
    admin = await asyncpg.connect(database.admin_dsn)
    try:
        role = role_of(SCHEMAS["cleanup-scheduler"])
        await admin.execute(f'CREATE SCHEMA IF NOT EXISTS empty AUTHORIZATION "{role}"')
    finally:
        await admin.close()
    return await asyncpg.connect(database.dsn("cleanup-scheduler"), server_settings={"search_path": "empty"})
