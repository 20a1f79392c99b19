"""Bucket, disk and records of products, read without the system, and when the system has come to rest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.object_store import ObjectStoreServer
from shared.messaging.topics import TOPICS
from shared.testing.waiting import eventually
from tests.api_client import signed_in
from tests.files_on_disk import contents_below
from tests.system import System

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

RUNS = "/admin/reconcile/runs"
PLANS = "/admin/reconcile/plans"
QUARANTINE = "quarantine/"
SERVICES = ("ingest-api", "s3-syncer", "reconciler")
READS_AT_ONCE = 16


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class State:
    """What lies where, by key and by the SHA-256 of its bytes, and what the records say, by image id."""

    bucket: Mapping[str, str]
    disk: Mapping[str, str]
    records: Mapping[str, Mapping[str, Any]]

    @property
    def quarantined(self) -> dict[str, str]:
        return {key: sha256 for key, sha256 in self.bucket.items() if key.startswith(QUARANTINE)}

    @property
    def of_products(self) -> dict[str, str]:
        return {key: sha256 for key, sha256 in self.bucket.items() if key.startswith("products/")}


class ConsistencyWorld:
    """ingest-api, s3-syncer and reconciler as processes, a bucket and a disk that others change too."""

    def __init__(self, system: System, store: ObjectStoreServer, http: httpx.AsyncClient, client: S3Client) -> None:
        self.system = system
        self.store = store
        self.http = http
        self.client = client
        self.bucket = system.environment["MEDIABUS_S3_BUCKET"]

    # --- looking --------------------------------------------------------------------------------------------------

    async def keys(self, prefix: str = "") -> list[str]:
        """What the bucket holds, listed."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [listed["Key"] async for page in pages for listed in page.get("Contents", [])]

    async def content(self, key: str) -> bytes:
        answer = await self.client.get_object(Bucket=self.bucket, Key=key)
        async with answer["Body"] as body:
            return await body.read()

    async def state(self) -> State:
        """Every byte and every record; what is read while the system works is no state that ever was."""
        places = asyncio.Semaphore(READS_AT_ONCE)

        async def read(key: str) -> tuple[str, str]:
            async with places:
                return key, sha256_of(await self.content(key))

        in_bucket = dict(await asyncio.gather(*(read(key) for key in await self.keys())))
        root = self.system.media_root
        on_disk = {
            str(path.relative_to(root)): sha256_of(content)
            for path, content in contents_below(root / "products").items()
        }
        return State(in_bucket, on_disk, await self.records())

    async def records(self) -> dict[str, dict[str, Any]]:
        rows = await self.system.rows(
            "ingest-api",
            "SELECT id::text, product_id::text, variant_id::text, image_type, object_key, mime_type, size_bytes,"
            " sha256, on_disk, is_hidden, change_id FROM product_images",
        )
        return {row["id"]: dict(row) for row in rows}

    # --- coming to rest -------------------------------------------------------------------------------------------

    async def come_to_rest(self, within_seconds: float = 120) -> None:
        """Return once nothing is asked for, unsent or unread any more."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.system.kafka_bootstrap, group_id=None)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.system.kafka_bootstrap)
        await consumer.start()
        await admin.start()
        calm = 0

        async def has_come() -> bool:
            nonlocal calm
            unread = {**await self._undone(), **await _unread(consumer, admin)}
            # Between an outbox that was empty and a topic that was read a message may have passed: look again.
            calm = 0 if unread else calm + 1
            assert not unread, unread
            return calm >= 2

        try:
            await eventually(has_come, within_seconds=within_seconds, every_seconds=0.2, why="the system is at rest")
        finally:
            await admin.close()
            await consumer.stop()

    async def _undone(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for service in SERVICES:
            rows = await self.system.rows(service, "SELECT topic FROM outbox WHERE sent_at IS NULL")
            found |= {f"outbox of {service} for {row['topic']}": 1 for row in rows}
        rows = await self.system.rows(
            "ingest-api", "SELECT count(*) AS changes FROM product_changes WHERE status IN ('waiting', 'active')"
        )
        return found | ({"changes": rows[0]["changes"]} if rows[0]["changes"] else {})

    # --- reconciler -----------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """One whole round of the sweep, beginning now."""
        (row,) = await self.system.rows(
            "reconciler", "UPDATE sweeps SET due_at = clock_timestamp(), cursor = '' RETURNING rounds"
        )

        async def swept() -> bool:
            (now,) = await self.system.rows("reconciler", "SELECT rounds FROM sweeps")
            return bool(now["rounds"] > row["rounds"])

        await eventually(swept, within_seconds=60, why="the sweep has been round")
        await self.come_to_rest()

    async def fix_all(self) -> tuple[str, dict[str, Any]]:
        """The run of a fix of everything, and how things stand after it; a person approves where one has to."""
        wishes = {"removeOrphaned": True, "recreateMissing": True}
        answer = await self.http.post("/admin/products/sync/sync-all", json=wishes)
        newest = (await self.http.get(RUNS, params={"limit": 1})).json()["runs"][0]
        if answer.status_code == 409:
            problem = answer.json()
            assert (problem["code"], problem["planId"]) == ("approval_needed", newest["planId"]), problem
            answer = await self.http.post(f"{PLANS}/{newest['planId']}/approve")
        assert answer.status_code in {200, 202}, answer.text
        run = await self.ended(newest["id"], "completed")
        assert run["error"] is None, (run["error"], await self.items(newest["id"]))
        await self.come_to_rest()
        return run["planId"], run["result"]

    async def undo(self, plan_id: str) -> None:
        answer = await self.http.post(f"{PLANS}/{plan_id}/undo")
        assert answer.status_code in {200, 202}, answer.text
        run = await self.ended(plan_id, "undone")
        assert run["error"] is None, (run["error"], await self.items(plan_id))
        await self.come_to_rest()

    async def ended(self, run_id: str, status: str, within_seconds: float = 180) -> dict[str, Any]:
        async def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = (await self.http.get(f"{RUNS}/{run_id}")).json()
            return run if run["status"] not in {"comparing", "executing", "undoing"} else None

        run: dict[str, Any] = await eventually(ended, within_seconds=within_seconds, why=f"the run is {status}")
        assert run["status"] == status, run
        return run

    async def items(self, plan_id: str) -> list[dict[str, Any]]:
        """What a plan wanted, and what became of it."""
        found: list[dict[str, Any]] = []
        after: int | None = -1
        while after is not None:
            page = (await self.http.get(f"{PLANS}/{plan_id}", params={"after": after, "limit": 100})).json()
            found, after = found + page["items"], page["next"]
        return found

    async def check_all(self) -> dict[str, Any]:
        answer = await self.http.get("/admin/products/sync/check-all")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def consistency_world(system: System, store: ObjectStoreServer) -> AsyncIterator[ConsistencyWorld]:
    """Needs the services of the system to run."""
    async with signed_in(system, system.services[0].base_url) as api, store.client() as client:
        yield ConsistencyWorld(system, store, api.http, client)


async def _unread(consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> dict[str, int]:
    """How many messages each consumer group has not committed yet, of those that have any."""
    found: dict[str, int] = {}
    for group, *_ in await admin.list_consumer_groups():
        service, _, name = group.partition(".")
        topic = next((topic for topic in TOPICS if topic.name == name), None)
        if service not in SERVICES or topic is None:
            continue
        partitions = [TopicPartition(name, number) for number in range(topic.partitions)]
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
        lag = sum(end - max(committed[one].offset if one in committed else 0, 0) for one, end in ends.items())
        if lag > 0:
            found[f"unread by {group}"] = lag
    return found
