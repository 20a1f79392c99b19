"""The same promises, kept by every object store: on a real disk and in a real S3 server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.object_store import ObjectStoreServer
from shared.storage.errors import (
    ChecksumMismatch,
    InvalidKey,
    ObjectNotFound,
    StoreRefused,
)
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import Digest, ObjectStore, digest
from shared.storage.s3 import S3Store
from tests.integration.object_stores.stored_bytes import (
    DEADLINE_SECONDS,
    MIB,
    WRITER,
    chunks_of,
    keys_of,
    read,
    s3_settings,
    sha256,
    unfinished,
)


@pytest.mark.parametrize("size", [0, 1, 200_000, 5 * MIB - 1, 5 * MIB, 12 * MIB + 7])
@pytest.mark.parametrize("way", ["bytes", "file", "stream"])
async def test_gives_back_what_was_put(store: ObjectStore, tmp_path: Path, way: str, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    puts: dict[str, Callable[[], Any]] = {
        "bytes": lambda: store.put_bytes("a/one.webp", data),
        "file": lambda: store.put_file("a/one.webp", tmp_path / "file"),
        "stream": lambda: store.put_stream("a/one.webp", chunks_of(data)),
    }

    put = await puts[way]()
    found = await store.stat("a/one.webp")

    assert await read(store, "a/one.webp") == data
    assert await digest(store, "a/one.webp") == Digest(size, sha256(data))
    assert found is not None
    assert (put.key, put.size_bytes, put.sha256, put.content_type) == (
        "a/one.webp",
        size,
        sha256(data),
        "image/webp",
    )
    assert (found.size_bytes, found.etag, found.content_type) == (size, put.etag, "image/webp")
    is_stream_in_parts = store.name == "s3" and way == "stream" and size >= 5 * MIB
    assert found.sha256 == (None if is_stream_in_parts else sha256(data))
    assert [info.etag async for info in store.list()] == [put.etag]


async def test_a_listing_tells_what_stat_tells(store: ObjectStore) -> None:
    await store.put_bytes("a", b"12345")
    found = await store.stat("a")
    (listed,) = [info async for info in store.list()]
    assert found is not None
    assert (listed.key, listed.size_bytes, listed.etag) == (found.key, found.size_bytes, found.etag)
    assert abs((listed.modified_at - found.modified_at).total_seconds()) < 1.5


async def test_writing_again_replaces(store: ObjectStore) -> None:
    first = await store.put_bytes("a", b"one")
    second = await store.put_bytes("a", b"other")
    assert await read(store, "a") == b"other"
    assert first.etag != second.etag
    assert await keys_of(store) == ["a"]


@pytest.mark.parametrize(
    ("start_byte", "end_byte"),
    [(0, None), (0, 0), (0, 1), (3, 7), (7, 3), (299_999, None), (300_000, None), (400_000, 500_000), (1, 10**9)],
)
async def test_ranges_are_slices(store: ObjectStore, start_byte: int, end_byte: int | None) -> None:
    data = os.urandom(300_000)
    await store.put_bytes("a", data)
    assert await read(store, "a", start_byte, end_byte) == data[start_byte:end_byte]
    async with store.open("a", start_byte=start_byte, end_byte=end_byte) as opened:
        assert opened.info.size_bytes == 300_000


async def test_a_reader_may_stop_early(store: ObjectStore) -> None:
    await store.put_bytes("a", os.urandom(6 * MIB))
    for _ in range(40):  # more than there are connections
        async with store.open("a") as opened:
            await anext(opened.chunks)
    assert (await digest(store, "a")).size_bytes == 6 * MIB


async def test_what_is_not_there(store: ObjectStore, tmp_path: Path) -> None:
    assert await store.stat("no/thing") is None
    await store.delete("no/thing")
    with pytest.raises(ObjectNotFound, match="holds no object 'no/thing'"):
        await read(store, "no/thing")
    with pytest.raises(ObjectNotFound):
        await read(store, "no/thing", 5, 5)
    with pytest.raises(ObjectNotFound, match="no/thing"):
        await store.copy("no/thing", "there")
    with pytest.raises(ObjectNotFound, match="no-file"):
        await store.put_file("there", tmp_path / "no-file")
    assert await keys_of(store) == []


async def test_deleting_twice_is_deleting_once(store: ObjectStore) -> None:
    await store.put_bytes("a/b/c/one", b"1")
    await store.put_bytes("a/b/two", b"2")
    await store.delete("a/b/c/one")
    await store.delete("a/b/c/one")
    assert await keys_of(store) == ["a/b/two"]
    assert await store.stat("a/b") is None


async def test_copies_with_checksum_and_type(store: ObjectStore) -> None:
    await store.put_bytes("a.webp", b"picture", content_type="image/webp")
    copied = await store.copy("a.webp", "deep/b.webp")
    again = await store.copy("a.webp", "deep/b.webp")
    itself = await store.copy("a.webp", "a.webp")
    assert copied.sha256 == again.sha256 == itself.sha256 == sha256(b"picture")
    assert copied.content_type == "image/webp"
    await store.delete("a.webp")
    assert await read(store, "deep/b.webp") == b"picture"
    assert await keys_of(store) == ["deep/b.webp"]


async def test_a_copy_that_is_nobodys_is_marked_and_otherwise_the_same(
    s3: S3Store, object_store_server: ObjectStoreServer
) -> None:
    async with object_store_server.client() as client:
        await client.put_object(
            Bucket=s3.bucket, Key="theirs", Body=b"picture", ContentType="image/webp", Metadata={"from": "somebody"}
        )
        await s3.copy("theirs", "marked", is_nobodys=True)
        copied = await client.head_object(Bucket=s3.bucket, Key="marked")
    assert (copied["ContentType"], copied["Metadata"]["from"]) == ("image/webp", "somebody")
    assert await read(s3, "marked") == b"picture"
    await s3.put_bytes("ours", b"picture", content_type="image/webp")
    marked = await s3.copy("ours", "marked too", is_nobodys=True)
    assert (marked.is_nobodys, marked.sha256, marked.content_type) == (True, sha256(b"picture"), "image/webp")
    moved = await s3.put_bytes("marked", b"another")
    assert (moved.is_nobodys, await s3.stat("marked")) == (False, moved)


async def test_replacing_the_source_leaves_the_copy(store: ObjectStore) -> None:
    await store.put_bytes("a", b"one")
    await store.copy("a", "b")
    await store.put_bytes("a", b"two")
    assert (await read(store, "a"), await read(store, "b")) == (b"two", b"one")


@pytest.mark.parametrize("size", [10, 300_000, 11 * MIB])
@pytest.mark.parametrize("way", ["bytes", "file", "stream"])
async def test_other_bytes_than_meant_never_become_visible(
    store: ObjectStore, object_store_server: ObjectStoreServer, tmp_path: Path, way: str, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    meant = sha256(b"something else")
    await store.put_bytes("old", b"old")
    puts: dict[str, Callable[[str], Any]] = {
        "bytes": lambda key: store.put_bytes(key, data, sha256=meant),
        "file": lambda key: store.put_file(key, tmp_path / "file", sha256=meant),
        "stream": lambda key: store.put_stream(key, chunks_of(data), sha256=meant),
    }
    for key in ("new", "old"):
        with pytest.raises(ChecksumMismatch, match=meant):
            await puts[way](key)
    assert await keys_of(store) == ["old"]
    assert await read(store, "old") == b"old"
    assert await unfinished(store, object_store_server) == []


@pytest.mark.parametrize("size", [10, 12 * MIB])
async def test_a_stream_that_fails_leaves_nothing(
    store: ObjectStore, object_store_server: ObjectStoreServer, size: int
) -> None:
    async def failing() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(os.urandom(size)):
            yield chunk
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        await store.put_stream("a", failing())
    assert await keys_of(store) == []
    assert await unfinished(store, object_store_server) == []


async def test_a_cancelled_put_leaves_nothing(store: ObjectStore, object_store_server: ObjectStoreServer) -> None:
    started = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(os.urandom(12 * MIB)):
            yield chunk
        started.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(store.put_stream("a", stalling()))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await started.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
    assert await keys_of(store) == []
    assert await unfinished(store, object_store_server) == []


@pytest.mark.fault
async def test_a_writer_killed_in_the_middle_leaves_no_object(
    store: ObjectStore, object_store_server: ObjectStoreServer
) -> None:
    arguments: dict[str, Any] = {"root": None, "s3": None, "key": "media/new", "pieces": 8}
    if isinstance(store, LocalDiskStore):
        arguments["root"] = str(store.root)
    else:
        assert isinstance(store, S3Store)
        known = s3_settings(object_store_server, store.bucket).model_dump()
        arguments["s3"] = {
            **known,
            "access_key": object_store_server.access_key,
            "secret_key": object_store_server.secret_key,
        }
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), "hang", json.dumps(arguments), stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await writer.stdout.readline() == b"sent\n"
        writer.kill()
        await writer.wait()

    assert await store.stat("media/new") is None
    assert await keys_of(store) == []
    if isinstance(store, LocalDiskStore):
        (left,) = [path async for path in store.list_temporary(older_than_seconds=-60)]
        assert left.name.startswith(".tmp-")
        assert [path async for path in store.list_temporary(older_than_seconds=3600)] == []
    await store.put_bytes("media/new", b"done by the next attempt")
    assert await keys_of(store) == ["media/new"]


async def test_fifty_at_once(store: ObjectStore) -> None:
    bodies = {f"media/{number % 7}/{number}.webp": os.urandom(40_000 + number) for number in range(50)}
    await asyncio.gather(*(store.put_bytes(key, body) for key, body in bodies.items()))
    got = await asyncio.gather(*(read(store, key) for key in bodies))
    assert dict(zip(bodies, got, strict=True)) == bodies
    await asyncio.gather(*(store.delete(key) for key in bodies))
    assert await keys_of(store) == []


async def test_writers_of_one_key_leave_one_whole_object(store: ObjectStore) -> None:
    bodies = [os.urandom(100_000 + number) for number in range(12)]
    await asyncio.gather(*(store.put_bytes("a/b", body) for body in bodies))
    assert await read(store, "a/b") in bodies
    assert await keys_of(store) == ["a/b"]


async def test_putting_and_deleting_around_each_other(store: ObjectStore) -> None:
    """Folders that a deletion finds empty vanish; a put that needs them at that moment makes them again."""
    for _ in range(15):
        await asyncio.gather(
            *(store.put_bytes(f"media/x/y/{number}", b"1") for number in range(6)),
            *(store.delete(f"media/x/y/{number}") for number in range(6)),
        )
        await asyncio.gather(*(store.delete(f"media/x/y/{number}") for number in range(6)))
    assert await keys_of(store) == []


@pytest.mark.parametrize("key", ["../outside", "/etc/x", "a//b", "a\nb", "", ".tmp-x"])
async def test_refuses_what_is_no_key(store: ObjectStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "outside").write_bytes(b"not yours")
    attempts: list[Callable[[], Any]] = [
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_stream(key, chunks_of(b"x")),
        lambda: store.put_file(key, tmp_path / "outside"),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.copy(key, "b"),
        lambda: store.copy("b", key),
        lambda: read(store, key),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidKey):
            await attempt()
    assert (tmp_path / "outside").read_bytes() == b"not yours"


async def test_a_key_below_another_key_is_refused_not_awaited(store: ObjectStore) -> None:
    """Both stores here keep keys as paths; an outage error would hold a consumer for ever."""
    await store.put_bytes("a/b", b"1")
    for key in ("a/b/c", "a"):
        with pytest.raises(StoreRefused, match="key_conflict"):
            await store.put_bytes(key, b"2")
    assert await keys_of(store) == ["a/b"]
