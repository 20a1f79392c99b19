"""One role and one schema per service.

`python -m shared.db.provision` runs as an administrator, is safe to repeat, and brings passwords in line with the file
that MEDIABUS_ROLE_PASSWORDS_FILE names: a JSON object of schema to password.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.db.schemas import SCHEMAS, role_of

PROVISION_LOCK = 0x6D656469
"""Advisory lock key: two provisioners at once would trip over each other's catalogue rows."""

EXTENSIONS = {"faces": "vector"}
"""What a schema needs that only an administrator may make: schema to extension."""


class ProvisionSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MEDIABUS_", hide_input_in_errors=True)

    admin_dsn: str
    role_passwords_file: Path


async def provision(connection: asyncpg.Connection[Any], passwords: Mapping[str, str]) -> None:
    """Create or correct every role and schema; `passwords` maps each schema to its role's password."""
    missing = sorted(set(SCHEMAS.values()) - set(passwords))
    if missing:
        raise ValueError(f"no password for the schemas {', '.join(missing)}: add them to the role passwords file")
    async with connection.transaction():
        # A password stands in its statement, which must get into no log, be it slow or wrong.
        await connection.execute(
            "SET LOCAL log_min_duration_statement = -1; SET LOCAL log_min_error_statement = 'panic'"
        )
        await connection.execute("SELECT pg_advisory_xact_lock($1)", PROVISION_LOCK)
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for schema in SCHEMAS.values():
            await _provision_one(connection, schema, passwords[schema])
        await connection.execute(database_rights(str(database)))
        for schema, extension in EXTENSIONS.items():
            await connection.execute(f'CREATE EXTENSION IF NOT EXISTS "{extension}" SCHEMA "{schema}"')


def database_rights(database: str) -> str:
    """The SQL of what belongs to the database itself, and so is lacking in its copies; runs in any database."""
    statements = [f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC']
    for schema in SCHEMAS.values():
        role = role_of(schema)
        statements.append(f'GRANT CONNECT ON DATABASE "{database}" TO "{role}"')
        statements.append(f'ALTER ROLE "{role}" IN DATABASE "{database}" SET search_path = "{schema}"')
    return ";\n".join(statements)


async def _provision_one(connection: asyncpg.Connection[Any], schema: str, password: str) -> None:
    role = role_of(schema)
    quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(
        f'{verb} ROLE "{role}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT '
        f"CONNECTION LIMIT 60 PASSWORD {quoted}"
    )
    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}" AUTHORIZATION "{role}"')


async def main() -> None:
    settings = ProvisionSettings()
    passwords: dict[str, str] = json.loads(settings.role_passwords_file.read_text())
    connection = await asyncpg.connect(settings.admin_dsn, timeout=10)
    try:
        await provision(connection, passwords)
    finally:
        await connection.close()
    print(f"provisioned {len(SCHEMAS)} roles and schemas")


if __name__ == "__main__":
    asyncio.run(main())
