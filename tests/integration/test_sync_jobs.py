"""How sync jobs end, on a real PostgreSQL: once, whatever is delivered twice, at once or too late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from s3_syncer import errors
from s3_syncer.batch import Batches
from s3_syncer.jobs import Medium, Outcome
from s3_syncer.local_first import CopyToBucket
from s3_syncer.one_medium import OneMedium
from s3_syncer.outages import Stopped
from s3_syncer.planner import Planner
from s3_syncer.settings import S3SyncerSettings
from s3_syncer.transfers import Order, Transfers
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import CancelSyncJobV1, Envelope, Event, RunSyncBatchV1, StartSyncJobV1, SyncOperation
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, TransientError
from shared.messaging.retry import RetryPolicy
from shared.storage.errors import StoreUnavailable
from shared.storage.local_disk import LocalDiskStore
from shared.testing.databases import TestDatabase
from tests.sync_world import USER, start_command

pytestmark = pytest.mark.stack


class Jobs:
    """The planner and the batches of one replica, without Kafka."""

    def __init__(self, database: Database, settings: S3SyncerSettings, disk: LocalDiskStore) -> None:
        self.database = database
        self.disk = disk
        self._settings = settings
        self._work = UnitOfWork(database, source="/mediabus/s3-syncer", schema="sync")
        self.planner = Planner(self._work)
        self.batches = self.batches_with(Transfers(disk, None))

    def batches_with(self, transfers: Transfers) -> Batches:
        once = RetryPolicy(attempts=1)
        return Batches(self._work, OneMedium(transfers, once, in_flight=8), self._settings)

    async def media(self, count: int) -> list[UUID]:
        """Media of which nothing is stored: each fails at once, for its own reason."""
        sql = (
            "INSERT INTO media (media_id, revision) SELECT gen_random_uuid(), 1 FROM generate_series(1, $1) RETURNING *"
        )
        async with self.database.connection() as connection:
            return [row["media_id"] for row in await connection.fetch(sql, count)]

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def children(self, parent: UUID) -> list[UUID]:
        rows = await self.rows("SELECT job_id FROM jobs WHERE parent_job_id = $1 ORDER BY batch_index", parent)
        return [row["job_id"] for row in rows]

    async def ends_told(self, job_id: UUID) -> list[str]:
        """The final states that were told of a job."""
        rows = await self.rows("SELECT payload FROM outbox WHERE topic = 'sync.events' ORDER BY id")
        facts = [json.loads(row["payload"]) for row in rows]
        return [
            fact["status"] for fact in facts if fact.get("job_id") == str(job_id) and fact["finished_at"] is not None
        ]

    async def counts(self, job_id: UUID) -> tuple[int, int, int]:
        (row,) = await self.rows(
            "SELECT total_files, processed_files, failed_files FROM jobs WHERE job_id = $1", job_id
        )
        return row["total_files"], row["processed_files"], row["failed_files"]


@pytest.fixture
async def jobs(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Jobs]:
    settings = S3SyncerSettings(
        postgres_dsn=database.dsn("s3-syncer"), kafka_bootstrap="unused", media_root=tmp_path, http_port=1
    )
    opened = Database(database.dsn("s3-syncer"), application_name="test")
    async with LocalDiskStore(tmp_path) as disk:
        yield Jobs(opened, settings, disk)
    await opened.close()


def delivery_of(event: Event, attempt: int = 1) -> Delivery:
    envelope = Envelope.new(event, "/test")
    return Delivery(
        consumer="s3-syncer",
        envelope=envelope,
        topic=event.topic.name,
        partition=0,
        offset=0,
        key=event.key().encode(),
        headers=envelope.headers(),
        payload=event.payload(),
        attempt=attempt,
    )


def parent_of(media: list[UUID]) -> StartSyncJobV1:
    return start_command(SyncOperation.DELETE_LOCAL, media, min_files_for_batching=2, batch_size=3)


async def run(jobs: Jobs, job_id: UUID) -> None:
    try:
        await jobs.batches.run(job_id, delivery_of(RunSyncBatchV1(job_id=job_id)))
    except AlreadyHandled:
        return


async def test_the_last_of_many_children_ends_the_parent_once(jobs: Jobs) -> None:
    command = parent_of(await jobs.media(20))
    await jobs.planner.plan(command, delivery_of(command), is_last_attempt=True)
    children = await jobs.children(command.job_id)
    assert len(children) == 7
    assert await jobs.ends_told(command.job_id) == []
    # Every child twice, all at once: of the doubles one works, and the other finds it done.
    await asyncio.gather(*(run(jobs, child) for child in [*children, *children]))
    assert await jobs.ends_told(command.job_id) == ["failed"]
    assert await jobs.counts(command.job_id) == (20, 0, 20)
    for child in children:
        assert await jobs.ends_told(child) == ["failed"]


async def test_children_that_end_before_the_plan_does_leave_the_end_to_it(jobs: Jobs) -> None:
    command = parent_of(await jobs.media(4))
    delivery = delivery_of(command)
    await jobs.planner.plan(command, delivery, is_last_attempt=True)
    # As if the process had died before its last step: the same delivery comes again.
    await jobs.rows("UPDATE jobs SET planned = false WHERE job_id = $1", command.job_id)
    await jobs.rows("DELETE FROM inbox")
    for child in await jobs.children(command.job_id):
        await run(jobs, child)
    assert await jobs.ends_told(command.job_id) == []
    await jobs.planner.plan(command, delivery, is_last_attempt=True)
    assert await jobs.ends_told(command.job_id) == ["failed"]
    assert len(await jobs.children(command.job_id)) == 2


async def test_a_plan_that_is_made_twice_at_once_is_one_plan(jobs: Jobs) -> None:
    media = await jobs.media(10)
    command = parent_of(media)
    delivery = delivery_of(command)
    outcomes = await asyncio.gather(
        *(jobs.planner.plan(command, delivery, is_last_attempt=True) for _ in range(3)), return_exceptions=True
    )
    assert any(outcome is None for outcome in outcomes)
    rows = await jobs.rows(
        "SELECT media_id FROM items JOIN jobs USING (job_id) WHERE parent_job_id = $1", command.job_id
    )
    assert sorted(row["media_id"] for row in rows) == sorted(media)
    commands = await jobs.rows("SELECT 1 FROM outbox WHERE topic = 'sync.batches'")
    assert len(commands) == len(await jobs.children(command.job_id)) == 4


async def test_unknown_ids_are_looked_for_before_the_job_is_made(jobs: Jobs) -> None:
    command = parent_of([*await jobs.media(3), new_id()])
    with pytest.raises(TransientError, match="unknown_media"):
        await jobs.planner.plan(command, delivery_of(command), is_last_attempt=False)
    assert not await jobs.rows("SELECT 1 FROM jobs")
    await jobs.planner.plan(command, delivery_of(command), is_last_attempt=True)
    assert await jobs.counts(command.job_id) == (4, 0, 1)


async def test_a_job_that_is_cancelled_while_its_batch_finds_the_bucket_away_ends_with_that_turn(jobs: Jobs) -> None:
    """The cancellation leaves a batch in hand to itself, so that batch must not be put off without having seen it."""
    command = start_command(SyncOperation.DELETE_LOCAL, await jobs.media(3))
    await jobs.planner.plan(command, delivery_of(command), is_last_attempt=True)

    class Away(Transfers):
        async def carry_out(self, order: Order, medium: Medium) -> Outcome:
            cancel = CancelSyncJobV1(job_id=command.job_id, requested_by=USER, requested_at=command.requested_at)
            await jobs.planner.cancel(command.job_id, delivery_of(cancel))
            assert await jobs.ends_told(command.job_id) == [], "its media are held: the batch is in hand"
            raise errors.bucket_away("gone")

    batches = jobs.batches_with(Away(jobs.disk, None))
    await batches.run(command.job_id, delivery_of(RunSyncBatchV1(job_id=command.job_id)))
    assert await jobs.ends_told(command.job_id) == ["cancelled"]
    assert await jobs.counts(command.job_id) == (3, 0, 0)
    assert not await jobs.rows("SELECT 1 FROM media WHERE held_by IS NOT NULL")


async def test_a_store_that_fails_after_the_cancellation_fails_no_file(jobs: Jobs) -> None:
    """Whether the store is away or the file is at fault is asked of the store, which may take its time to answer."""
    stop = asyncio.Event()

    class Failing(Transfers):
        async def carry_out(self, order: Order, medium: Medium) -> Outcome:
            stop.set()
            raise StoreUnavailable("s3", "no answer")

        async def check(self) -> None:
            raise AssertionError("nobody wants to know any more")

    one = OneMedium(Failing(jobs.disk, None), RetryPolicy(attempts=1), in_flight=1)
    with pytest.raises(Stopped):
        await one.work(CopyToBucket(), Medium(new_id(), 1, (), on_disk=True, in_bucket=False), stop)


async def test_a_batch_that_is_given_up_ends_its_parent_too(jobs: Jobs) -> None:
    command = parent_of(await jobs.media(5))
    await jobs.planner.plan(command, delivery_of(command), is_last_attempt=True)
    first, second = await jobs.children(command.job_id)
    await run(jobs, first)
    await jobs.batches.give_up(second, delivery_of(RunSyncBatchV1(job_id=second)), RuntimeError("a bug"))
    assert await jobs.ends_told(command.job_id) == ["failed"]
    assert await jobs.counts(command.job_id) == (5, 0, 5)
    rows = await jobs.rows("SELECT detail FROM items WHERE job_id = $1 AND code = 'batch_failed'", second)
    assert [row["detail"] for row in rows] == ["RuntimeError: a bug"] * 2


async def test_cancelled_before_it_began(jobs: Jobs) -> None:
    command = parent_of(await jobs.media(5))
    await jobs.planner.plan(command, delivery_of(command), is_last_attempt=True)
    await jobs.planner.cancel(command.job_id, delivery_of(command))
    for child in await jobs.children(command.job_id):
        await run(jobs, child)
    assert await jobs.ends_told(command.job_id) == ["cancelled"]
    assert await jobs.counts(command.job_id) == (5, 0, 0)
    with pytest.raises(TransientError, match="unknown_job"):
        await jobs.planner.cancel(new_id(), delivery_of(command))
