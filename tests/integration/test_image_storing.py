"""What image-processor leaves on the disk and says of stores that are away."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from image_processor.imaging import SCRATCH_FOLDER
from image_processor.staging_removal import remove_scratch
from image_processor.storing import FileToStore, Placement, Storing
from shared.events import StoredFile
from shared.storage.errors import StoreUnavailable
from shared.storage.local_disk import LocalDiskStore


def stored_file(name: str) -> StoredFile:
    return StoredFile(
        name=name,
        key=f"media/{name}.webp",
        mime_type="image/webp",
        size_bytes=7,
        sha256="0" * 64,
        width_px=1,
        height_px=1,
    )


async def test_a_disk_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    """Files are stored side by side; what any of them meets must not cost the picture an attempt."""
    source = tmp_path / "variant.webp"
    source.write_bytes(b"picture")
    files = [FileToStore(source, stored_file(name)) for name in ("large", "small")]
    async with LocalDiskStore(tmp_path / "not-mounted") as disk:
        with pytest.raises(StoreUnavailable):
            await Storing(disk, None).store(files, Placement(on_disk=True, in_bucket=False, bucket_later=False))


async def test_what_a_killed_process_had_rendered_is_removed_and_what_runs_is_not(tmp_path: Path) -> None:
    old, running = tmp_path / SCRATCH_FOLDER / "old", tmp_path / SCRATCH_FOLDER / "running"
    for folder in (old, running):
        folder.mkdir(parents=True)
        (folder / "large.webp").write_bytes(b"picture")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    async with LocalDiskStore(tmp_path) as disk:
        await remove_scratch(disk, older_than_seconds=3600)
    assert not old.exists()
    assert running.exists()
