"""Event photos through the real service: indexed from bucket to database, and searched among many faces."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray

from deploy.local.face_models import ensure_lite, models_folder
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from face_embedder.engine import FaceEngine, PackOptions, open_pack
from face_embedder.repositories.faces import Faces, Match, Wanted
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.messaging.topics import ANSWERS, FACE_EVENTS, ensure_topics
from shared.testing.databases import TestDatabases
from tests.bench.figures import Figure, Goal
from tests.bench.finding_faces import BareLoop
from tests.bench.site import BUCKET, say
from tests.bus import Bus
from tests.face_scenes import scene
from tests.face_world import FaceWorld, opened_world
from tests.system import System, bucket_environment, running_system

WARM_UP_PHOTOS: Final = 8
NEAREST: Final = 10
QUERIES: Final = 100
SMALL_EVENTS: Final = 199
SMALL_EVENT_FACES: Final = 250
MEDIUM_EVENT_FACES: Final = 5_000
EXACT_SEARCH_FACES: Final = 20_000
"""What the service's setting is unless somebody changes it."""
PHOTOS_OF_A_PERSON: Final = 20
DIFFERENCE: Final = 0.026
"""Spread of each number around its person's: two faces of one person are about 0.74 alike, as real ones are."""
FILL_SECONDS: Final = 1800.0

Vectors = NDArray[np.float32]


# --- indexing ---------------------------------------------------------------------------------------------------------


async def measure_indexing(folder: Path, rounds: int, photos: int) -> list[Figure]:
    """Syncs of so many previews, in turns with two loops that look at the same bytes one by one.

    The bare loop is the models' files without this project, with all cores for each run; the engine's loop finds the
    same faces as the service, with one core. Neither fetches nor stores anything.
    """
    models = await asyncio.to_thread(ensure_lite, models_folder())
    previews = [scene(640, 427, 60 + seed % 60, seed=seed, faces=1 + seed % 5).content for seed in range(photos)]
    seconds: dict[str, list[float]] = {"bare": [], "engine": [], "service": []}
    bare = BareLoop()
    with FaceEngine(open_pack(PackOptions(models_folder=models.parent)), workers=1) as engine:
        loops: dict[str, Callable[[bytes], object]] = {"bare": bare.analyse, "engine": engine.analyse}
        for analyse in loops.values():
            _look_one_by_one(analyse, previews[:WARM_UP_PHOTOS])
        async with _running_world(folder, models.parent) as world:
            await _sync(world, previews[:WARM_UP_PHOTOS])
            for number in range(rounds):
                say(f"{photos} photos, round {number + 1} of {rounds}")
                for contender in ("bare", "engine", "service") if number % 2 else ("service", "engine", "bare"):
                    if contender == "service":
                        took = await _sync(world, previews)
                    else:
                        took = await asyncio.to_thread(_look_one_by_one, loops[contender], previews)
                    seconds[contender].append(took)

    def photos_per_second(contender: str) -> float:
        return photos / statistics.median(seconds[contender])

    def ratio(contender: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[contender], seconds["service"], strict=True))

    return [
        Figure("one by one, the bare models", photos_per_second("bare"), "photos/s", remark="all cores, one look"),
        Figure("one by one, the engine alone", photos_per_second("engine"), "photos/s", remark="one core, same faces"),
        Figure("from bucket to database", photos_per_second("service"), "photos/s"),
        Figure("times as fast as the bare models", ratio("bare"), "×", Goal(">=", 1.5)),
        Figure("times as fast as the engine one by one", ratio("engine"), "×", Goal(">=", 1.5)),
    ]


def _look_one_by_one(analyse: Callable[[bytes], object], previews: Sequence[bytes]) -> float:
    began_at = time.perf_counter()
    for preview in previews:
        analyse(preview)
    return time.perf_counter() - began_at


async def _sync(world: FaceWorld, previews: Sequence[bytes]) -> float:
    """Seconds from the command on Kafka to the fact on Kafka that the sync has ended."""
    occasion = await world.occasion()
    await world.put({occasion.preview(f"{number:04}.jpg"): preview for number, preview in enumerate(previews)})
    began_at = time.perf_counter()
    ended = await world.synced(occasion)
    took = time.perf_counter() - began_at
    assert ended["processed"] == len(previews), ended
    return took


@asynccontextmanager
async def _running_world(folder: Path, models: Path) -> AsyncIterator[FaceWorld]:
    async with AsyncExitStack() as stack:
        postgres = PostgresServer(folder / "postgres", free_port())
        kafka = KafkaServer(folder / "kafka", free_port())
        store = ObjectStoreServer(folder / "store", free_port(), "bench-access", "bench-secret-key")
        for server in (postgres, kafka, store):
            stack.push_async_callback(server.stop)
        await asyncio.gather(postgres.start(), kafka.start(), store.start())
        await asyncio.gather(ensure_topics(kafka.bootstrap), store.create_bucket(BUCKET))
        database = await (await TestDatabases.prepare(postgres.admin_dsn)).create()
        environment = {
            **bucket_environment(store),
            "MEDIABUS_FACE_MODELS_FOLDER": str(models),
            # The loop runs at the usual priority too.
            "MEDIABUS_FACE_NICENESS": "0",
        }
        system = System(database, kafka.bootstrap, folder / "media", folder, environment)
        await stack.enter_async_context(running_system(system))
        bus = await stack.enter_async_context(Bus(kafka.bootstrap, FACE_EVENTS, ANSWERS))
        yield await stack.enter_async_context(opened_world(system, bus, store, system.service("face-embedder")))


# --- searching --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Album:
    """Embeddings of an event's faces, in half precision as they are kept, one on each photo."""

    event_id: UUID
    photo_ids: Sequence[UUID]
    vectors: Vectors
    people: Vectors

    def selfies(self, count: int) -> Vectors:
        chance = np.random.default_rng(len(self.photo_ids))
        return _near(self.people[chance.integers(0, len(self.people), count)], chance)

    def nearest(self, selfie: Vectors) -> set[UUID]:
        similarities = self.vectors @ selfie / np.linalg.norm(self.vectors, axis=1)
        return {self.photo_ids[index] for index in np.argsort(-similarities)[:NEAREST]}


async def measure_searching(folder: Path, faces: int) -> list[Figure]:
    """One event with so many faces and two hundred smaller ones, searched exactly and by the index.

    A search is a transaction with an embedding that is there already; what a selfie costs before it is none of it.
    """
    postgres = PostgresServer(folder / "postgres", free_port())
    await postgres.start()
    try:
        database = await (await TestDatabases.prepare(postgres.admin_dsn)).create()
        say(f"filling events with {faces + MEDIUM_EVENT_FACES + SMALL_EVENTS * SMALL_EVENT_FACES} faces")
        large, medium = await _filled(database.dsn("face-embedder"), faces)
        pool = Database(database.dsn("face-embedder"), application_name="bench")
        try:
            work = UnitOfWork(pool, source="/bench", schema="faces")
            return [
                *await _searched(work, f"{faces:,} faces, by the index", large, "near", Goal(">=", 0.99)),
                *await _searched(work, f"{MEDIUM_EVENT_FACES:,} faces, exactly", medium, "exact", Goal("=", 1.0)),
            ]
        finally:
            await pool.close()
    finally:
        await postgres.stop()


async def _searched(work: UnitOfWork, name: str, album: Album, how: str, recall: Goal) -> list[Figure]:
    milliseconds: list[float] = []
    found: list[float] = []
    for selfie in album.selfies(QUERIES):
        vector = f"[{','.join(f'{number:.6g}' for number in selfie)}]"
        wanted = Wanted(album.event_id, "lite", "1", vector, -1.0, NEAREST)
        began_at = time.perf_counter()
        async with work.begin() as transaction:
            kept = Faces(transaction.connection)
            # The service chooses the way by it, so it is a part of every search.
            await kept.are_more_than(wanted, EXACT_SEARCH_FACES)
            matches: list[Match] = await getattr(kept, how)(wanted)
        milliseconds.append(1000 * (time.perf_counter() - began_at))
        found.append(len(album.nearest(selfie) & {match.photo_id for match in matches}) / NEAREST)
    return [
        Figure(f"{name}: p50", statistics.median(milliseconds), "ms", Goal("<=", 30.0)),
        Figure(f"{name}: p95", statistics.quantiles(milliseconds, n=20)[-1], "ms"),
        Figure(f"{name}: recall@{NEAREST}", statistics.mean(found), "", recall),
    ]


async def _filled(dsn: str, faces: int) -> tuple[Album, Album]:
    """The large event and the one of medium size; the index is made at the end, which is quicker."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, command_timeout=FILL_SECONDS)
    try:
        await connection.execute("DROP INDEX faces_near")
        await connection.execute("CREATE TABLE raw (face_id uuid, photo_id uuid, embedding real[])")
        large = await _fill(connection, 1, faces)
        medium = await _fill(connection, 2, MEDIUM_EVENT_FACES)
        for number in range(3, 3 + SMALL_EVENTS):
            await _fill(connection, number, SMALL_EVENT_FACES)
        await connection.execute("SET maintenance_work_mem = '1500MB'")
        await connection.execute("CREATE INDEX faces_near ON faces USING hnsw (embedding halfvec_cosine_ops)")
        await connection.execute("VACUUM ANALYZE faces")
    finally:
        await connection.close()
    return large, medium


async def _fill(connection: asyncpg.Connection[Any], number: int, count: int) -> Album:
    chance = np.random.default_rng(number)
    people = _unit(chance.standard_normal((max(1, count // PHOTOS_OF_A_PERSON), 512)).astype(np.float32))
    vectors = _near(people[chance.integers(0, len(people), count)], chance)
    event_id, photo_ids = new_id(), [new_id() for _ in range(count)]
    await connection.execute("INSERT INTO events (event_id, number) VALUES ($1, $2)", event_id, number)
    await connection.copy_records_to_table(
        "photos",
        records=[(id_, event_id, f"events/{number}/previews/{n}.jpg", str(n)) for n, id_ in enumerate(photo_ids)],
        columns=["photo_id", "event_id", "s3_key", "stem"],
    )
    await connection.execute("TRUNCATE raw")
    await connection.copy_records_to_table(
        "raw", records=[(new_id(), id_, vector.tolist()) for id_, vector in zip(photo_ids, vectors, strict=True)]
    )
    await connection.execute(
        "INSERT INTO faces SELECT face_id, $1, photo_id, 'lite', '1', embedding::halfvec(512), '{1,2,3,4}', '{}',"
        " 0.9, 100, 80, 0, 0, 0 FROM raw",
        event_id,
    )
    return Album(event_id, photo_ids, vectors.astype(np.float16).astype(np.float32), people)


def _near(people: Vectors, chance: np.random.Generator) -> Vectors:
    return _unit(people + DIFFERENCE * chance.standard_normal(people.shape).astype(np.float32))


def _unit(vectors: Vectors) -> Vectors:
    length: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return length
