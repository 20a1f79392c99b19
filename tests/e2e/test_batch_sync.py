"""Sixty pictures from disk to bucket through everything: HTTP, planning, batches, facts, WebSocket, catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

SYNC = "/api/admin/media/sync"
PICTURES = 60
BATCH_SIZE = 20
FINAL = {"completed", "failed", "cancelled"}


@pytest.fixture
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path: Path,
) -> AsyncIterator[System]:
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_SYNC_BATCH_SIZE": str(BATCH_SIZE),
    }
    async with system_of_its_own(databases, kafka_server, tmp_path, environment) as made:
        await made.make_superadmin()
        await made.start_all("ingest-api", "image-processor", "s3-syncer")
        yield made


async def followed(api: Api, job_id: str) -> dict[str, Any]:
    """The job at its end; its counts made sense whenever they were read."""
    senseless: list[dict[str, Any]] = []

    async def ended() -> dict[str, Any] | None:
        answer = await api.http.get(f"{SYNC}/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        is_sum = job["processedFiles"] == sum(child["processedFiles"] for child in job["childJobs"])
        if job["processedFiles"] + job["failedFiles"] > job["totalFiles"] or (job["isParent"] and not is_sum):
            senseless.append(job)
        is_whole = all(child["status"] in FINAL for child in job["childJobs"])
        return job if job["status"] in FINAL and is_whole else None

    job: dict[str, Any] = await eventually(ended, within_seconds=120, every_seconds=0.05, why="the job ends")
    assert senseless == []
    return job


async def last_notice(system: System, api: Api, job_id: str) -> dict[str, Any]:
    """What the WebSocket says of the job in the end, to somebody who was away meanwhile."""
    cookie = "; ".join(f"{name}={value}" for name, value in api.http.cookies.items())
    origin = str(api.http.base_url).rstrip("/")
    address = f"{origin.replace('http', 'ws', 1)}/api/ws?after=0"
    headers = {"Cookie": cookie, "Origin": origin}
    async with asyncio.timeout(30), websockets.connect(address, additional_headers=headers) as connection:
        while True:
            message: dict[str, Any] = json.loads(await connection.recv())
            if message["type"] == "sync:progress" and message["jobId"] == job_id and message["status"] in FINAL:
                return message


async def test_sixty_pictures_go_to_the_bucket_in_batches_and_all_that_match_leave_the_disk(
    system: System, object_store_server: ObjectStoreServer
) -> None:
    async with signed_in(system, system.services[0].base_url) as api:
        uploads = [await api.upload(photo_jpeg(64 + i, 48), storageStrategy="local_only") for i in range(PICTURES)]
        await api.all_completed([upload["jobId"] for upload in uploads])
        media_ids = [upload["mediaId"] for upload in uploads]
        answer = await api.http.post(SYNC, json={"operation": "upload_to_s3", "mediaIds": media_ids})
        assert answer.status_code == 202, answer.text

        job = await followed(api, answer.json()["jobId"])
        assert (job["status"], job["error"]) == ("completed", None)
        assert (job["totalFiles"], job["processedFiles"], job["failedFiles"]) == (PICTURES, PICTURES, 0)
        assert job["movedBytes"] == job["totalBytes"] > 0
        assert [child["totalFiles"] for child in job["childJobs"]] == [BATCH_SIZE] * (PICTURES // BATCH_SIZE)
        assert {result["mediaId"] for result in job["results"]} == set(media_ids)
        assert {result["status"] for result in job["results"]} == {"done"}
        notice = await last_notice(system, api, job["id"])
        assert (notice["status"], notice["processedFiles"]) == ("completed", PICTURES)

        async def synced() -> list[dict[str, Any]] | None:
            records = [await api.media(media_id) for media_id in media_ids]
            return records if {record["storageStatus"] for record in records} == {"synced"} else None

        records: list[dict[str, Any]] = await eventually(synced, within_seconds=60, why="the media are synced")
        async with object_store_server.client() as client:
            for record in records:
                assert record["s3Key"] == record["localPath"]
                stored = await client.get_object(Bucket="mediabus", Key=record["s3Key"])
                async with stored["Body"] as body:
                    content = await body.read()
                assert content == (system.media_root / record["localPath"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() in {
                    record["sha256"],
                    *(variant["sha256"] for variant in record["variants"]),
                }

        refused = await api.http.post(f"{SYNC}/{job['id']}/retry")
        assert refused.status_code == 409, refused.text

        ingest_api = system.services[0]
        matching = {"q": "picture", "storageStatus": "synced"}
        answer = await api.http.post(SYNC, json={"operation": "delete_local", "matching": matching})
        assert answer.status_code == 202, answer.text
        ingest_api.kill()
        ingest_api.start()
        await ingest_api.wait_until_ready()
        cleared = await followed(api, answer.json()["jobId"])
        assert (cleared["status"], cleared["totalFiles"], cleared["processedFiles"]) == (
            "completed",
            PICTURES,
            PICTURES,
        )
        assert {result["mediaId"] for result in cleared["results"]} == set(media_ids)
        left = [file for record in records if (file := system.media_root / record["localPath"]).exists()]
        assert left == []
