"""A process that puts into a store and is killed or starved meanwhile: `python store_writer.py CASE JSON-ARGUMENTS`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.storage.local_disk import FinishedFile, LocalDiskStore
from shared.storage.object_store import ObjectStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.storage.staging import LocalStaging

PIECE = os.urandom(1024 * 1024)


async def _endless(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield PIECE
    print("sent", flush=True)
    await asyncio.Event().wait()


async def hang(root: str | None, s3: dict[str, Any] | None, key: str, pieces: int) -> None:
    """Put `pieces` MiB under `key`, say so, and never finish."""
    store: ObjectStore
    if root is not None:
        async with LocalDiskStore(Path(root)) as store:
            await store.put_stream(key, _endless(pieces))
    else:
        async with S3Store(S3Settings(**(s3 or {}))) as store:
            await store.put_stream(key, _endless(pieces))


async def fill(root: str) -> None:
    """Mount a volume of 2 MiB on `root` and print, as JSON, what each way to fill it ends in and leaves behind."""
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", root)
    if await mount.wait() != 0:
        raise PermissionError("the small volume can't be mounted")
    source = Path(root).with_name("source")
    source.write_bytes(PIECE * 3)
    outcomes: dict[str, str] = {}
    async with LocalDiskStore(Path(root)) as disk:
        await disk.put_bytes("media/kept", b"kept")
        puts = {
            "bytes": disk.put_bytes("media/new", PIECE * 3),
            "file": disk.put_file("media/new", source),
            "replace": disk.put_bytes("media/kept", PIECE * 3),
            "adopt": disk.adopt([FinishedFile("media/new", source, hashlib.sha256(PIECE * 3).hexdigest())]),
            "stage": _stage(LocalStaging(disk)),
        }
        for name, put in puts.items():
            try:
                await put
                outcomes[name] = "stored"
            except Exception as error:
                outcomes[name] = type(error).__name__
        outcomes["left"] = " ".join([info.key async for info in disk.list()])
        outcomes["temporary"] = " ".join([str(p) async for p in disk.list_temporary(older_than_seconds=-60)])
        async with disk.open("media/kept") as opened:
            outcomes["kept"] = b"".join([chunk async for chunk in opened.chunks]).decode()
        await disk.put_bytes("media/small", b"fits")
    print(json.dumps(outcomes), flush=True)


async def _stage(staging: LocalStaging) -> None:
    async with staging.receive(UUID(int=1), limit_bytes=10 * len(PIECE)) as upload:
        for _ in range(3):
            await upload.write(PIECE)
        await upload.commit()


if __name__ == "__main__":
    case, arguments = sys.argv[1], json.loads(sys.argv[2])
    asyncio.run(hang(**arguments) if case == "hang" else fill(**arguments))
