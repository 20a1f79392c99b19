"""rclone, which shares no code with the services: an independent reader of disk and bucket."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.object_store import ObjectStoreServer

DEADLINE_SECONDS = 120


async def assert_same_bytes(disk: Path, server: ObjectStoreServer, bucket: str, keys: Sequence[str]) -> None:
    """Each of these keys holds the same bytes on the disk and in the bucket."""
    listing = disk.parent / "keys.txt"
    listing.write_text("".join(f"{key}\n" for key in keys))
    done = await _rclone(server, "check", str(disk), f"store:{bucket}", "--download", "--files-from", str(listing))
    assert done.returncode == 0, done.stderr
    assert f"{len(keys)} matching files" in done.stderr, done.stderr


async def sizes_in_bucket(server: ObjectStoreServer, bucket: str, prefix: str = "") -> dict[str, int]:
    """What lies in the bucket, by key."""
    done = await _rclone(server, "lsjson", "-R", "--files-only", f"store:{bucket}/{prefix}")
    assert done.returncode == 0, done.stderr
    return {prefix + entry["Path"]: int(entry["Size"]) for entry in json.loads(done.stdout)}


async def _rclone(server: ObjectStoreServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "Minio",
        "RCLONE_CONFIG_STORE_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_STORE_REGION": server.region,
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": server.access_key,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": server.secret_key,
    }
    return await asyncio.to_thread(
        subprocess.run,
        [str(Path(sys.executable).with_name("rclone")), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
