"""Unfinished files on the disk that whoever wrote them has left behind."""

from __future__ import annotations

import time

from shared.storage.keys import TEMPORARY_PREFIX
from shared.storage.local_disk import LocalDiskStore


async def discard(disk: LocalDiskStore, key: str, kept_seconds: float) -> str | None:
    """Remove an unfinished file for good; returns why it stays, None once it is gone.

    It stays while its bytes, its name or anything else of it changed within `kept_seconds`. A second name that is just
    being given to an old file has that file's old time of writing, but its own fresh time of change.
    """
    path = disk.root / key
    if not path.name.startswith(TEMPORARY_PREFIX):
        return "it is no unfinished file"

    def remove() -> str | None:
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        if max(status.st_mtime, status.st_ctime) > time.time() - kept_seconds:
            return "somebody has written to it since"
        path.unlink(missing_ok=True)
        return None

    return await disk.run(path, remove)
