"""Uploads on their way in: whole and durable, or gone without a trace, on disk and in a bucket alike."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from image_processor.staging_removal import remove_scratch
from shared.identifiers import new_id
from shared.storage.errors import ChecksumMismatch, LimitExceeded, ObjectNotFound, StoreUnavailable
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.storage.staging import BucketStaging, LocalStaging, StagedFile, Staging

LIMIT_BYTES: Final = 3 * 1024 * 1024
SIZES: Final = [1, 64 * 1024, 500_000, LIMIT_BYTES]


@dataclass(frozen=True, slots=True)
class Place:
    """A staging and what it stands on."""

    staging: Staging
    store: ObjectStore
    disk: LocalDiskStore

    async def leftovers(self) -> list[str]:
        """Everything that is kept anywhere, finished or not."""
        kept = [info.key async for info in self.store.list()]
        kept += [info.key async for info in self.disk.list() if self.store is not self.disk]
        return kept + [path.name async for path in self.disk.list_temporary(older_than_seconds=-60)]


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LocalDiskStore]:
    (tmp_path / "disk").mkdir()
    async with LocalDiskStore(tmp_path / "disk") as store:
        yield store


def bucket_settings(server: ObjectStoreServer, bucket: str) -> S3Settings:
    known: dict[str, Any] = {"access_key": server.access_key, "secret_key": server.secret_key}
    return S3Settings(endpoint=server.endpoint, bucket=bucket, **known)


@pytest.fixture
async def local(disk: LocalDiskStore) -> Place:
    return Place(LocalStaging(disk), disk, disk)


@pytest.fixture
async def bucket(disk: LocalDiskStore, object_store_server: ObjectStoreServer) -> AsyncIterator[Place]:
    name = f"test-{secrets.token_hex(6)}"
    await object_store_server.create_bucket(name)
    async with S3Store(bucket_settings(object_store_server, name)) as store:
        yield Place(BucketStaging(store, disk), store, disk)


@pytest.fixture(params=["local", "bucket"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 60_000] for at in range(0, len(data), 60_000)]


@pytest.mark.parametrize("size", [0, *SIZES])
async def test_what_arrives_can_be_read_and_removed(place: Place, size: int) -> None:
    data = os.urandom(size)
    async with place.staging.receive(new_id(), limit_bytes=LIMIT_BYTES) as upload:
        for piece in pieces(data):
            await upload.write(piece)
        staged = await upload.commit()

    assert (staged.size_bytes, staged.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert await place.leftovers() == [staged.key]
    async with place.staging.open(staged) as path:
        assert await asyncio.to_thread(path.read_bytes) == data
    assert await place.leftovers() == [staged.key]
    await place.staging.delete(staged.key)
    await place.staging.delete(staged.key)
    assert await place.leftovers() == []


async def receive(
    staging: Staging, data: bytes, *, then: Exception | None = None, commit: bool = True
) -> StagedFile | None:
    """Send `data` in as a request would; `then` is what goes wrong afterwards."""
    async with staging.receive(new_id(), limit_bytes=LIMIT_BYTES) as upload:
        for piece in pieces(data):
            await upload.write(piece)
        staged = await upload.commit() if commit else None
        if then is not None:
            raise then
    return staged


@pytest.mark.parametrize("excess", [1, 5_000_000])
async def test_more_than_the_limit_is_cut_off_and_leaves_nothing(place: Place, excess: int) -> None:
    with pytest.raises(LimitExceeded, match=f"larger than the limit of {LIMIT_BYTES} bytes"):
        await receive(place.staging, bytes(LIMIT_BYTES + excess))
    assert await place.leftovers() == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("committed", [False, True])
async def test_an_exception_removes_the_file_committed_or_not(place: Place, size: int, committed: bool) -> None:
    with pytest.raises(LookupError):
        await receive(place.staging, bytes(size), then=LookupError("the database is away"), commit=committed)
    assert await place.leftovers() == []


@pytest.mark.parametrize("size", SIZES)
async def test_leaving_without_a_commit_leaves_nothing(place: Place, size: int) -> None:
    await receive(place.staging, bytes(size), commit=False)
    assert await place.leftovers() == []


async def test_a_client_that_goes_away_at_any_moment_leaves_nothing(place: Place) -> None:
    data = pieces(os.urandom(1_500_000))

    async def receive_slowly() -> None:
        async with place.staging.receive(new_id(), limit_bytes=LIMIT_BYTES) as upload:
            for piece in data:
                await upload.write(piece)
                await asyncio.sleep(0)
            await upload.commit()
            committed.set()
            await asyncio.Event().wait()

    for step in range(40):
        committed = asyncio.Event()
        receiving = asyncio.create_task(receive_slowly())
        await asyncio.wait([receiving], timeout=step * 0.0005)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert await place.leftovers() == [], f"cancelled after {step * 0.5} ms"


async def test_uploads_at_once_keep_apart(place: Place) -> None:
    bodies = [os.urandom(300_000 + number) for number in range(50)]

    async def there_and_back(body: bytes) -> bytes:
        staged = await receive(place.staging, body)
        assert staged is not None
        async with place.staging.open(staged) as path:
            return await asyncio.to_thread(path.read_bytes)

    assert await asyncio.gather(*(there_and_back(body) for body in bodies)) == bodies


async def test_changed_bytes_are_not_handed_out(place: Place) -> None:
    async with place.staging.receive(new_id(), limit_bytes=LIMIT_BYTES) as upload:
        await upload.write(b"picture")
        staged = await upload.commit()
    await place.store.put_bytes(staged.key, b"PICTURE")
    with pytest.raises(ChecksumMismatch, match=staged.sha256):
        async with place.staging.open(staged):
            pass
    assert await place.leftovers() == [staged.key]


async def test_a_missing_file_is_named(place: Place) -> None:
    async with place.staging.receive(new_id(), limit_bytes=LIMIT_BYTES) as upload:
        staged = await upload.commit()
    missing = replace(staged, key=f"staging/{new_id()}")
    with pytest.raises(ObjectNotFound, match=missing.key):
        async with place.staging.open(missing):
            pass


async def test_only_old_files_are_stale(place: Place) -> None:
    async with place.staging.receive(new_id(), limit_bytes=LIMIT_BYTES) as upload:
        staged = await upload.commit()
    assert [info.key async for info in place.staging.list_stale(older_than_seconds=3600)] == []
    assert [info.key async for info in place.staging.list_stale(older_than_seconds=-60)] == [staged.key]


async def test_a_bucket_that_is_away_is_an_outage_and_leaves_nothing_here(
    disk: LocalDiskStore, object_store_server: ObjectStoreServer
) -> None:
    away = bucket_settings(object_store_server, "any").model_copy(
        update={"endpoint": f"http://127.0.0.1:{free_port()}"}
    )
    async with S3Store(away) as store:
        staging = BucketStaging(store, disk)
        for size in SIZES:
            with pytest.raises(StoreUnavailable):
                await receive(staging, bytes(size))
    assert [path async for path in disk.list_temporary(older_than_seconds=-60)] == []


async def test_copies_that_a_killed_reader_left_go_when_nobody_can_be_reading_them(disk: LocalDiskStore) -> None:
    for name, age_seconds in (("staging/.tmp-old", 7200), ("staging/.tmp-read-now", 60), ("media/.tmp-old", 7200)):
        path = disk.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half a picture")
        written_at = path.stat().st_mtime - age_seconds
        os.utime(path, (written_at, written_at))
    await disk.put_bytes("staging/whole", b"an upload")

    await remove_scratch(disk, older_than_seconds=3600)

    assert sorted(path.name for path in (disk.root / "staging").iterdir()) == [".tmp-read-now", "whole"]
    assert (disk.root / "media/.tmp-old").exists()
