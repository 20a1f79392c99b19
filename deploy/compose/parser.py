"""The real parser of compose.yaml, built from source where Go is installed; checking needs no container engine.

`python -m deploy.compose.parser` builds it into the cache folder and prints its path; MEDIABUS_COMPOSE_BINARY names
another one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.cache import cache_folder, exclusive

MODULE = "github.com/docker/compose/v2@v2.40.3"
BUILD_SECONDS = 1200.0


class NotBuilt(Exception):
    """The parser could not be built; the text says what to do."""


def compose_binary() -> Path | None:
    """Where the parser is: what MEDIABUS_COMPOSE_BINARY names, or the one built before; None where there is neither."""
    named = os.environ.get("MEDIABUS_COMPOSE_BINARY")
    binary = Path(named) if named else _built()
    return binary if binary.exists() else None


def build() -> Path:
    """Build the parser unless it is there, in minutes and at low priority. Raises NotBuilt."""
    if os.environ.get("MEDIABUS_COMPOSE_BINARY"):
        raise NotBuilt("MEDIABUS_COMPOSE_BINARY names no file: correct it, or unset it to have the parser built")
    if shutil.which("go") is None:
        raise NotBuilt("Go is not installed: install it, or name a docker-compose program with MEDIABUS_COMPOSE_BINARY")
    target = _built()
    with exclusive(target.parent, timeout_seconds=BUILD_SECONDS):
        if not target.exists():
            _build_into(target)
    return target


def _built() -> Path:
    return cache_folder() / "bin" / "docker-compose"


def _build_into(target: Path) -> None:
    # Not `go install`: the module has replace directives, which Go obeys only in the module it builds.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        answer = _run(["go", "mod", "download", "-json", MODULE], Path(folder))
        source = Path(folder) / "source"
        shutil.copytree(json.loads(answer)["Dir"], source)
        for path in (source, *source.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
        unfinished = Path(folder) / target.name
        _run(["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), "./cmd"], source)
        unfinished.replace(target)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            ["nice", "-n", "10", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise NotBuilt(f"{' '.join(command)} did not end within {BUILD_SECONDS:g} s: try again") from error
    except subprocess.CalledProcessError as error:
        raise NotBuilt(f"{' '.join(command)} failed: {error.stderr[-2000:]}") from error
    return done.stdout


if __name__ == "__main__":
    try:
        print(compose_binary() or build())
    except NotBuilt as reason:
        sys.exit(f"error: {reason}")
