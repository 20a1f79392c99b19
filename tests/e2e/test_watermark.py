"""Stored pictures get a watermark that was set later: through everything, with readers who never find one missing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from PIL import Image, ImageChops

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.storage.keys import media_prefix
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import UPLOADS, Api, signed_in
from tests.files_on_disk import files_below
from tests.halted_workers import halted_workers
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

STRATEGIES = ("local_only", "local_first", "both", "s3_only")
PLACES = {"local_only": "local_only", "local_first": "synced", "both": "synced", "s3_only": "s3_only"}
MARK = {"text": "Größe 5 € Ё", "opacity": 1, "scale": 0.9, "position": "center"}
VARIANTS = [{"name": "card", "width": 400}, {"name": "tiny", "width": 100}]
RENDER_WORKERS = 2
RERENDERS_IN_HAND = 5
KEPT_SECONDS = 3.0
"""Longer than a reader needs who has just been told where a file lies."""


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("watermark")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_RENDER_WORKERS": str(RENDER_WORKERS),
        "MEDIABUS_RERENDER_CONCURRENCY": str(RERENDERS_IN_HAND),
        "MEDIABUS_SUPERSEDED_KEPT_SECONDS": str(KEPT_SECONDS),
        "MEDIABUS_PRIVATE_ENTITY_TYPES": '["secret"]',
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        await made.start_all("ingest-api", "image-processor", "s3-syncer")
        yield made


@pytest.fixture
async def api(system: System) -> AsyncIterator[Api]:
    async with signed_in(system, system.services[0].base_url) as made:
        yield made


async def set_mark(api: Api, entity_type: str, mark: dict[str, Any] | None) -> None:
    answer = await api.http.put(
        f"{UPLOADS}/settings/entity-types/{entity_type}", json={"variants": VARIANTS, "watermark": mark}
    )
    assert answer.status_code == 200, answer.text


async def uploaded(api: Api, entity_type: str, strategies: Sequence[str]) -> list[dict[str, Any]]:
    """The records of pictures without a mark, once they are where their strategy wants them."""
    await set_mark(api, entity_type, None)
    accepted = [
        await api.upload(photo_jpeg(600, 400, seed=seed), entityType=entity_type, storageStrategy=strategy)
        for seed, strategy in enumerate(strategies)
    ]
    await api.all_completed([one["jobId"] for one in accepted])
    for one, strategy in zip(accepted, strategies, strict=True):
        await in_place(api, one["mediaId"], strategy)
    return [await api.media(one["mediaId"]) for one in accepted]


async def in_place(api: Api, media_id: str, strategy: str) -> None:
    async def is_in_place() -> bool:
        return bool((await api.media(media_id))["storageStatus"] == PLACES[strategy])

    await eventually(is_in_place, within_seconds=60, every_seconds=0.2, why=f"{media_id} is {PLACES[strategy]}")


async def rerendered(api: Api, **selection: Any) -> str:
    answer = await api.http.post(f"{UPLOADS}/watermark", json=selection)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"].endswith(answer.json()["jobId"])
    return str(answer.json()["jobId"])


@asynccontextmanager
async def readers(base_url: str, urls: Sequence[str]) -> AsyncIterator[list[int]]:
    """Read the addresses again and again while the block runs, then check that every answer was 200."""
    statuses: list[int] = []

    async def read(url: str) -> None:
        async with httpx.AsyncClient(base_url=base_url, follow_redirects=True, timeout=30) as client:
            while True:
                answer = await client.get(url)
                statuses.append(answer.status_code)
                assert answer.content
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(read(url)) for url in urls]
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if not isinstance(end, asyncio.CancelledError)] == []
    assert len(statuses) >= len(urls)
    assert set(statuses) == {200}


async def read_all(base_url: str, record: dict[str, Any]) -> dict[str, bytes]:
    async with httpx.AsyncClient(base_url=base_url, follow_redirects=True, timeout=30) as client:
        answers = {name: await client.get(url) for name, url in record["urls"].items()}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {name: answer.content for name, answer in answers.items()}


def difference(before: bytes, after: bytes) -> int:
    with Image.open(io.BytesIO(before)) as one, Image.open(io.BytesIO(after)) as other:
        extrema = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L").getextrema()
    return int(extrema[1])  # type: ignore[arg-type]


async def stored_keys(system: System, store: ObjectStoreServer, media_id: str) -> tuple[set[str], set[str]]:
    """What lies of a medium on the disk and in the bucket."""
    prefix = media_prefix(UUID(media_id))
    folder = system.media_root / prefix
    on_disk = {str(path.relative_to(system.media_root)) for path in files_below(folder)}
    async with store.client() as client:
        listed = await client.list_objects_v2(Bucket="mediabus", Prefix=prefix)
    return on_disk, {entry["Key"] for entry in listed.get("Contents", [])}


async def recorded_keys(system: System, media_id: str) -> tuple[set[str], set[str]]:
    [row] = await system.rows(
        "ingest-api",
        """
        SELECT on_disk, in_bucket, array_append(
            ARRAY(SELECT variant->>'key' FROM jsonb_array_elements(variants) AS variant), original->>'key') AS keys
        FROM media WHERE id = $1::uuid
        """,
        media_id,
    )
    return set(row["keys"]) if row["on_disk"] else set(), set(row["keys"]) if row["in_bucket"] else set()


def revisions(record: dict[str, Any]) -> set[str]:
    return {parse_qs(urlsplit(url).query)["v"][0] for url in record["urls"].values()}


async def test_the_mark_comes_to_stored_pictures_without_a_moment_of_absence(
    system: System, api: Api, object_store_server: ObjectStoreServer
) -> None:
    base_url = system.services[0].base_url
    before = await uploaded(api, "marked", STRATEGIES)
    contents = [await read_all(base_url, record) for record in before]
    await set_mark(api, "marked", MARK)
    async with readers(base_url, [url for record in before for url in record["urls"].values()]):
        parent = await api.ended(await rerendered(api, filter={"entityType": "marked"}))
        assert (parent["status"], parent["total"], parent["completed"]) == ("completed", len(before), len(before))
        for record, strategy in zip(before, STRATEGIES, strict=True):
            await in_place(api, record["id"], strategy)
        # the files of before go meanwhile, and their addresses still answer
        for record in before:

            async def only_the_recorded(media_id: str = record["id"]) -> bool:
                recorded = await recorded_keys(system, media_id)
                return await stored_keys(system, object_store_server, media_id) == recorded

            await eventually(only_the_recorded, within_seconds=60, every_seconds=0.3, why="old files are gone")
    for record, old in zip(before, contents, strict=True):
        after = await api.media(record["id"])
        new = await read_all(base_url, after)
        assert new["original"] == old["original"]
        assert hashlib.sha256(new["original"]).hexdigest() == record["sha256"] == after["sha256"]
        assert difference(old["card"], new["card"]) > 60
        assert revisions(after) == {"2"}
        assert after["storageStatus"] == record["storageStatus"]
        assert {variant["sha256"] for variant in after["variants"]} == {
            hashlib.sha256(content).hexdigest() for name, content in new.items() if name != "original"
        }

    # a second time it is drawn on the original again, not on what is marked already
    await api.ended(await rerendered(api, mediaIds=[record["id"] for record in before]))
    again = await api.media(before[-1]["id"])
    assert revisions(again) == {"3"}
    assert await read_all(base_url, again) == new


async def test_signed_addresses_of_before_stay_good(system: System, api: Api) -> None:
    [record] = await uploaded(api, "secret", ["local_only"])
    base_url = system.services[0].base_url
    await set_mark(api, "secret", MARK)
    async with readers(base_url, list(record["urls"].values())):
        parent = await api.ended(await rerendered(api, mediaIds=[record["id"]]))
        assert parent["status"] == "completed"
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
        address = urlsplit(record["urls"]["card"])
        assert (await client.get(address.path)).status_code == 404
        forged = f"{address.path}?{address.query.replace('v=1', 'v=2')}"
        assert (await client.get(forged)).status_code == 404


async def test_kill_9_in_the_middle_ends_with_every_picture_once(system: System, api: Api) -> None:
    count = 24
    before = await uploaded(api, "killed", ["local_only"] * count)
    await set_mark(api, "killed", MARK)
    processor = system.services[1]
    base_url = system.services[0].base_url
    async with readers(base_url, [record["urls"]["card"] for record in before[:6]]):
        parent_id = await rerendered(api, filter={"entityType": "killed"})

        async def is_in_the_middle() -> bool:
            parent = await api.job(parent_id)
            return 0 < int(parent["completed"]) < count

        await eventually(is_in_the_middle, within_seconds=30, every_seconds=0.02, why="some are done, not all")
        processor.signal(signal.SIGKILL)
        await eventually(lambda: not processor.running, why="it is dead")
        processor.start()
        await processor.wait_until_ready()
        parent = await api.ended(parent_id, within_seconds=180)
    assert (parent["status"], parent["total"], parent["completed"], parent["failed"]) == ("completed", count, count, 0)
    for record in before:
        after = await api.media(record["id"])
        assert revisions(after) == {"2"}
        await read_all(base_url, after)
    rows = await system.rows(
        "image-processor",
        "SELECT revision, count(*) FROM images WHERE media_id = ANY($1::uuid[]) GROUP BY revision ORDER BY revision",
        [record["id"] for record in before],
    )
    assert [tuple(row) for row in rows] == [(1, count), (2, count)]


async def test_who_cancels_stops_what_is_queued_and_not_what_is_begun(system: System, api: Api) -> None:
    count = RERENDERS_IN_HAND + 4
    before = await uploaded(api, "cancelled", ["local_only"] * count)
    await set_mark(api, "cancelled", MARK)
    ids = [record["id"] for record in before]

    def begun() -> set[str]:
        return {path.name[:36] for path in (system.media_root / "scratch").glob("*")} & set(ids)

    with halted_workers(system.services[1], RENDER_WORKERS):
        parent_id = await rerendered(api, mediaIds=ids)
        await eventually(
            lambda: len(begun()) == RERENDERS_IN_HAND, within_seconds=30, why="as many as can be are begun"
        )
        first_ones = begun()
        assert (await api.job(parent_id))["isCancellable"]
        cancelled = await api.http.post(f"{UPLOADS}/jobs/{parent_id}/cancel")
        assert cancelled.status_code == 202, cancelled.text
        known = "SELECT FROM cancelled_rerenders WHERE parent_job_id = $1::uuid"
        await eventually(
            lambda: system.rows("image-processor", known, parent_id), within_seconds=30, why="the renderer knows"
        )
    parent = await api.ended(parent_id, within_seconds=120)
    assert (parent["status"], parent["total"], parent["failed"]) == ("cancelled", count, 0)
    assert parent["completed"] + parent["cancelled"] == count
    stopped = {child["mediaId"] for child in parent["children"] if child["status"] == "cancelled"}
    assert stopped >= set(ids) - first_ones
    for record in before:
        assert revisions(await api.media(record["id"])) == ({"1"} if record["id"] in stopped else {"2"})
    told = (
        "SELECT body->>'status' AS status FROM notices WHERE job_id = $1::uuid AND type = 'jobs:progress' ORDER BY id"
    )

    async def is_told_of() -> bool:
        rows = await system.rows("ingest-api", told, parent_id)
        return [row["status"] for row in rows][1:] == ["cancelled"]

    await eventually(is_told_of, within_seconds=30, why="the end is told")


async def test_a_picture_without_its_original_fails_alone_and_stays_as_it_is(system: System, api: Api) -> None:
    before = await uploaded(api, "lost", ["local_only"] * 3)
    base_url = system.services[0].base_url
    [row] = await system.rows(
        "ingest-api", "SELECT original->>'key' AS key FROM media WHERE id = $1::uuid", before[1]["id"]
    )
    lost = system.media_root / row["key"]
    away = lost.with_name("elsewhere")
    lost.rename(away)
    await set_mark(api, "lost", MARK)
    parent = await api.ended(await rerendered(api, mediaIds=[record["id"] for record in before]))
    assert (parent["status"], parent["completed"], parent["failed"]) == ("completed", 2, 1)
    [failure] = [child for child in parent["children"] if child["error"]]
    assert (failure["mediaId"], failure["error"]["code"]) == (before[1]["id"], "original_missing")
    after = await api.media(before[1]["id"])
    assert after["urls"] == before[1]["urls"]
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
        assert (await client.get(after["urls"]["card"])).status_code == 200

    away.rename(lost)
    retried = await api.http.post(f"{UPLOADS}/jobs/{failure['jobId']}/retry")
    assert retried.status_code == 202, retried.text
    assert (await api.ended(failure["jobId"]))["status"] == "completed"
    assert (await api.job(parent["jobId"]))["completed"] == 3
    assert (await api.media(before[1]["id"]))["urls"] != before[1]["urls"]
