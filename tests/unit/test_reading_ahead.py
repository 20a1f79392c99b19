"""A listing that is read ahead says the same as the listing itself, errors included, and stops when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from reconciler.looking import BATCHES_AHEAD, ENTRIES_PER_BATCH, ReadAhead
from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.testing.waiting import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def info(number: int) -> ObjectInfo:
    return ObjectInfo(f"{number:06}", 1, "etag", NOW)


async def listed(count: int, error: Exception | None = None) -> AsyncIterator[ObjectInfo]:
    for number in range(count):
        yield info(number)
    if error is not None:
        raise error


@pytest.mark.parametrize("count", [0, 1, ENTRIES_PER_BATCH, 5 * ENTRIES_PER_BATCH + 1])
async def test_every_entry_comes_in_its_place(count: int) -> None:
    async with ReadAhead(listed(count)) as ahead:
        assert [stored.key async for stored in ahead] == [f"{number:06}" for number in range(count)]


async def test_an_error_of_the_listing_comes_out_and_no_end() -> None:
    async with ReadAhead(listed(ENTRIES_PER_BATCH, StoreUnavailable("s3", "cut off"))) as ahead:
        for number in range(ENTRIES_PER_BATCH):
            assert (await anext(ahead)).key == f"{number:06}"
        with pytest.raises(StoreUnavailable, match="cut off"):
            await anext(ahead)


async def test_it_reads_a_bounded_number_ahead_and_stops_when_it_is_left() -> None:
    read, closed = 0, asyncio.Event()

    async def endless() -> AsyncIterator[ObjectInfo]:
        nonlocal read
        try:
            while True:
                read += 1
                yield info(read)
        finally:
            closed.set()

    async with ReadAhead(endless()) as ahead:
        await anext(ahead)
        await eventually(lambda: read >= (BATCHES_AHEAD + 2) * ENTRIES_PER_BATCH, why="it reads ahead")
        before = read
        for _ in range(10):
            await asyncio.sleep(0)
        assert read == before
    async with asyncio.timeout(5):
        await closed.wait()
