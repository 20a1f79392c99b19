"""Selfies and embeddings are nowhere but where they have to be: not in topics, logs, traces, files or other tables."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from face_embedder.engine import FaceEngine, PackOptions, open_pack
from shared.events import ScheduleDueV1
from shared.messaging.topics import ANSWERS, FACE_EVENTS, FACE_INDEX, FACE_SEARCH, FACE_SYNC, SCHEDULE_EVENTS, TOPICS
from shared.scheduling import CONSENTS_EXPIRY
from shared.testing.databases import TestDatabases
from shared.testing.pictures import truncated_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.bus import Bus
from tests.face_world import BUCKET, START_SECONDS, SYNC_SECONDS, group, nobody, portrait
from tests.files_on_disk import contents_below, files_below
from tests.leaks import Leaks
from tests.otlp_collector import Collector, running_collector
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

SELFIE = portrait(1, quality=61)
"""Also one of the photos, so that its embedding is known."""
NO_PICTURE = truncated_jpeg()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    collector: Collector,
    face_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_OTLP_ENDPOINT": collector.endpoint,
        "MEDIABUS_LOG_LEVEL": "debug",
        "MEDIABUS_FACE_MODELS_FOLDER": str(face_models),
        "MEDIABUS_FACE_WORKERS": "1",
        "MEDIABUS_FACE_SEARCH_SECONDS": "30",
    }
    folder = tmp_path_factory.mktemp("face-privacy")
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        embedder = made.service("face-embedder")
        embedder.start()
        await made.start_all("ingest-api")
        await embedder.wait_until_ready(START_SECONDS)
        yield made


@pytest.fixture
async def api(system: System) -> AsyncIterator[Api]:
    async with signed_in(system, system.services[1].base_url) as made:
        yield made


class Party:
    """An event with photos in the bucket."""

    def __init__(self, api: Api, event: dict[str, Any]) -> None:
        self.api = api
        self.event = event
        self.uuid: str = event["uuid"]

    @classmethod
    async def begun(cls, api: Api, server: ObjectStoreServer, **photos: bytes) -> Party:
        answer = await api.http.post("/api/v1/events", json={"name": "Wedding"})
        assert answer.status_code == 201, answer.text
        party = cls(api, answer.json())
        await party.put(server, **photos)
        await party.synced()
        return party

    def preview(self, name: str) -> str:
        return f"{self.event['s3_prefix']}{name}.jpg"

    async def synced(self, status: str = "completed") -> dict[str, Any]:
        wish = {"event_uuid": self.uuid, "s3_prefix": self.event["s3_prefix"]}
        answer = await self.api.http.post("/api/v1/faces/sync-s3", json=wish)
        assert answer.status_code == 200, answer.text
        task_id = answer.json()["task_id"]

        async def ended() -> dict[str, Any] | None:
            task: dict[str, Any] = (await self.api.http.get(f"/api/v1/faces/tasks/{task_id}")).json()
            return task if task["status"] in ("completed", "failed") else None

        task: dict[str, Any] = await eventually(ended, within_seconds=SYNC_SECONDS, why="the sync ends")
        assert task["status"] == status, task
        return task

    async def post(self, path: str, picture: bytes) -> httpx.Response:
        form, files = {"event_uuid": self.uuid}, {"file": ("me.jpg", picture)}
        return await self.api.http.post(f"/api/v1/faces/{path}", data=form, files=files)

    async def put(self, server: ObjectStoreServer, **photos: bytes) -> None:
        async with server.client() as bucket:
            for name, content in photos.items():
                await bucket.put_object(Bucket=BUCKET, Key=self.preview(name), Body=content)

    async def proposed(self, picture: bytes) -> tuple[str, dict[str, str]]:
        """An erasure, and the photos that it would erase a face of, by key."""
        answer = await self.post("erasures", picture)
        assert answer.status_code == 201, answer.text
        (erasure,) = answer.json()["erasures"]
        return erasure["id"], {match["s3_key"]: match["photo_id"] for match in erasure["matches"]}

    async def confirm(self, erasure_id: str, *photo_ids: str) -> httpx.Response:
        body = {"photo_ids": photo_ids}
        return await self.api.http.post(f"/api/v1/faces/erasures/{erasure_id}/confirm", json=body)

    async def completed(self, erasure_id: str) -> dict[str, Any]:
        async def done() -> dict[str, Any] | None:
            erasure: dict[str, Any] = (await self.api.http.get(f"/api/v1/faces/erasures/{erasure_id}")).json()
            return erasure if erasure["status"] == "completed" else None

        erasure: dict[str, Any] = await eventually(done, within_seconds=60, why="the erasure is completed")
        return erasure

    async def found(self, picture: bytes) -> set[str]:
        """The keys of the photos that a search finds."""
        answer = await self.post("search", picture)
        assert answer.status_code == 200, answer.text
        return {match["s3_key"] for match in answer.json()["matches"]}


async def test_neither_selfie_nor_embedding_is_anywhere_else(
    system: System, api: Api, collector: Collector, object_store_server: ObjectStoreServer, face_models: Path
) -> None:
    party = await Party.begun(api, object_store_server, mine=SELFIE, group=group(), table=nobody())
    assert await party.found(SELFIE) == {party.preview("mine"), party.preview("group")}
    # What goes wrong tells no more than what goes well.
    assert (await party.post("search", NO_PICTURE)).status_code == 422
    assert (await party.post("search", nobody())).status_code == 422

    kept = await system.rows("face-embedder", "SELECT embedding::text FROM faces")
    erasure_id, matches = await party.proposed(SELFIE)
    assert (await party.confirm(erasure_id, matches[party.preview("group")])).status_code == 202
    assert (await party.completed(erasure_id))["faces_erased"] == 1

    with FaceEngine(open_pack(PackOptions(models_folder=face_models)), 1) as engine:
        embeddings = [face.embedding for picture in (SELFIE, group()) for face in engine.analyse(picture)]
    halves = [np.array(row["embedding"].strip("[]").split(","), dtype="<f2") for row in kept]
    # They are those that the services made, or nothing would be looked for.
    assert any(np.allclose(embeddings[0], half.astype("f4"), atol=1e-3) for half in halves)
    leaks = Leaks([SELFIE, NO_PICTURE, nobody()], [*embeddings, *(half.astype("f4") for half in halves)])

    topics = await messages(system)
    assert {FACE_SYNC.name, FACE_INDEX.name, FACE_SEARCH.name, FACE_EVENTS.name, ANSWERS.name} <= topics.keys()
    for topic, content in topics.items():
        assert (topic, leaks.found_in(content)) == (topic, None)
    tables = await rows_of_tables(system)
    expected = {"ingest.face_searches", "ingest.face_erasures", "faces.photos", "faces.erased_faces", "faces.inbox"}
    assert expected <= tables.keys()
    for table, content in tables.items():
        assert (table, leaks.found_in(content)) == (table, None)
    # Logs, and what is staged on the disk: the selfie, sealed or not, was removed as soon as it was read.
    assert not files_below(system.media_root / "selfies")
    files = contents_below(system.log_folder)
    assert {service.log_path for service in system.services} <= files.keys()
    for path, content in files.items():
        assert (path.name, leaks.found_in(content)) == (path.name, None)
    await eventually(lambda: b"face.search.v1" in collector.everything(), within_seconds=30, why="searches are traced")
    await eventually(lambda: b"face.index-photo.v1" in collector.everything(), within_seconds=30)
    assert leaks.found_in(collector.everything()) is None


async def test_erased_faces_do_not_come_back(system: System, api: Api, object_store_server: ObjectStoreServer) -> None:
    party = await Party.begun(api, object_store_server, mine=SELFIE, group=group(), stranger=portrait(6))
    mine, together = party.preview("mine"), party.preview("group")
    # Nobody may search any more; who is on the photos can have that ended all the same.
    switched = await api.http.patch(f"/api/v1/events/{party.uuid}", json={"face_search_enabled": False})
    assert switched.status_code == 200, switched.text
    await eventually(lambda: is_known(system, party.uuid, "NOT is_searchable"), within_seconds=30)
    assert (await party.post("search", SELFIE)).status_code == 409
    erasure_id, matches = await party.proposed(SELFIE)
    assert matches.keys() == {mine, together}
    assert await faces_of(system, party) == {mine: 1, together: 6, party.preview("stranger"): 1}
    assert (await party.confirm(erasure_id, str(UUID(int=1)))).status_code == 422
    assert (await api.http.get(f"/api/v1/faces/erasures/{erasure_id}")).json()["status"] == "proposed"

    # It is durable: confirmed while nobody can carry it out, who was killed does it later.
    embedder = system.services[0]
    embedder.kill()
    confirmed = [await party.confirm(erasure_id, *matches.values()) for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in confirmed] == [(202, "confirmed")] * 2
    assert (await party.confirm(erasure_id, matches[mine])).status_code == 409
    embedder.start()
    await embedder.wait_until_ready(START_SECONDS)
    erasure = await party.completed(erasure_id)
    assert await faces_of(system, party) == {together: 5, party.preview("stranger"): 1}

    key = (await api.http.get("/api/v1/faces/receipt-key")).json()["public_key"]
    assert key == erasure["public_key"]
    verifier = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
    verifier.verify(base64.b64decode(erasure["signature"]), erasure["receipt"].encode())
    receipt = json.loads(erasure["receipt"])
    assert (receipt["erasure_id"], receipt["event_uuid"], receipt["faces_erased"]) == (erasure_id, party.uuid, 2)
    assert {photo["photo_id"]: photo["faces_erased"] for photo in receipt["photos"]} == dict.fromkeys(
        matches.values(), 1
    )
    sql = "SELECT faces::text FROM face_erasures WHERE id = $1::uuid"
    assert [row["faces"] for row in await system.rows("ingest-api", sql, erasure_id)] == ["[]"]

    # Saved anew, copied under another name, or looked at again: the others are found, the person is not.
    await party.put(object_store_server, mine=portrait(1, quality=70), group=group(700), copy=SELFIE)
    task = await party.synced()
    assert (task["new_photos"], task["processed"]) == (3, 3)
    assert await faces_of(system, party) == {together: 5, party.preview("stranger"): 1}
    assert (await party.proposed(SELFIE))[1] == {}

    # Everywhere else the person can still be found, and erased: in each event by itself.
    other = await Party.begun(api, object_store_server, mine=SELFIE)
    answer = await api.http.post("/api/v1/faces/erasures", files={"file": ("me.jpg", SELFIE)})
    assert answer.status_code == 201, answer.text
    erasures = {erasure["event_uuid"]: erasure for erasure in answer.json()["erasures"]}
    assert party.uuid not in erasures
    assert [match["s3_key"] for match in erasures[other.uuid]["matches"]] == [other.preview("mine")]
    assert (await api.http.post("/api/v1/faces/erasures", files={"file": ("me.jpg", nobody())})).status_code == 422


async def test_what_may_not_be_kept_is_hidden_at_once_and_then_gone(
    system: System, api: Api, object_store_server: ObjectStoreServer
) -> None:
    party = await Party.begun(api, object_store_server, mine=SELFIE)
    answer = await party.post("search", SELFIE)
    search_id = answer.json()["search_id"]
    assert len(answer.json()["matches"]) == 1
    ends = datetime.now(UTC) + timedelta(seconds=1)
    changed = await api.http.patch(f"/api/v1/events/{party.uuid}", json={"expires_at": ends.isoformat()})
    assert changed.status_code == 200, changed.text
    await asyncio.sleep((ends - datetime.now(UTC)).total_seconds())
    assert (await party.post("search", SELFIE)).status_code == 409
    assert (await api.http.get(f"/api/v1/faces/searches/{search_id}")).status_code == 409

    async def is_gone() -> bool:
        return await faces_of(system, party) == {}

    async with Bus(system.kafka_bootstrap, SCHEDULE_EVENTS) as bus:
        await bus.send(ScheduleDueV1(name=CONSENTS_EXPIRY, due_at=ends))
    await eventually(is_gone, within_seconds=60, why="the faces are gone")
    await party.synced("failed")
    assert await faces_of(system, party) == {}


async def faces_of(system: System, party: Party) -> dict[str, int]:
    """How many rows of faces there are, by the photo's key."""
    sql = """SELECT s3_key, photo.faces, count(*) AS rows FROM faces JOIN photos AS photo USING (photo_id)
             WHERE faces.event_id = $1::text::uuid GROUP BY photo.photo_id"""
    rows = await system.rows("face-embedder", sql, party.uuid)
    assert all(row["faces"] == row["rows"] for row in rows), rows
    return {row["s3_key"]: row["rows"] for row in rows}


async def is_known(system: System, event_uuid: str, condition: str) -> bool:
    sql = f"SELECT 1 FROM events WHERE event_id = $1::text::uuid AND {condition}"
    return bool(await system.rows("face-embedder", sql, event_uuid))


async def messages(system: System) -> dict[str, bytes]:
    """All that lies in the topics, keys and headers too, by topic; those without any message are left out."""
    names = [topic.name for topic in TOPICS]
    consumer = AIOKafkaConsumer(*names, bootstrap_servers=system.kafka_bootstrap, auto_offset_reset="earliest")
    found: dict[str, list[bytes]] = {}
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        left = {partition for partition, end in ends.items() if end > 0}

        async def read() -> bool:
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    headers = [part for name, value in record.headers for part in (name.encode(), value)]
                    parts = [record.key or b"", record.value or b"", *headers]
                    found.setdefault(partition.topic, []).append(b"\n".join(parts))
            for partition in list(left):
                if await consumer.position(partition) >= ends[partition]:
                    left.discard(partition)
            return not left

        await eventually(read, within_seconds=60, why="all topics are read")
    finally:
        await consumer.stop()
    return {topic: b"\n".join(values) for topic, values in found.items()}


async def rows_of_tables(system: System) -> dict[str, bytes]:
    """What every table has, except for the one that is there for embeddings; empty ones are left out."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(system.database.admin_dsn)
    try:
        tables = await connection.fetch(
            "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'"
        )
        found: dict[str, bytes] = {}
        for table in tables:
            name = f"{table['schema']}.{table['name']}"
            if name != "faces.faces":
                rows = await connection.fetch(f"SELECT row::text AS text FROM {name} AS row")
                if rows:
                    found[name] = "\n".join(row["text"] for row in rows).encode()
        return found
    finally:
        await connection.close()
