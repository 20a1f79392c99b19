"""Storage, measured in one run: `python -m tests.bench.bench_storage [S3-ENDPOINT ACCESS-KEY SECRET-KEY]`.

Staging: from the first byte of a 500 KB upload to its being durable, at 100 uploads a second and in a burst of 500.
S3: 200 KB objects with 20 in flight against bare aiobotocore on the same server, with the client's CPU.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from types_aiobotocore_s3.client import S3Client

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from shared.identifiers import new_id
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import digest
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.storage.staging import BucketStaging, LocalStaging, Staging

BUCKET: Final = "bench"
UPLOAD: Final = [os.urandom(50_000) for _ in range(10)]
OBJECT: Final = os.urandom(200_000)
UPLOADS_PER_SECOND: Final = 100
IN_FLIGHT: Final = 20
OBJECTS: Final = 1000


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def percentile_ms(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)] * 1000


async def stage_one(staging: Staging, latencies: list[float]) -> None:
    started = time.perf_counter()
    async with staging.receive(new_id(), limit_bytes=50_000_000) as upload:
        for piece in UPLOAD:
            await upload.write(piece)
        await upload.commit()
    latencies.append(time.perf_counter() - started)


async def bench_staging(name: str, staging: Staging) -> None:
    latencies: list[float] = []
    started, cpu = time.perf_counter(), cpu_seconds()
    async with asyncio.TaskGroup() as uploads:
        for number in range(5 * UPLOADS_PER_SECOND):
            await asyncio.sleep(max(0.0, started + number / UPLOADS_PER_SECOND - time.perf_counter()))
            uploads.create_task(stage_one(staging, latencies))
    print(
        f"staging {name:6} {UPLOADS_PER_SECOND}/s of 500 KB   p50 {percentile_ms(latencies, 0.5):6.2f} ms"
        f"   p99 {percentile_ms(latencies, 0.99):6.2f} ms"
        f"   CPU {(cpu_seconds() - cpu) / len(latencies) * 1000:.2f} ms each"
    )
    latencies.clear()
    started = time.perf_counter()
    await asyncio.gather(*(stage_one(staging, latencies) for _ in range(500)))
    seconds = time.perf_counter() - started
    print(f"staging {name:6} burst of 500      all in {seconds:.2f} s ({500 / seconds:.0f}/s)")


async def bench_requests(name: str, request: Callable[[int], Awaitable[object]]) -> None:
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def gated(number: int) -> None:
        async with gate:
            await request(number)

    started, cpu = time.perf_counter(), cpu_seconds()
    await asyncio.gather(*(gated(number) for number in range(OBJECTS)))
    seconds = time.perf_counter() - started
    print(f"{name:22} {OBJECTS / seconds:7.0f}/s   CPU {(cpu_seconds() - cpu) / OBJECTS * 1000:.2f} ms each")


async def bench_both_clients(client: S3Client, store: S3Store, file: Path) -> None:
    """One after the other for each kind of request: what else the machine does meets both."""

    async def bare_get(number: int) -> None:
        answer = await client.get_object(Bucket=BUCKET, Key=f"bare/{number}")
        async with answer["Body"] as body:
            await body.read()

    await bench_requests(
        "PUT   bare aiobotocore",
        lambda number: client.put_object(Bucket=BUCKET, Key=f"bare/{number}", Body=OBJECT),
    )
    await bench_requests("PUT   ours, bytes", lambda number: store.put_bytes(f"bytes/{number}", OBJECT))
    await bench_requests("PUT   ours, file", lambda number: store.put_file(f"file/{number}", file))
    await bench_requests("GET   bare aiobotocore", bare_get)
    await bench_requests("GET   ours, hashed", lambda number: digest(store, f"bytes/{number}"))
    await bench_requests(
        "HEAD  bare aiobotocore", lambda number: client.head_object(Bucket=BUCKET, Key=f"bare/{number}")
    )
    await bench_requests("HEAD  ours", lambda number: store.stat(f"bytes/{number}"))
    started = time.perf_counter()
    count = len([info async for info in store.list()])
    print(f"LIST  ours              {count / (time.perf_counter() - started):7.0f} objects/s")


@asynccontextmanager
async def endpoint(folder: Path) -> AsyncIterator[tuple[str, str, str]]:
    """The store named on the command line, else one of our own for this run."""
    if len(sys.argv) == 4:
        yield (sys.argv[1], sys.argv[2], sys.argv[3])
        return
    server = ObjectStoreServer(folder, free_port(), "bench-access", "bench-secret-key")
    await server.start()
    try:
        yield server.endpoint, server.access_key, server.secret_key
    finally:
        await server.stop()


async def bench(folder: Path) -> None:
    root, file = folder / "disk", folder / "object"
    await asyncio.to_thread(root.mkdir)
    await asyncio.to_thread(file.write_bytes, OBJECT)
    async with AsyncExitStack() as stack:
        url, access_key, secret_key = await stack.enter_async_context(endpoint(folder / "s3"))
        client = await stack.enter_async_context(
            get_session().create_client(
                "s3",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                config=AioConfig(max_pool_connections=IN_FLIGHT, request_checksum_calculation="when_required"),
            )
        )
        if BUCKET not in [bucket.get("Name") for bucket in (await client.list_buckets()).get("Buckets", [])]:
            await client.create_bucket(Bucket=BUCKET)
        settings = {"endpoint": url, "bucket": BUCKET, "access_key": access_key, "secret_key": secret_key}
        store = await stack.enter_async_context(S3Store(S3Settings.model_validate(settings)))
        disk = await stack.enter_async_context(LocalDiskStore(root))
        await bench_staging("local", LocalStaging(disk))
        await bench_staging("bucket", BucketStaging(store, disk))
        await bench_both_clients(client, store, file)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mediabus-bench-") as folder:
        uvloop.run(bench(Path(folder)))


if __name__ == "__main__":
    main()
