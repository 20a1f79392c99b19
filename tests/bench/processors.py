"""Processor time: what a service used per piece of work, and what the rest of the machine used meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deploy.local.proc import descendants

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and of its ended, waited-for children; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_SECOND


def tree_cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes and of everything below them."""
    return sum(cpu_seconds(member) for pid in pids for member in (pid, *descendants(pid)))


class ProcessorWatch:
    """Tells how many cores were busy with something that is not below this process."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy_seconds = _busy_seconds()
        self._own_seconds = tree_cpu_seconds([os.getpid()])

    def cores_used_elsewhere(self) -> float:
        """On average since this watch was made."""
        elapsed_seconds = time.monotonic() - self._started
        busy_seconds = _busy_seconds() - self._busy_seconds
        own_seconds = tree_cpu_seconds([os.getpid()]) - self._own_seconds
        return max(busy_seconds - own_seconds, 0.0) / elapsed_seconds


def _busy_seconds() -> float:
    # user, nice, system, irq, softirq, steal: all but idle and waiting
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields[position] for position in (0, 1, 2, 5, 6, 7)) / _TICKS_PER_SECOND
