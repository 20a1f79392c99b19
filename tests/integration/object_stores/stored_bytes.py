"""What the tests of object stores read and write with."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from deploy.local.object_store import ObjectStoreServer
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings

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


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
