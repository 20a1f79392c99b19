"""One process of one service, started by a test, ended by its pid."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from shared.testing.waiting import eventually

READY_SECONDS = 180.0
STOP_SECONDS = 40.0


class RunningService:
    """Runs `python -m <module>` with the given environment alone, its log in a file.

    It stays in this process's session, so that where autogroups exist its niceness counts against the others here.
    """

    def __init__(
        self, module: str, environment: Mapping[str, str], port: int, log_path: Path, niceness: int = 0
    ) -> None:
        self.module = module
        self.niceness = niceness
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"
        self.log_path = log_path
        self._environment = {"PATH": os.environ["PATH"], **environment, "MEDIABUS_HTTP_PORT": str(port)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.module} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            nice = ["nice", "-n", str(self.niceness)] if self.niceness else []
            self._process = subprocess.Popen(
                [*nice, sys.executable, "-m", self.module], env=self._environment, stdout=log, stderr=log
            )

    async def wait_until_ready(self, within_seconds: float = READY_SECONDS) -> None:
        async with httpx.AsyncClient(base_url=self.base_url, timeout=5, verify=False) as client:

            async def ready() -> bool:
                assert self.running, f"{self.module} ended with {self._process and self._process.returncode}"
                try:
                    answer = await client.get("/health/ready")
                except httpx.TransportError as error:
                    raise AssertionError(repr(error)) from error
                assert answer.status_code == 200, answer.text
                return True

            try:
                await eventually(ready, within_seconds=within_seconds, every_seconds=0.1, why=f"{self.module} is ready")
            except AssertionError as error:
                raise AssertionError(f"{error}\n--- the end of its log ---\n{self.tail()}") from None

    async def stop(self, within_seconds: float = STOP_SECONDS) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(self._process.wait, within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.module} did not stop within {within_seconds:g} s\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def log_lines(self) -> list[dict[str, Any]]:
        """The structured log; lines that are no JSON come as {"raw": line}, one that is being written not at all."""
        lines: list[dict[str, Any]] = []
        whole, _, _ = self.log_path.read_text(errors="replace").rpartition("\n")
        for line in whole.split("\n") if whole else []:
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"raw": line})
        return lines

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
