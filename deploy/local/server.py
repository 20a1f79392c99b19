"""What the embedded servers have in common: one data folder, one process, one way to start and to end it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.ports import is_free
from deploy.local.processes import RECORD_NAME, FolderLock, ManagedProcess, ProcessSpec, end_recorded, wait_until

_LOCK_TIMEOUT_SECONDS = 15.0


class EmbeddedServer(ABC):
    """A server in a data folder of its own, usable with or without the supervisor.

    `start` prepares the folder when it is new, ends what an unclean death left in it, and returns when the server
    answers requests. After `stop` or `kill` it may be started again on the same data and port.
    """

    name: str

    def __init__(self, data_folder: Path, port: int, log_path: Path | None) -> None:
        self.data_folder = data_folder.resolve()
        self.port = port
        self.log_path = log_path if log_path is not None else self.data_folder / f"{self.name}.log"
        self._lock = FolderLock(self.data_folder)
        self._process: ManagedProcess | None = None

    @property
    def process(self) -> ManagedProcess:
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return self._process

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def record_path(self) -> Path:
        return self.data_folder / RECORD_NAME

    async def start(self, timeout_seconds: float = 60.0) -> None:
        """Start the server and wait until it answers; StackError with the end of its log when it does not."""
        await self.launch()
        try:
            await self.wait_ready(timeout_seconds)
        except BaseException:
            await self.kill()
            raise

    async def launch(self) -> None:
        """Start the server without waiting until it answers."""
        if self.running:
            raise StackError(f"{self.name} runs already with pid {self.pid}")
        self.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await end_recorded(self.record_path)
        await self._lock.acquire(_LOCK_TIMEOUT_SECONDS)
        try:
            self._refuse_taken_ports()
            await asyncio.to_thread(self._prepare)
            self._process = ManagedProcess(self._spec())
            self._process.start(kept_descriptors=(self._lock.descriptor,))
        finally:
            self._lock.release()

    async def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        """Wait until the server answers a real request."""
        await wait_until(self._answers, self.process, timeout_seconds)

    async def stop(self) -> int | None:
        """End the server in its orderly way; its exit code, None when it never ran."""
        return await self._process.stop() if self._process is not None else None

    async def kill(self) -> int | None:
        """End the server and all its processes with SIGKILL, as a crash would."""
        return await self._process.kill() if self._process is not None else None

    def ports(self) -> tuple[int, ...]:
        """Every port the server listens on."""
        return (self.port,)

    def _refuse_taken_ports(self) -> None:
        for port in self.ports():
            if not is_free(port):
                raise StackError(f"{self.name} needs port {port}, which another program holds; give it another port")

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before its first start; does nothing at later ones. Runs in a thread."""

    @abstractmethod
    def _spec(self) -> ProcessSpec:
        """What to run."""

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether the server answers a real request now."""
