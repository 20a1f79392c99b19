"""A caller that is cancelled while a thread opens something for it leaves nothing open and nothing lying about."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path, PosixPath
from typing import Any, Final

import pytest

from shared.storage.local_disk import LocalDiskStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.storage.staging import BucketStaging, StagedFile
from shared.testing.waiting import eventually

DEADLINE_SECONDS: Final = 30.0
LARGE_BYTES: Final = 9 * 1024 * 1024


class Gate:
    """Holds up a thread right after it opened something, until the caller is gone."""

    def __init__(self) -> None:
        self._is_reached = threading.Event()
        self._is_open = threading.Event()

    def pass_through(self) -> None:
        self._is_reached.set()
        assert self._is_open.wait(DEADLINE_SECONDS)

    async def cancel_there(self, work: Awaitable[Any]) -> None:
        """Cancel the work while it stands at the gate, and let its thread go on once the loop has heard of it."""
        working = asyncio.ensure_future(work)
        assert await asyncio.to_thread(self._is_reached.wait, DEADLINE_SECONDS)
        working.cancel()
        asyncio.get_running_loop().call_soon(self._is_open.set)
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(DEADLINE_SECONDS):
                await working
        self._is_open.set()


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LocalDiskStore]:
    (tmp_path / "disk").mkdir()
    async with LocalDiskStore(tmp_path / "disk") as store:
        yield store


@pytest.fixture
async def s3() -> AsyncIterator[S3Store]:
    """A bucket that nothing is ever sent to."""
    known: dict[str, Any] = {"access_key": "nobody", "secret_key": "nothing"}
    async with S3Store(S3Settings(endpoint="http://127.0.0.1:9", bucket="none", **known)) as store:
        yield store


def open_files_below(folder: Path) -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue  # closed since the folder was read
        if target.startswith(str(folder)):
            found.append(target)
    return found


def held_up(opening: Callable[..., Any], gate: Gate) -> Callable[..., Any]:
    """An `os.open` that stops at the gate once it opened a file."""

    def opened(path: Any, flags: int, *arguments: Any, **named: Any) -> Any:
        descriptor = opening(path, flags, *arguments, **named)
        if not flags & os.O_DIRECTORY:
            gate.pass_through()
        return descriptor

    return opened


async def test_reading_from_disk(disk: LocalDiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await disk.put_bytes("a/b", b"picture")
    gate = Gate()
    monkeypatch.setattr("shared.storage.local_disk.os.open", held_up(os.open, gate))

    async def read() -> None:
        async with disk.open("a/b"):
            pass

    await gate.cancel_there(read())
    assert open_files_below(disk.root) == []


async def test_writing_a_stream_to_disk(disk: LocalDiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"picture"

    gate = Gate()
    monkeypatch.setattr("shared.storage.atomic_file.os.open", held_up(os.open, gate))
    async with aclosing(chunks()) as given:
        await gate.cancel_there(disk.put_stream("a/b", given))
    assert open_files_below(disk.root) == []
    assert [path async for path in disk.list_temporary(older_than_seconds=-60)] == []


async def test_fetching_a_staged_file(disk: LocalDiskStore, s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = BucketStaging(s3, disk)

    async def fetch() -> None:
        async with staging.open(StagedFile("staging/any", 7, "0" * 64)):
            pass

    gate = Gate()
    monkeypatch.setattr("shared.storage.atomic_file.os.open", held_up(os.open, gate))
    await gate.cancel_there(fetch())
    assert open_files_below(disk.root) == []
    assert [path async for path in disk.list_temporary(older_than_seconds=-60)] == []


async def test_giving_a_staged_file_back(disk: LocalDiskStore, tmp_path: Path) -> None:
    """Its reader is cancelled while the removal waits for a thread."""
    (tmp_path / "bucket").mkdir()
    (tmp_path / "scratch").mkdir()
    gate = Gate()
    async with (
        LocalDiskStore(tmp_path / "bucket") as bucket,
        LocalDiskStore(tmp_path / "scratch", threads=1) as scratch,
    ):
        stored = await bucket.put_bytes("staging/any", b"picture")
        assert stored.sha256 is not None
        staged = StagedFile("staging/any", stored.size_bytes, stored.sha256)

        async def read() -> None:
            async with BucketStaging(bucket, scratch).open(staged):
                assert len(open_files_below(scratch.root)) == 1
                occupying = asyncio.create_task(scratch.run(scratch.root, gate.pass_through))
                assert await asyncio.to_thread(gate._is_reached.wait, DEADLINE_SECONDS)
            await occupying

        reading = asyncio.create_task(read())
        await eventually(lambda: scratch._pool._work_queue.qsize() == 1, why="the removal waits for the only thread")
        reading.cancel()
        await asyncio.sleep(0)
        gate._is_open.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert open_files_below(scratch.root) == []
        assert [path async for path in scratch.list_temporary(older_than_seconds=-60)] == []


async def test_sending_a_large_file(s3: S3Store, tmp_path: Path) -> None:
    gate = Gate()

    class SlowPath(PosixPath):
        def open(self, mode: str = "r", buffering: int = -1, *arguments: Any) -> Any:
            file = super().open(mode, buffering, *arguments)
            if buffering != 0:
                gate.pass_through()
            return file

    path = tmp_path / "large"
    path.write_bytes(bytes(LARGE_BYTES))
    await gate.cancel_there(s3.put_file("a/b", SlowPath(path), sha256="0" * 64))
    await eventually(lambda: open_files_below(path) == [], within_seconds=DEADLINE_SECONDS)
