"""What was sent, so that a later run does not send it again.

The server knows a key for a day; the journal bridges longer breaks, and spares sending the bytes at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from deploy.cli.output import print_note

KEPT_SECONDS: Final = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Sent:
    """An upload that the server took in."""

    key: str
    job_id: str
    media_id: str
    at: float


class UploadJournal:
    """A line for each upload; several runs may write at once. For one installation and one account."""

    def __init__(self, folder: Path, address: str, account: str) -> None:
        name = hashlib.sha256(f"{address}\0{account}".encode()).hexdigest()[:32]
        self._file = folder / "uploads" / f"{name}.jsonl"
        self._lock = threading.Lock()
        self._sent: dict[str, Sent] = {}
        self._opened: TextIO | None = None

    def __enter__(self) -> Self:
        """Where it can't be written it holds for this run alone, and says so."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            print_note(f"warning: what is sent can't be noted down ({error}): after a day it would be sent again")
            return self
        self._opened = os.fdopen(descriptor, "a+")
        with self._alone(self._opened):
            self._read(self._opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    def find(self, key: str) -> Sent | None:
        with self._lock:
            return self._sent.get(key)

    def add(self, key: str, job_id: str, media_id: str) -> None:
        """Written before it returns, so that a break loses nothing that was told of."""
        sent = Sent(key, job_id, media_id, time.time())
        with self._lock:
            self._sent[key] = sent
            if self._opened is not None:
                with self._alone(self._opened):
                    self._opened.write(_line(sent))
                    self._opened.flush()

    def _read(self, opened: TextIO) -> None:
        opened.seek(0)
        lines = opened.readlines()
        oldest = time.time() - KEPT_SECONDS
        for line in lines:
            # A line that a break cut off is one that nobody relies on.
            with contextlib.suppress(ValueError, TypeError):
                sent = Sent(**json.loads(line))
                if sent.at > oldest:
                    self._sent[sent.key] = sent
        if len(lines) > 2 * len(self._sent) + 1000:
            opened.truncate(0)
            opened.writelines(map(_line, self._sent.values()))
        elif lines and not lines[-1].endswith("\n"):
            opened.write("\n")
        opened.flush()

    @staticmethod
    @contextlib.contextmanager
    def _alone(opened: TextIO) -> Iterator[None]:
        """Nobody else writes or cuts the file meanwhile."""
        fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(opened, fcntl.LOCK_UN)


def _line(sent: Sent) -> str:
    return json.dumps(asdict(sent)) + "\n"
