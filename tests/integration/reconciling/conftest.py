"""What the tests of what reconciler does by itself share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from shared.db.pool import Database
from shared.identifiers import new_id
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.testing.databases import TestDatabase
from tests.integration.reconciling.reconciler_world import BUCKET, Reconciler, Swept


@pytest.fixture
async def reconciler(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Reconciler]:
    opened = Database(database.dsn("reconciler"), application_name="test")
    yield Reconciler(opened, tmp_path)
    await opened.close()


@pytest.fixture
async def swept(reconciler: Reconciler, object_store_server: ObjectStoreServer) -> AsyncIterator[Swept]:
    settings = S3Settings(
        endpoint=object_store_server.endpoint,
        bucket=BUCKET,
        access_key=SecretStr(object_store_server.access_key),
        secret_key=SecretStr(object_store_server.secret_key),
    )
    async with S3Store(settings) as store:
        made = Swept(reconciler, store, f"products/{new_id()}/")
        yield made
        async for info in store.list(made.prefix):
            await store.delete(info.key)
