"""A bucket and a folder of a test's own, each as an object store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.object_store import ObjectStoreServer
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore
from shared.storage.s3 import S3Store
from tests.integration.object_stores.stored_bytes import s3_settings


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
