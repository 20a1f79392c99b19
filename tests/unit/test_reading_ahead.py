"""A listing that is read ahead says the same as the listing itself, errors included, and stops when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from ingest_api.event_removals import EventRemovals
from reconciler.checks import Checks
from reconciler.comparison import Finding
from reconciler.looking import ENTRIES_AT_ONCE, PAGES_AHEAD, Looking, ReadAhead
from reconciler.report import ProductsReport
from shared.events import ReconcileScope
from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.testing.waiting import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCOPE = ReconcileScope(kind="product", product_id=UUID(int=1))


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


class Listing:
    """A bucket or a disk without an end, of which it is known when nobody reads it any more."""

    def __init__(self) -> None:
        self.is_left = False

    def clock(self) -> datetime:
        return NOW

    async def delete(self, key: str) -> None:
        raise StoreUnavailable("s3", "it is away")

    async def pages(self, prefix: str, **_: Any) -> AsyncGenerator[list[ObjectInfo], None]:
        try:
            for number in count():
                yield [info(number)]
        finally:
            self.is_left = True


class NoRecords:
    async def is_product(self, _: UUID) -> bool:
        return True

    async def now(self) -> datetime:
        return NOW

    async def records(self, *_: Any) -> AsyncGenerator[list[Any], None]:
        return
        yield []


@pytest.fixture
def listing() -> Listing:
    return Listing()


@pytest.fixture
def looking(listing: Listing) -> Looking:
    settings: Any = SimpleNamespace(object_grace_seconds=0.0, media_grace_seconds=0.0, record_grace_seconds=0.0)
    stores: Any = SimpleNamespace(bucket=listing, disk=Listing())
    return Looking(stores, cast(Any, None), settings)


async def test_who_leaves_proven_findings_ends_the_listings(looking: Looking, listing: Listing) -> None:
    async with aclosing(looking.proven_findings(cast(Any, NoRecords()), SCOPE)) as findings:
        await anext(findings)
        assert not listing.is_left
    assert listing.is_left


async def test_a_removal_that_breaks_off_ends_the_listing(listing: Listing) -> None:
    removals = EventRemovals(cast(Any, None), cast(Any, listing))
    removal: Any = SimpleNamespace(asked_seconds_ago=0.0)
    event: Any = SimpleNamespace(id=UUID(int=1), folder="events/1/", previews_prefix="events/1/previews/")
    # What was raised is kept, and with it all that it passed through.
    with pytest.raises(StoreUnavailable) as raised:
        await removals._remove_files(removal, event)
    assert listing.is_left, raised


async def test_a_check_that_breaks_off_ends_the_listings(
    looking: Looking, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(ProductsReport):
        def add(self, finding: Finding) -> None:
            raise MemoryError("too many")

    nobody: Any = None
    monkeypatch.setattr("reconciler.checks.ProductsReport", Full)
    with pytest.raises(MemoryError) as raised:
        await Checks(nobody, looking, nobody, at_once=1).report(cast(Any, NoRecords()), SCOPE)
    assert listing.is_left, raised
