"""Parallel work with order per key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable

Work = Callable[[], Awaitable[None]]


class KeyedLanes:
    """Runs work of different keys side by side and work of one key in the order it came.

    At most `parallel` run at once. `add` never waits: the caller watches `pending` and stops taking more. Work must not
    raise; an exception ends up in `on_crash`, and the lane goes on.
    """

    def __init__(self, parallel: int, on_crash: Callable[[BaseException], None]) -> None:
        self._slots = asyncio.Semaphore(parallel)
        self._on_crash = on_crash
        self._lanes: dict[Hashable, deque[Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.pending = 0

    def add(self, key: Hashable, work: Work) -> None:
        self.pending += 1
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append(work)
            return
        self._lanes[key] = deque([work])
        task = asyncio.create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: Hashable) -> None:
        lane = self._lanes[key]
        try:
            while lane:
                async with self._slots:
                    work = lane.popleft()
                    try:
                        await work()
                    except Exception as error:
                        self._on_crash(error)
                    finally:
                        self.pending -= 1
        finally:
            self.pending -= len(lane)
            self._lanes.pop(key, None)

    async def drained(self, within_seconds: float) -> bool:
        """Wait until all work is done; False if some was still running at the deadline."""
        tasks = list(self._tasks)
        if not tasks:
            return True
        _, running = await asyncio.wait(tasks, timeout=within_seconds)
        return not running

    async def cancel(self) -> None:
        """Stop what runs and forget what waits."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        # A task that was cancelled before its first step never reached its own clean-up.
        self._lanes.clear()
        self.pending = 0
