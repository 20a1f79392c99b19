"""Packages as they lie in the registry that npm is set to; nothing of them is run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.processes import run_to_end

_FETCH_TIMEOUT_SECONDS = 300.0


def fetch_package(package: str, folder: Path, *, purpose: str) -> Path:
    """The archive of `name@version`, put into an empty folder; nobody has checked it yet. Blocks. Raises StackError."""
    npm = shutil.which("npm")
    if npm is None:
        raise StackError(
            f"npm is missing, which fetches {purpose}: install it, for example with `sudo apt-get install npm`"
        )
    # npm's own settings and proxies come from the environment.
    command = [npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    run_to_end(command, name="npm", environment=os.environ, timeout_seconds=_FETCH_TIMEOUT_SECONDS)
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise StackError(f"npm pack {package} left {len(found)} packages instead of one")
    return found[0]
