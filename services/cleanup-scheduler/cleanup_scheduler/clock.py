"""The time, as one thing that tests can set."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Protocol

LONGEST_WAIT_SECONDS: Final = 60.0
"""A machine that slept, or whose clock was set, is noticed so late."""


class Clock(Protocol):
    def now(self) -> datetime:
        """In UTC; may jump in both directions."""
        ...

    async def wait_until(self, moment: datetime | None, news: asyncio.Event) -> None:
        """Return at the moment, at news, or after a while without either, whichever comes first."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait_until(self, moment: datetime | None, news: asyncio.Event) -> None:
        seconds = LONGEST_WAIT_SECONDS if moment is None else (moment - self.now()).total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)):
                await news.wait()
