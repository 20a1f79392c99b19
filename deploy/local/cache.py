"""Where downloads and what is built from them lie: outside every data folder, shared by all stacks of one user."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """MEDIABUS_CACHE_DIR, or `mediabus` in the user's cache folder."""
    configured = os.environ.get("MEDIABUS_CACHE_DIR")
    if configured:
        return Path(configured).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mediabus"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time fill a cache folder; the others wait and then find it filled."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "filling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
