"""The body of a request as it arrives, from clients that may be slow, lie about its length or vanish."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

from ingest_api.problem_details import Problem

Ending = Literal["open", "complete", "disconnected"]


class ClientDisconnected(Exception):
    """The client went away in the middle of its request; nobody reads an answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How slow a client may be.

    It may be silent for `idle_seconds` at a time, and may need as long in all plus the time that its bytes take at
    `slowest_bytes_per_second`.
    """

    idle_seconds: float
    slowest_bytes_per_second: int

    def deadline(self, started_at: float, now: float, received_bytes: int) -> float:
        """Until when the next chunk must come; times are of one monotonic clock, in seconds."""
        in_all = started_at + 2 * self.idle_seconds + received_bytes / self.slowest_bytes_per_second
        return min(now + self.idle_seconds, in_all)


class RequestBody:
    """Reads the raw ASGI channel, chunk by chunk; nothing is kept."""

    def __init__(self, receive: Receive, patience: Patience, most_bytes: int) -> None:
        self._receive = receive
        self._patience = patience
        self._most_bytes = most_bytes
        self._started_at = time.monotonic()
        self.received_bytes = 0
        self.ending: Ending = "open"

    async def next_chunk(self) -> bytes:
        """The next bytes, empty at the end.

        Raises ClientDisconnected, Problem 408 for a client that is too slow and 413 for a body larger than allowed.
        """
        while self.ending == "open":
            message = await self._next_message()
            if message["type"] == "http.disconnect":
                self.ending = "disconnected"
                break
            if message["type"] != "http.request":
                continue
            if not message.get("more_body", False):
                self.ending = "complete"
            if chunk := message.get("body", b""):
                self.received_bytes += len(chunk)
                if self.received_bytes > self._most_bytes:
                    raise body_too_large(self._most_bytes)
                return chunk
        if self.ending == "disconnected":
            raise ClientDisconnected
        return b""

    async def _next_message(self) -> HTTPReceiveMessage | WebSocketReceiveMessage:
        deadline = self._patience.deadline(self._started_at, time.monotonic(), self.received_bytes)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._receive()
        except TimeoutError as error:
            detail = "The body arrived too slowly and was given up. Send it again over a better connection."
            raise Problem(408, "too_slow", detail, {"Connection": "close"}) from error

    async def skip_rest(self, most_bytes: int, most_seconds: float) -> bool:
        """Read on without keeping anything, so that a client in the middle of sending gets to read its answer.

        Whether the body ended within these bounds; otherwise the connection has to be closed.
        """
        self._most_bytes = self.received_bytes + most_bytes
        try:
            async with asyncio.timeout(most_seconds):
                while await self.next_chunk():
                    pass
        except (TimeoutError, ClientDisconnected, Problem):
            return False
        return self.ending == "complete"


def body_too_large(most_bytes: int) -> Problem:
    return Problem(413, "too_large", f"A body may have {most_bytes} bytes at most; this one is larger.")
