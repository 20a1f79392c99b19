"""Work that lies in the database, done as soon as somebody wants it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from shared.messaging.errors import InfrastructureUnavailable

LOOK_EVERY_SECONDS: Final = 1.0
"""How long work may wait of which this process was not told: another one left it, or its time has come."""


async def work_off(
    do_some: Callable[[], Awaitable[bool]], wanted: asyncio.Event, log: logging.Logger, waiting: str
) -> None:
    """Call `do_some` until it says that nothing is left, and again when `wanted` is set; ends only by cancellation.

    While something is away the work waits, as `waiting` says in the log.
    """
    while True:
        wanted.clear()
        try:
            while await do_some():
                pass
        except InfrastructureUnavailable as error:
            log.warning(waiting, extra={"detail": str(error)})
        try:
            async with asyncio.timeout(LOOK_EVERY_SECONDS):
                await wanted.wait()
        except TimeoutError:
            continue
