"""What lies where in the folder of one stack, and who may work in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from deploy.local import proc
from deploy.local.errors import StackError
from deploy.local.processes import write_private

REPOSITORY = Path(__file__).resolve().parents[2]
LETTING_GO_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class StackFolder:
    """Paths of one stack; two stacks in two folders share nothing but the cache of downloads."""

    root: Path

    @classmethod
    def configured(cls) -> StackFolder:
        """MEDIABUS_STACK_DIR, or `.mediabus` in the repository."""
        return cls(Path(os.environ.get("MEDIABUS_STACK_DIR") or REPOSITORY / ".mediabus").resolve())

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def role_passwords(self) -> Path:
        return self.root / "role-passwords.json"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def stack_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def media(self) -> Path:
        return self.root / "media"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def data(self, name: str) -> Path:
        """Where a part keeps its files and the record of its process."""
        return self.root / "data" / name

    def data_folders(self) -> list[Path]:
        """Of every part that has ever run here."""
        return sorted(path for path in self.data("").glob("*") if path.is_dir())

    @property
    def _supervisor_record(self) -> Path:
        return self.root / "supervisor.json"

    @contextlib.contextmanager
    def supervised(self) -> Iterator[None]:
        """Hold the folder for one supervisor; StackError when another one holds it.

        The kernel lets go of the lock when the holder dies, however it dies.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / "supervisor.lock").open("w") as lock:
            self._take(lock)
            ticks = proc.start_time_ticks(os.getpid())
            record = {"pid": os.getpid(), "startTimeTicks": ticks}
            write_private(self._supervisor_record, json.dumps(record), is_durable=False)
            try:
                yield
            finally:
                self._supervisor_record.unlink(missing_ok=True)

    def _take(self, lock: TextIO) -> None:
        """A killed holder is gone a moment before the kernel lets go of its lock: that moment is waited for."""
        deadline = time.monotonic() + LETTING_GO_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if (pid := self.supervisor_pid()) is not None or time.monotonic() > deadline:
                    raise StackError(
                        f"a stack runs already in {self.root} (supervisor pid {pid}): stop it with `make stack-stop` "
                        "or `mediabus stack stop`, or name another folder with MEDIABUS_STACK_DIR"
                    ) from None
                time.sleep(LOOK_SECONDS)
            else:
                return

    def supervisor_pid(self) -> int | None:
        """The pid of the living supervisor, None when there is none."""
        try:
            record = json.loads(self._supervisor_record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        pid = int(record["pid"])
        ticks = proc.start_time_ticks(pid)
        return pid if ticks is not None and ticks == record["startTimeTicks"] else None
