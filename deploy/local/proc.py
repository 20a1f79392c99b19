"""What the kernel says about processes: who they are, since when they run, and whom they started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

_PROC = Path("/proc")


def boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_time_ticks(pid: int) -> int | None:
    """Clock ticks between boot and the start of `pid`; None when there is no such process or it is a zombie.

    Together with the boot id this names a process for good: a pid alone is used again.
    """
    fields = _stat_fields(pid)
    if fields is None or fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def command_line(pid: int) -> list[str]:
    """The arguments of `pid`; empty when there is no such process."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode(errors="replace") for part in raw.split(b"\0") if part]


def environment_contains(pid: int, entry: str) -> bool:
    """Whether `pid` was started with the environment entry `NAME=value`; False when it cannot be read."""
    try:
        raw = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return entry.encode() in raw.split(b"\0")


def all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def listens(pid: int | None, port: int) -> bool:
    """Whether it is this process that listens on the port of 127.0.0.1."""
    local, listening = f"0100007F:{port:04X}", "0A"
    rows = [line.split() for line in (_PROC / "net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if (row[1], row[3]) == (local, listening)}
    try:
        return any(os.fspath(descriptor.readlink()) in sockets for descriptor in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False


def pids_with_open(path: Path) -> list[int]:
    """Who has the file open, of those into whom we may look."""
    return [pid for pid in all_pids() if _has_open(pid, path)]


def _has_open(pid: int, path: Path) -> bool:
    try:
        return any(_leads_to(descriptor, path) for descriptor in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False


def _leads_to(descriptor: Path, path: Path) -> bool:
    try:
        return descriptor.samefile(path)
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Every living child, grandchild and so on of `pid`, without `pid` itself."""
    children: dict[int, list[int]] = {}
    for candidate in all_pids():
        fields = _stat_fields(candidate)
        if fields is not None and fields[0] not in {"Z", "X"}:
            children.setdefault(int(fields[1]), []).append(candidate)
    found: list[int] = []
    waiting = list(children.get(pid, ()))
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting.extend(children.get(current, ()))
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of `pid`, 0 when it is gone."""
    try:
        pages = (_PROC / str(pid) / "statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def send_signal(pid: int, number: signal.Signals) -> None:
    """Signal `pid`; one that is already gone needs no signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the program's name, which may itself hold blanks and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (OSError, ValueError):
        return None
    return text.rpartition(")")[2].split()
