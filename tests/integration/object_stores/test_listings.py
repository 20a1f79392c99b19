"""Listings of every object store: their order, their pages, and what lies between two pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.storage.errors import (
    InvalidKey,
)
from shared.storage.keys import validated
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore
from shared.storage.s3 import S3Store
from shared.storage.s3_listing import ListedPage, read_page
from shared.storage.s3_wire import Wire
from shared.testing.waiting import eventually
from tests.integration.object_stores.stored_bytes import keys_of


async def test_pages_give_what_a_listing_gives(
    store: LocalDiskStore | S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.s3.PAGE_OBJECTS", 2)
    monkeypatch.setattr("shared.storage.local_disk._LISTING_PAGE", 2)
    keys = [f"paged/{number}" for number in range(5)]
    for key in keys:
        await store.put_bytes(key, b"x")
    assert [[info.key for info in page] async for page in store.pages("paged/", start_after=keys[0])] == [
        keys[1:3],
        keys[3:5],
    ]
    async for page in store.pages("paged/"):
        assert [info.key for info in page] == keys[:2]
        break
    assert [page async for page in store.pages("paged/", start_after=keys[-1]) if page] == []
    assert await keys_of(store, "paged/") == keys


async def test_the_next_page_is_asked_for_before_this_one_is_read(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.storage.s3.PAGE_OBJECTS", 2)
    for number in range(5):
        await s3.put_bytes(f"paged/{number}", b"x")
    asked: list[str] = []
    read: list[bytes] = []
    ask = Wire.list_objects

    async def counted(wire: Wire, parameters: Mapping[str, str]) -> Any:
        asked.append(parameters["start-after"])
        return await ask(wire, parameters)

    async def read_once_the_next_is_asked_for(document: bytes) -> ListedPage:
        read.append(document)
        await eventually(
            lambda: len(asked) == min(len(read) + 1, 3), within_seconds=30, why="the next page is asked for"
        )
        return await read_page(document)

    monkeypatch.setattr(Wire, "list_objects", counted)
    monkeypatch.setattr("shared.storage.s3.read_page", read_once_the_next_is_asked_for)
    assert [len(page) async for page in s3.pages("paged/")] == [2, 2, 1]
    assert asked == ["", "paged/1", "paged/3"]


@pytest.mark.parametrize("misread", ["paged/", "paged/0", "paged/2", "paged/4", "paged/9", None])
async def test_a_misread_last_key_costs_a_request_and_no_object(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, misread: str | None
) -> None:
    monkeypatch.setattr("shared.storage.s3.PAGE_OBJECTS", 2)
    keys = [f"paged/{number}" for number in range(5)]
    for key in keys:
        await s3.put_bytes(key, b"x")
    monkeypatch.setattr("shared.storage.s3.likely_last_key", lambda _: misread)
    assert [[info.key for info in page] async for page in s3.pages("paged/")] == [keys[:2], keys[2:4], keys[4:]]


def without_prefixes_of_others(keys: Iterable[str]) -> list[str]:
    folders = {key[:at] for key in keys for at, letter in enumerate(key) if letter == "/"}
    return sorted({key for key in keys if key not in folders}, key=lambda key: key.encode())


def is_valid(key: str) -> bool:
    try:
        validated(key)
    except InvalidKey:
        return False
    return True


LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Cn"]) | st.sampled_from(
    "!$&'()+,-./:;=@ ~é€\u00ff\U0001f600ab"
)

ODD_KEYS = st.lists(st.text(LETTERS, min_size=1, max_size=12).filter(is_valid), min_size=1, max_size=12).map(
    without_prefixes_of_others
)


async def test_listings_are_ordered_by_bytes(disk: LocalDiskStore, s3: S3Store) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(keys=ODD_KEYS, cut=st.integers(min_value=0, max_value=12))
    def collect(keys: list[str], cut: int) -> None:
        examples.append((keys, cut))

    examples: list[tuple[list[str], int]] = []
    await asyncio.to_thread(collect)
    for number, (keys, cut) in enumerate(examples):
        base = f"{number}/"
        expected = [base + key for key in keys]
        start_after = expected[min(cut, len(expected) - 1)]
        prefix = start_after[: len(base) + 1]
        for store in (disk, s3):
            await asyncio.gather(*(store.put_bytes(key, b"") for key in expected))
            assert await keys_of(store, base) == expected
            assert await keys_of(store, base, start_after) == [key for key in expected if key > start_after]
            if is_valid(prefix):
                assert await keys_of(store, prefix) == [key for key in expected if key.startswith(prefix)]
    assert await keys_of(disk) == await keys_of(s3)


@pytest.mark.parametrize(
    "keys",
    [
        ["a!b", "a-b", "a.b", "a/b", "a0", "ab"],
        ["a b", "a+b", "a%2Bb", "a%20b", "a&b", "a<b>c", "a?b#c"],
        ["\uffe0", "\U00010000", "\u00e9", "e\u0301", "z", "Z"],
        ["a/b/c", "a/b.c", "a/b-c/d", "a.b/c", "a!/x"],
    ],
)
async def test_order_of_the_known_traps(store: ObjectStore, keys: list[str]) -> None:
    for key in keys:
        await store.put_bytes(key, b"")
    assert await keys_of(store) == sorted(keys, key=lambda key: key.encode())


async def test_a_listing_of_several_pages(store: ObjectStore) -> None:
    keys = sorted(f"media/{number % 13:02}/{number:05}/1/a.webp" for number in range(1_120))
    gate = asyncio.Semaphore(24)

    async def put(key: str) -> None:
        async with gate:
            await store.put_bytes(key, b"")

    await asyncio.gather(*(put(key) for key in keys))
    assert await keys_of(store) == keys
    assert await keys_of(store, "media/07/") == [key for key in keys if key.startswith("media/07/")]
    assert await keys_of(store, "media/", keys[1_050]) == keys[1_051:]
    assert await keys_of(store, "media/0", "media/03/00120/zzz") == [
        key for key in keys if key.startswith("media/0") and key > "media/03/00120/zzz"
    ]
    assert await keys_of(store, "nothing/here") == []
