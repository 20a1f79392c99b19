"""Restoring over a stack that is there: it keeps what it has until the backup's records are all in their place."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from deploy.backup.contents import Contents
from deploy.backup.database import number_events_beyond
from deploy.backup.errors import BackupError
from deploy.backup.manifest import SUMMARY, FileEntry, SchemaDump, Summary, write_entries
from deploy.backup.stack import restore_stack
from deploy.backup.taking import CONTENTS, KEYS
from deploy.local.errors import StackError
from deploy.local.processes import FolderLock
from deploy.local.replaced_records import RESTORING
from deploy.local.stack_folder import StackFolder
from deploy.local.topology import KAFKA, POSTGRES
from shared.testing.databases import TestDatabase

KEPT = b"a picture of the backup"
NO_DUMP = b"no dump at all"
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def stack(tmp_path: Path) -> StackFolder:
    """A stack that does not run, with something in each of its places."""
    folder = StackFolder(tmp_path / "stack")
    for path in (folder.data(POSTGRES), folder.data(KAFKA), folder.media):
        path.mkdir(parents=True)
        (path / "present").write_text("of today")
    folder.secrets.write_text(json.dumps({"signing_key": "of today", "postgres_admin_password": "secret"}))
    return folder


def backup_in(folder: Path, dumped: bytes | None = None) -> Path:
    """One file on the disk, and where bytes are given one schema of just these."""
    backup = folder / "20261120T000000.000000Z"
    backup.mkdir(parents=True)
    sha256 = hashlib.sha256(KEPT).hexdigest()
    path = Contents(folder / CONTENTS).path(sha256)
    path.parent.mkdir(parents=True)
    path.write_bytes(KEPT)
    entry = FileEntry(key="a/kept.bin", size_bytes=len(KEPT), sha256=sha256, modified_at=NOW)
    write_entries(backup / "disk.jsonl", [entry])
    write_entries(backup / "bucket.jsonl", [])
    (backup / KEYS).write_text(json.dumps({"signing_key": "of the backup"}))
    schemas: tuple[SchemaDump, ...] = ()
    if dumped is not None:
        (backup / "ingest.dump").write_bytes(dumped)
        sum_of_dump = hashlib.sha256(dumped).hexdigest()
        schemas = (SchemaDump(schema_name="ingest", file="ingest.dump", size_bytes=len(dumped), sha256=sum_of_dump),)
    summary = Summary(
        began_at=NOW,
        records_of=NOW,
        ended_at=NOW,
        has_contents=True,
        bucket=None,
        schemas=schemas,
        bucket_files=0,
        bucket_bytes=0,
        disk_files=1,
        disk_bytes=len(KEPT),
        gone_meanwhile=0,
    )
    (backup / SUMMARY).write_text(summary.model_dump_json())
    return backup


def has_its_records(stack: StackFolder) -> bool:
    parts = [stack.data(part) / "present" for part in (POSTGRES, KAFKA)]
    return all(path.exists() for path in parts) and json.loads(stack.secrets.read_text())["signing_key"] == "of today"


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize("lacking", ["disk.jsonl", "keys.json", "contents"])
async def test_a_backup_that_is_not_whole_changes_nothing(stack: StackFolder, tmp_path: Path, lacking: str) -> None:
    backup = backup_in(tmp_path / "backups")
    contents = Contents(tmp_path / "backups" / CONTENTS).path(hashlib.sha256(KEPT).hexdigest())
    (contents if lacking == "contents" else backup / lacking).unlink()
    with pytest.raises(BackupError, match=r"missing|lacks"):
        await restore_stack(stack, backup, keep_files=True, report=silent)
    assert has_its_records(stack)
    assert not (stack.media / "a").exists()


@pytest.mark.stack
async def test_a_restore_that_fails_leaves_the_records_that_were_there_and_the_next_one_replaces_them(
    stack: StackFolder, tmp_path: Path
) -> None:
    for part in (KAFKA, POSTGRES):  # As one leaves them that is killed while things change places.
        stack.data(part).rename(stack.data(f"{part}.replaced"))
    unreadable = backup_in(tmp_path / "unreadable", dumped=NO_DUMP)
    with pytest.raises(BackupError, match="pg_restore"):
        await restore_stack(stack, unreadable, keep_files=True, report=silent)
    assert has_its_records(stack)

    result = await restore_stack(stack, backup_in(tmp_path / "backups"), keep_files=True, report=silent)
    assert (result.written, result.kept) == (0, 1), "the first one has written the file already"
    assert (stack.media / "a/kept.bin").read_bytes() == KEPT
    assert (stack.media / "present").exists(), "files are kept"
    assert {path.name for path in stack.data("").iterdir()} == {POSTGRES, "object-store"}
    assert (stack.data(POSTGRES) / "cluster").is_dir()
    secrets = json.loads(stack.secrets.read_text())
    assert (secrets["signing_key"], secrets["postgres_admin_password"]) == ("of the backup", "secret")
    assert stack.secrets.stat().st_mode & 0o077 == 0


async def test_no_restore_begins_while_a_server_of_a_former_one_works_in_its_folder(
    stack: StackFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As right after a kill: what shuts itself down holds the lock of its folder to the end."""
    monkeypatch.setattr("deploy.local.left_behind.END_SECONDS", 0.1)
    former = stack.data(RESTORING) / "cluster"
    former.mkdir(parents=True)
    lock = FolderLock(former.parent)
    await lock.acquire(timeout_seconds=0)
    with pytest.raises(StackError, match=f"{RESTORING} is in use by another server"):
        await restore_stack(stack, backup_in(tmp_path / "backups"), keep_files=True, report=silent)
    assert former.exists(), "no server loses its files while it works"
    assert has_its_records(stack)
    lock.release()


@pytest.mark.stack
async def test_a_new_event_gets_no_folder_in_which_photos_of_a_newer_one_lie(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.dsn("ingest-api"), timeout=60)
    try:
        next_number = "SELECT nextval(pg_get_serial_sequence('photo_events', 'number'))"
        assert await connection.fetchval(next_number) == 1
        keys = ["events/41/originals/a.jpg", "events/7/originals/b.jpg", "products/99/c.jpg", "events/none/d.jpg"]
        await number_events_beyond(database.admin_dsn, keys)
        assert await connection.fetchval(next_number) == 42
        await number_events_beyond(database.admin_dsn, ["events/3/previews/a.jpg"])
        assert await connection.fetchval(next_number) == 43
    finally:
        await connection.close(timeout=60)
