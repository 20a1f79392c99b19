"""Work that is seen through to its end although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Wait for the work; a caller that is cancelled meanwhile hears so after its end.

    Cut off half-way it could still take effect after its caller has cleaned up, or leave its own cleaning undone. The
    wait ends with the work's own deadline.
    """
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        if not working.cancelled():
            working.exception()
        raise
