"""What is put into the bucket itself: the store tells of it by its own webhook, and it becomes what it stands for."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from deploy.local.bucket_notifications import webhook_environment
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.face_world import START_SECONDS, portrait
from tests.running_service import RunningService
from tests.system import System, running_system

pytestmark = pytest.mark.stack

BUCKET = "mediabus"
TOKEN = "a-token-of-the-store"


@dataclass
class Site:
    """A store of its own that tells ingest-api of its bucket; it was there before ingest-api was."""

    system: System
    store: ObjectStoreServer
    ingest: RunningService
    processor: RunningService

    async def uploads_left(self) -> list[str]:
        async with self.store.client() as client:
            page = await client.list_objects_v2(Bucket=BUCKET, Prefix="uploads/")
            return [found["Key"] for found in page.get("Contents", [])]


@pytest.fixture(scope="module")
async def site(
    databases: TestDatabases, kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    database = await databases.create()
    folder: Path = tmp_path_factory.mktemp("direct-upload")
    store_port = free_port()
    environment = {
        "MEDIABUS_S3_ENDPOINT": f"http://127.0.0.1:{store_port}",
        "MEDIABUS_S3_ACCESS_KEY": "test-access",
        "MEDIABUS_S3_SECRET_KEY": "test-secret-key",
        "MEDIABUS_WEBHOOK_TOKEN": TOKEN,
    }
    system = System(database, kafka_server.bootstrap, folder / "media", folder, environment)
    async with running_system(system):
        await system.make_superadmin()
        ingest, processor = system.service("ingest-api"), system.service("image-processor")
        store = ObjectStoreServer(
            folder / "store",
            store_port,
            "test-access",
            "test-secret-key",
            environment=webhook_environment(f"{ingest.base_url}/webhooks/minio", TOKEN, folder / "notifications"),
        )
        await store.start()
        try:
            await store.create_bucket(BUCKET)
            await store.tell_webhook(BUCKET)
            for service in (ingest, processor):
                service.start()
            await asyncio.gather(ingest.wait_until_ready(), processor.wait_until_ready())
            yield Site(system, store, ingest, processor)
        finally:
            await store.stop()
    await databases.drop(database)


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    async with signed_in(site.system, site.ingest.base_url) as made:
        yield made


async def announced(api: Api, content: bytes, **fields: Any) -> dict[str, Any]:
    body = {
        "filename": "cup.jpg",
        "size": len(content),
        "contentType": "image/jpeg",
        "sha256": hashlib.sha256(content).hexdigest(),
        "entityType": "product",
        "storageStrategy": "local_only",
    } | fields
    answer = await api.http.post("/api/admin/media/uploads", json=body)
    assert answer.status_code == 201, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def send(accepted: dict[str, Any], content: bytes) -> None:
    upload = accepted["upload"]
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.request(upload["method"], upload["url"], content=content, headers=upload["headers"])
    assert answer.status_code == 200, answer.text


async def test_what_is_sent_to_the_bucket_comes_out_as_variants(site: Site, api: Api) -> None:
    content = photo_jpeg(900, 700)
    accepted = await announced(api, content, alt="a cup")
    assert (await api.job(accepted["jobId"]))["status"] == "waiting"
    await send(accepted, content)
    job = await api.ended(accepted["jobId"])
    assert (job["status"], job["progress"], job["error"]) == ("completed", 100, None)
    record = await api.media(accepted["mediaId"])
    assert (record["sha256"], record["alt"]) == (hashlib.sha256(content).hexdigest(), "a cup")
    for variant in record["variants"]:
        assert (await api.http.get(variant["url"])).status_code == 200
    await eventually(lambda: _none_left(site), why="nothing of it stays in the bucket")


async def test_both_targets_tell_and_one_acts(site: Site, api: Api) -> None:
    """FAST tells at once, DURABLE within seconds."""
    before = await repeated(site)
    content = photo_jpeg(300, 200, seed=1)
    accepted = await announced(api, content)
    await send(accepted, content)
    assert (await api.ended(accepted["jobId"]))["status"] == "completed"

    async def told_again() -> bool:
        return await repeated(site) > before

    await eventually(told_again, within_seconds=60, why="the second target has told of it too")
    jobs = await site.system.rows("ingest-api", "SELECT id FROM jobs WHERE media_id = $1", accepted["mediaId"])
    assert len(jobs) == 1


async def repeated(site: Site) -> float:
    async with httpx.AsyncClient(timeout=30) as http:
        lines = (await http.get(f"{site.ingest.base_url}/metrics")).text.splitlines()
    name = 'mediabus_bucket_notifications_total{outcome="repeated"} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def test_what_is_no_picture_fails_with_its_reason(site: Site, api: Api) -> None:
    content = b"not a picture at all"
    accepted = await announced(api, content)
    await send(accepted, content)
    job = await api.ended(accepted["jobId"])
    assert (job["status"], job["error"]["code"]) == ("failed", "upload_no_picture")
    await eventually(lambda: _none_left(site), why="nothing of it stays in the bucket")


async def _none_left(site: Site) -> bool:
    return await site.uploads_left() == []


async def test_what_is_sent_while_nobody_listens_is_told_of_later(site: Site, api: Api) -> None:
    content = photo_jpeg(320, 240, seed=2)
    accepted = await announced(api, content)
    await site.ingest.stop()
    await send(accepted, content)
    site.ingest.start()
    await site.ingest.wait_until_ready()
    job = await api.ended(accepted["jobId"])
    assert (job["status"], job["error"]) == ("completed", None)
    await eventually(lambda: _none_left(site), why="nothing of it stays in the bucket")


async def test_an_api_that_is_killed_with_the_file_in_hand_loses_nothing(site: Site, api: Api) -> None:
    content = photo_jpeg(330, 250, seed=3) + bytes(8_000_000)
    accepted = await announced(api, content)
    await send(accepted, content)
    site.ingest.kill()
    site.ingest.start()
    await site.ingest.wait_until_ready()
    job = await api.ended(accepted["jobId"])
    assert (job["status"], job["error"]) == ("completed", None)
    await eventually(lambda: _none_left(site), why="nothing of it stays in the bucket")
    rows = await site.system.rows("ingest-api", "SELECT key FROM outbox WHERE topic = 'image.process'")
    assert [row["key"] for row in rows].count(accepted["mediaId"]) == 1


async def test_what_others_put_beside_a_product_gets_a_record(site: Site, api: Api) -> None:
    product = (await api.http.post("/admin/products", json={"name": "Coffee"})).json()
    variants = f"/admin/products/{product['id']}/variants"
    answer = await api.http.post(variants, json={"weight": "250 g+", "isActive": True})
    assert answer.status_code == 201, answer.text
    key = f"products/{product['id']}/250 g+/hero-card/Zoë cup.jpg"
    async with site.store.client() as client:
        await client.put_object(Bucket=BUCKET, Key=key, Body=photo_jpeg(64, 48))

    async def recorded() -> bool:
        read = (await api.http.get(f"/admin/products/{product['id']}")).json()
        return [image["fileName"] for image in read["images"]] == [key]

    await eventually(recorded, within_seconds=60, why="the record is made")


async def test_what_an_undo_brings_back_as_nobodys_is_told_of_and_gets_no_record(site: Site, api: Api) -> None:
    product = (await api.http.post("/admin/products", json={"name": "Tea"})).json()
    await api.http.post(f"/admin/products/{product['id']}/variants", json={"weight": "100g", "isActive": True})
    key = f"products/{product['id']}/100g/hero-card/left over.jpg"
    settings = S3Settings(
        endpoint=site.store.endpoint,
        bucket=BUCKET,
        access_key=SecretStr(site.store.access_key),
        secret_key=SecretStr(site.store.secret_key),
    )
    told_before, handled_before = len(await told(site)), await handled(site)
    async with S3Store(settings) as bucket:
        await bucket.put_bytes(f"quarantine/{key}", photo_jpeg(64, 48))
        # As s3-syncer does it for an undo.
        await bucket.copy(f"quarantine/{key}", key, is_nobodys=True)

    async def told_and_heard() -> bool:
        keys = await told(site)
        return key in keys and await handled(site) - handled_before >= len(keys) - told_before

    await eventually(told_and_heard, within_seconds=60, why="the store told of it, and ingest-api looked at it")
    read = (await api.http.get(f"/admin/products/{product['id']}")).json()
    assert read["images"] == []


async def told(site: Site) -> list[str]:
    """The keys of the facts that ingest-api made of notifications."""
    sql = "SELECT payload FROM outbox WHERE topic = 'bucket.events'"
    return [json.loads(row["payload"])["object_key"] for row in await site.system.rows("ingest-api", sql)]


async def handled(site: Site) -> float:
    """How many of them it has dealt with."""
    async with httpx.AsyncClient(timeout=30) as http:
        lines = (await http.get(f"{site.ingest.base_url}/metrics")).text.splitlines()
    counted = [line for line in lines if line.startswith("mediabus_messages_handled_total{")]
    mine = [line for line in counted if 'topic="bucket.events"' in line and 'outcome="done"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


async def test_photos_of_an_event_are_indexed_as_they_appear_in_the_bucket(
    site: Site, api: Api, face_models: Path
) -> None:
    extra = {"MEDIABUS_FACE_MODELS_FOLDER": str(face_models), "MEDIABUS_FACE_WORKERS": "1"}
    embedder = site.system.service("face-embedder", extra)
    embedder.start()
    await embedder.wait_until_ready(START_SECONDS)
    eager = (await api.http.post("/api/v1/events", json={"name": "Wedding", "auto_index": True})).json()
    patient = (await api.http.post("/api/v1/events", json={"name": "Birthday"})).json()

    async def are_known() -> bool:
        # What lies in the folder of an event that face-embedder has not heard of is nothing to it.
        return len(await site.system.rows("face-embedder", "SELECT FROM events")) == 2

    await eventually(are_known, within_seconds=60, why="face-embedder knows the events")
    async with site.store.client() as client:
        for event in (patient, eager):
            await client.put_object(Bucket=BUCKET, Key=f"{event['s3_prefix']}Zoë 1+2.jpg", Body=portrait(1))

    async def indexed() -> list[dict[str, Any]] | None:
        listed = (await api.http.get(f"/api/v1/events/{eager['uuid']}/photos")).json()["photos"]
        return [photo for photo in listed if photo["status"] == "indexed"] or None

    (photo,) = await eventually(indexed, within_seconds=60, why="the photo is indexed without a sync")
    assert (photo["s3_key"], photo["faces"]) == (f"{eager['s3_prefix']}Zoë 1+2.jpg", 1)
    assert (await api.http.get(f"/api/v1/events/{patient['uuid']}/photos")).json()["photos"] == []
    await embedder.stop()
