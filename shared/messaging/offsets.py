"""Which offset of a partition may be committed."""

from __future__ import annotations


class OffsetLedger:
    """Tracks the messages taken from one partition; only what is done and contiguous may be committed.

    Parallel handlers finish out of order. Committing past an unfinished message would lose it at the next restart.
    """

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}
        self._position: int | None = None
        self._committed: int | None = None

    def take(self, offset: int) -> None:
        """Note a message as taken. Offsets of a partition come in rising order, with gaps after compaction."""
        self._open[offset] = False

    def finish(self, offset: int) -> None:
        """Note a message as done; one that was never taken is an error."""
        if offset not in self._open:
            raise KeyError(f"offset {offset} was never taken")
        self._open[offset] = True
        while self._open:
            # dicts keep insertion order, and offsets are taken in rising order: the first one is the lowest
            lowest = next(iter(self._open))
            if not self._open[lowest]:
                break
            del self._open[lowest]
            self._position = lowest + 1

    def to_commit(self) -> int | None:
        """The next offset to read after a restart, if it moved since the last `committed`; else None."""
        return self._position if self._position != self._committed else None

    def committed(self, offset: int) -> None:
        self._committed = offset

    @property
    def position(self) -> int | None:
        """The next offset to read after a restart; None until something was taken."""
        if self._position is not None:
            return self._position
        return next(iter(self._open), None)

    @property
    def unfinished(self) -> int:
        """How many messages are taken and not done."""
        return sum(1 for done in self._open.values() if not done)
