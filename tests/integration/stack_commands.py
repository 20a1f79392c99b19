"""The stack's commands run as a person runs them: in processes of their own, on a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local import launch, proc
from deploy.local.processes import tail
from deploy.local.stack_folder import REPOSITORY, StackFolder


class StackCommands:
    """Commands on one stack of dummy services; `prefix` runs them as somebody else."""

    def __init__(self, root: Path, *, servers: str, prefix: Sequence[str] = ()) -> None:
        self.folder = StackFolder(root)
        self._prefix = prefix
        self._environment = {**os.environ, "MEDIABUS_STACK_DIR": str(root), "DUMMY_SERVERS": servers}

    def run(self, *arguments: str, timeout_seconds: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix, sys.executable, "-m", "tests.integration.dummy_stack", *arguments],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def start(self) -> None:
        done = self.run("start")
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        done = self.run("stop")
        assert done.returncode == 0, done.stdout + done.stderr

    def facts(self) -> Any:
        return json.loads(self.folder.stack_file.read_text())

    def service_pid(self, name: str) -> int:
        return int(self.facts()["services"][name]["pid"])

    def ask(self, service: str, path: str = "/") -> Any:
        """What a dummy service answers; None when it does not."""
        port = json.loads(self.folder.ports.read_text())[service]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
                return json.loads(response.read())
        except (urllib.error.URLError, OSError):
            return None

    def journal(self) -> list[str]:
        """What the supervisor told since its start."""
        return tail(self.folder.log("supervisor"), 1000)

    def recorded_pids(self) -> dict[str, int]:
        """The processes of all parts, by part."""
        records = self.folder.root.glob("data/*/process.json")
        return {path.parent.name: int(json.loads(path.read_text())["pid"]) for path in records}


def as_ordinary_user() -> list[str]:
    """A prefix that takes root's privileges away from what follows; nothing for those who have none."""
    if os.geteuid() != 0:
        return []
    keeps_living, same_niceness, uid, gid = 0, 0, 1, 1
    numbers = (os.getpid(), keeps_living, same_niceness, uid, gid)
    return [sys.executable, "-I", "-S", str(Path(launch.__file__)), *map(str, numbers)]


def until(condition: Callable[[], object], what: str, timeout_seconds: float = 60.0) -> None:
    """Wait for a condition; AssertionError naming it when the deadline passes."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        time.sleep(0.05)


def gone(pids: Mapping[str, int]) -> bool:
    return all(proc.start_time_ticks(pid) is None for pid in pids.values())
