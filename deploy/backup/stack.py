"""Restores a backup into the folder of an embedded stack, which does not run meanwhile."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from deploy.backup.errors import BackupError
from deploy.backup.restoring import Restored, put_back
from deploy.backup.site import BucketAddress, Site
from deploy.backup.taking import read_keys, verify
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import remembered_ports
from deploy.local.postgres import PostgresServer
from deploy.local.processes import write_private
from deploy.local.stack_folder import StackFolder
from deploy.local.stack_secrets import load_secrets
from deploy.local.topology import BUCKET, DATABASE, KAFKA, OBJECT_STORE, POSTGRES, REGION
from deploy.local.topology import Site as StackSite
from shared.db.provision import provision
from shared.db.schemas import SCHEMAS

READY_SECONDS = 120.0
_PORTS = (POSTGRES, OBJECT_STORE, "object-store-metrics")
_REPLACED = (KAFKA, POSTGRES)
"""What goes with the records: topics tell of what they held. PostgreSQL last, so that its absence tells of the rest."""
_RESTORING = f"{POSTGRES}.restoring"


async def restore_stack(
    folder: StackFolder, backup: Path, *, keep_files: bool, report: Callable[[str], None]
) -> Restored:
    """Make the stack of this folder what the backup says.

    An empty folder gets everything. One that holds a stack is refused, unless `keep_files`: then its records and
    topics are replaced, and its files stay. The secrets of the stack stay too; those that signed what the backup
    holds come from the backup.

    **The stack keeps its records until the backup's are all there**: they are restored beside them, and take their
    place when nothing can fail any more. Whatever fails before leaves the stack with what it had, and with files of
    the backup that it lacked.
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
        _undo_half_a_change(folder)
        shutil.rmtree(folder.data(_RESTORING), ignore_errors=True)
        site = StackSite(folder, remembered_ports(folder.ports, _PORTS), load_secrets(folder.secrets, SCHEMAS.values()))
        try:
            restored = await _with_servers(site, backup, report)
            _change_places(folder, read_keys(backup))
        finally:
            _undo_half_a_change(folder)
            shutil.rmtree(folder.data(_RESTORING), ignore_errors=True)
        return restored


def _change_places(folder: StackFolder, keys: Mapping[str, str]) -> None:
    """Have what was restored be the stack's; what it had goes last."""
    for part in _REPLACED:
        if folder.data(part).exists():
            folder.data(part).rename(_aside(folder, part))
    folder.data(_RESTORING).rename(folder.data(POSTGRES))
    own: dict[str, Any] = json.loads(folder.secrets.read_text())
    write_private(folder.secrets, json.dumps({**own, **keys}))
    for part in _REPLACED:
        shutil.rmtree(_aside(folder, part), ignore_errors=True)


def _undo_half_a_change(folder: StackFolder) -> None:
    """Bring back what a restore that was killed has put aside without putting anything in its place."""
    if not folder.data(POSTGRES).exists():
        for part in _REPLACED:
            if _aside(folder, part).exists():
                _aside(folder, part).rename(folder.data(part))
    for part in _REPLACED:
        shutil.rmtree(_aside(folder, part), ignore_errors=True)


def _aside(folder: StackFolder, part: str) -> Path:
    return folder.data(f"{part}.replaced")


async def _with_servers(site: StackSite, backup: Path, report: Callable[[str], None]) -> Restored:
    secrets = site.secrets
    keys = (secrets.s3_access_key, secrets.s3_secret_key)
    data = site.folder.data
    postgres = PostgresServer(data(_RESTORING), site.ports[POSTGRES], secrets.postgres_admin_password)
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
