"""Parallel work with order per key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import nullcontext

Work = Callable[[], Awaitable[None]]


class KeyedLanes:
    """Runs work of different keys side by side and work of one key in the order it came.

    At most `parallel` run at once, beside those that need no slot. `add` never waits: the caller watches `pending` and
    stops taking more. Work must not raise; an exception ends up in `on_crash`, and the lane goes on.
    """

    def __init__(self, parallel: int, on_crash: Callable[[BaseException], None]) -> None:
        self._slots = asyncio.Semaphore(parallel)
        self._on_crash = on_crash
        self._lanes: dict[Hashable, deque[tuple[Work, bool]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.pending = 0

    def add(self, key: Hashable, work: Work, *, needs_slot: bool = True) -> None:
        self.pending += 1
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append((work, needs_slot))
            return
        lane = self._lanes[key] = deque([(work, needs_slot)])
        task = asyncio.create_task(self._run(key, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step never reaches its own clean-up.
        task.add_done_callback(lambda _: self._end(key, lane))

    async def _run(self, key: Hashable, lane: deque[tuple[Work, bool]]) -> None:
        try:
            while lane:
                async with self._slots if lane[0][1] else nullcontext():
                    work, _ = lane.popleft()
                    try:
                        await work()
                    except Exception as error:
                        self._on_crash(error)
                    finally:
                        self.pending -= 1
        finally:
            # In the same step as finding the lane empty: what `add` put into an ended lane would never run.
            self._end(key, lane)

    def _end(self, key: Hashable, lane: deque[tuple[Work, bool]]) -> None:
        self.pending -= len(lane)
        lane.clear()
        if self._lanes.get(key) is lane:
            del self._lanes[key]

    async def drained(self, within_seconds: float) -> bool:
        """Wait until all work is done; False if some was still running at the deadline."""
        tasks = list(self._tasks)
        if not tasks:
            return True
        _, running = await asyncio.wait(tasks, timeout=within_seconds)
        return not running

    async def cancel(self, within_seconds: float) -> bool:
        """Stop what runs and forget what waits; False if something that was cancelled went on beyond the deadline.

        Such work keeps its slot until it ends; work that is added to its key does not wait for it.
        """
        self._lanes = {}
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if not tasks:
            return True
        _, running = await asyncio.wait(tasks, timeout=within_seconds)
        # Clean-up of what never began is a callback of the loop's next turn.
        await asyncio.sleep(0)
        return not running
