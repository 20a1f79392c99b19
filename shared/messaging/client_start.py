"""Starting Kafka clients so that a start that is cut off leaves nothing open."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

CUT_OFF_SECONDS = 2.0
"""How long a start may go on when nobody waits for it any more."""


class Startable(Protocol):
    async def start(self) -> Any: ...


async def start(client: Startable) -> None:
    """Start a client of aiokafka, or what holds some; who is cancelled meanwhile waits until the start has ended.

    Cut off while it asks the first broker, aiokafka forgets that connection instead of closing it. What was started by
    then is the caller's to stop, like what could not be started.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([starting], timeout=CUT_OFF_SECONDS)
        finally:
            starting.cancel()
        await asyncio.wait([starting], timeout=CUT_OFF_SECONDS)
        if starting.done() and not starting.cancelled():
            starting.exception()
        raise
