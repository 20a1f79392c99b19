"""The real parser of compose.yaml, built from source where Go is installed; checking needs no container engine.

`python -m deploy.compose.parser` builds it into the cache folder and prints its path; MEDIABUS_COMPOSE_BINARY names
another one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from deploy.local.go_program import GoProgram, run_go

MODULE = "github.com/docker/compose/v2@v2.40.3"


def _build_in(folder: Path) -> Path:
    # Not `go install`: the module has replace directives, which Go obeys only in the module it builds.
    source, program = folder / "source", folder / "docker-compose"
    shutil.copytree(json.loads(run_go(["mod", "download", "-json", MODULE], folder))["Dir"], source)
    for path in (source, *source.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    run_go(["build", "-trimpath", "-ldflags", "-s -w", "-o", str(program), "./cmd"], source)
    return program


COMPOSE = GoProgram("the parser", "docker-compose", "MEDIABUS_COMPOSE_BINARY", _build_in)

if __name__ == "__main__":
    COMPOSE.print_path()
