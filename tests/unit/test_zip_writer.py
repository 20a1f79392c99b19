"""Archives that are made while they are sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest_api.zip_writer import zipped
from shared.storage.errors import StoreUnavailable
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalDiskStore]:
    async with LocalDiskStore(tmp_path) as disk:
        yield disk


async def archive_of(store: ObjectStore, *keys: str) -> zipfile.ZipFile:
    content = b"".join([piece async for piece in zipped(store, keys)])
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    return archive


async def test_every_file_is_in_it_as_it_is(store: LocalDiskStore) -> None:
    contents = {"a/grün.jpg": b"g" * 700_000, "a/b.png": b"", "a/noext": b"n"}
    for key, content in contents.items():
        await store.put_bytes(key, content)
    archive = await archive_of(store, *contents)
    assert archive.namelist() == ["grün.jpg", "b.png", "noext"]
    assert [archive.read(name) for name in archive.namelist()] == list(contents.values())
    assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


async def test_it_comes_in_pieces_no_larger_than_what_is_read(store: LocalDiskStore) -> None:
    await store.put_bytes("a/large.jpg", bytes(5_000_000))
    pieces = [piece async for piece in zipped(store, ["a/large.jpg"])]
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 1_100_000


async def test_names_that_meet_are_numbered(store: LocalDiskStore) -> None:
    keys = ["a/x.jpg", "b/x.jpg", "c/X.JPG", "a/noext", "b/noext", "a/missing.txt"]
    for key in keys:
        await store.put_bytes(key, key.encode())
    archive = await archive_of(store, *keys)
    assert archive.namelist() == ["x.jpg", "x (2).jpg", "X (3).JPG", "noext", "noext (2)", "missing (2).txt"]


async def test_what_is_gone_is_named_at_the_end(store: LocalDiskStore) -> None:
    await store.put_bytes("a/there.jpg", b"x")
    archive = await archive_of(store, "a/gone.jpg", "a/there.jpg")
    assert archive.namelist() == ["there.jpg", "missing.txt"]
    assert archive.read("missing.txt") == b"gone.jpg\n"


async def test_nothing_is_an_empty_archive(store: LocalDiskStore) -> None:
    assert (await archive_of(store)).namelist() == []


async def test_a_store_that_breaks_off_gives_no_archive_that_looks_whole(
    store: LocalDiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put_bytes("a/one.jpg", b"x")
    open_object = store.open

    def broken(key: str) -> object:
        if key == "a/two.jpg":
            raise StoreUnavailable("disk", "away")
        return open_object(key)

    monkeypatch.setattr(store, "open", broken)
    pieces: list[bytes] = []

    async def receive() -> None:
        async for piece in zipped(store, ["a/one.jpg", "a/two.jpg"]):
            pieces.append(piece)

    with pytest.raises(StoreUnavailable):
        await receive()
    assert not zipfile.is_zipfile(io.BytesIO(b"".join(pieces)))
