"""How many uploads are received at once, and who waits for a turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ingest_api.problem_details import Problem, retry_after


class Admission:
    """Admits so many uploads, and so many bytes of them, at once; the others wait in the order of their arrival.

    Whoever waits has sent headers and what fits into the socket's buffers; the rest of the body stays with the client.
    """

    def __init__(self, *, in_flight: int, in_flight_bytes: int, waiting: int, turn_seconds: float) -> None:
        """`waiting` bounds the queue, `turn_seconds` the time in it."""
        self._free_slots = in_flight
        self._free_bytes = in_flight_bytes
        self._all_bytes = in_flight_bytes
        self._most_waiting = waiting
        self._turn_seconds = turn_seconds
        self._queue: deque[tuple[asyncio.Future[None], int]] = deque()

    @asynccontextmanager
    async def enter(self, size_bytes: int) -> AsyncIterator[None]:
        """Run the block when it is this upload's turn.

        Raises Problem 429 at once when the queue is full, and 503 when the turn did not come in time.
        """
        # An upload larger than all there is may enter alone.
        size_bytes = min(size_bytes, self._all_bytes)
        await self._take(size_bytes)
        try:
            yield
        finally:
            self._give_back(size_bytes)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def _take(self, size_bytes: int) -> None:
        if not self._queue and self._fits(size_bytes):
            self._occupy(size_bytes)
            return
        if len(self._queue) >= self._most_waiting:
            detail = "More uploads are on their way than can be received. Send this one again in a moment."
            raise Problem(429, "too_many_uploads", detail, retry_after(1))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (turn, size_bytes)
        self._queue.append(entry)
        try:
            async with asyncio.timeout(self._turn_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The turn came in the very moment in which the wait ended: pass it on.
                self._give_back(size_bytes)
            else:
                with suppress(ValueError):  # it may be passed over already
                    self._queue.remove(entry)
                self._admit_next()
            if isinstance(error, TimeoutError):
                detail = f"No turn within {self._turn_seconds:g} seconds: send this upload again later."
                raise Problem(503, "too_many_uploads", detail, retry_after(5)) from error
            raise

    def _fits(self, size_bytes: int) -> bool:
        return self._free_slots > 0 and size_bytes <= self._free_bytes

    def _occupy(self, size_bytes: int) -> None:
        self._free_slots -= 1
        self._free_bytes -= size_bytes

    def _give_back(self, size_bytes: int) -> None:
        self._free_slots += 1
        self._free_bytes += size_bytes
        self._admit_next()

    def _admit_next(self) -> None:
        while self._queue and (self._queue[0][0].done() or self._fits(self._queue[0][1])):
            turn, size_bytes = self._queue.popleft()
            if not turn.done():
                self._occupy(size_bytes)
                turn.set_result(None)
