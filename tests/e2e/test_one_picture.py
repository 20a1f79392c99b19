"""One picture through everything: HTTP, outbox, Kafka, process pool, storage, WebSocket; one trace."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.pictures import (
    decompression_bomb_png,
    photo_jpeg,
    real_photos,
    truncated_jpeg,
    turned_by_exif,
)
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.otlp_collector import Collector, running_collector
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack


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
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("one-picture")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_OTLP_ENDPOINT": collector.endpoint,
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        await made.start_all("ingest-api", "image-processor")
        yield made


@pytest.fixture(scope="module")
def ingest(system: System) -> RunningService:
    return system.services[0]


@pytest.fixture
async def api(system: System, ingest: RunningService) -> AsyncIterator[Api]:
    async with signed_in(system, ingest.base_url) as made:
        yield made


async def test_a_real_photograph_comes_out_as_variants(system: System, api: Api) -> None:
    content = real_photos()[0].read_bytes()
    accepted = await api.upload(content, filename="t1.jpg", alt="six faces")
    assert accepted["success"] is True
    assert accepted["status"] == "processing"
    assert set(accepted) == {"success", "status", "jobId", "mediaId", "message"}

    job = await api.ended(accepted["jobId"])
    assert (job["status"], job["progress"], job["attempts"], job["error"]) == ("completed", 100, 1, None)
    record = await api.media(accepted["mediaId"])
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["storageStatus"] == "local_only"
    assert (record["filename"], record["alt"]) == ("t1.jpg", "six faces")
    widths = {variant["name"]: variant["width"] for variant in record["variants"]}
    assert widths["small"] == 640
    for variant in record["variants"]:
        answer = await api.http.get(variant["url"])
        assert answer.status_code == 200
        assert len(answer.content) == variant["sizeBytes"]
        assert answer.headers["content-type"] == variant["mimeType"]
        assert "immutable" in answer.headers["cache-control"]
    assert record["urls"]


async def test_exif_rotation_stands_upright(api: Api) -> None:
    accepted = await api.upload(turned_by_exif(6, width_px=1600, height_px=1000))
    await api.ended(accepted["jobId"])
    record = await api.media(accepted["mediaId"])
    assert (record["width"], record["height"]) == (1600, 1000)


@pytest.mark.parametrize(
    ("content", "code"),
    [(truncated_jpeg(), "image_truncated"), (decompression_bomb_png(), "image_too_many_pixels")],
)
async def test_bad_pictures_fail_with_their_reason(api: Api, content: bytes, code: str) -> None:
    accepted = await api.upload(content)
    job = await api.ended(accepted["jobId"])
    assert job["status"] == "failed"
    assert job["error"]["code"] == code
    assert job["error"]["detail"]
    assert job["attempts"] == 1


async def test_the_uploader_is_told_over_the_websocket(ingest: RunningService, api: Api) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in api.http.cookies.items())
    address = ingest.base_url.replace("http", "ws") + "/api/ws"
    headers = {"Cookie": cookie, "Origin": ingest.base_url}
    async with websockets.connect(address, additional_headers=headers) as socket, asyncio.timeout(60):
        accepted = await api.upload(photo_jpeg(640, 480))
        told: list[dict[str, Any]] = []
        while not told or told[-1]["type"] != "media:processed":
            message = json.loads(await socket.recv())
            if message.get("jobId") == accepted["jobId"]:
                told.append(message)
    final = told[-1]
    assert final["success"] is True
    assert final["mediaId"] == accepted["mediaId"]
    assert final["error"] is None
    assert final["urls"]
    progress = [message["progress"] for message in told if message["type"] == "media:progress"]
    assert progress == sorted(progress)

    # who was away reads what was missed
    async with (
        websockets.connect(f"{address}?after={int(final['id']) - 1}", additional_headers=headers) as socket,
        asyncio.timeout(30),
    ):
        replayed = json.loads(await socket.recv())
    assert replayed == final


async def test_hybrid_mode_answers_with_the_finished_picture(api: Api) -> None:
    answer = await api.post(photo_jpeg(640, 480), headers={"Prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed"


async def test_one_trace_from_the_request_to_the_notice(
    system: System, collector: Collector, ingest: RunningService, api: Api
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    cookie = "; ".join(f"{name}={value}" for name, value in api.http.cookies.items())
    address = ingest.base_url.replace("http", "ws") + "/api/ws"
    headers = {"Cookie": cookie, "Origin": ingest.base_url}
    async with websockets.connect(address, additional_headers=headers) as socket, asyncio.timeout(60):
        answer = await api.post(photo_jpeg(900, 700), headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
        job_id = answer.json()["jobId"]
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "media:processed" and message["jobId"] == job_id:
                break

    wanted = {
        "ingest-api": ["POST", "publish image.process", "process image.processed.v1", "notify"],
        "image-processor": ["process image.process.v1", "render", "decode", "store", "publish image.events"],
    }

    def complete() -> bool:
        spans = collector.trace(trace_id)
        for service, names in wanted.items():
            for name in names:
                assert any(s.service == service and s.name.startswith(name) for s in spans), (
                    f"{service} has no span {name!r} in {sorted({(s.service, s.name) for s in spans})}"
                )
        # A span is sent when it has ended, and its children have ended before.
        known = {span.span_id for span in spans} | {"00f067aa0ba902b7"}
        assert [span for span in spans if span.parent_id not in known] == []
        return True

    await eventually(complete, within_seconds=60, every_seconds=0.2, why="every part of the way is in the trace")
    spans = collector.trace(trace_id)
    assert not [span for span in spans if span.failed]
    # what runs in the render process is part of the trace by time too
    render = next(span for span in spans if span.name == "render")
    decode = next(span for span in spans if span.name == "decode")
    assert render.start_ns <= decode.start_ns <= decode.end_ns <= render.end_ns
    lines = [line for service in system.services for line in service.log_lines()]
    assert all("time" in line and "level" in line for line in lines if "raw" not in line)
    assert not [line for line in lines if "raw" in line], "every line of the log is JSON"
