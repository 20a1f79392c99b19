"""Media that go for good leave nothing anywhere, whatever is away, killed or under way meanwhile."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.storage.keys import media_prefix
from shared.testing.databases import TestDatabases
from shared.testing.faulty_http import Answer, FaultyHttp, Hold, Request, Wait, always, faulty, healthy
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import UPLOADS, Api, signed_in
from tests.bucket_contents import BUCKET
from tests.files_on_disk import files_below
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

SERVICES = ("ingest-api", "image-processor", "s3-syncer", "reconciler")
STRATEGIES = ("local_only", "local_first", "both", "s3_only")
PLACES = {"local_only": "local_only", "local_first": "synced", "both": "synced", "s3_only": "s3_only"}
REMEMBERED = {"media_deletions", "deletions", "deleted_media", "outbox", "inbox"}
"""Tables that know of a deletion, and messages on their way."""


@pytest.fixture(scope="module")
async def store(object_store_server: ObjectStoreServer) -> AsyncIterator[FaultyHttp]:
    """The way of the services to the bucket; the tests themselves look past it."""
    async with faulty(object_store_server.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    store: FaultyHttp,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("deletion")
    environment = {
        **bucket_environment(object_store_server, endpoint=store.url),
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "2",
        "MEDIABUS_LOCAL_FIRST_POLL_SECONDS": "0.1",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        await made.start_all(*SERVICES)
        yield made


@pytest.fixture
async def api(system: System, store: FaultyHttp) -> AsyncIterator[Api]:
    async with signed_in(system, system.services[0].base_url) as made:
        yield made
    store.rule = healthy


@pytest.fixture
async def world(system: System, api: Api, object_store_server: ObjectStoreServer) -> World:
    return World(system, api, object_store_server)


class World:
    """Asks for deletions, and looks at every place on its own."""

    def __init__(self, system: System, api: Api, server: ObjectStoreServer) -> None:
        self.system = system
        self.api = api
        self._server = server

    async def uploaded(self, strategy: str, seed: int = 0) -> str:
        """The id of a medium that is where its strategy wants it, as everybody knows."""
        accepted = await self.api.upload(photo_jpeg(320, 240, seed=seed), storageStrategy=strategy, entityId="shoe")
        await self.api.all_completed([accepted["jobId"]])
        media_id = str(accepted["mediaId"])

        async def is_in_place() -> bool:
            known = await self.system.rows("s3-syncer", "SELECT FROM media WHERE media_id = $1", UUID(media_id))
            return bool(known) and (await self.api.media(media_id))["storageStatus"] == PLACES[strategy]

        await eventually(is_in_place, within_seconds=60, every_seconds=0.1, why=f"{media_id} is in its places")
        return media_id

    async def delete(self, media_id: str, **query: Any) -> dict[str, Any]:
        answer = await self.api.http.delete(f"{UPLOADS}/{media_id}", params=query)
        assert answer.status_code in {200, 202}, answer.text
        deleted: dict[str, Any] = answer.json()
        return deleted

    async def deletion(self, deletion_id: str) -> dict[str, Any]:
        answer = await self.api.http.get(f"{UPLOADS}/deletions/{deletion_id}")
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def completed(self, deletion_id: str, within_seconds: float = 60) -> dict[str, Any]:
        async def completed() -> dict[str, Any] | None:
            record = await self.deletion(deletion_id)
            return record if record["status"] == "completed" else None

        record: dict[str, Any] = await eventually(
            completed, within_seconds=within_seconds, every_seconds=0.05, why="the deletion is completed"
        )
        return record

    async def with_every_copy(self, media_id: str, strategy: str) -> set[tuple[str, str]]:
        """The place and key of each of its files, once those that are to be in both places are."""

        async def complete() -> set[tuple[str, str]]:
            on_disk, in_bucket = self.on_disk(media_id), await self.in_bucket(media_id)
            assert on_disk == {"local_only": on_disk, "synced": in_bucket, "s3_only": set()}[PLACES[strategy]]
            return {("disk", key) for key in on_disk} | {("bucket", key) for key in in_bucket}

        there: set[tuple[str, str]] = await eventually(
            complete, within_seconds=60, every_seconds=0.1, why="every copy is where its strategy wants it"
        )
        return there

    def on_disk(self, media_id: str) -> set[str]:
        """Files of any kind whose path names the medium: unfinished ones, too."""
        root = self.system.media_root
        return {str(path.relative_to(root)) for path in files_below(root) if media_id in str(path)}

    def staged(self) -> set[str]:
        return {path.name for path in files_below(self.system.media_root / "staging")}

    async def in_bucket(self, media_id: str) -> set[str]:
        async with self._server.client() as client:
            keys: set[str] = set()
            async for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
                keys |= {one["Key"] for one in page.get("Contents", ()) if media_id in one["Key"]}
        return keys

    async def rows_that_name(self, media_id: str) -> dict[str, int]:
        """In every table of every service, in whatever column; the notice that it is gone is none of it."""
        found: dict[str, int] = {}
        for service in SERVICES:
            connection: asyncpg.Connection[Any] = await asyncpg.connect(self.system.database.dsn(service))
            try:
                tables = await connection.fetch(
                    "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
                )
                for (table,) in tables:
                    if table in REMEMBERED:
                        continue
                    rows = await connection.fetchval(
                        f'SELECT count(*) FROM "{table}" AS row WHERE row::text LIKE $1 AND row::text NOT LIKE $2',
                        f"%{media_id}%",
                        "%media:deleted%",
                    )
                    if rows:
                        found[f"{service}: {table}"] = rows
            finally:
                await connection.close()
        return found

    async def assert_nothing_is_left(self, media_id: str, *, kept: set[str] | None = None) -> None:
        assert self.on_disk(media_id) == set()
        assert await self.in_bucket(media_id) == (kept or set())
        # what is staged goes, and what is published last is marked as handled, behind the answer
        await eventually(lambda: not self.staged(), every_seconds=0.1, why="nothing is staged")
        rows = await eventually(lambda: self._no_rows(media_id), every_seconds=0.1, why="no row names the medium")
        assert rows == "none"

    async def _no_rows(self, media_id: str) -> str:
        rows = await self.rows_that_name(media_id)
        assert rows == {}
        return "none"


@contextmanager
def paused(system: System, service: str) -> Iterator[None]:
    """The service stands still during the block, as a process that the machine has no time for."""
    [process] = [one for one in system.services if one.running and service.replace("-", "_") in one.module]
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_deleted_restored_and_deleted_for_good_a_medium_leaves_nothing(
    world: World, system: System, strategy: str
) -> None:
    media_id = await world.uploaded(strategy)
    record = await world.api.media(media_id)
    rerender = await world.api.http.post(f"{UPLOADS}/watermark", json={"mediaIds": [media_id]})
    assert (await world.api.ended(rerender.json()["jobId"]))["status"] == "completed"
    there = await world.with_every_copy(media_id, strategy)
    assert {key.split("/")[3] for _, key in there} == {"1", "2"}, "both revisions are kept for now"

    soft = await world.delete(media_id, hard=False)
    assert (soft["mode"], soft["deletionId"]) == ("soft", None)
    assert (await world.delete(media_id, hard=False))["deletedAt"] == soft["deletedAt"]
    assert (await world.api.http.get(f"{UPLOADS}/{media_id}")).status_code == 404
    for url in record["urls"].values():
        assert (await world.api.http.get(url)).status_code == 404
    assert there == {("disk", key) for key in world.on_disk(media_id)} | {
        ("bucket", key) for key in await world.in_bucket(media_id)
    }

    restored = await world.api.http.post(f"{UPLOADS}/{media_id}/restore")
    assert restored.status_code == 200, restored.text
    assert restored.json()["deletedAt"] is None
    for url in record["urls"].values():
        assert (await world.api.http.get(url)).status_code in {200, 302}

    one, other = await asyncio.gather(world.delete(media_id, hard=True), world.delete(media_id, hard=True))
    assert one["deletionId"] == other["deletionId"]
    assert (await world.api.http.get(f"{UPLOADS}/{media_id}", params={"deleted": True})).status_code == 404
    receipt = (await world.completed(one["deletionId"]))["receipt"]
    removed = receipt["removed"]
    listed = {(file["place"], file["key"]) for file in removed["list"]}
    assert listed == there
    assert (removed["files"], removed["bytes"]) == (len(listed), sum(file["sizeBytes"] for file in removed["list"]))
    assert receipt["kept"] == {"files": 0, "bytes": 0, "list": [], "because": None}
    assert set(receipt["records"]) == set(SERVICES)
    assert min(receipt["records"].values()) >= 1
    await world.assert_nothing_is_left(media_id)
    assert (await world.api.http.delete(f"{UPLOADS}/{media_id}", params={"hard": True})).status_code == 404


async def test_while_the_bucket_is_away_a_deletion_waits_and_says_for_what(world: World, store: FaultyHttp) -> None:
    media_id = await world.uploaded("both")
    store.rule = always(Answer(503, "SlowDown"))
    deletion_id = (await world.delete(media_id, hard=True))["deletionId"]

    async def waits() -> dict[str, Any] | None:
        record = await world.deletion(deletion_id)
        [waiting] = [one for one in record["waitsFor"] if one["service"] == "s3-syncer"] or [{}]
        because = waiting.get("because") or {}
        return because if because.get("place") else None

    because: dict[str, Any] = await eventually(waits, within_seconds=30, every_seconds=0.1, why="it says why it waits")
    assert (because["place"], because["code"]) == ("bucket", "store_away")
    assert world.on_disk(media_id) == set(), "what can go does"
    assert await world.in_bucket(media_id) != set()
    listed = await world.api.http.get(f"{UPLOADS}/deletions", params={"status": "processing"})
    assert [one["deletionId"] for one in listed.json()["deletions"]] == [deletion_id]

    async def is_measured() -> bool:
        metrics = await world.api.http.get("/metrics")
        [value] = re.findall(r"^mediabus_media_deletions_open (\S+)", metrics.text, re.MULTILINE)
        return float(value) == 1

    await eventually(is_measured, every_seconds=0.2, why="the open deletion is counted")
    store.rule = healthy
    receipt = (await world.completed(deletion_id))["receipt"]
    assert {file["place"] for file in receipt["removed"]["list"]} == {"disk", "bucket"}
    await world.assert_nothing_is_left(media_id)


@pytest.mark.parametrize("strategy", ["both", "s3_only"])
async def test_what_the_bucket_keeps_is_listed(world: World, strategy: str) -> None:
    media_id = await world.uploaded(strategy)
    in_bucket = await world.in_bucket(media_id)
    changed = await world.api.http.patch(f"{UPLOADS}/settings", json={"s3DeleteWithLocal": False})
    assert changed.status_code == 200, changed.text
    try:
        deletion_id = (await world.delete(media_id, hard=True))["deletionId"]
    finally:
        await world.api.http.patch(f"{UPLOADS}/settings", json={"s3DeleteWithLocal": True})
    receipt = (await world.completed(deletion_id))["receipt"]
    assert {file["key"] for file in receipt["kept"]["list"]} == in_bucket != set()
    assert receipt["kept"]["because"] == "s3_delete_with_local_off"
    assert {file["place"] for file in receipt["removed"]["list"]} <= {"disk"}
    await world.assert_nothing_is_left(media_id, kept=in_bucket)


def is_put(request: Request) -> bool:
    return request.method == "PUT"


async def test_a_rendering_under_way_leaves_nothing(world: World, store: FaultyHttp) -> None:
    may_be_stored, held_before = asyncio.Event(), store.count(is_put)
    store.rule = always(Hold(may_be_stored), is_put)
    accepted = await world.api.upload(photo_jpeg(320, 240, seed=9), storageStrategy="both")
    media_id = accepted["mediaId"]
    await eventually(lambda: store.count(is_put) > held_before, every_seconds=0.1, why="its files are being stored")
    deletion_id = (await world.delete(media_id, hard=True))["deletionId"]
    record = await world.deletion(deletion_id)
    assert "image-processor" in {one["service"] for one in record["waitsFor"]}
    may_be_stored.set()
    receipt = (await world.completed(deletion_id))["receipt"]
    assert {file["place"] for file in receipt["removed"]["list"]} == {"disk", "bucket"}
    await world.assert_nothing_is_left(media_id)


async def test_an_upload_that_nobody_has_looked_at_yet_goes_with_its_staged_file(world: World, system: System) -> None:
    with paused(system, "image-processor"):
        accepted = await world.api.upload(photo_jpeg(320, 240, seed=11), storageStrategy="both")
        deletion_id = (await world.delete(accepted["mediaId"], hard=True))["deletionId"]
        record = await world.deletion(deletion_id)
        assert record["waitsFor"][0] == {
            "service": "image-processor",
            "because": {"code": "renderings_open", "detail": "1 renderings of the medium have to end first."},
        }
        assert world.staged() != set()
    await world.completed(deletion_id)
    await world.assert_nothing_is_left(accepted["mediaId"])


async def test_killed_in_the_middle_the_removal_goes_on_and_the_receipt_is_whole(
    world: World, system: System, store: FaultyHttp
) -> None:
    media_id = await world.uploaded("both")
    there = await world.in_bucket(media_id)
    seen: list[str] = []

    def slow_removal(request: Request) -> Wait | None:
        if request.method != "DELETE":
            return None
        seen.append(request.target)
        return Wait(0.3)

    store.rule = slow_removal
    deletion_id = (await world.delete(media_id, hard=True))["deletionId"]
    await eventually(lambda: len(seen) >= 2, within_seconds=30, every_seconds=0.01, why="some files are gone")
    [syncer] = [one for one in system.services if one.running and "s3_syncer" in one.module]
    syncer.kill()
    store.rule = healthy
    assert await world.in_bucket(media_id) != set(), "it was killed in the middle"
    await system.started("s3-syncer")
    receipt = (await world.completed(deletion_id, within_seconds=180))["receipt"]
    assert {file["key"] for file in receipt["removed"]["list"] if file["place"] == "bucket"} == there
    await world.assert_nothing_is_left(media_id)


async def test_many_are_deleted_restored_and_deleted_for_good_in_one_call(world: World, system: System) -> None:
    accepted = [await world.api.upload(photo_jpeg(64, 48, seed=seed), entityId="bulk") for seed in range(3)]
    await world.api.all_completed([one["jobId"] for one in accepted])
    ids = [one["mediaId"] for one in accepted]

    async def bulk(action: str, **body: Any) -> dict[str, Any]:
        answer = await world.api.http.post(f"{UPLOADS}/{action}", json=body)
        assert answer.status_code == 202, answer.text
        return await world.api.ended(answer.json()["jobId"])

    deleted = await bulk("delete", filter={"entityId": "bulk"}, hard=False)
    assert (deleted["status"], deleted["completed"], deleted["failed"]) == ("completed", 3, 0)
    assert {(await world.api.http.get(f"{UPLOADS}/{one}")).status_code for one in ids} == {404}
    restored = await bulk("restore", matching={"entityId": "bulk"})
    assert (restored["status"], restored["completed"]) == ("completed", 3)
    again = await bulk("restore", mediaIds=ids)
    assert (again["status"], again["failed"]) == ("failed", 3)
    assert {child["error"]["code"] for child in again["children"]} == {"not_deleted"}
    gone = await bulk("delete", mediaIds=ids, hard=True)
    assert (gone["status"], gone["completed"]) == ("completed", 3)
    for child in gone["children"]:
        assert (await world.deletion(child["jobId"]))["status"] == "completed"
    assert await world.in_bucket(media_prefix(UUID(ids[0]))) == set()
    assert {frozenset(world.on_disk(one)) for one in ids} == {frozenset()}


async def test_a_medium_whose_file_was_replaced_goes_with_both_files(world: World) -> None:
    media_id = await world.uploaded("both")
    picture = photo_jpeg(200, 100, seed=77)
    answer = await world.api.http.put(f"{UPLOADS}/{media_id}/file", files={"file": ("new.jpg", picture)})
    assert answer.status_code == 202, answer.text
    assert (await world.api.ended(answer.json()["jobId"]))["status"] == "completed"
    record = await world.api.media(media_id)
    assert (record["filename"], record["sizeBytes"], record["width"]) == ("new.jpg", len(picture), 200)
    assert (await world.api.http.get(record["urls"]["original"])).content == picture
    assert {key.split("/")[3] for key in await world.in_bucket(media_id)} == {"1", "2"}
    receipt = (await world.completed((await world.delete(media_id, hard=True))["deletionId"]))["receipt"]
    assert {file["key"].split("/")[3] for file in receipt["removed"]["list"]} == {"1", "2"}
    await world.assert_nothing_is_left(media_id)


async def test_the_api_key_of_the_public_reads_nothing_of_a_deleted_medium(world: World) -> None:
    media_id = await world.uploaded("local_only")
    record = await world.api.media(media_id)
    await world.delete(media_id, hard=False)
    async with httpx.AsyncClient(base_url=str(world.api.http.base_url), timeout=30, verify=False) as stranger:
        for url in record["urls"].values():
            assert (await stranger.get(url)).status_code == 404
            assert (await stranger.get(f"{url}&deleted=true")).status_code == 404
    listed = await world.api.http.get(UPLOADS, params={"deleted": True})
    [deleted] = [one for one in listed.json()["media"] if one["id"] == media_id]
    for url in deleted["urls"].values():
        assert (await world.api.http.get(url)).status_code == 200
