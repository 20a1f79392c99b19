"""Databases for tests: provisioned and migrated like the real one, one for each test that asks."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shared.db.migrations import ROOT, migrate, service_migrations
from shared.db.provision import database_rights, provision
from shared.db.schemas import SCHEMAS, role_of

TEMPLATE = "mediabus_template"


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """One database; `dsn(service)` logs in with that service's own role."""

    __test__ = False

    name: str
    admin_dsn: str
    passwords: dict[str, str]

    def dsn(self, service: str) -> str:
        schema = SCHEMAS[service]
        parts = urlsplit(self.admin_dsn)
        address = f"{role_of(schema)}:{self.passwords[schema]}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=address))


class TestDatabases:
    """Copies of a template that holds every service's schema."""

    __test__ = False

    def __init__(self, admin_dsn: Callable[[str], str], passwords: dict[str, str]) -> None:
        self._admin_dsn = admin_dsn
        self._passwords = passwords

    @classmethod
    async def prepare(cls, admin_dsn: Callable[[str], str]) -> TestDatabases:
        """`admin_dsn` gives the superuser's address of a database by name."""
        made = cls(admin_dsn, {schema: secrets.token_urlsafe(12) for schema in SCHEMAS.values()})
        await made._run("postgres", f"CREATE DATABASE {TEMPLATE}")
        await made.bring_up_to_date(await made._provision(TEMPLATE))
        return made

    async def bring_up_to_date(self, database: TestDatabase) -> None:
        """Run the migrations that a database lacks, as every start does."""
        for service in SCHEMAS:
            if not (ROOT / "services" / service / "migrations").is_dir():
                continue
            connection = await asyncpg.connect(database.dsn(service))
            try:
                await migrate(connection, service_migrations(service))
            finally:
                await connection.close()

    async def create(self) -> TestDatabase:
        name = f"mediabus_{secrets.token_hex(6)}"
        # Copying files takes less than writing every page to the log, as is the default.
        copy = f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"
        await self._run("postgres", copy, database_rights(name))
        return self._database(name)

    async def create_empty(self) -> TestDatabase:
        """Provisioned, and without a table."""
        name = f"mediabus_{secrets.token_hex(6)}"
        await self._run("postgres", f"CREATE DATABASE {name}")
        return await self._provision(name)

    async def drop(self, database: TestDatabase) -> None:
        await self._run("postgres", f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    async def _provision(self, name: str) -> TestDatabase:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(self._admin_dsn(name))
        try:
            await provision(connection, self._passwords)
        finally:
            await connection.close()
        return self._database(name)

    def _database(self, name: str) -> TestDatabase:
        return TestDatabase(name, self._admin_dsn(name), self._passwords)

    async def _run(self, database: str, *statements: str) -> None:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(self._admin_dsn(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
