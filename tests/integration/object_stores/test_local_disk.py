"""What the store on disk promises beyond the others: links, rights, a volume that is away, a full one."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.storage.errors import (
    ObjectNotFound,
    StoreUnavailable,
)
from shared.storage.local_disk import FinishedFile, LocalDiskStore
from shared.storage.object_store import digest
from tests.integration.object_stores.stored_bytes import DEADLINE_SECONDS, WRITER, keys_of, read, sha256


async def test_files_are_adopted_without_copying(disk: LocalDiskStore, tmp_path: Path) -> None:
    rendered = {f"media/57/{name}.webp": tmp_path / name for name in ("large", "small")}
    for path in rendered.values():
        path.write_bytes(path.name.encode())
    files = [FinishedFile(key, path, sha256(path.name.encode())) for key, path in rendered.items()]

    await disk.adopt(files)
    await disk.adopt(files)

    for file in files:
        assert disk.path_of(file.key).stat().st_ino == file.path.stat().st_ino
        assert (await disk.stat(file.key)).sha256 == file.sha256  # type: ignore[union-attr]
    assert await keys_of(disk) == sorted(rendered)
    assert [path async for path in disk.list_temporary(older_than_seconds=-60)] == []
    files[1].path.unlink()
    with pytest.raises(ObjectNotFound):
        await disk.adopt(files)


@pytest.fixture
def file_elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A file on another filesystem than the tests' folders."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second filesystem")
    path = elsewhere / f"mediabus-test-{secrets.token_hex(6)}"
    path.write_bytes(b"picture")
    yield path
    path.unlink(missing_ok=True)


async def test_a_file_of_another_filesystem_is_adopted_by_copying(disk: LocalDiskStore, file_elsewhere: Path) -> None:
    await disk.adopt([FinishedFile("media/a.webp", file_elsewhere, sha256(b"picture"))])
    adopted = await disk.stat("media/a.webp")
    assert adopted is not None
    assert adopted.sha256 == sha256(b"picture")
    assert await read(disk, "media/a.webp") == b"picture"


async def test_a_file_changed_from_outside_has_no_checksum_any_more(disk: LocalDiskStore) -> None:
    await disk.put_bytes("a", b"right")
    path = disk.path_of("a")
    before = path.stat()
    path.write_bytes(b"wrong")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    found = await disk.stat("a")
    assert found is not None
    assert found.sha256 is None
    assert (await digest(disk, "a")).sha256 == sha256(b"wrong")


async def test_others_may_not_read_the_files(disk: LocalDiskStore) -> None:
    await disk.put_bytes("media/a", b"1")
    assert disk.path_of("media/a").stat().st_mode & 0o137 == 0
    assert disk.path_of("media/a").parent.stat().st_mode & 0o027 == 0


async def test_a_volume_that_is_not_mounted_is_an_outage_not_a_loss(tmp_path: Path) -> None:
    async with LocalDiskStore(tmp_path / "unmounted") as disk:
        for attempt in (
            disk.check(),
            disk.stat("a"),
            disk.delete("a"),
            disk.put_bytes("a/b", b"1"),
            keys_of(disk),
            read(disk, "a"),
        ):
            with pytest.raises(StoreUnavailable, match="unmounted"):
                await attempt
    assert not (tmp_path / "unmounted").exists()


async def test_links_and_odd_names_on_disk_are_left_alone(disk: LocalDiskStore, tmp_path: Path) -> None:
    await disk.put_bytes("media/a", b"1")
    (disk.root / "media/link").symlink_to(tmp_path)
    (disk.root / os.fsdecode(b"media/\xff")).write_bytes(b"not UTF-8")
    assert await keys_of(disk) == ["media/a"]
    assert await disk.stat("media/link") is None
    with pytest.raises(ObjectNotFound):
        await read(disk, "media/link")


@pytest.mark.fault
async def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if (await (await asyncio.create_subprocess_exec(*command, "true", stderr=subprocess.DEVNULL)).wait()) != 0:
        command = ["unshare", "--mount"]
    writer = await asyncio.create_subprocess_exec(
        *command,
        sys.executable,
        str(WRITER),
        "fill",
        json.dumps({"root": str(root)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, err = await writer.communicate()
    if writer.returncode and (b"PermissionError" in err or b"not permitted" in err):
        pytest.skip("a small volume can't be mounted here: neither as root nor in a user namespace")
    assert writer.returncode == 0, err.decode()
    assert json.loads(out) == {
        "bytes": "InsufficientSpace",
        "file": "InsufficientSpace",
        "replace": "InsufficientSpace",
        "adopt": "InsufficientSpace",
        "stage": "InsufficientSpace",
        "left": "media/kept",
        "temporary": "",
        "kept": "kept",
    }
