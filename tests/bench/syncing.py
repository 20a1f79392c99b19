"""A sync job from disk to bucket against `rclone copy` of the same files to the same store, in turns in one run.

Both have the same number of files in flight. The job is a real one, with everything that belongs to it: from the
command on Kafka to the fact on Kafka that the job has ended, with items, counters, places and facts of every file.
What both sides put stays until the end: 2.4 GB a turn, and as much again for the jobs that are twice as large.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from deploy.local.proc import resident_bytes
from shared.events import Envelope, StoredFile, SyncOperation
from shared.identifiers import new_id
from shared.messaging.topics import SYNC_EVENTS, ensure_topics
from shared.storage.keys import MediaKey
from shared.testing.databases import TestDatabases
from tests.bench.figures import Figure, Goal
from tests.bench.processors import cpu_seconds
from tests.bench.site import BUCKET, say
from tests.running_service import RunningService
from tests.sync_world import FINAL, start_command
from tests.system import System, running_system

IN_FLIGHT: Final = 20
DISTINCT_CONTENTS: Final = 20
JOB_SECONDS: Final = 300.0
PROMISED_SECONDS: Final = 120.0
AGAINST_RCLONE: Final = 1.0
GROWTH_BYTES: Final = 32 * 2**20
"""How much more the syncer may hold during jobs that are twice as large: a hundredth of what they move in addition."""
_RSS_EVERY_SECONDS: Final = 0.05
_MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Load:
    """So many files of one size."""

    name: str
    files: int
    size_bytes: int

    def doubled(self) -> Load:
        return Load(f"2 × {self.name}", 2 * self.files, self.size_bytes)


SMALL: Final = Load("1000 × 200 KB", 1000, 200_000)
LARGE: Final = Load("20 × 50 MB", 20, 50_000_000)
WARM_UP: Final = Load("warm-up", 300, 200_000)


@dataclass
class Turns:
    """What one side took for a load, turn by turn."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


async def measure_syncing(folder: Path, rounds: int) -> list[Figure]:
    """Both loads by both sides, `rounds` times in turns, then each load twice as large by the syncer."""
    async with _running_syncer(folder) as syncer:
        rclone = _Rclone(syncer.store, folder)
        at_rest_bytes = syncer.resident_bytes
        # Kafka and PostgreSQL have run for days where jobs are asked for; the first job would pay for their start.
        await syncer.run(WARM_UP, await syncer.store_on_disk(WARM_UP))
        figures: list[Figure] = []
        for load in (SMALL, LARGE):
            say(f"{load.name}: {rounds} turns of a sync job and of rclone copy")
            figures += await _compared(load, rounds, syncer, rclone)
        peak_bytes = syncer.peak_bytes
        settled_bytes = syncer.resident_bytes
        for load in (SMALL.doubled(), LARGE.doubled()):
            say(f"{load.name}: the memory of a job that is twice as large")
            await syncer.run(load, await syncer.store_on_disk(load))
        remark = "the highest that was seen while files moved"
        growth = (syncer.peak_bytes - peak_bytes) / _MEBIBYTE
        return [
            *figures,
            Figure("memory of the syncer: at rest, before the first job", at_rest_bytes / _MEBIBYTE, "MiB"),
            Figure("during all those jobs", peak_bytes / _MEBIBYTE, "MiB", None, remark),
            Figure("after them", settled_bytes / _MEBIBYTE, "MiB"),
            Figure("during jobs twice as large: more by", growth, "MiB", Goal("<=", GROWTH_BYTES / _MEBIBYTE, "flat")),
            Figure("after those", syncer.resident_bytes / _MEBIBYTE, "MiB"),
        ]


async def _compared(load: Load, rounds: int, syncer: _Syncer, rclone: _Rclone) -> list[Figure]:
    ours, theirs = Turns(), Turns()
    tree = _tree(syncer.contents, load, rclone.folder / f"{load.size_bytes}")
    for number in range(rounds):
        # Who goes first in a round goes second in the next: what one leaves to the store to do meets both.
        for turn in ("job", "rclone") if number % 2 else ("rclone", "job"):
            if turn == "job":
                await syncer.run(load, await syncer.store_on_disk(load), ours)
            else:
                await rclone.copy(load, tree, theirs)
    ratio = statistics.median(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))
    rate = load.files / statistics.median(ours.seconds)
    its_rate = load.files / statistics.median(theirs.seconds)
    return [
        Figure(f"{load.name}: sync job", rate, "files/s", None, _megabytes(load, rate)),
        Figure(f"{load.name}: rclone copy", its_rate, "files/s", None, _megabytes(load, its_rate)),
        Figure(f"{load.name}: sync job : rclone copy", ratio, "×", Goal(">=", AGAINST_RCLONE), _each(ours, theirs)),
        Figure(f"{load.name}: longest job", max(ours.seconds), "s", Goal("<", PROMISED_SECONDS, "promised")),
        Figure(f"{load.name}: processor time of a job, the syncer", statistics.median(ours.cpu_seconds), "s"),
        Figure(f"{load.name}: processor time of rclone", statistics.median(theirs.cpu_seconds), "s"),
    ]


def _megabytes(load: Load, files_per_second: float) -> str:
    return f"{files_per_second * load.size_bytes / 1e6:.0f} MB/s"


def _each(ours: Turns, theirs: Turns) -> str:
    return "turn by turn " + ", ".join(f"{b / a:.2f}" for a, b in zip(ours.seconds, theirs.seconds, strict=True))


class _Contents:
    """A few files of random bytes per size; every further file is another name of one of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[int, list[tuple[Path, str]]] = {}

    def of(self, size_bytes: int) -> list[tuple[Path, str]]:
        """Where they lie, with their SHA-256."""
        if size_bytes not in self._made:
            self._made[size_bytes] = [self._make(size_bytes, number) for number in range(DISTINCT_CONTENTS)]
        return self._made[size_bytes]

    def _make(self, size_bytes: int, number: int) -> tuple[Path, str]:
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{size_bytes}-{number}"
        content = os.urandom(size_bytes)
        path.write_bytes(content)
        return path, hashlib.sha256(content).hexdigest()


def _lay(contents: _Contents, load: Load, root: Path) -> list[tuple[UUID, StoredFile]]:
    """A medium of one file each below `root`, as image-processor lays them."""
    laid: list[tuple[UUID, StoredFile]] = []
    made = contents.of(load.size_bytes)
    for number in range(load.files):
        source, sha256 = made[number % len(made)]
        media_id = new_id()
        key = str(MediaKey(media_id, 1, "original", "webp"))
        path = root / key
        path.parent.mkdir(parents=True)
        path.hardlink_to(source)
        laid.append((media_id, _stored(key, load.size_bytes, sha256)))
    return laid


def _stored(key: str, size_bytes: int, sha256: str) -> StoredFile:
    return StoredFile(
        name="original",
        key=key,
        mime_type="image/webp",
        size_bytes=size_bytes,
        sha256=sha256,
        width_px=10,
        height_px=10,
    )


def _tree(contents: _Contents, load: Load, root: Path) -> Path:
    """The same files in the same folders, for those who copy a folder."""
    root.mkdir(parents=True)
    _lay(contents, load, root)
    return root


class _Syncer:
    """The service, what it is asked, and what it needs for it."""

    def __init__(
        self,
        system: System,
        service: RunningService,
        store: ObjectStoreServer,
        producer: AIOKafkaProducer,
        ends: _Ends,
        folder: Path,
    ) -> None:
        self._system = system
        self._service = service
        self.store = store
        self._producer = producer
        self._ends = ends
        self.contents = _Contents(folder / "contents")
        self.peak_bytes = 0

    @property
    def resident_bytes(self) -> int:
        return resident_bytes(self._service.pid)

    async def store_on_disk(self, load: Load) -> list[UUID]:
        """Put media on the disk and into the syncer's table, as if they had been told of."""
        laid = await asyncio.to_thread(_lay, self.contents, load, self._system.media_root)
        await self._system.rows(
            "s3-syncer",
            "INSERT INTO media (media_id, revision, entity_type, files, size_bytes, on_disk)"
            " SELECT (made->>'id')::uuid, 1, 'product', made->'files', (made->>'size')::bigint, true"
            " FROM jsonb_array_elements($1::text::jsonb) AS made",
            json.dumps(
                [
                    {"id": str(media_id), "files": [file.model_dump(mode="json")], "size": file.size_bytes}
                    for media_id, file in laid
                ]
            ),
        )
        return [media_id for media_id, _ in laid]

    async def run(self, load: Load, media_ids: Sequence[UUID], turns: Turns | None = None) -> None:
        """One job from its command to the fact of its end. Raises RuntimeError unless every byte was moved."""
        command = start_command(SyncOperation.UPLOAD_TO_S3, media_ids)
        ended = self._ends.of(command.job_id)
        watching = asyncio.create_task(self._watch_memory())
        before, started = cpu_seconds(self._service.pid), time.perf_counter()
        headers = Envelope.new(command, "/bench").headers()
        await self._producer.send_and_wait(
            command.topic.name,
            command.payload(),
            key=command.key().encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
        async with asyncio.timeout(JOB_SECONDS):
            fact = await ended
        seconds = time.perf_counter() - started
        used = cpu_seconds(self._service.pid) - before
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        if fact["status"] != "completed" or fact["moved_bytes"] != load.files * load.size_bytes:
            raise RuntimeError(f"the job did not move everything: {fact}")
        if turns is not None:
            turns.seconds.append(seconds)
            turns.cpu_seconds.append(used)

    async def _watch_memory(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self.resident_bytes)
            await asyncio.sleep(_RSS_EVERY_SECONDS)


class _Ends:
    """Tells when a job has ended, by what is told on Kafka."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._awaited: dict[bytes, asyncio.Future[dict[str, object]]] = {}

    def of(self, job_id: UUID) -> asyncio.Future[dict[str, object]]:
        return self._awaited.setdefault(str(job_id).encode(), asyncio.get_running_loop().create_future())

    async def watch(self) -> None:
        async for record in self._consumer:
            awaited = self._awaited.get(record.key)
            # Read only what can be an end of the job itself: reading each of thousands of facts slows down both sides.
            if awaited is None or awaited.done() or b'"finished_at":null' in record.value:
                continue
            fact = json.loads(record.value)
            if fact["job_id"].encode() == record.key and fact["status"] in FINAL:
                awaited.set_result(fact)


class _Rclone:
    """`rclone copy` with as many transfers and checkers as the syncer has files in flight."""

    def __init__(self, store: ObjectStoreServer, folder: Path) -> None:
        self.folder = folder / "rclone"
        self._numbers = count()
        self._environment = {
            "PATH": os.environ["PATH"],
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_STORE_TYPE": "s3",
            "RCLONE_CONFIG_STORE_PROVIDER": "Minio",
            "RCLONE_CONFIG_STORE_ENDPOINT": store.endpoint,
            "RCLONE_CONFIG_STORE_REGION": store.region,
            "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": store.access_key,
            "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": store.secret_key,
        }

    async def copy(self, load: Load, source: Path, turns: Turns) -> None:
        """Copy a folder to where nothing is yet. Raises CalledProcessError unless all of it was copied."""
        target = f"store:{BUCKET}/rclone/{load.size_bytes}-{next(self._numbers)}"
        command = [str(Path(sys.executable).with_name("rclone")), "copy", str(source), target]
        command += ["--transfers", str(IN_FLIGHT), "--checkers", str(IN_FLIGHT)]
        before, started = _children_cpu_seconds(), time.perf_counter()
        await asyncio.to_thread(
            subprocess.run, command, env=self._environment, check=True, capture_output=True, timeout=JOB_SECONDS
        )
        turns.seconds.append(time.perf_counter() - started)
        turns.cpu_seconds.append(_children_cpu_seconds() - before)


def _children_cpu_seconds() -> float:
    """Of those that have ended; rclone is the only one that does meanwhile."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@asynccontextmanager
async def _running_syncer(folder: Path) -> AsyncIterator[_Syncer]:
    async with AsyncExitStack() as stack:
        postgres = PostgresServer(folder / "postgres", free_port())
        kafka = KafkaServer(folder / "kafka", free_port())
        store = ObjectStoreServer(folder / "object-store", free_port(), "bench-access", "bench-secret-key")
        for server in (postgres, kafka, store):
            stack.push_async_callback(server.stop)
        await asyncio.gather(postgres.start(), kafka.start(), store.start())
        await asyncio.gather(ensure_topics(kafka.bootstrap), store.create_bucket(BUCKET))
        database = await (await TestDatabases.prepare(postgres.admin_dsn)).create()
        environment = {
            "MEDIABUS_S3_ENDPOINT": store.endpoint,
            "MEDIABUS_S3_ACCESS_KEY": store.access_key,
            "MEDIABUS_S3_SECRET_KEY": store.secret_key,
            "MEDIABUS_TRANSFERS_IN_FLIGHT": str(IN_FLIGHT),
        }
        system = System(database, kafka.bootstrap, folder / "media", folder, environment)
        await stack.enter_async_context(running_system(system))
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
        consumer = AIOKafkaConsumer(SYNC_EVENTS.name, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
        for client_of_kafka in (producer, consumer):
            await client_of_kafka.start()
            stack.push_async_callback(client_of_kafka.stop)
        ends = _Ends(consumer)
        watching = asyncio.create_task(ends.watch())
        stack.callback(watching.cancel)
        service = await system.started("s3-syncer")
        yield _Syncer(system, service, store, producer, ends, folder)
