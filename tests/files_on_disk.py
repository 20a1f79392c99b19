"""What lies on a disk while others work on it: what goes while one looks is not there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Every file, unfinished ones too. Unlike a glob it does not mind that folders go meanwhile."""
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


def contents_below(folder: Path) -> dict[Path, bytes]:
    found: dict[Path, bytes] = {}
    for path in files_below(folder):
        with suppress(FileNotFoundError):
            found[path] = path.read_bytes()
    return found
