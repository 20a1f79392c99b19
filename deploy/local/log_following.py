"""Several logs read as one stream, as they grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.local.processes import tail

_LONGEST_READ_BYTES = 256 * 1024


def known_logs(folder: Path) -> dict[str, Path]:
    """The logs in a folder by the name of their part."""
    return {path.stem: path for path in sorted(folder.glob("*.log"))}


def follow(logs: Mapping[str, Path], first_lines: int) -> Iterator[str | None]:
    """Yield the last lines of every log and then what is added to them; None whenever nothing new is there.

    Each line carries its part's name, if there is one. A log that was cut to nothing is read from its new start.
    """
    width = max((len(name) for name in logs), default=0)
    positions = {name: _size(path) for name, path in logs.items()}
    for name, path in logs.items():
        for line in tail(path, first_lines, end_byte=positions[name]):
            yield _labelled(name, width, line)
    while True:
        found = False
        for name, path in logs.items():
            text, positions[name] = _added(path, positions[name])
            for line in text.splitlines():
                found = True
                yield _labelled(name, width, line)
        if not found:
            yield None


def _labelled(name: str, width: int, line: str) -> str:
    return f"{name:{width}} | {line}" if name else line


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _added(path: Path, position: int) -> tuple[str, int]:
    """The whole lines after `position`, and the position behind them."""
    size = _size(path)
    if size < position:
        position = 0
    if size == position:
        return "", position
    with path.open("rb") as log:
        log.seek(position)
        added = log.read(_LONGEST_READ_BYTES)
    whole = added[: added.rfind(b"\n") + 1] or (added if len(added) == _LONGEST_READ_BYTES else b"")
    return whole.decode(errors="replace"), position + len(whole)
