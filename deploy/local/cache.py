"""Where downloads and what is built from them lie: outside every data folder, shared by all stacks of one user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import StackError

_POLL_SECONDS = 0.05


def cache_folder() -> Path:
    """MEDIABUS_CACHE_DIR, or `mediabus` in the user's cache folder."""
    configured = os.environ.get("MEDIABUS_CACHE_DIR")
    if configured:
        return Path(configured).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mediabus"


@contextlib.contextmanager
def exclusive(folder: Path, timeout_seconds: float = 600.0) -> Iterator[None]:
    """Let one process at a time fill a cache folder; the others wait and then find it filled. Blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds
    with (folder / "filling.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"another process has been filling {folder} for {timeout_seconds:g} s; end it, or name another "
                        "folder with MEDIABUS_CACHE_DIR"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                break
        yield
