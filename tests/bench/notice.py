"""From the first byte of an upload to the notice on the uploader's WebSocket, one picture at a time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from shared.testing.pictures import photo_jpeg
from tests.bench.figures import Figure, Goal
from tests.bench.site import Site, say
from tests.bench.upload_load import percentile
from tests.bench.uploading import Connections, prepared_request

WARM_UP: Final = 10
_NOTICE_SECONDS: Final = 30.0

_INGEST_TIMES: Final = """
    SELECT job.id, extract(epoch FROM command.created_at)::float8 AS committed,
           extract(epoch FROM command.sent_at)::float8 AS commanded,
           extract(epoch FROM notice.created_at)::float8 AS noticed
    FROM jobs AS job
    JOIN outbox AS command ON command.topic = 'image.process' AND command.key = job.media_id::text
    JOIN notices AS notice ON notice.job_id = job.id AND notice.type = 'media:processed'
    WHERE job.id = ANY($1::uuid[])
"""
_IMAGING_TIMES: Final = """
    SELECT image.job_id AS id, image.render_seconds, extract(epoch FROM fact.created_at)::float8 AS recorded,
           extract(epoch FROM fact.sent_at)::float8 AS told
    FROM images AS image JOIN outbox AS fact ON fact.topic = 'image.events' AND fact.key = image.media_id::text
    WHERE image.job_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Trip:
    """One picture; times in seconds, those of this process and of PostgreSQL by the same clock."""

    job_id: str
    sent: float
    acknowledged: float
    told: float


async def measure_notice(site: Site, pictures: int) -> list[Figure]:
    """A 640 × 480 picture after the other, each when the one before has been told of."""
    contents = [photo_jpeg(640, 480, seed=number) for number in range(8)]
    await site.start_processor()
    say(f"{pictures} pictures from upload to notice, one after the other")
    address = site.ingest.base_url.replace("http", "ws") + "/api/ws"
    async with connect(address, additional_headers={"Authorization": f"Bearer {site.api_key}"}) as socket:
        await _trips(site, socket, contents, WARM_UP)
        trips = await _trips(site, socket, contents, pictures)
    jobs = [trip.job_id for trip in trips]
    ingest = {str(row["id"]): dict(row) for row in await site.system.rows("ingest-api", _INGEST_TIMES, jobs)}
    imaging = {str(row["id"]): dict(row) for row in await site.system.rows("image-processor", _IMAGING_TIMES, jobs)}
    await site.stop_processor()
    return _figures(trips, ingest, imaging)


async def _trips(site: Site, socket: ClientConnection, contents: Sequence[bytes], count: int) -> list[Trip]:
    address = urlsplit(site.ingest.base_url)
    requests = [prepared_request(content, site.api_key, address.netloc) for content in contents]
    assert address.hostname is not None
    assert address.port is not None
    connections = Connections(address.hostname, address.port)
    trips = []
    for number in range(count):
        sent = time.time()
        async with asyncio.timeout(_NOTICE_SECONDS):
            answer = await connections.request(requests[number % len(requests)])
            acknowledged = time.time()
            if answer.status != 202:
                raise RuntimeError(f"an upload was answered with {answer.status}: {answer.body[:500]!r}")
            told = await _told(socket, answer.job_id)
        trips.append(Trip(answer.job_id, sent, acknowledged, told))
    connections.close()
    return trips


async def _told(socket: ClientConnection, job_id: str) -> float:
    while True:
        message = json.loads(await socket.recv())
        if message["type"] == "media:processed" and message["jobId"] == job_id:
            if not message["success"]:
                raise RuntimeError(f"a picture failed: {message['error']}")
            return time.time()


def _figures(
    trips: Sequence[Trip], ingest: Mapping[str, Mapping[str, float]], imaging: Mapping[str, Mapping[str, float]]
) -> list[Figure]:
    whole_ms = [(trip.told - trip.sent) * 1000 for trip in trips]
    parts: dict[str, list[float]] = {}

    def add(part: str, seconds: float) -> None:
        parts.setdefault(part, []).append(seconds * 1000)

    for trip in trips:
        ours, theirs = ingest[trip.job_id], imaging[trip.job_id]
        add("acknowledgement", trip.acknowledged - trip.sent)
        add("commit until Kafka has the command", ours["commanded"] - ours["committed"])
        add("rendering", theirs["render_seconds"])
        handling = theirs["recorded"] - ours["commanded"] - theirs["render_seconds"]
        add("taking over, storing, recording", handling)
        add("commit until Kafka has the outcome", theirs["told"] - theirs["recorded"])
        add("Kafka until the notice is written", ours["noticed"] - theirs["told"])
        add("notice written until received", trip.told - ours["noticed"])
    figures = [
        Figure("p50", percentile(whole_ms, 0.5), "ms", Goal("<", 53, "BullMQ")),
        Figure("p95", percentile(whole_ms, 0.95), "ms"),
    ]
    return figures + [Figure(f"of it, p50: {part}", percentile(values, 0.5), "ms") for part, values in parts.items()]
