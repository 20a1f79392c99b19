"""120 pictures go from disk to the bucket in one job with children."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from deploy.demo.client import Client
from shared.testing.pictures import photo_jpeg

PICTURES = 120
UPLOADS_AT_ONCE = 6
POLL_SECONDS = 0.2
RENDER_SECONDS = 180.0
SYNC_SECONDS = 180.0
FINAL = frozenset({"completed", "failed", "cancelled"})


async def show_batch_sync(client: Client, console: Console) -> bool:
    """Upload, copy as one job, and show parent and children; whether every picture is in both places at the end."""
    media_ids = await _upload(client, console)
    job_id = await client.start_sync("upload_to_s3", media_ids)
    started_at = time.monotonic()
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        job = await _follow(client, job_id, progress)
    seconds = time.monotonic() - started_at
    states = [(await client.media(media_id))["storageStatus"] for media_id in media_ids]
    synced = states.count("synced")
    console.print(
        f"storage job {job['status']}: {job['processedFiles']} of {job['totalFiles']} pictures copied to the bucket by "
        f"{job['childCount']} children, {job['movedBytes'] / 1e6:.1f} MB in {seconds:.1f} s; {synced} are synced"
    )
    return job["status"] == "completed" and job["processedFiles"] == PICTURES == synced and bool(job["childCount"] > 1)


async def _upload(client: Client, console: Console) -> list[str]:
    contents = [photo_jpeg(320, 240, seed=number) for number in range(PICTURES)]
    slots = asyncio.Semaphore(UPLOADS_AT_ONCE)
    with Progress(TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), console=console) as progress:
        bar = progress.add_task("to be copied", total=PICTURES)

        async def one(number: int) -> str:
            async with slots, asyncio.timeout(RENDER_SECONDS):
                job_id = await client.upload(f"batch-{number}.jpg", contents[number], "local_only")
                while True:
                    job = await client.job(job_id)
                    if job["status"] in FINAL:
                        progress.advance(bar)
                        return str(job["result"]["mediaId"])
                    await asyncio.sleep(POLL_SECONDS)

        return await asyncio.gather(*(one(number) for number in range(PICTURES)))


async def _follow(client: Client, job_id: str, progress: Progress) -> dict[str, Any]:
    bars: dict[str, TaskID] = {}
    async with asyncio.timeout(SYNC_SECONDS):
        while True:
            job = await client.sync_job(job_id)
            _show(progress, bars, "parent", job)
            for child in job["childJobs"]:
                _show(progress, bars, f"  child {child['batchIndex']}", child)
            if job["status"] in FINAL:
                return job
            await asyncio.sleep(POLL_SECONDS)


def _show(progress: Progress, bars: dict[str, TaskID], name: str, job: dict[str, Any]) -> None:
    if job["id"] not in bars:
        bars[job["id"]] = progress.add_task(name, total=job["totalFiles"] or None)
    done = job["processedFiles"] + job["failedFiles"]
    progress.update(bars[job["id"]], completed=done, total=job["totalFiles"] or None)
