"""Lists, retention and purge over a million media and their jobs, with readers and writers beside them.

What other services would answer to a deletion is answered here at once, so files cost nothing: what is measured is what
ingest-api and its database do, from the command to the receipt.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx

from deploy.local.kafka_server import KafkaServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from ingest_api import deletion_handlers
from ingest_api.controllers.pages.media import LIBRARY
from ingest_api.cursors import encode_cursor
from ingest_api.media_deletions import MediaDeletions
from ingest_api.repositories.jobs import JobRepository
from ingest_api.retention import BATCH_ROWS
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    MAX_PURGED_AT_ONCE,
    ImageMediaForgottenV1,
    ImageProgressV1,
    MediaFilesRemovedV1,
    MediaSettings,
    MediumToPurge,
    PurgeMediaV1,
    ReconcileMediaForgottenV1,
)
from shared.identifiers import new_id
from shared.messaging.topics import ensure_topics
from shared.testing.databases import TestDatabases
from tests.api_client import UPLOADS, signed_in
from tests.bench.figures import Figure, Goal
from tests.bench.site import say
from tests.generated_rows import FILL_SECONDS, fill
from tests.ingest_site import Handlers
from tests.system import System, running_system

DAY_SECONDS: Final = 24 * 3600.0
NEWEST_KEPT: Final = 1000
REQUESTS: Final = 60
FIRST_PAINT: Final = Goal("<=", 200, "first paint")
HANDLERS: Final = 8
SAMPLE_SECONDS: Final = 0.05
STEP_SECONDS: Final = 0.02
FORGOTTEN: Final = (ImageMediaForgottenV1, ReconcileMediaForgottenV1)
# The service beside the measurement must not remove what is to be measured.
KEEPS_ALL: Final = {
    f"MEDIABUS_{name}_KEPT_SECONDS": "1e9" for name in ("COMPLETED_JOBS", "FAILED_JOBS", "NOTICES", "IDEMPOTENCY_KEYS")
}


async def measure_retention(folder: Path, media: int, purged: int) -> list[Figure]:
    """Fill the tables, list, remove old jobs, purge, vacuum and list again."""
    async with _site(folder, media, purged) as (system, pool, http):
        watched = _Watched(system, pool, http)
        figures = await _lists(http, pool, "", Goal("<=", 15, f"{media} media"))
        figures += await _jobs(watched, purged)
        figures += await _purge(watched, purged)
        figures += await _vacuumed(system)
        return figures + await _lists(http, pool, " after the purge", None)


@asynccontextmanager
async def _site(folder: Path, media: int, purged: int) -> AsyncIterator[tuple[System, Database, httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        postgres = PostgresServer(folder / "postgres", free_port(), settings={"max_wal_size": "4GB"})
        kafka = KafkaServer(folder / "kafka", free_port())
        for server in (postgres, kafka):
            stack.push_async_callback(server.stop)
            await server.start()
        await ensure_topics(kafka.bootstrap)
        database = await (await TestDatabases.prepare(postgres.admin_dsn)).create()
        connection = await asyncpg.connect(database.dsn("ingest-api"))
        say(f"{media} media and jobs are made")
        await fill(connection, ("ingest_media", "ingest_jobs"), media)
        await _delete_softly(connection, purged)
        await connection.close()
        system = System(database, kafka.bootstrap, folder / "media", folder, dict(KEEPS_ALL))
        await stack.enter_async_context(running_system(system))
        await system.make_superadmin()
        ingest = await system.started("ingest-api")
        pool = Database(database.dsn("ingest-api"), application_name="bench", max_connections=HANDLERS + 2)
        stack.push_async_callback(pool.close)
        api = await stack.enter_async_context(signed_in(system, ingest.base_url))
        yield system, pool, api.http


async def _delete_softly(connection: asyncpg.Connection[Any], wanted: int) -> None:
    """Have so many media be deleted, if there are as many, as they are spread by their age."""
    sql = """
        UPDATE media SET deleted_at = now() - interval '40 days'
        WHERE id IN (SELECT id FROM media WHERE deleted_at IS NULL AND status = 'completed' ORDER BY id
                     LIMIT greatest($1 - (SELECT count(*) FROM media WHERE deleted_at IS NOT NULL), 0))
    """
    await connection.execute(sql, wanted, timeout=FILL_SECONDS)
    await connection.execute("VACUUM (ANALYZE) media", timeout=FILL_SECONDS)


# --- lists ------------------------------------------------------------------------------------------------------------


async def _lists(http: httpx.AsyncClient, pool: Database, when: str, goal: Goal | None) -> list[Figure]:
    async with pool.connection() as connection:
        halfway = "SELECT id FROM media ORDER BY id OFFSET (SELECT count(*) / 2 FROM media) LIMIT 1"
        deep = encode_cursor(str(await connection.fetchval(halfway)))
    pages: dict[str, Mapping[str, Any]] = {
        "first page": {},
        "deep page": {"cursor": deep},
        "of one entity": {"entityType": "product", "entityId": "4712"},
        "of an entity's id alone": {"entityId": "4712"},
        "of a rare type": {"entityType": "rare"},
        "failed": {"status": "failed"},
        "missing": {"storageStatus": "missing"},
        "in a state that none is in": {"storageStatus": "s3_only"},
        "deleted": {"deleted": "true"},
        "q, one match": {"q": "00004710"},
        "q, every medium matches": {"q": "img"},
    }
    figures = []
    for title, parameters in pages.items():
        p50, p95 = await _latency_millis(http, UPLOADS, {"limit": 50, **parameters})
        figures.append(Figure(f"list{when}: {title}, p50", p50, "ms", goal, f"p95 {p95:.1f} ms"))
    p50, p95 = await _latency_millis(http, LIBRARY, {})
    figures.append(Figure(f"page of the library{when}, p50", p50, "ms", FIRST_PAINT, f"p95 {p95:.1f} ms"))
    return figures


async def _latency_millis(http: httpx.AsyncClient, path: str, parameters: Mapping[str, Any]) -> tuple[float, float]:
    taken: list[float] = []
    for _ in range(REQUESTS):
        began_at = time.perf_counter()
        answer = await http.get(path, params=dict(parameters))
        taken.append((time.perf_counter() - began_at) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code} for {parameters}: {answer.text}")
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]


# --- removing, beside readers and writers -----------------------------------------------------------------------------


@dataclass
class _Beside:
    """What was seen while something went on."""

    reads_millis: list[float] = field(default_factory=list)
    writes_millis: list[float] = field(default_factory=list)
    samples: int = 0
    lock_waits: int = 0
    """Samples in which somebody waited."""
    seconds: float = 0.0

    def figures(self, title: str) -> list[Figure]:
        return [
            Figure(f"{title}: samples in which a session waits for a lock", 100 * self.lock_waits / self.samples, "%"),
            Figure(f"{title}: list beside it, p95", statistics.quantiles(self.reads_millis, n=20)[-1], "ms"),
            Figure(
                f"{title}: progress of a job beside it, p95", statistics.quantiles(self.writes_millis, n=20)[-1], "ms"
            ),
        ]


class _Watched:
    """Runs something beside a reader, a writer and a look at who waits for locks."""

    def __init__(self, system: System, pool: Database, http: httpx.AsyncClient) -> None:
        self.system = system
        self.pool = pool
        self._http = http

    async def run(self, work: Callable[[], Awaitable[None]]) -> _Beside:
        seen = _Beside()
        tasks = [asyncio.create_task(part(seen)) for part in (self._read, self._write, self._sample)]
        try:
            await asyncio.sleep(10 * SAMPLE_SECONDS)
            began_at = time.perf_counter()
            await work()
            seen.seconds = time.perf_counter() - began_at
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for failure in ended:
            if isinstance(failure, Exception):
                raise failure
        return seen

    async def _read(self, seen: _Beside) -> None:
        while True:
            began_at = time.perf_counter()
            (await self._http.get(UPLOADS, params={"limit": 50})).raise_for_status()
            seen.reads_millis.append((time.perf_counter() - began_at) * 1000)
            await asyncio.sleep(STEP_SECONDS)

    async def _write(self, seen: _Beside) -> None:
        async with self.pool.connection() as connection:
            rows = await connection.fetch("SELECT id, media_id FROM jobs WHERE status = 'active'")
        for attempt in itertools.count(2):
            for row in rows:
                told = ImageProgressV1(job_id=row["id"], media_id=row["media_id"], progress=10, attempt=attempt)
                began_at = time.perf_counter()
                async with self.pool.connection() as connection:
                    await JobRepository(connection).advance(told)
                seen.writes_millis.append((time.perf_counter() - began_at) * 1000)
                await asyncio.sleep(STEP_SECONDS)

    async def _sample(self, seen: _Beside) -> None:
        admin = await asyncpg.connect(self.system.database.admin_dsn)
        try:
            while True:
                waits = await admin.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
                    self.system.database.name,
                )
                seen.samples += 1
                seen.lock_waits += waits > 0
                await asyncio.sleep(SAMPLE_SECONDS)
        finally:
            await admin.close()


async def _jobs(watched: _Watched, most: int) -> list[Figure]:
    say("old jobs are removed")
    removed = 0

    async def remove() -> None:
        nonlocal removed
        batch = BATCH_ROWS
        while batch == BATCH_ROWS and removed < most:
            async with watched.pool.connection() as connection:
                batch = await JobRepository(connection).remove_completed(DAY_SECONDS, NEWEST_KEPT, BATCH_ROWS)
            removed += batch

    seen = await watched.run(remove)
    return [
        Figure("retention of jobs: rows removed", removed, "rows"),
        Figure("retention of jobs", removed / seen.seconds, "rows/s"),
        *seen.figures("retention of jobs"),
    ]


async def _purge(watched: _Watched, most: int) -> list[Figure]:
    say("deleted media are purged")
    sql = """
        SELECT id, deleted_at FROM media WHERE deleted_at IS NOT NULL AND status <> 'processing'
        ORDER BY deleted_at LIMIT $1
    """
    async with watched.pool.connection() as connection:
        due = [
            MediumToPurge(media_id=row["id"], deleted_at=row["deleted_at"]) for row in await connection.fetch(sql, most)
        ]
    unit_of_work = UnitOfWork(watched.pool, source="/mediabus/ingest-api", schema="ingest")
    unit_of_work.relay = _LeadingRelay()
    handlers = Handlers()
    deletion_handlers.register(
        handlers,  # type: ignore[arg-type]
        MediaDeletions(unit_of_work, MediaSettings),
        unit_of_work,
    )
    commands = iter([due[start : start + MAX_PURGED_AT_ONCE] for start in range(0, len(due), MAX_PURGED_AT_ONCE)])

    async def purge() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(HANDLERS):
                group.create_task(_purge_some(handlers, watched.pool, commands))

    seen = await watched.run(purge)
    async with watched.pool.connection() as connection:
        completed = await connection.fetchval("SELECT count(*) FROM media_deletions WHERE completed_at IS NOT NULL")
        left = await connection.fetchval("SELECT count(*) FROM media WHERE id = ANY($1)", [one.media_id for one in due])
    if (completed, left) != (len(due), 0):
        raise RuntimeError(f"{completed} of {len(due)} deletions are completed, {left} media are left")
    return [
        Figure("purge: media gone", completed, "media"),
        Figure("purge, with every service's answer", completed / seen.seconds, "media/s"),
        *seen.figures("purge"),
    ]


class _LeadingRelay:
    """As in the process whose relay leads: no NOTIFY is sent. That of the service beside finds the rows by itself."""

    leads = True

    def wake(self) -> None:
        return None


async def _purge_some(handlers: Handlers, pool: Database, commands: Iterator[Sequence[MediumToPurge]]) -> None:
    """Command purges one after the other, and answer as the other services would."""
    for media in commands:
        purge = PurgeMediaV1(purge_id=new_id(), run_id=new_id(), media=tuple(media), requested_at=datetime.now(UTC))
        await handlers.deliver(purge)
        async with pool.connection() as connection:
            sql = "SELECT id AS deletion_id, media_id FROM media_deletions WHERE purge_id = $1"
            begun = [dict(row) for row in await connection.fetch(sql, purge.purge_id)]
        now = datetime.now(UTC)
        forgotten = [fact(**one, records=1, forgotten_at=now) for one in begun for fact in FORGOTTEN]
        await asyncio.gather(*(handlers.deliver(fact) for fact in forgotten))
        await asyncio.gather(*(handlers.deliver(_files_removed(one, now)) for one in begun))


def _files_removed(begun: Mapping[str, UUID], now: datetime) -> MediaFilesRemovedV1:
    return MediaFilesRemovedV1(
        **begun,
        removed=(),
        removed_files=4,
        removed_bytes=400_000,
        kept=(),
        kept_files=0,
        kept_bytes=0,
        records=1,
        removed_at=now,
    )


async def _vacuumed(system: System) -> list[Figure]:
    """What the removed rows leave behind, and what vacuum makes of it; the space stays with the tables for new rows."""
    sizes = (
        "SELECT relname, pg_total_relation_size(relid) / 1e6 AS megabytes, n_dead_tup FROM pg_stat_user_tables "
        "WHERE schemaname = 'ingest' AND relname IN ('media', 'jobs')"
    )
    before = {row["relname"]: row for row in await system.rows("ingest-api", sizes)}
    began_at = time.perf_counter()
    await system.rows("ingest-api", "VACUUM (ANALYZE) media")
    await system.rows("ingest-api", "VACUUM (ANALYZE) jobs")
    seconds = time.perf_counter() - began_at
    after = {row["relname"]: row for row in await system.rows("ingest-api", sizes)}
    return [
        Figure("vacuum of both tables", seconds, "s"),
        *(
            Figure(f"{name}: dead rows left by vacuum", row["n_dead_tup"], "rows", None, f"{row['megabytes']:.0f} MB")
            for name, row in after.items()
        ),
        *(Figure(f"{name}: dead rows before", row["n_dead_tup"], "rows") for name, row in before.items()),
    ]
