"""Who gets the next free worker: the more urgent first, each in the order it came."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import IntEnum
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class Urgency(IntEnum):
    """Who goes first; whoever is less urgent waits for as long as others do."""

    AT_ONCE = 0
    SOON = 1
    WHEN_IDLE = 2


class Turns(Generic[T]):
    """Free workers, and those who wait for one. The one that was freed last is given first: its caches are warm."""

    def __init__(self) -> None:
        self._free: list[T] = []
        self._waiting: dict[Urgency, deque[asyncio.Future[T]]] = {urgency: deque() for urgency in Urgency}
        self._refusal: Exception | None = None

    def put(self, worker: T) -> None:
        """Give a free worker to who is next, or keep it."""
        for waiting in self._waiting.values():
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(worker)
                    return
        self._free.append(worker)

    async def get(self, urgency: Urgency) -> T:
        """Wait for a worker. Raises what `refuse` was given, from then on."""
        if self._refusal is not None:
            raise self._refusal
        if self._free:
            return self._free.pop()
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[urgency].append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # It may have been given a worker in the very moment in which it was cancelled.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.put(turn.result())
            raise

    def refuse(self, reason: Exception) -> None:
        """Give no worker any more; who waits gets the reason instead."""
        self._refusal = reason
        for turn in chain(*self._waiting.values()):
            if not turn.done():
                turn.set_exception(reason)
        for waiting in self._waiting.values():
            waiting.clear()
