"""MinIO's own server, built from source where Go is installed: what the tests of its notifications run against.

`python -m deploy.local.minio_program` builds it into the cache folder and prints its path; MEDIABUS_MINIO_BINARY names
another one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.cache import cache_folder, exclusive

MODULE = "github.com/minio/minio"
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
BUILD_SECONDS = 1200.0


class NotBuilt(Exception):
    """The program could not be built; the text says what to do."""


def minio_program() -> Path | None:
    """Where it is: what MEDIABUS_MINIO_BINARY names, or the one built before; None where there is neither."""
    named = os.environ.get("MEDIABUS_MINIO_BINARY")
    program = Path(named) if named else _built()
    return program if program.exists() else None


def build() -> Path:
    """Build the program unless it is there, in minutes and at low priority. Raises NotBuilt."""
    if os.environ.get("MEDIABUS_MINIO_BINARY"):
        raise NotBuilt("MEDIABUS_MINIO_BINARY names no file: correct it, or unset it to have MinIO built")
    if shutil.which("go") is None:
        raise NotBuilt("Go is not installed: install it, or name a minio program with MEDIABUS_MINIO_BINARY")
    target = _built()
    with exclusive(target.parent, timeout_seconds=BUILD_SECONDS):
        if not target.exists():
            _build_into(target)
    return target


def _built() -> Path:
    # By its version, so that another one is built when this file names another one.
    return cache_folder() / "bin" / f"minio-{VERSION}"


def _build_into(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = ["nice", "-n", "19", "go", "install", "-trimpath", "-ldflags", "-s -w", f"{MODULE}@{VERSION}"]
        try:
            subprocess.run(
                command,
                env={**os.environ, "GOBIN": folder},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise NotBuilt(f"building MinIO did not end within {BUILD_SECONDS:g} s: try again") from error
        except subprocess.CalledProcessError as error:
            raise NotBuilt(f"building MinIO failed: {error.stderr[-2000:]}") from error
        (Path(folder) / "minio").replace(target)


if __name__ == "__main__":
    try:
        print(minio_program() or build())
    except NotBuilt as reason:
        sys.exit(f"error: {reason}")
