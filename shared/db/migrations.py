"""Forward-only migrations: SQL files, checksummed, applied once under an advisory lock, per service.

The kernel's files (outbox, inbox) come first, then the service's own. `python -m shared.db.migrations ingest-api`
applies what is missing with the service's role, to which its schema belongs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.db.pool import Database
from shared.db.schemas import SCHEMAS

log = logging.getLogger(__name__)

MIGRATION_POLL_SECONDS = 2.0
ROOT = Path(__file__).resolve().parents[2]
KERNEL_DIRECTORY = Path(__file__).with_name("kernel")
_FILE_NAME = re.compile(r"^(?P<number>\d{4})_[a-z0-9_]+\.sql$")


class MigrationError(Exception):
    """The files and what the database says was applied don't fit together."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file; `name` is its place in the order, e.g. kernel/0001_outbox_inbox."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(directory: Path, group: str) -> list[Migration]:
    """The files of a folder in the order of their numbers.

    Raises MigrationError for a file whose name has no number, or a number that stands twice or is skipped.
    """
    files = sorted(directory.glob("*.sql"))
    for position, file in enumerate(files, start=1):
        match = _FILE_NAME.match(file.name)
        if match is None:
            raise MigrationError(f"{file} must be named like 0001_what_it_does.sql")
        if int(match["number"]) != position:
            raise MigrationError(f"{file} has number {match['number']}, expected {position:04d}: numbers have no gaps")
    return [Migration(f"{group}/{file.stem}", file.read_text(encoding="utf-8")) for file in files]


def service_migrations(service: str) -> list[Migration]:
    own = ROOT / "services" / service / "migrations"
    return [*read_migrations(KERNEL_DIRECTORY, "kernel"), *read_migrations(own, service)]


def pending(migrations: Sequence[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is still to be applied.

    Raises MigrationError when an applied file has changed or vanished: a migration is never edited, a new one follows.
    """
    known = {migration.name: migration for migration in migrations}
    for name, checksum in applied.items():
        if name not in known:
            raise MigrationError(f"{name} was applied but its file is gone: restore it, this program may be too old")
        if known[name].checksum != checksum:
            raise MigrationError(f"{name} was changed after it was applied: restore it and add a new migration")
    return [migration for migration in migrations if migration.name not in applied]


async def migrate(connection: asyncpg.Connection[Any], migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, each file with its record in one transaction, and return the names.

    The lock is held across all of them, so of several replicas that start together one migrates and the others wait.
    """
    await connection.execute("SELECT pg_advisory_lock(hashtextextended('mediabus.migrate.' || current_schema(), 0))")
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
        missing = pending(migrations, {row["name"]: row["checksum"] for row in rows})
        for migration in missing:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                    migration.name,
                    migration.checksum,
                )
        return [migration.name for migration in missing]
    finally:
        await connection.execute(
            "SELECT pg_advisory_unlock(hashtextextended('mediabus.migrate.' || current_schema(), 0))"
        )


async def wait_until_migrated(database: Database, service: str) -> None:
    """Return once every migration that this program knows of its schema is applied.

    A program that is newer than its schema would take good messages for bad ones. Logs what is missing every few
    seconds; raises InfrastructureUnavailable when PostgreSQL goes away meanwhile.
    """
    known = service_migrations(service)
    while missing := await _missing(database, known):
        log.warning("waiting for migrations", extra={"service": service, "missing": missing})
        await asyncio.sleep(MIGRATION_POLL_SECONDS)


async def _missing(database: Database, known: Sequence[Migration]) -> list[str]:
    async with database.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            return [migration.name for migration in known]
        rows = await connection.fetch("SELECT name FROM schema_migrations")
    applied = {row["name"] for row in rows}
    return [migration.name for migration in known if migration.name not in applied]


class MigrationSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MEDIABUS_", hide_input_in_errors=True)

    postgres_dsn: str
    postgres_session_dsn: str | None = None


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.db.migrations", description="Migrate one service's schema")
    parser.add_argument("service", choices=sorted(SCHEMAS))
    service = parser.parse_args().service
    settings = MigrationSettings()
    connection = await asyncpg.connect(settings.postgres_session_dsn or settings.postgres_dsn, timeout=10)
    try:
        names = await migrate(connection, service_migrations(service))
    finally:
        await connection.close()
    print(f"{service}: {len(names)} migrations applied{': ' if names else ''}{', '.join(names)}")


if __name__ == "__main__":
    asyncio.run(main())
