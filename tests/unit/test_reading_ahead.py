"""A listing that is read ahead says the same as the listing itself, errors included, and stops when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from reconciler.looking import ENTRIES_AT_ONCE, PAGES_AHEAD, ReadAhead
from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.testing.waiting import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def info(number: int) -> ObjectInfo:
    return ObjectInfo(f"{number:06}", 1, "etag", NOW)


async def listed(*page_sizes: int, error: Exception | None = None) -> AsyncIterator[list[ObjectInfo]]:
    first = 0
    for size in page_sizes:
        yield [info(number) for number in range(first, first + size)]
        first += size
    if error is not None:
        raise error


@pytest.mark.parametrize("page_sizes", [(), (0,), (1,), (ENTRIES_AT_ONCE,) * 2, (5 * ENTRIES_AT_ONCE + 1, 0, 7)])
async def test_every_entry_comes_in_its_place(page_sizes: tuple[int, ...]) -> None:
    async with ReadAhead(listed(*page_sizes)) as ahead:
        pieces = [piece async for piece in ahead]
    assert [stored.key for piece in pieces for stored in piece] == [f"{number:06}" for number in range(sum(page_sizes))]
    assert all(len(piece) <= ENTRIES_AT_ONCE for piece in pieces)


async def test_an_error_of_the_listing_comes_out_and_no_end() -> None:
    async with ReadAhead(listed(ENTRIES_AT_ONCE, error=StoreUnavailable("s3", "cut off"))) as ahead:
        assert [stored.key for stored in await anext(ahead)] == [f"{number:06}" for number in range(ENTRIES_AT_ONCE)]
        with pytest.raises(StoreUnavailable, match="cut off"):
            await anext(ahead)


async def test_it_reads_a_bounded_number_ahead_and_stops_when_it_is_left() -> None:
    read, closed = 0, asyncio.Event()

    async def endless() -> AsyncIterator[list[ObjectInfo]]:
        nonlocal read
        try:
            while True:
                read += 1
                yield [info(read)]
        finally:
            closed.set()

    async with ReadAhead(endless()) as ahead:
        await anext(ahead)
        await eventually(lambda: read >= PAGES_AHEAD + 2, why="it reads ahead")
        before = read
        for _ in range(10):
            await asyncio.sleep(0)
        assert read == before
    async with asyncio.timeout(20):
        await closed.wait()
