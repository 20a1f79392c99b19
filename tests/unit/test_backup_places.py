"""What a backup reads of the disk: nothing is left out in silence, and what goes meanwhile is no error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.backup.errors import BackupError
from deploy.backup.places import Disk, refuse_unreadable
from deploy.backup.site import Site
from deploy.backup.taking import take


async def test_a_file_that_goes_once_it_is_opened_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"all of it")
    opened = await Disk(tmp_path).open("a.bin")
    assert opened is not None
    (tmp_path / "a.bin").unlink()
    assert b"".join([chunk async for chunk in opened.chunks]) == b"all of it"
    assert await Disk(tmp_path).open("a.bin") is None


async def test_a_media_root_that_is_not_there_is_not_backed_up_as_empty(tmp_path: Path) -> None:
    site = Site("postgresql://nobody@127.0.0.1:9/nowhere", None, tmp_path / "missing", keys={})
    with pytest.raises(BackupError, match="media root"):
        await take(site, tmp_path / "backups", with_contents=True, report=lambda _: None)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackupError, match="media root"):
        await take(
            replace(site, media_root=tmp_path / "file"), tmp_path / "backups", with_contents=True, report=lambda _: None
        )
    assert not (tmp_path / "backups").exists()


def test_a_folder_that_can_not_be_read_is_no_empty_one() -> None:
    refuse_unreadable(FileNotFoundError(2, "No such file or directory", "gone"))
    with pytest.raises(BackupError, match="media/locked can't be read: Permission denied"):
        refuse_unreadable(PermissionError(13, "Permission denied", "media/locked"))
