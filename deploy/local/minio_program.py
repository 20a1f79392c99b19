"""MinIO's own server, built from source where Go is installed: what the tests of its notifications run against.

`python -m deploy.local.minio_program` builds it into the cache folder and prints its path; MEDIABUS_MINIO_BINARY names
another one.
"""

from __future__ import annotations

from pathlib import Path

from deploy.local.go_program import GoProgram, run_go

MODULE = "github.com/minio/minio"
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


def _build_in(folder: Path) -> Path:
    run_go(["install", "-trimpath", "-ldflags", "-s -w", f"{MODULE}@{VERSION}"], folder, {"GOBIN": str(folder)})
    return folder / "minio"


# By its version, so that another one is built when this file names another one.
MINIO = GoProgram("MinIO", f"minio-{VERSION}", "MEDIABUS_MINIO_BINARY", _build_in)

if __name__ == "__main__":
    MINIO.print_path()
