"""The records: one dump per schema, all of one moment."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg

from deploy.backup.contents import sha256_of_file
from deploy.backup.errors import BackupError
from deploy.backup.manifest import BucketName, SchemaDump
from deploy.local.postgres import binaries_folder
from shared.db.schemas import SCHEMAS
from shared.messaging.topics import SETTINGS_EVENTS

PROGRAM_SECONDS: Final = 6 * 3600.0
CONNECT_SECONDS: Final = 10.0
_NOT_OURS_TO_MAKE: Final = (" SCHEMA - ", " EXTENSION - ", " COMMENT - EXTENSION ")
"""Entries of a dump that provisioning has made already, in the installation that is restored into."""
_OF_EVENT: Final = re.compile(r"events/(?P<number>[1-9][0-9]{0,11})/")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment that every dump of a backup shows, and its name in PostgreSQL."""

    name: str
    taken_at: datetime


@asynccontextmanager
async def snapshot(admin_dsn: str) -> AsyncIterator[Snapshot]:
    """Hold one moment open: what services commit meanwhile is in no dump."""
    connection = await _connect(admin_dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            row = await connection.fetchrow("SELECT pg_export_snapshot() AS name, clock_timestamp() AS taken_at")
            assert row is not None, "the query has no table that could be empty"
            yield Snapshot(row["name"], row["taken_at"])
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def dump(admin_dsn: str, schema: str, moment: Snapshot, folder: Path) -> SchemaDump:
    """Write one schema into the folder, in pg_dump's own compressed format."""
    path = folder / f"{schema}.dump"
    arguments = ["--format=custom", f"--schema={schema}", f"--snapshot={moment.name}", f"--file={path}"]
    await _program("pg_dump", admin_dsn, arguments)
    return SchemaDump(
        schema_name=schema,
        file=path.name,
        size_bytes=path.stat().st_size,
        sha256=await asyncio.to_thread(sha256_of_file, path),
    )


async def require_no_records(admin_dsn: str) -> None:
    """Raises BackupError where a schema holds tables: they are somebody's."""
    connection = await _connect(admin_dsn)
    try:
        held = await connection.fetch(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname = ANY($1::text[]) ORDER BY 1",
            list(SCHEMAS.values()),
        )
    finally:
        await connection.close(timeout=CONNECT_SECONDS)
    if held:
        names = ", ".join(row["schemaname"] for row in held)
        raise BackupError(f"the database holds records already, in {names}: restore into an empty one")


async def restore(admin_dsn: str, one: SchemaDump, folder: Path) -> None:
    """Put a schema's tables into the provisioned, empty schema, all or nothing."""
    path = folder / one.file
    contents = await _program("pg_restore", admin_dsn, ["--list", str(path)], connects=False)
    wanted = [line for line in contents.splitlines() if not any(entry in line for entry in _NOT_OURS_TO_MAKE)]
    # Not beside the dump: whoever restores may have no right to write there, and a kill would leave it.
    with tempfile.NamedTemporaryFile("w", prefix="mediabus-restore-", suffix=".list") as chosen:
        chosen.write("\n".join(wanted) + "\n")
        chosen.flush()
        options = ["--single-transaction", "--exit-on-error", f"--use-list={chosen.name}"]
        await _program("pg_restore", admin_dsn, [*options, str(path)], names_database=True)


async def tell_again(admin_dsn: str, schemas: Sequence[str]) -> int:
    """Have every event told again that the outboxes still hold, and return how many.

    Topics are not part of a backup, and what was on its way at that moment is in nobody's inbox; whoever had it
    already passes the second telling over. Settings are left out: ingest-api tells those that hold, and an older
    version would lead others to the bucket of that time.
    """
    connection = await _connect(admin_dsn)
    told = 0
    try:
        async with connection.transaction():
            for schema in schemas:
                if await connection.fetchval("SELECT to_regclass($1)", f'"{schema}".outbox') is None:
                    continue
                status = await connection.execute(
                    f'UPDATE "{schema}".outbox SET sent_at = NULL WHERE sent_at IS NOT NULL AND topic <> $1',
                    SETTINGS_EVENTS.name,
                )
                told += int(status.rpartition(" ")[2])
        await connection.execute("ANALYZE")
    finally:
        await connection.close(timeout=CONNECT_SECONDS)
    return told


async def lead_to_bucket(admin_dsn: str, before: BucketName, now: BucketName) -> None:
    """Have settings that name the bucket of the backup name the one that was restored into, as a new version of them.

    Settings that led elsewhere still do: somebody chose that.
    """
    if before == now:
        return
    connection = await _connect(admin_dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('ingest.settings')") is not None:
            await connection.execute(
                "UPDATE ingest.settings SET version = version + 1, document = document || $4::jsonb"
                " WHERE name = 'media' AND (document->>'s3_endpoint', document->>'s3_region', document->>'s3_bucket')"
                " = ($1::text, $2::text, $3::text)",
                before.endpoint,
                before.region,
                before.name,
                json.dumps({"s3_endpoint": now.endpoint, "s3_region": now.region, "s3_bucket": now.name}),
            )
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def number_events_beyond(admin_dsn: str, keys: Iterable[str]) -> None:
    """Have no new event get the number of one that has files in the bucket, as these keys tell.

    Events that are newer than the records may have left photos there: a new event would show them as its own.
    """
    numbers = [int(match["number"]) for key in keys if (match := _OF_EVENT.match(key))]
    if not numbers:
        return
    connection = await _connect(admin_dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('ingest.photo_events')") is not None:
            sequence = await connection.fetchval("SELECT pg_get_serial_sequence('ingest.photo_events', 'number')")
            await connection.execute(
                f"SELECT setval('{sequence}', greatest(last_value, $1)) FROM {sequence}", max(numbers)
            )
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def _connect(admin_dsn: str) -> asyncpg.Connection[Any]:
    try:
        return await asyncpg.connect(admin_dsn, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise BackupError(f"the database does not answer: {error}") from error


async def _program(
    name: str, admin_dsn: str, arguments: Sequence[str], *, connects: bool = True, names_database: bool = False
) -> str:
    """Run one of PostgreSQL's programs to its end and return what it printed; its password is on no command line."""
    parts = urlsplit(admin_dsn)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    command = [_path(name)]
    if connects:
        environment |= {
            "PGHOST": parts.hostname or "127.0.0.1",
            "PGPORT": str(parts.port or 5432),
            "PGUSER": unquote(parts.username or "postgres"),
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": parts.path.lstrip("/"),
            "PGCONNECT_TIMEOUT": str(int(CONNECT_SECONDS)),
        }
        command += ["--no-password"]
    if names_database:
        command += [f"--dbname={parts.path.lstrip('/')}"]
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        said, complained = await asyncio.wait_for(process.communicate(), PROGRAM_SECONDS)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise BackupError(f"{name} failed with exit code {process.returncode}: {complained.decode()[-2000:].strip()}")
    return said.decode()


def _path(name: str) -> str:
    """The program of the folder that MEDIABUS_POSTGRES_BIN names, of the embedded PostgreSQL, or of this machine."""
    folders = [os.environ.get("MEDIABUS_POSTGRES_BIN"), str(binaries_folder())]
    for folder in folders:
        if folder and (found := shutil.which(name, path=folder)):
            return found
    raise BackupError(f"{name} is not in {' or '.join(folder for folder in folders if folder)}")
