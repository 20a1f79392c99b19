"""Compares a million generated objects over three streams and plans repairs; prints seconds and memory as JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from reconciler.comparison import Patience, Recorded, Stored, compare
from reconciler.planning import Wishes, plan
from reconciler.report import Tally

TOTAL = 1_000_000
PAGE = 1000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=1)
OWNER = UUID(int=1)


def key_of(number: int) -> str:
    return f"media/{number // 4096:02x}/00000000-0000-4000-8000-{number:012x}/1/large.webp"


async def pages(leaves_out: int) -> AsyncIterator[list[str]]:
    for first in range(0, TOTAL, PAGE):
        yield [key_of(number) for number in range(first, first + PAGE) if number % leaves_out]


async def listing(leaves_out: int) -> AsyncIterator[Sequence[Stored]]:
    async for page in pages(leaves_out):
        yield [Stored(key, 1000, "etag", OLD) for key in page]


async def records() -> AsyncIterator[Sequence[Recorded]]:
    async for page in pages(100):
        yield [Recorded(key, 1000, None, True, True, True, False, OLD, OWNER, OWNER, "image/webp") for key in page]


async def measure() -> dict[str, float]:
    patience = Patience(lambda: NOW, lambda: NOW, timedelta(seconds=10), NOW)
    wishes, tally, planned = Wishes(remove_orphaned=True, recreate_missing=True), Tally(), 0
    started, cpu_started = time.perf_counter(), time.process_time()
    async for finding in compare(records(), listing(101), listing(103), patience):
        tally.add(finding)
        planned += len(plan(finding, wishes))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    assert tally.total >= TOTAL
    assert planned > TOTAL // 100
    resident_mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "resident_mebibytes": resident_mebibytes}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
