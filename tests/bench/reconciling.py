"""Checks and fixes over HTTP, a comparison of a million objects, and of 20,000 real ones beside `rclone check`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from shared.events import Event, ImageProcessedV1, StorageStatus, StoredFile
from shared.identifiers import new_id
from shared.messaging.topics import RECONCILE_EVENTS
from shared.storage.keys import MediaKey
from shared.testing.waiting import eventually
from tests.bench.figures import Figure, Goal
from tests.bench.site import BUCKET, Site, say
from tests.bus import Bus
from tests.reconcile_world import Image, Product

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

PRODUCTS: Final = 150
IMAGES_EACH: Final = 3
CONTENT: Final = b"x" * 1000
REAL_OBJECTS: Final = 20_000
FILES_PER_MEDIUM: Final = 10
WRITERS: Final = 16
SETTINGS: Final = {
    "MEDIABUS_OBJECT_GRACE_SECONDS": "0",
    "MEDIABUS_MEDIA_GRACE_SECONDS": "0",
    "MEDIABUS_RECORD_GRACE_SECONDS": "0",
    "MEDIABUS_GUARD_FILES": "1000",
    "MEDIABUS_SWEEP_EVERY_SECONDS": "3600",
    "MEDIABUS_SCRUB_ENABLED": "false",
}


async def measure_reconciling(site: Site, rounds: int) -> list[Figure]:
    """150 products with 450 images: checks, fixes, then the large comparisons."""
    await site.system.started("reconciler", SETTINGS)
    await site.system.started("s3-syncer")
    headers = {"Authorization": f"Bearer {site.api_key}"}
    async with (
        Bus(site.kafka.bootstrap, RECONCILE_EVENTS) as bus,
        site.store.client() as client,
        httpx.AsyncClient(base_url=site.ingest.base_url, headers=headers, timeout=300) as http,
    ):
        products = await _products(site, bus, client)
        figures = await _checks(http, products, 20 * rounds)
        figures += await _fixes(http, client, products, rounds)
        figures += await _beside_rclone(site, bus, http, rounds)
    return figures + await _a_million()


# --- products ---------------------------------------------------------------------------------------------------------


async def _products(site: Site, bus: Bus, client: S3Client) -> list[Product]:
    say(f"{PRODUCTS} products with {IMAGES_EACH} images each")
    products = [Product(new_id(), new_id()) for _ in range(PRODUCTS)]
    images = [
        Image(product, new_id(), product.key(f"{number}.png"), CONTENT)
        for product in products
        for number in range(IMAGES_EACH)
    ]
    await _each([image.key for image in images], lambda key: _put(client, key))
    await _send(bus, [*(product.event() for product in products), *(image.event() for image in images)])
    await _until_known(site, "product_images", len(images))
    return products


async def _checks(http: httpx.AsyncClient, products: Sequence[Product], count: int) -> list[Figure]:
    one: list[float] = []
    for number in range(count):
        path = f"/admin/products/{products[number % PRODUCTS].product_id}/images/sync/check"
        seconds, body = await _timed(http.get(path))
        if len(body["syncedFiles"]) != IMAGES_EACH:
            raise RuntimeError(f"a clean product is not found clean: {body}")
        one.append(seconds * 1000)
    everything: list[float] = []
    for _ in range(10):
        seconds, body = await _timed(http.get("/admin/products/sync/check-all"))
        if (body["totalProducts"], body["syncedFiles"]) != (PRODUCTS, PRODUCTS * IMAGES_EACH):
            raise RuntimeError("check-all does not find what is there")
        everything.append(seconds)
    return [
        Figure("check of one product, p50", statistics.median(one), "ms", Goal("<=", 20, "promised: 200")),
        Figure("check of one product, p95", statistics.quantiles(one, n=20)[-1], "ms"),
        Figure("check of 150 products, 450 images, p50", statistics.median(everything), "s", Goal("<=", 0.5)),
    ]


async def _fixes(http: httpx.AsyncClient, client: S3Client, products: Sequence[Product], rounds: int) -> list[Figure]:
    single: list[float] = []
    for product in products[: 4 * rounds]:
        await _put(client, product.key("orphan.png"))
        path = f"/admin/products/{product.product_id}/images/sync"
        seconds, body = await _timed(http.post(path, json={"removeOrphaned": True}))
        _require_clean(body)
        single.append(seconds * 1000)
    together: list[float] = []
    for _ in range(rounds):
        await _each([product.key("orphan.png") for product in products], lambda key: _put(client, key))
        seconds, body = await _timed(http.post("/admin/products/sync/sync-all", json={"removeOrphaned": True}))
        _require_clean(body)
        together.append(seconds * 1000 / PRODUCTS)
    return [
        Figure("fix of one product with one orphan, p50", statistics.median(single), "ms"),
        Figure(
            "fix of 150 products with one orphan each, per product",
            statistics.median(together),
            "ms",
            Goal("<=", 50, "promised: 500"),
        ),
    ]


def _require_clean(body: dict[str, Any]) -> None:
    if body["orphanedFiles"] or body["errors"]:
        raise RuntimeError(f"the fix left something: {body}")


# --- 20,000 real objects ----------------------------------------------------------------------------------------------


async def _beside_rclone(site: Site, bus: Bus, http: httpx.AsyncClient, rounds: int) -> list[Figure]:
    say(f"{REAL_OBJECTS} objects on disk and in the bucket")
    media = [_medium() for _ in range(REAL_OBJECTS // FILES_PER_MEDIUM)]
    keys = [file.key for event in media for file in event.variants]
    root = site.system.media_root
    await asyncio.to_thread(_write_all, root, keys)
    await asyncio.to_thread(_rclone, site, "copy", root / "media", "--transfers", str(WRITERS))
    await _send(bus, media)
    await _until_known(site, "media_files", len(keys))
    ours, theirs = [], []
    for _ in range(rounds):
        seconds, run = await _timed(http.post("/admin/reconcile/runs", json={"scope": "media", "approve": True}))
        if run["counts"]["synced"] != len(keys):
            raise RuntimeError(f"not all of them are found well: {run}")
        ours.append(seconds)
        theirs.append(await asyncio.to_thread(_rclone, site, "check", root / "media", "--size-only", "--fast-list"))
    ratio = statistics.median(theirs) / statistics.median(ours)
    return [
        Figure(f"{REAL_OBJECTS} objects in three places compared", statistics.median(ours), "s"),
        Figure("the same two places by rclone check --size-only", statistics.median(theirs), "s"),
        Figure("as fast as rclone", ratio, "×", Goal(">=", 1.0)),
    ]


def _medium() -> ImageProcessedV1:
    media_id, sha256 = new_id(), hashlib.sha256(CONTENT).hexdigest()
    files = tuple(
        StoredFile(
            name=f"v{number}",
            key=str(MediaKey(media_id, 1, f"v{number}", "webp")),
            mime_type="image/webp",
            size_bytes=len(CONTENT),
            sha256=sha256,
            width_px=1,
            height_px=1,
        )
        for number in range(FILES_PER_MEDIUM)
    )
    return ImageProcessedV1(
        job_id=new_id(),
        media_id=media_id,
        revision=1,
        width_px=1,
        height_px=1,
        mime_type="image/webp",
        sha256=sha256,
        original=None,
        variants=files,
        placeholder="",
        storage_status=StorageStatus.SYNCED,
        on_disk=True,
        in_bucket=True,
        render_seconds=0.1,
        processed_at=datetime.now(UTC),
    )


def _write_all(root: Path, keys: Sequence[str]) -> None:
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)


def _rclone(site: Site, command: str, folder: Path, *options: str) -> float:
    """Seconds. `check --size-only` compares what listings tell, which is what ours does with three places."""
    environment = {
        "PATH": os.environ["PATH"],
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "Minio",
        "RCLONE_CONFIG_STORE_ENDPOINT": site.store.endpoint,
        "RCLONE_CONFIG_STORE_REGION": site.store.region,
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": site.store.access_key,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": site.store.secret_key,
    }
    program = str(Path(sys.executable).with_name("rclone"))
    started = time.perf_counter()
    subprocess.run(
        [program, command, str(folder), f"store:{BUCKET}/media", *options],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return time.perf_counter() - started


# --- a million --------------------------------------------------------------------------------------------------------


async def _a_million() -> list[Figure]:
    say("a comparison of a million generated objects")
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "tests.bench.million"], check=True, capture_output=True, text=True
    )
    measured = json.loads(done.stdout)
    return [
        Figure("1,000,000 objects compared and planned", measured["seconds"], "s", Goal("<=", 60)),
        Figure("processor time of it", measured["cpu_seconds"], "s"),
        Figure("memory of that process", measured["resident_mebibytes"], "MiB", Goal("<=", 250 * 10**6 / 2**20)),
    ]


# --- doing many things ------------------------------------------------------------------------------------------------


async def _timed(request: Awaitable[httpx.Response]) -> tuple[float, dict[str, Any]]:
    started = time.perf_counter()
    answer = await request
    seconds = time.perf_counter() - started
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")
    body: dict[str, Any] = answer.json()
    return seconds, body


async def _put(client: S3Client, key: str) -> None:
    await client.put_object(Bucket=BUCKET, Key=key, Body=CONTENT)


async def _each(keys: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    left = iter(keys)

    async def worker() -> None:
        for key in left:
            await work(key)

    await asyncio.gather(*(worker() for _ in range(WRITERS)))


async def _send(bus: Bus, events: Sequence[Event]) -> None:
    for first in range(0, len(events), 200):
        await asyncio.gather(*(bus.send(event) for event in events[first : first + 200]))


async def _until_known(site: Site, table: str, count: int) -> None:
    async def known() -> bool:
        (row,) = await site.system.rows("reconciler", f"SELECT count(*) FROM {table}")
        return bool(row["count"] >= count)

    await eventually(known, within_seconds=120, every_seconds=0.2, why=f"{count} rows of {table} are known")
