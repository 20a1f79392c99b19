"""Waiting for conditions with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(
    condition: Callable[[], Any],
    *,
    within_seconds: float = 30.0,
    every_seconds: float = 0.02,
    why: str = "",
) -> Any:
    """Return the condition's first truthy value, awaited if it is awaitable.

    Raises AssertionError with the last value at the deadline. An AssertionError raised by the condition counts as "not
    yet" and is shown then.
    """
    deadline = time.monotonic() + within_seconds
    last: object = None
    while True:
        try:
            outcome = condition()
            value = await outcome if inspect.isawaitable(outcome) else outcome
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds:g} s: {why or 'the condition'}; last seen: {last!r}")
        await asyncio.sleep(every_seconds)
