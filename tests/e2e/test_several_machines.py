"""Services that share no disk: uploads wait in the bucket, variants live there, readers are sent there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg, truncated_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.files_on_disk import files_below
from tests.system import System, running_system

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def api(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Api]:
    database = await databases.create()
    folder: Path = tmp_path_factory.mktemp("several-machines")
    environment = {
        "MEDIABUS_S3_ENDPOINT": object_store_server.endpoint,
        "MEDIABUS_S3_ACCESS_KEY": object_store_server.access_key,
        "MEDIABUS_S3_SECRET_KEY": object_store_server.secret_key,
        "MEDIABUS_STAGING_STORE": "bucket",
    }
    system = System(database, kafka_server.bootstrap, folder / "media", folder, environment)
    async with running_system(system):
        await system.make_superadmin()
        disks = [folder / "disk-of-ingest", folder / "disk-of-processor"]
        for disk in disks:
            disk.mkdir()
        ingest, processor = (
            system.service(name, {"MEDIABUS_MEDIA_ROOT": str(disk)})
            for name, disk in zip(("ingest-api", "image-processor"), disks, strict=True)
        )
        for service in (ingest, processor):
            service.start()
        await asyncio.gather(ingest.wait_until_ready(), processor.wait_until_ready())
        async with signed_in(system, ingest.base_url) as made:
            yield made
        await eventually(
            lambda: not [path for disk in disks for path in files_below(disk)],
            why="nothing of a picture stays on a disk that nobody shares",
        )
    async with object_store_server.client() as client:
        for key in await staged_keys(object_store_server):
            await client.delete_object(Bucket="mediabus", Key=key)
    await databases.drop(database)


async def staged_keys(store: ObjectStoreServer) -> list[str]:
    async with store.client() as client:
        answer = await client.list_objects_v2(Bucket="mediabus", Prefix="staging/")
    return [entry["Key"] for entry in answer.get("Contents", [])]


async def test_a_picture_passes_through_the_bucket_alone(api: Api, object_store_server: ObjectStoreServer) -> None:
    content = photo_jpeg(1600, 1000)
    accepted = await api.upload(content, storageStrategy="s3_only")
    job = await api.ended(accepted["jobId"])
    assert job["status"] == "completed", job
    record = await api.media(accepted["mediaId"])
    assert record["storageStatus"] == "s3_only"
    for variant in record["variants"]:
        redirect = await api.http.get(variant["url"])
        assert redirect.status_code in {302, 303, 307}, redirect.status_code
        answer = await api.http.get(redirect.headers["location"])
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == variant["sha256"]
    await eventually(lambda: _nothing_staged(object_store_server), why="staging is empty again")


async def test_a_refused_picture_stays_staged_for_a_retry(api: Api, object_store_server: ObjectStoreServer) -> None:
    accepted = await api.upload(truncated_jpeg(), storageStrategy="s3_only")
    job = await api.ended(accepted["jobId"])
    assert job["error"]["code"] == "image_truncated"
    assert len(await staged_keys(object_store_server)) == 1


async def _nothing_staged(store: ObjectStoreServer) -> bool:
    return await staged_keys(store) == []
