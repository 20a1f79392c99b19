"""s3-syncer as a process: commands in, files moved and facts out, on real Kafka, PostgreSQL, disk and bucket."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from s3_syncer.retention import Retention
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import MediaFilter, SelectSyncMediaV1, StorageStatus, SyncOperation
from shared.identifiers import new_id
from shared.messaging.topics import SYNC_EVENTS, dead_letter_topic
from shared.testing.waiting import eventually
from tests import rclone
from tests.bus import Bus
from tests.running_service import RunningService
from tests.sync_world import BUCKET, SyncWorld, copy_command, start_command
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack
KILL_SEEDS = int(os.environ.get("MEDIABUS_KILL_SEEDS", "2"))
"""How many jobs are killed at moments of their own; more of them for a longer look."""


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("s3-syncer")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_FILE_RETRY_SECONDS": "0.05",
        "MEDIABUS_LOCAL_FIRST_POLL_SECONDS": "0.1",
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "2",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        yield made


@pytest.fixture(scope="module")
async def syncer(system: System) -> RunningService:
    return await system.started("s3-syncer")


@pytest.fixture
async def world(
    system: System, syncer: RunningService, object_store_server: ObjectStoreServer
) -> AsyncIterator[SyncWorld]:
    if not syncer.running:
        syncer.start()
        await syncer.wait_until_ready()
    async with (
        Bus(system.kafka_bootstrap, SYNC_EVENTS, dead_letter_topic("s3-syncer")) as bus,
        object_store_server.client() as client,
    ):
        yield SyncWorld(system, bus, client)


# --- operations -------------------------------------------------------------------------------------------------------


async def test_a_job_uploads_its_pictures_and_rclone_finds_the_same(
    world: SyncWorld, object_store_server: ObjectStoreServer
) -> None:
    pictures = [*await world.pictures(3), await world.picture(files=1, size_bytes=9 * 2**20)]
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, pictures)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("completed", 4, 0)
    assert ended["moved_bytes"] == ended["total_bytes"] == sum(len(c) for p in pictures for c in p.contents.values())
    for picture in pictures:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)
        await world.told_of(picture, "synced")
    keys = [key for picture in pictures for key in picture.keys]
    await rclone.assert_same_bytes(world.disk, object_store_server, BUCKET, keys)

    again = await world.run(SyncOperation.UPLOAD_TO_S3, pictures)
    assert (again["status"], again["processed_files"], again["moved_bytes"]) == ("completed", 4, 0)
    assert {result["status"] for result in world.results(again["job_id"]).values()} == {"skipped"}
    await world.told_of(pictures[0], "synced")


async def test_the_source_goes_once_its_copy_was_read_back(world: SyncWorld) -> None:
    pictures = await world.pictures(2)
    await world.run(SyncOperation.UPLOAD_TO_S3, pictures, delete_source=True)
    for picture in pictures:
        await world.assert_stored(picture, on_disk=False, in_bucket=True)
        await world.told_of(picture, "s3_only")
    ended = await world.run(SyncOperation.DOWNLOAD_FROM_S3, pictures)
    assert ended["moved_bytes"] == ended["total_bytes"]
    for picture in pictures:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)
    await world.run(SyncOperation.DOWNLOAD_FROM_S3, pictures, delete_source=True)
    for picture in pictures:
        await world.assert_stored(picture, on_disk=True, in_bucket=False)
        await world.told_of(picture, "s3_only", "synced", "local_only")


async def test_deleting_keeps_the_last_copy(world: SyncWorld) -> None:
    synced, local = await world.pictures(2)
    await world.run(SyncOperation.UPLOAD_TO_S3, [synced])
    ended = await world.run(SyncOperation.DELETE_LOCAL, [synced, local])
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("failed", 1, 1)
    assert world.results(ended["job_id"])[str(local.media_id)]["code"] == "last_copy"
    await world.assert_stored(synced, on_disk=False, in_bucket=True)
    await world.assert_stored(local, on_disk=True, in_bucket=False)

    ended = await world.run(SyncOperation.DELETE_S3, [synced])
    assert world.results(ended["job_id"])[str(synced.media_id)]["code"] == "last_copy"
    await world.run(SyncOperation.DOWNLOAD_FROM_S3, [synced])
    assert (await world.run(SyncOperation.DELETE_S3, [synced]))["status"] == "completed"
    await world.assert_stored(synced, on_disk=True, in_bucket=False)


async def test_hard_delete_leaves_nothing(world: SyncWorld) -> None:
    pictures = await world.pictures(2)
    await world.run(SyncOperation.UPLOAD_TO_S3, pictures)
    assert (await world.run(SyncOperation.HARD_DELETE, pictures))["status"] == "completed"
    for picture in pictures:
        await world.assert_stored(picture, on_disk=False, in_bucket=False)
        await world.told_of(picture, "synced", "missing")
    again = await world.run(SyncOperation.HARD_DELETE, pictures)
    assert {result["status"] for result in world.results(again["job_id"]).values()} == {"skipped"}
    gone = await world.run(SyncOperation.UPLOAD_TO_S3, pictures)
    assert {result["code"] for result in world.results(gone["job_id"]).values()} == {"no_files"}


async def test_rename_moves_both_copies_and_the_record(world: SyncWorld) -> None:
    picture = await world.picture()
    await world.run(SyncOperation.UPLOAD_TO_S3, [picture])
    await world.run(SyncOperation.RENAME, [picture], rename_prefix=("media/", "archive/"))
    await world.told_of(picture, "synced", "synced")
    told = world.bus.seen(picture.media_id, "sync.media-storage-changed.v1")[-1]
    assert [file["key"] for file in told["files"]] == [key.replace("media/", "archive/", 1) for key in picture.keys]
    for key, content in picture.contents.items():
        new_key = key.replace("media/", "archive/", 1)
        assert (world.on_disk(key), await world.in_bucket(key)) == (None, None)
        assert (world.on_disk(new_key), await world.in_bucket(new_key)) == (content, content)
    again = await world.run(SyncOperation.RENAME, [picture], rename_prefix=("media/", "archive/"))
    assert [result["status"] for result in world.results(again["job_id"]).values()] == ["skipped"]


async def test_other_content_is_a_conflict_and_stays(world: SyncWorld) -> None:
    conflicting, fine = await world.pictures(2)
    key = conflicting.keys[1]
    await world.client.put_object(Bucket=BUCKET, Key=key, Body=b"\0" * len(conflicting.contents[key]))
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, [conflicting, fine], delete_source=True)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("failed", 1, 1)
    assert ended["error"].startswith("some_failed")
    assert world.results(ended["job_id"])[str(conflicting.media_id)]["code"] == "conflict"
    assert await world.in_bucket(key) == b"\0" * len(conflicting.contents[key])
    assert world.on_disk(key) == conflicting.contents[key]
    await world.assert_stored(fine, on_disk=False, in_bucket=True)


async def test_what_is_damaged_on_the_disk_is_not_uploaded(world: SyncWorld) -> None:
    picture = await world.picture(files=1)
    (world.disk / picture.keys[0]).write_bytes(b"x" * len(picture.contents[picture.keys[0]]))
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, [picture], delete_source=True)
    assert world.results(ended["job_id"])[str(picture.media_id)]["code"] == "checksum_mismatch"
    assert await world.in_bucket(picture.keys[0]) is None


# --- jobs -------------------------------------------------------------------------------------------------------------


async def test_130_pictures_become_two_children(world: SyncWorld) -> None:
    pictures = await world.pictures(130, files=1, size_bytes=500)
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, pictures)
    assert (ended["status"], ended["is_parent"], ended["processed_files"]) == ("completed", True, 130)
    assert ended["moved_bytes"] == ended["total_bytes"]
    assert_counts_are_right_at_every_fact(world, ended["job_id"])
    children = {fact["job_id"]: fact for fact in world.all_facts(ended["job_id"]) if fact["parent_job_id"]}
    assert sorted(child["total_files"] for child in children.values()) == [30, 100]
    assert {child["status"] for child in children.values()} == {"completed"}
    assert sorted(child["batch_index"] for child in children.values()) == [0, 1]
    assert len(world.results(ended["job_id"])) == 130


def assert_counts_are_right_at_every_fact(world: SyncWorld, job_id: Any) -> None:
    """Of every job: never more than the total, never less than before, and the parent is the sum of its children."""
    by_job: dict[str, list[dict[str, Any]]] = {}
    for fact in world.all_facts(job_id):
        by_job.setdefault(fact["job_id"], []).append(fact)
    for facts in by_job.values():
        ordered = sorted(facts, key=lambda fact: int(fact["version"]))
        for before, after in itertools.pairwise(ordered):
            for count in ("processed_files", "failed_files", "moved_bytes"):
                assert before[count] <= after[count]
        for fact in ordered:
            assert fact["processed_files"] + fact["failed_files"] <= fact["total_files"]
        assert ordered[-1]["processed_files"] + ordered[-1]["failed_files"] == ordered[-1]["total_files"]
    parent = by_job.pop(str(job_id))[-1]
    for count in ("processed_files", "failed_files", "moved_bytes", "total_files", "total_bytes"):
        assert parent[count] == sum(facts[-1][count] for facts in by_job.values())


async def test_selections_by_filter(world: SyncWorld) -> None:
    label = f"kind-{new_id().hex[-6:]}"
    pictures = await world.pictures(4, files=1, entity_type=label)
    await world.run(SyncOperation.UPLOAD_TO_S3, pictures[:1])
    local = MediaFilter(entity_type=label, storage_status=StorageStatus.LOCAL_ONLY)
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, (), filter=local, min_files_for_batching=2, batch_size=2)
    assert (ended["status"], ended["total_files"], ended["is_parent"]) == ("completed", 3, True)
    for picture in pictures:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)
    empty = await world.run(SyncOperation.UPLOAD_TO_S3, (), filter=local)
    assert (empty["status"], empty["total_files"]) == ("failed", 0)
    assert empty["error"].startswith("empty_selection")


@pytest.mark.parametrize("min_files_for_batching", [2, 50])
async def test_media_that_were_selected_before_are_one_job_however_their_parts_arrive(
    world: SyncWorld, min_files_for_batching: int
) -> None:
    pictures = await world.pictures(5, files=1)
    batching = {"min_files_for_batching": min_files_for_batching, "batch_size": 2}
    start = start_command(SyncOperation.UPLOAD_TO_S3, (), selected_files=5, **batching)
    first, second = (
        SelectSyncMediaV1(job_id=start.job_id, media_ids=tuple(one.media_id for one in part))
        for part in (pictures[:3], pictures[3:])
    )
    for command in (first, first, start, second):
        await world.bus.send(command)
    ended = await world.ended(start.job_id)
    assert (ended["status"], ended["total_files"], ended["processed_files"]) == ("completed", 5, 5)
    assert set(world.results(start.job_id)) == {str(one.media_id) for one in pictures}
    for command in (second, start):
        await world.bus.send(command)
    other = await world.run(SyncOperation.DELETE_LOCAL, pictures[:1])
    assert other["status"] == "completed"
    last = world.facts(start.job_id)[-1]
    assert (last["total_files"], last["processed_files"]) == (5, 5), "told again it is the same job"
    assert await world.system.rows("s3-syncer", "SELECT FROM selections WHERE job_id = $1", start.job_id) == []


async def test_a_job_that_was_cancelled_while_its_media_were_selected_does_nothing(world: SyncWorld) -> None:
    [picture] = await world.pictures(1, files=1)
    start = start_command(SyncOperation.DELETE_LOCAL, (), selected_files=1, is_cancelled=True)
    await world.bus.send(SelectSyncMediaV1(job_id=start.job_id, media_ids=(picture.media_id,)))
    await world.bus.send(start)
    ended = await world.ended(start.job_id)
    assert (ended["status"], ended["total_files"], ended["processed_files"]) == ("cancelled", 1, 0)
    await world.assert_stored(picture, on_disk=True, in_bucket=False)
    assert await world.system.rows("s3-syncer", "SELECT FROM selections WHERE job_id = $1", start.job_id) == []


async def test_a_selection_whose_job_never_begins_is_forgotten_after_a_while(world: SyncWorld) -> None:
    picture = await world.picture(files=1)
    never, young, under_way = new_id(), new_id(), new_id()
    # A parent that waits for a child: nothing is done for it.
    await world.system.rows(
        "s3-syncer",
        "INSERT INTO jobs (job_id, is_parent, operation, status, delete_source, total_files, requested_by, planned,"
        " children) VALUES ($1, true, 'upload_to_s3', 'active', false, 1, $1, true, 1)",
        under_way,
    )
    for job_id, days in ((never, 61), (young, 59), (under_way, 61)):
        await world.system.rows(
            "s3-syncer",
            "INSERT INTO selections VALUES ($1, $2, clock_timestamp() - make_interval(days => $3))",
            job_id,
            picture.media_id,
            days,
        )
    database = Database(world.system.database.dsn("s3-syncer"), application_name="tests")
    try:
        swept = await Retention(UnitOfWork(database, source="/tests", schema="sync"), 30 * 24 * 3600).sweep()
    finally:
        await database.close()
    assert swept["selections"] == 1
    left = await world.system.rows("s3-syncer", "SELECT job_id FROM selections")
    assert {row["job_id"] for row in left} == {young, under_way}


async def test_unknown_ids_fail_after_having_been_looked_for(world: SyncWorld) -> None:
    picture = await world.picture(files=1)
    unknown = new_id()
    job_id = await world.start(SyncOperation.UPLOAD_TO_S3, ids=[picture.media_id, unknown])
    ended = await world.ended(job_id)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("failed", 1, 1)
    assert world.results(job_id)[str(unknown)]["code"] == "unknown_media"


async def test_retry_works_on_what_failed(world: SyncWorld) -> None:
    pictures = await world.pictures(5, files=1)
    for picture in pictures[:2]:
        await world.client.put_object(Bucket=BUCKET, Key=picture.keys[0], Body=b"other")
    options: dict[str, Any] = {"min_files_for_batching": 2, "batch_size": 2}
    failed = await world.run(SyncOperation.UPLOAD_TO_S3, pictures, **options)
    assert (failed["processed_files"], failed["failed_files"]) == (3, 2)
    for picture in pictures[:2]:
        await world.client.delete_object(Bucket=BUCKET, Key=picture.keys[0])
    retried = await world.run(SyncOperation.UPLOAD_TO_S3, (), retry_of=failed["job_id"], **options)
    assert (retried["status"], retried["total_files"], retried["retry_of"]) == ("completed", 2, failed["job_id"])
    assert set(world.results(retried["job_id"])) == {str(picture.media_id) for picture in pictures[:2]}


async def test_the_same_command_twice_is_one_job(world: SyncWorld) -> None:
    pictures = await world.pictures(3, files=1)
    command = start_command(SyncOperation.UPLOAD_TO_S3, [p.media_id for p in pictures], min_files_for_batching=2)
    event_id = new_id()
    for _ in range(3):
        await world.bus.send(command, event_id)
    await world.bus.send(command)
    await world.ended(command.job_id)
    last = await world.run(SyncOperation.UPLOAD_TO_S3, pictures[:1])
    assert len(world.results(command.job_id)) == 3
    rows = await world.rows("SELECT 1 FROM jobs WHERE job_id = $1 OR parent_job_id = $1", command.job_id)
    assert len(rows) == 2
    assert last["status"] == "completed"


async def test_two_jobs_on_the_same_pictures_take_turns(world: SyncWorld) -> None:
    """One copies up and removes the source, the other keeps only the disk: whichever is first, a copy stays."""
    pictures = await world.pictures(20, files=1)
    up = await world.start(SyncOperation.UPLOAD_TO_S3, pictures, delete_source=True)
    down = await world.start(SyncOperation.DOWNLOAD_FROM_S3, pictures, delete_source=True)
    await world.ended(up)
    await world.ended(down)
    for picture in pictures:
        copies = [world.on_disk(picture.keys[0]), await world.in_bucket(picture.keys[0])]
        assert picture.contents[picture.keys[0]] in copies
        (row,) = await world.rows("SELECT on_disk, in_bucket FROM media WHERE media_id = $1", picture.media_id)
        assert [copy is not None for copy in copies] == [row["on_disk"], row["in_bucket"]]


# --- local_first ------------------------------------------------------------------------------------------------------


async def test_local_first_gets_its_copy(world: SyncWorld) -> None:
    picture = await world.picture()
    late = await world.picture(is_told=False)
    await world.bus.send(copy_command(late))
    await world.bus.send(copy_command(picture))
    await world.told_of(picture, "pending", "synced")
    await world.assert_stored(picture, on_disk=True, in_bucket=True)
    # The command may overtake the fact that the picture is processed.
    await world.told_of(late, "pending")
    await world.tell([late])
    await world.told_of(late, "pending", "synced")
    times = [fact["changed_at"] for fact in world.bus.seen(late.media_id, "sync.media-storage-changed.v1")]
    assert times == sorted(times)
    await eventually(no_copies_wait(world), why="the queue is empty")


def no_copies_wait(world: SyncWorld) -> Any:
    async def empty() -> bool:
        return not await world.rows("SELECT 1 FROM bucket_copies")

    return empty


async def test_a_copy_that_cannot_be_made_is_given_up_until_a_job_makes_it(
    world: SyncWorld, syncer: RunningService
) -> None:
    picture = await world.picture(files=1)
    await world.client.put_object(Bucket=BUCKET, Key=picture.keys[0], Body=b"other")
    await world.bus.send(copy_command(picture))

    async def given_up() -> Any:
        sql = "SELECT code FROM bucket_copies WHERE media_id = $1 AND given_up_at IS NOT NULL"
        return await world.rows(sql, picture.media_id)

    rows = await eventually(given_up, why="the copy is given up")
    assert rows[0]["code"] == "conflict"
    await world.told_of(picture, "pending", "local_only")
    await eventually(lambda: measures(syncer, "mediabus_bucket_copies_given_up 1.0"), why="the metric says so")

    await world.client.delete_object(Bucket=BUCKET, Key=picture.keys[0])
    await world.run(SyncOperation.UPLOAD_TO_S3, [picture])
    await world.told_of(picture, "pending", "local_only", "synced")
    assert not await world.rows("SELECT 1 FROM bucket_copies")
    await eventually(lambda: measures(syncer, "mediabus_bucket_copies_given_up 0.0"), why="it is no more")


async def test_what_waits_for_its_copy_is_pending_whatever_a_job_does_meanwhile(
    world: SyncWorld, syncer: RunningService
) -> None:
    label = f"kind-{new_id().hex[-6:]}"
    picture, other = await world.pictures(2, files=1, entity_type=label)
    queue = "INSERT INTO bucket_copies (media_id, revision, requested_at, due_at) "
    queue += "VALUES ($1, 1, clock_timestamp() - interval '1 hour', clock_timestamp() + interval '1 hour')"
    await world.rows(queue, picture.media_id)
    await world.run(SyncOperation.RENAME, [picture, other], rename_prefix=("media/", "archive/"))
    await world.told_of(picture, "pending")
    await world.told_of(other, "local_only")
    pending = MediaFilter(storage_status=StorageStatus.PENDING)
    local_only = MediaFilter(storage_status=StorageStatus.LOCAL_ONLY, entity_type=label)
    await eventually(lambda: measures(syncer, "mediabus_bucket_copies_waiting 1.0"), why="the queue is measured")
    assert await oldest_copy_seconds(syncer) > 3600
    found = await world.run(SyncOperation.DELETE_S3, (), filter=local_only)
    assert set(world.results(found["job_id"])) == {str(other.media_id)}
    found = await world.run(SyncOperation.UPLOAD_TO_S3, (), filter=pending)
    assert set(world.results(found["job_id"])) == {str(picture.media_id)}
    await world.told_of(picture, "pending", "synced")
    await eventually(no_copies_wait(world), why="the job made the copy")


async def measures(service: RunningService, line: str) -> bool:
    return line in await metrics_of(service)


async def oldest_copy_seconds(service: RunningService) -> float:
    lines = (await metrics_of(service)).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("mediabus_bucket_copies_oldest_seconds "))


async def metrics_of(service: RunningService) -> str:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as client:
        return (await client.get("/metrics")).text


async def test_auto_sync_off_leaves_pictures_on_the_disk(world: SyncWorld, syncer: RunningService) -> None:
    await syncer.stop()
    off = await world.system.started("s3-syncer", {"MEDIABUS_S3_AUTO_SYNC": "false"})
    await eventually(lambda: knows_the_settings(off), why="it knows whether it should copy")
    picture = await world.picture(files=1)
    await world.bus.send(copy_command(picture))
    await world.run(SyncOperation.UPLOAD_TO_S3, [await world.picture(files=1)])
    await eventually(lambda: handled(off, "sync.media.v1"), why="the command is handled")
    await world.assert_stored(picture, on_disk=True, in_bucket=False)
    assert not await world.rows("SELECT 1 FROM bucket_copies")
    assert world.placements(picture) == [], "it stays what it was called when it was stored: local_only"
    await off.stop()
    syncer.start()
    await syncer.wait_until_ready()


async def knows_the_settings(service: RunningService) -> bool:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as client:
        return bool((await client.get("/health/ready")).json()["details"]["settings"]["caughtUp"])


async def handled(service: RunningService, event_type: str) -> bool:
    return f'type="{event_type}"' in await metrics_of(service)


# --- cancel, outages, deaths ------------------------------------------------------------------------------------------


async def test_a_cancelled_job_works_on_no_further_file(world: SyncWorld) -> None:
    pictures = await world.pictures(120, files=1, size_bytes=60_000)
    command = start_command(
        SyncOperation.UPLOAD_TO_S3, [p.media_id for p in pictures], min_files_for_batching=10, batch_size=60
    )
    await world.bus.send(command)
    await eventually(lambda: len(world.facts(command.job_id)) > 1, every_seconds=0.005, why="the job is planned")
    await world.cancel(command.job_id)
    ended = await world.ended(command.job_id)
    assert ended["status"] in {"cancelled", "completed"}
    in_bucket = [p for p in pictures if await world.in_bucket(p.keys[0]) is not None]
    assert ended["processed_files"] == len(in_bucket)
    assert (ended["status"] == "cancelled") == (len(in_bucket) < 120)
    assert not await world.rows("SELECT 1 FROM media WHERE held_by IS NOT NULL")
    await world.cancel(command.job_id)
    again = await world.run(SyncOperation.UPLOAD_TO_S3, pictures[:1])
    assert again["status"] == "completed"
    assert await world.ended(command.job_id) == ended


async def test_while_the_bucket_is_away_jobs_wait_and_no_attempt_is_used_up(
    world: SyncWorld, object_store_server: ObjectStoreServer
) -> None:
    pictures = await world.pictures(10, files=1)
    copied = await world.picture(files=1)
    await object_store_server.stop()
    try:
        job_id = await world.start(SyncOperation.UPLOAD_TO_S3, pictures)
        await world.bus.send(copy_command(copied))
        await eventually(lambda: postponed(world), within_seconds=60, why="the batch is put off")
        assert not world.results(job_id)
    finally:
        await object_store_server.start()
    ended = await world.ended(job_id)
    assert (ended["status"], ended["processed_files"]) == ("completed", 10)
    await world.told_of(copied, "pending", "synced")
    for picture in [*pictures, copied]:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)


async def postponed(world: SyncWorld) -> bool:
    rows = await world.rows("SELECT 1 FROM outbox WHERE topic = 's3-syncer.retry' AND headers ? 'mb_postponed'")
    return bool(rows)


async def test_two_replicas_share_a_job(world: SyncWorld) -> None:
    second = await world.system.started("s3-syncer")
    pictures = await world.pictures(240, files=1, size_bytes=2000)
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, pictures, batch_size=20)
    assert (ended["status"], ended["processed_files"]) == ("completed", 240)
    assert_counts_are_right_at_every_fact(world, ended["job_id"])
    assert len(world.results(ended["job_id"])) == 240
    assert await handled(second, "sync.run-batch.v1")
    assert await second.stop() == 0


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(1, 1 + KILL_SEEDS))
async def test_kill_9_in_the_middle_of_a_job(world: SyncWorld, syncer: RunningService, seed: int) -> None:
    chance = random.Random(seed)
    pictures = await world.pictures(300, files=1, size_bytes=3000)
    job_id = await world.start(SyncOperation.UPLOAD_TO_S3, pictures, delete_source=True, batch_size=50)
    for _ in range(2):
        await eventually(goes_on(world, job_id, len(world.results(job_id))), every_seconds=0.005, why="work goes on")
        await asyncio.sleep(chance.uniform(0, 0.3))  # the moment of death is what the seed chooses
        syncer.kill()
        syncer.start()
        await syncer.wait_until_ready()
    fact = await world.ended(job_id, within_seconds=120)
    assert (fact["status"], fact["processed_files"], fact["failed_files"]) == ("completed", 300, 0)
    assert_counts_are_right_at_every_fact(world, job_id)
    assert len(world.results(job_id)) == 300
    rows = await world.rows(
        "SELECT 1 FROM items JOIN jobs USING (job_id) WHERE parent_job_id = $1 AND items.status = 'done'", job_id
    )
    assert len(rows) == 300
    for picture in pictures:
        key = picture.keys[0]
        assert world.on_disk(key) is None
    for picture in chance.sample(pictures, 20):
        await world.assert_stored(picture, on_disk=False, in_bucket=True)
    assert not await world.rows("SELECT 1 FROM media WHERE held_by IS NOT NULL")
    assert not await world.rows("SELECT 1 FROM removals")


def goes_on(world: SyncWorld, job_id: Any, done: int) -> Callable[[], bool]:
    def is_further() -> bool:
        return len(world.results(job_id)) > done or any(fact["finished_at"] for fact in world.facts(job_id))

    return is_further
