"""MinIO itself tells of its bucket: by webhook at once, into Kafka from a queue on disk; both tell the same facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from types_aiobotocore_s3.client import S3Client

from deploy.local.bucket_notifications import DURABLE, FAST, send_notifications, webhook_and_kafka_environment
from deploy.local.go_program import NotBuilt
from deploy.local.kafka_server import KafkaServer
from deploy.local.minio_program import MINIO
from deploy.local.minio_server import MinioServer
from deploy.local.ports import free_port
from shared.events import BucketObjectV1
from shared.events.bucket_notifications import read_notification
from shared.messaging.topics import BUCKET_EVENTS
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.running_service import RunningService
from tests.system import System, running_system

pytestmark = pytest.mark.stack

BUCKET = "mediabus"
TOKEN = "a-token-of-the-store"
PART = b"p" * 5 * 1024 * 1024


@dataclass
class Told:
    """What stands in the topic of this test's bucket: (id, event) as it was told by each way."""

    by: dict[str, list[tuple[str, BucketObjectV1]]] = field(default_factory=lambda: {"webhook": [], "kafka": []})

    def take(self, record: Any) -> None:
        headers = dict(record.headers)
        if "ce_id" in headers:
            event = BucketObjectV1.model_validate_json(record.value)
            self.by["webhook"].append((headers["ce_id"].decode(), event))
            return
        read = read_notification(record.value, "kafka")
        assert read.problem is None
        self.by["kafka"] += [(str(notice.envelope.id), notice.event) for notice in read.notices]

    def ids(self, way: str, prefix: str) -> set[str]:
        return {event_id for event_id, event in self.by[way] if event.object_key.startswith(prefix)}

    def facts(self, way: str, prefix: str) -> list[tuple[str, str]]:
        """What happened to which key, without repetitions, in the order of the sequencers."""
        events = {event_id: event for event_id, event in self.by[way] if event.object_key.startswith(prefix)}
        ordered = sorted(events.values(), key=lambda event: (event.happened_at, event.sequencer or ""))
        return [(event.happened, event.object_key) for event in ordered]


@dataclass
class Site:
    system: System
    store: MinioServer
    ingest: RunningService
    told: Told


@pytest.fixture(scope="module")
def program() -> Path:
    """Building takes minutes, once per machine."""
    try:
        return MINIO.find() or MINIO.build()
    except NotBuilt as reason:
        pytest.skip(f"MinIO itself is not tested: {reason}")


@pytest.fixture(scope="module")
async def site(
    program: Path, databases: TestDatabases, kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    database = await databases.create()
    folder: Path = tmp_path_factory.mktemp("minio")
    port = free_port()
    environment = {
        "MEDIABUS_S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "MEDIABUS_S3_ACCESS_KEY": "test-access",
        "MEDIABUS_S3_SECRET_KEY": "test-secret-key",
        "MEDIABUS_WEBHOOK_TOKEN": TOKEN,
    }
    system = System(database, kafka_server.bootstrap, folder / "media", folder, environment)
    async with running_system(system):
        await system.make_superadmin()
        ingest = system.service("ingest-api")
        targets = webhook_and_kafka_environment(
            f"{ingest.base_url}/webhooks/minio", TOKEN, kafka_server.bootstrap, folder / "queue"
        )
        store = MinioServer(program, folder / "store", port, "test-access", "test-secret-key", environment=targets)
        await store.start()
        try:
            await store.create_bucket(BUCKET)
            async with store.client() as client:
                await send_notifications(client, BUCKET, store.region, (FAST, "webhook"), (DURABLE, "kafka"))
            ingest.start()
            await ingest.wait_until_ready()
            told = Told()
            reading = asyncio.create_task(_read(kafka_server.bootstrap, told))
            yield Site(system, store, ingest, told)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        finally:
            await store.stop()
    await databases.drop(database)


async def _read(bootstrap: str, told: Told) -> None:
    consumer = AIOKafkaConsumer(BUCKET_EVENTS.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async for record in consumer:
            told.take(record)
    finally:
        await consumer.stop()


@pytest.fixture
async def client(site: Site) -> AsyncIterator[S3Client]:
    async with site.store.client() as made:
        yield made


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    async with signed_in(site.system, site.ingest.base_url) as made:
        yield made


def test_a_skip_of_these_tests_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDIABUS_MINIO_BINARY", str(tmp_path / "nothing"))
    assert MINIO.find() is None
    with pytest.raises(NotBuilt, match="MEDIABUS_MINIO_BINARY"):
        MINIO.build()
    monkeypatch.delenv("MEDIABUS_MINIO_BINARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotBuilt, match="Go is not installed"):
        MINIO.build()


async def test_everything_that_happens_is_told_by_both_ways_under_the_same_ids(site: Site, client: S3Client) -> None:
    keys = ["all/plain", "all/a b", "all/a+b", "all/%41%2B", "all/Zoë дом 🖼.jpg", "all/q?x=1&y#z", "all/~!*'()"]
    for key in keys:
        await client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    await client.copy_object(Bucket=BUCKET, Key="all/copy", CopySource={"Bucket": BUCKET, "Key": "all/plain"})
    await _put_in_parts(client, "all/parts")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    await client.put_object_tagging(Bucket=BUCKET, Key="all/plain", Tagging=tags)  # type: ignore[arg-type]
    await client.get_object(Bucket=BUCKET, Key="all/plain")
    await client.delete_object(Bucket=BUCKET, Key="all/a+b")
    several = {"Objects": [{"Key": "all/a b"}, {"Key": "all/copy"}]}
    await client.delete_objects(Bucket=BUCKET, Delete=several)  # type: ignore[arg-type]
    await client.put_object(Bucket=BUCKET, Key="all/the last", Body=b"x")

    created = [("created", key) for key in [*keys, "all/copy", "all/parts"]]
    removed = {("removed", "all/a+b"), ("removed", "all/a b"), ("removed", "all/copy")}

    def both_are_complete() -> bool:
        for way in ("webhook", "kafka"):
            facts = site.told.facts(way, "all/")
            assert facts[: len(created)] == created, way
            assert set(facts[len(created) :]) == removed | {("created", "all/the last")}, way
        return True

    await eventually(both_are_complete, within_seconds=30, why="both ways have told everything")
    assert site.told.ids("webhook", "all/") == site.told.ids("kafka", "all/")


async def _put_in_parts(client: S3Client, key: str) -> None:
    begun = await client.create_multipart_upload(Bucket=BUCKET, Key=key)
    upload: Any = {"Bucket": BUCKET, "Key": key, "UploadId": begun["UploadId"]}
    parts: Any = []
    for number, content in ((1, PART), (2, b"end")):
        put = await client.upload_part(PartNumber=number, Body=content, **upload)
        parts.append({"ETag": put["ETag"], "PartNumber": number})
    await client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)


async def announced_and_sent(api: Api, content: bytes, *, before_sending: Any = None) -> str:
    """The job's id."""
    body = {"filename": "a.jpg", "size": len(content), "contentType": "image/jpeg", "entityType": "product"}
    answer = await api.http.post("/api/admin/media/uploads", json=body)
    assert answer.status_code == 201, answer.text
    upload = answer.json()["upload"]
    if before_sending is not None:
        await before_sending()
    async with httpx.AsyncClient(timeout=30) as sender:
        refused = await sender.put(upload["url"], content=content, headers={"Content-Type": "text/html"})
        assert refused.status_code == 403
        refused = await sender.put(upload["url"], content=content + b"x", headers={"Content-Type": "image/jpeg"})
        assert refused.status_code == 403
        sent = await sender.put(upload["url"], content=content, headers=upload["headers"])
    assert sent.status_code == 200, sent.text
    job_id: str = answer.json()["jobId"]
    return job_id


async def _received(site: Site, job_id: str) -> bool:
    return len(await site.system.rows("ingest-api", "SELECT 1 FROM jobs WHERE id = $1", job_id)) == 1


async def _is_gone(site: Site, key: str) -> bool:
    async with site.store.client() as client:
        page = await client.list_objects_v2(Bucket=BUCKET, Prefix=key)
        return not page.get("Contents")


async def test_an_upload_is_told_of_twice_and_received_once(site: Site, api: Api) -> None:
    job_id = await announced_and_sent(api, photo_jpeg(200, 100))
    key = f"uploads/{job_id}"
    await eventually(lambda: _received(site, job_id), why="the file is received")
    await eventually(
        lambda: site.told.ids("kafka", key) == site.told.ids("webhook", key) != set(),
        why="both ways have told of it",
    )
    handled = "SELECT claim FROM inbox WHERE source = $1 AND claim = ANY($2::text[])"
    created = [
        event_id for event_id, event in site.told.by["kafka"] if (event.object_key, event.happened) == (key, "created")
    ]
    assert len(set(created)) == 1

    async def duplicate_was_met() -> bool:
        async with httpx.AsyncClient(timeout=30) as http:
            text = (await http.get(f"{site.ingest.base_url}/metrics")).text
        return any(
            line.startswith("mediabus_messages_handled_total")
            and 'outcome="duplicate"' in line
            and 'topic="bucket.events"' in line
            for line in text.splitlines()
        )

    await eventually(duplicate_was_met, why="the second of both met the first in the inbox")
    assert len(await site.system.rows("ingest-api", handled, f"/buckets/{BUCKET}", created)) == 1
    assert len(await site.system.rows("ingest-api", "SELECT 1 FROM jobs WHERE id = $1", job_id)) == 1
    await eventually(lambda: _is_gone(site, key), why="the object is taken out of the bucket")


async def test_what_happens_while_nobody_listens_is_told_by_kafka(site: Site, api: Api) -> None:
    """The webhook has no queue and loses it; the durable target has written it before anybody is there to read."""

    async def stop() -> None:
        await site.ingest.stop()

    job_id = await announced_and_sent(api, photo_jpeg(210, 110), before_sending=stop)
    site.ingest.start()
    await site.ingest.wait_until_ready()
    await eventually(lambda: _received(site, job_id), within_seconds=30, why="the file is received")
    # The queue may tell of it twice.
    created = {
        way
        for way, told in site.told.by.items()
        for _, event in told
        if event.object_key == f"uploads/{job_id}" and event.happened == "created"
    }
    assert created == {"kafka"}
