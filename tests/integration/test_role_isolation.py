"""Each service's database role has rights on its own schema alone."""

from __future__ import annotations

import asyncpg
import pytest

from shared.db.schemas import SCHEMAS
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack

PAIRS = [(service, schema) for service in SCHEMAS for schema in SCHEMAS.values() if SCHEMAS[service] != schema]


@pytest.mark.parametrize("service", SCHEMAS)
async def test_a_role_is_at_home_in_its_own_schema(database: TestDatabase, service: str) -> None:
    connection = await asyncpg.connect(database.dsn(service))
    try:
        assert await connection.fetchval("SELECT current_schema()") == SCHEMAS[service]
        await connection.execute("CREATE TABLE probe (n int); INSERT INTO probe VALUES (1); DROP TABLE probe")
    finally:
        await connection.close()


@pytest.mark.parametrize(("service", "schema"), PAIRS)
async def test_a_role_is_refused_everywhere_else(database: TestDatabase, service: str, schema: str) -> None:
    admin = await asyncpg.connect(database.admin_dsn)
    await admin.execute(f"CREATE TABLE IF NOT EXISTS {schema}.secret (n int)")
    await admin.close()
    connection = await asyncpg.connect(database.dsn(service))
    try:
        for statement in (
            f"SELECT * FROM {schema}.secret",
            f"INSERT INTO {schema}.secret VALUES (1)",
            f"DROP TABLE {schema}.secret",
            f"CREATE TABLE {schema}.mine (n int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SCHEMAS)
async def test_a_role_cannot_raise_itself(database: TestDatabase, service: str) -> None:
    connection = await asyncpg.connect(database.dsn(service))
    try:
        for statement in (
            "CREATE ROLE another",
            "CREATE DATABASE another",
            "CREATE SCHEMA another",
            "CREATE TABLE public.mine (n int)",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
