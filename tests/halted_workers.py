"""image-processor as it is while no worker gets on: what it takes up is begun and does not end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.running_service import RunningService


@contextmanager
def halted_workers(processor: RunningService, workers: int) -> Iterator[None]:
    """Nothing is rendered in this block; `workers` is how many processes render."""
    children = Path(f"/proc/{processor.pid}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    assert len(pids) == workers
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
