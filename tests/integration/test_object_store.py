"""The same promises, kept by every object store: on a real disk and in a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from shared.storage.errors import (
    ChecksumMismatch,
    InvalidKey,
    ObjectNotFound,
    StoreRefused,
    StoreUnavailable,
)
from shared.storage.keys import validated
from shared.storage.local_disk import FinishedFile, LocalDiskStore
from shared.storage.object_store import Digest, ObjectStore, digest
from shared.storage.s3 import S3Store
from shared.storage.s3_listing import ListedPage, read_page
from shared.storage.s3_wire import Wire
from shared.storage.settings import S3Settings
from shared.testing.waiting import eventually

MIB: Final = 1024 * 1024
WRITER: Final = Path(__file__).with_name("store_writer.py")
DEADLINE_SECONDS: Final = 30.0


def s3_settings(server: ObjectStoreServer, bucket: str, **changes: Any) -> S3Settings:
    known = {
        "endpoint": server.endpoint,
        "bucket": bucket,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "part_bytes": 5 * MIB,
    }
    return S3Settings(**{**known, **changes})


@pytest.fixture
async def bucket(object_store_server: ObjectStoreServer) -> str:
    name = f"test-{secrets.token_hex(6)}"
    await object_store_server.create_bucket(name)
    return name


@pytest.fixture
async def s3(object_store_server: ObjectStoreServer, bucket: str) -> AsyncIterator[S3Store]:
    async with S3Store(s3_settings(object_store_server, bucket)) as store:
        yield store


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LocalDiskStore]:
    root = tmp_path / "root"
    root.mkdir()
    async with LocalDiskStore(root) as store:
        yield store


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


async def chunks_of(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(store: ObjectStore, key: str, start_byte: int = 0, end_byte: int | None = None) -> bytes:
    async with store.open(key, start_byte=start_byte, end_byte=end_byte) as opened:
        return b"".join([chunk async for chunk in opened.chunks])


async def keys_of(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key async for info in store.list(prefix, start_after=start_after)]


async def unfinished(store: ObjectStore, server: ObjectStoreServer) -> list[str]:
    """What an interrupted write left in the store beside the objects."""
    if isinstance(store, LocalDiskStore):
        return [str(path) async for path in store.list_temporary(older_than_seconds=-60)]
    assert isinstance(store, S3Store)
    async with server.client() as client:
        answer = await client.list_multipart_uploads(Bucket=store.bucket)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


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
            lambda: len(asked) == min(len(read) + 1, 3), within_seconds=10, why="the next page is asked for"
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


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# What every store promises


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


# Order of listings


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


# The disk


async def test_files_are_adopted_without_copying(disk: LocalDiskStore, tmp_path: Path) -> None:
    rendered = {f"media/57/{name}.webp": tmp_path / name for name in ("large", "small")}
    for path in rendered.values():
        path.write_bytes(path.name.encode())
    files = [FinishedFile(key, path, sha256(path.name.encode())) for key, path in rendered.items()]

    await disk.adopt(files)
    await disk.adopt(files)

    for file in files:
        assert disk.path_of(file.key).stat().st_ino == file.path.stat().st_ino
        assert (await disk.stat(file.key)).sha256 == file.sha256  # type: ignore[union-attr]
    assert await keys_of(disk) == sorted(rendered)
    assert [path async for path in disk.list_temporary(older_than_seconds=-60)] == []
    files[1].path.unlink()
    with pytest.raises(ObjectNotFound):
        await disk.adopt(files)


@pytest.fixture
def file_elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A file on another filesystem than the tests' folders."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second filesystem")
    path = elsewhere / f"mediabus-test-{secrets.token_hex(6)}"
    path.write_bytes(b"picture")
    yield path
    path.unlink(missing_ok=True)


async def test_a_file_of_another_filesystem_is_adopted_by_copying(disk: LocalDiskStore, file_elsewhere: Path) -> None:
    await disk.adopt([FinishedFile("media/a.webp", file_elsewhere, sha256(b"picture"))])
    adopted = await disk.stat("media/a.webp")
    assert adopted is not None
    assert adopted.sha256 == sha256(b"picture")
    assert await read(disk, "media/a.webp") == b"picture"


async def test_a_file_changed_from_outside_has_no_checksum_any_more(disk: LocalDiskStore) -> None:
    await disk.put_bytes("a", b"right")
    path = disk.path_of("a")
    before = path.stat()
    path.write_bytes(b"wrong")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    found = await disk.stat("a")
    assert found is not None
    assert found.sha256 is None
    assert (await digest(disk, "a")).sha256 == sha256(b"wrong")


async def test_others_may_not_read_the_files(disk: LocalDiskStore) -> None:
    await disk.put_bytes("media/a", b"1")
    assert disk.path_of("media/a").stat().st_mode & 0o137 == 0
    assert disk.path_of("media/a").parent.stat().st_mode & 0o027 == 0


async def test_a_volume_that_is_not_mounted_is_an_outage_not_a_loss(tmp_path: Path) -> None:
    async with LocalDiskStore(tmp_path / "unmounted") as disk:
        for attempt in (
            disk.check(),
            disk.stat("a"),
            disk.delete("a"),
            disk.put_bytes("a/b", b"1"),
            keys_of(disk),
            read(disk, "a"),
        ):
            with pytest.raises(StoreUnavailable, match="unmounted"):
                await attempt
    assert not (tmp_path / "unmounted").exists()


async def test_links_and_odd_names_on_disk_are_left_alone(disk: LocalDiskStore, tmp_path: Path) -> None:
    await disk.put_bytes("media/a", b"1")
    (disk.root / "media/link").symlink_to(tmp_path)
    (disk.root / os.fsdecode(b"media/\xff")).write_bytes(b"not UTF-8")
    assert await keys_of(disk) == ["media/a"]
    assert await disk.stat("media/link") is None
    with pytest.raises(ObjectNotFound):
        await read(disk, "media/link")


@pytest.mark.fault
async def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if (await (await asyncio.create_subprocess_exec(*command, "true", stderr=subprocess.DEVNULL)).wait()) != 0:
        command = ["unshare", "--mount"]
    writer = await asyncio.create_subprocess_exec(
        *command,
        sys.executable,
        str(WRITER),
        "fill",
        json.dumps({"root": str(root)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, err = await writer.communicate()
    if writer.returncode and (b"PermissionError" in err or b"not permitted" in err):
        pytest.skip("a small volume can't be mounted here: neither as root nor in a user namespace")
    assert writer.returncode == 0, err.decode()
    assert json.loads(out) == {
        "bytes": "InsufficientSpace",
        "file": "InsufficientSpace",
        "replace": "InsufficientSpace",
        "adopt": "InsufficientSpace",
        "stage": "InsufficientSpace",
        "left": "media/kept",
        "temporary": "",
        "kept": "kept",
    }


# S3


async def test_large_objects_pass_in_bounded_memory(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    sources = [tmp_path / str(number) for number in range(4)]
    for source in sources:
        source.write_bytes(os.urandom(5 * MIB) * 4)
    async with S3Store(s3_settings(object_store_server, bucket, buffered_parts=2)) as store:
        tracemalloc.start()
        await asyncio.gather(*(store.put_file(source.name, source) for source in sources))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert [(await digest(store, source.name)).size_bytes for source in sources] == [20 * MIB] * 4
    assert peak_bytes < 30 * MIB


async def test_says_what_is_wrong_with_the_bucket(object_store_server: ObjectStoreServer, bucket: str) -> None:
    right = s3_settings(object_store_server, bucket)
    wrongs = {
        "no_such_bucket": right.model_copy(update={"bucket": "no-such-bucket"}),
        "wrong_credentials": right.model_copy(update={"secret_key": SecretStr("not-the-secret")}),
    }
    for code, wrong in wrongs.items():
        async with S3Store(wrong) as store:
            for attempt in (
                store.check(),
                store.stat("a"),
                store.delete("a"),
                store.put_bytes("a", b"1"),
                keys_of(store),
                read(store, "a"),
            ):
                with pytest.raises(StoreRefused) as refused:
                    await attempt
                assert refused.value.code == code


async def test_a_closed_port_is_an_outage(object_store_server: ObjectStoreServer, bucket: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    async with S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store:
        for attempt in (store.check(), store.stat("a"), store.put_bytes("a", b"1"), keys_of(store), read(store, "a")):
            with pytest.raises(StoreUnavailable, match="s3 is unavailable"):
                await attempt


async def test_a_silent_store_is_an_outage_within_the_deadline(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    async def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    silence = asyncio.Event()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(ignore, "127.0.0.1", 0))
        stack.callback(silence.set)
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        quick = s3_settings(
            object_store_server,
            bucket,
            endpoint=endpoint,
            connect_seconds=0.3,
            answer_seconds=0.3,
            slowest_bytes_per_second=16 * MIB,
        )
        store = await stack.enter_async_context(S3Store(quick))
        # The second body is larger than what the connection buffers: writing it stalls, not only reading.
        for attempt in (store.stat("a"), store.put_bytes("a", b"1" * 24 * MIB), read(store, "a")):
            async with asyncio.timeout(DEADLINE_SECONDS):
                with pytest.raises(StoreUnavailable):
                    await attempt


@asynccontextmanager
async def answering(answers: Callable[[int], bytes]) -> AsyncIterator[str]:
    """Endpoint of a server that gives this answer to its first, second, … request, and closes where it is empty."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].partition(b":")[2]) if length else 0)
                count += 1
                if not (answer := answers(count)):
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_page_instead_of_an_answer_is_an_outage(object_store_server: ObjectStoreServer, bucket: str) -> None:
    """Above all it is no empty listing."""

    def page(_: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\n<html/>"

    async with (
        answering(page) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        attempts = (
            keys_of(store),
            store.check(),
            store.copy("a", "b"),
            store.put_stream("a", chunks_of(bytes(5 * MIB))),
        )
        for attempt in attempts:
            with pytest.raises(StoreUnavailable, match="an answer without it"):
                await attempt


async def test_a_kept_connection_that_the_store_closed_is_no_outage(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    def closing_every_second_time(count: int) -> bytes:
        return b"" if count % 2 == 0 else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'

    async with (
        answering(closing_every_second_time) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        for _ in range(4):
            assert (await store.put_bytes("a", b"1" * 300_000)).etag == "x"


def refusing(code: str, status: bytes = b"404 Not Found") -> bytes:
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(document), document)


async def test_a_write_whose_folder_was_just_removed_is_made_again(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    def losing_it_twice(count: int) -> bytes:
        return refusing("NoSuchKey") if count < 3 else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'

    for answers, outcome in ((losing_it_twice, None), (lambda _: refusing("NoSuchKey"), "lost the folder")):
        async with (
            answering(answers) as endpoint,
            S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
        ):
            if outcome is None:
                assert (await store.put_bytes("a/b", b"1")).etag == "x"
            else:
                with pytest.raises(StoreUnavailable, match=outcome):
                    await store.put_bytes("a/b", b"1")


async def test_a_copy_that_fails_after_its_answer_began_is_no_copy(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    """To keep the connection alive while it copies, a store answers 200 and spaces first."""
    async with (
        answering(
            lambda _: refusing("InternalError", b"200 OK").replace(b"<?xml version='1.0'?>", b" " * 21)
        ) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        with pytest.raises(StoreUnavailable, match="InternalError"):
            await store.copy("a", "b")


@asynccontextmanager
async def own_server(folder: Path) -> AsyncIterator[ObjectStoreServer]:
    server = ObjectStoreServer(folder, free_port(), "test-access", "test-secret-key")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.fault
async def test_a_store_killed_in_the_middle_is_an_outage_and_comes_back(tmp_path: Path) -> None:
    data = os.urandom(48 * MIB)
    async with own_server(tmp_path) as server:
        await server.create_bucket("bucket")
        async with S3Store(s3_settings(server, "bucket")) as store:
            await store.put_bytes("kept", data)
            async with store.open("kept") as opened:
                await anext(opened.chunks)
                await server.kill()
                with pytest.raises(StoreUnavailable):
                    [chunk async for chunk in opened.chunks]
            with pytest.raises(StoreUnavailable):
                await store.put_bytes("new", b"1")

            await server.start()
            await store.put_bytes("new", b"1")
            assert (await digest(store, "kept")).sha256 == sha256(data)

            killing = asyncio.Event()

            async def chunks() -> AsyncIterator[bytes]:
                yield data
                # First, for parts on their way fail while the server is being killed, and end this here.
                killing.set()
                await server.kill()
                yield data

            with pytest.raises(StoreUnavailable):
                await store.put_stream("half", chunks())
            assert killing.is_set()
            await server.start()
            assert await keys_of(store) == ["kept", "new"]


async def test_presigned_urls_let_others_in_and_only_so_far(s3: S3Store) -> None:
    key = "uploads/a b+c/é.webp"
    put = s3.presigned_put(key, content_type="image/webp", size_bytes=3, expires_in_seconds=60)
    async with httpx.AsyncClient(timeout=10) as client:
        for body, content_type in ((b"1234", "image/webp"), (b"123", "text/html")):
            refused = await client.put(put, content=body, headers={"content-type": content_type})
            assert refused.status_code == 403
        stored = await client.put(put, content=b"123", headers={"content-type": "image/webp"})
        assert stored.status_code == 200
        got = await client.get(s3.presigned_get(key, expires_in_seconds=60))
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"123", "image/webp")
        saved = await client.get(s3.presigned_get(key, expires_in_seconds=60, save_as='ä "1".webp'))
        assert (saved.status_code, saved.content) == (200, b"123")
        assert saved.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20%221%22.webp"
        other = s3.presigned_get(key, expires_in_seconds=60).replace("uploads", "downloads")
        assert (await client.get(other)).status_code == 403


async def test_public_and_presigned_addresses_can_differ_from_ours(
    object_store_server: ObjectStoreServer, bucket: str
) -> None:
    shown = s3_settings(
        object_store_server,
        bucket,
        presign_endpoint="https://media.example.org",
        public_url="https://cdn.example.org/",
    )
    async with S3Store(shown) as store:
        assert store.public_url("a b/é.webp") == "https://cdn.example.org/a%20b/%C3%A9.webp"
        presigned = store.presigned_get("a", expires_in_seconds=5)
        assert presigned.startswith(f"https://media.example.org/{bucket}/a?")
    async with S3Store(s3_settings(object_store_server, bucket)) as store:
        assert store.public_url("a") is None


async def test_an_independent_client_reads_what_was_put(s3: S3Store, object_store_server: ObjectStoreServer) -> None:
    await s3.put_bytes("media/a b+c.webp", b"picture")
    async with object_store_server.client() as client:
        answer = await client.get_object(Bucket=s3.bucket, Key="media/a b+c.webp")
        assert await answer["Body"].read() == b"picture"
    assert answer["Metadata"] == {"sha256": sha256(b"picture")}
    assert answer["ContentType"] == "image/webp"


async def test_a_file_is_sent_whole_up_to_a_size_and_in_parts_above_it(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    async with S3Store(s3_settings(object_store_server, bucket, whole_file_bytes=6 * MIB)) as store:
        for size_bytes, is_whole in ((6 * MIB, True), (6 * MIB + 1, False)):
            content = os.urandom(size_bytes)
            source.write_bytes(content)
            put = await store.put_file("a", source)
            assert (put.size_bytes, put.sha256) == (size_bytes, hashlib.sha256(content).hexdigest())
            # Of parts the store makes "<MD5 of their MD5s>-<count>".
            assert ("-" not in put.etag) == is_whole
            assert (await digest(store, "a")).sha256 == put.sha256


async def test_a_large_file_is_sent_anew_on_a_kept_connection_that_the_store_closed(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 * MIB))

    def closing_every_second_time(count: int) -> bytes:
        return b"" if count % 2 == 0 else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'

    async with (
        answering(closing_every_second_time) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        for _ in range(3):
            assert (await store.put_file("a", source)).etag == "x"


async def test_a_file_that_is_cut_while_it_is_sent_is_no_outage_of_the_bucket(
    object_store_server: ObjectStoreServer, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(32 * MIB))
    started = asyncio.Event()

    async def take_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        started.set()
        await cut.wait()
        with suppress(ConnectionError):
            await reader.read(-1)
        writer.close()

    cut = asyncio.Event()
    async with await asyncio.start_server(take_slowly, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store:
            sending = asyncio.create_task(store.put_file("a", source, sha256="0" * 64))
            async with asyncio.timeout(DEADLINE_SECONDS):
                await started.wait()
                os.truncate(source, MIB)
                cut.set()
                with pytest.raises(StoreUnavailable, match="it was cut") as failed:
                    await sending
    assert failed.value.dependency == "disk"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\n<html/>",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n<p>Go away",
    ],
)
async def test_a_page_is_no_proof_of_a_write(
    object_store_server: ObjectStoreServer, bucket: str, answer: bytes
) -> None:
    async with (
        answering(lambda _: answer) as endpoint,
        S3Store(s3_settings(object_store_server, bucket, endpoint=endpoint)) as store,
    ):
        with pytest.raises(StoreUnavailable):
            await store.put_bytes("a", b"1")


async def test_uploads_that_nobody_finished_are_aborted_once_they_are_old(
    object_store_server: ObjectStoreServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.s3_parts._UPLOADS_PAGE", 2)
    async with object_store_server.client() as client, S3Store(s3_settings(object_store_server, bucket)) as store:

        async def begin(key: str) -> str:
            begun = await client.create_multipart_upload(Bucket=bucket, Key=key)
            await client.upload_part(
                Bucket=bucket, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=bytes(5 * MIB)
            )
            return begun["UploadId"]

        async def unfinished() -> list[str]:
            listed = await client.list_multipart_uploads(Bucket=bucket)
            return sorted(upload["UploadId"] for upload in listed.get("Uploads", []))

        old = [await begin(f"media/{number}/{number // 2}") for number in range(5)]
        await store.put_bytes("media/0/kept", b"1")
        assert await store.abort_unfinished(older_than_seconds=60, limit=100) == 0
        assert await unfinished() == sorted(old)
        between = time.monotonic() + 1.5
        # The store tells the time in whole seconds.
        await asyncio.sleep(4)
        young = await begin("media/0/0")

        async def abort(limit: int) -> int:
            return await store.abort_unfinished(older_than_seconds=time.monotonic() - between, limit=limit)

        assert await abort(3) == 3
        assert len(await unfinished()) == 3
        assert await abort(100) == 2
        assert await unfinished() == [young]
        assert await keys_of(store) == ["media/0/kept"]
