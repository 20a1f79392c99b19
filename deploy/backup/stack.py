"""Restores a backup into the folder of an embedded stack, which does not run meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from deploy.backup.errors import BackupError
from deploy.backup.restoring import Restored, put_back
from deploy.backup.site import BucketAddress, Site
from deploy.backup.taking import read_keys, verify
from deploy.local.left_behind import end_what_was_left
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import remembered_ports
from deploy.local.postgres import PostgresServer
from deploy.local.replaced_records import RESTORING, leftovers, replace_records, settle
from deploy.local.stack_folder import StackFolder
from deploy.local.stack_secrets import load_secrets
from deploy.local.topology import BUCKET, DATABASE, OBJECT_STORE, POSTGRES, REGION
from deploy.local.topology import Site as StackSite
from shared.db.provision import provision
from shared.db.schemas import SCHEMAS

READY_SECONDS = 120.0
_PORTS = (POSTGRES, OBJECT_STORE, "object-store-metrics")


async def restore_stack(
    folder: StackFolder, backup: Path, *, keep_files: bool, report: Callable[[str], None]
) -> Restored:
    """Make the stack of this folder what the backup says.

    An empty folder gets everything. One that holds a stack is refused, unless `keep_files`: then its records and
    topics are replaced, and its files stay. The secrets of the stack stay too; those that signed what the backup
    holds come from the backup.

    **The stack keeps its records until the backup's are all there**: they are restored beside them, and take their
    place when nothing can fail any more. Whatever fails before leaves the stack with what it had, and with files of
    the backup that it lacked. What a kill interrupts behind that point, the next start of the stack finishes.

    What a former restore or supervisor has left running is ended first, and its end waited for; StackError says what
    to do where it does not end.
    """
    await verify(backup)
    if folder.secrets.exists() and not keep_files:
        raise BackupError(
            f"{folder.root} holds a stack: remove it (`make stack-wipe`), name another folder with MEDIABUS_STACK_DIR, "
            "or keep its files and replace its records with KEEP_FILES=1"
        )
    with folder.supervised():
        for path in (folder.media, folder.logs):
            path.mkdir(parents=True, exist_ok=True)
        await end_what_was_left(folder)
        settle(folder, report)
        if left := [str(path) for path in leftovers(folder)]:
            raise BackupError(f"a former restore has left {' and '.join(left)}: remove that, then restore again")
        site = StackSite(folder, remembered_ports(folder.ports, _PORTS), load_secrets(folder.secrets, SCHEMAS.values()))
        try:
            restored = await _with_servers(site, backup, report)
            replace_records(folder, read_keys(backup), report)
        finally:
            settle(folder, report)
        return restored


async def _with_servers(site: StackSite, backup: Path, report: Callable[[str], None]) -> Restored:
    secrets = site.secrets
    keys = (secrets.s3_access_key, secrets.s3_secret_key)
    data = site.folder.data
    postgres = PostgresServer(data(RESTORING), site.ports[POSTGRES], secrets.postgres_admin_password)
    store = ObjectStoreServer(
        data(OBJECT_STORE), site.ports[OBJECT_STORE], *keys, region=REGION, metrics_port=site.ports[_PORTS[2]]
    )
    try:
        await asyncio.gather(postgres.start(READY_SECONDS), store.start(READY_SECONDS))
        await postgres.create_database(DATABASE)
        await store.create_bucket(BUCKET)
        connection: asyncpg.Connection[Any] = await asyncpg.connect(site.admin_dsn(), timeout=10)
        try:
            await provision(connection, secrets.role_passwords)
        finally:
            await connection.close(timeout=10)
        bucket = BucketAddress(site.s3_endpoint, REGION, BUCKET, *keys)
        target = Site(site.admin_dsn(), bucket, site.folder.media, keys={})
        return await put_back(target, backup, report=report)
    finally:
        await asyncio.gather(*(server.stop() for server in (postgres, store) if server.running))
