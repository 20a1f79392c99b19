"""A bucket that answers 500 and 503, is slow, and drops connections: what is true is recorded, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import SyncOperation
from shared.messaging.topics import SYNC_EVENTS, dead_letter_topic
from shared.testing.faulty_http import (
    Answer,
    Cut,
    Fault,
    FaultyHttp,
    Mix,
    Moment,
    Request,
    Wait,
    always,
    faulty,
    healthy,
    in_turn,
)
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests import rclone
from tests.api_client import signed_in
from tests.bus import Bus
from tests.files_on_disk import files_below
from tests.running_service import RunningService
from tests.sync_world import BUCKET, Picture, SyncWorld, copy_command
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = [pytest.mark.stack, pytest.mark.fault]

SEEDS = int(os.environ.get("MEDIABUS_FAULT_SEEDS", "2"))
"""How many mixes of faults are tried; more of them for a longer look."""
INTERNAL_ERROR = Answer(500, "InternalError")
SLOW_DOWN = Answer(503, "SlowDown")
EVERY_FAULT: Sequence[Fault] = [INTERNAL_ERROR, SLOW_DOWN, Wait(0.3), *(Cut(moment) for moment in Moment)]
ATTEMPTS = 5
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
async def store(object_store_server: ObjectStoreServer) -> AsyncIterator[FaultyHttp]:
    """The way of the service to the bucket; the tests themselves look past it."""
    async with faulty(object_store_server.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def system(
    databases: Any,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    store: FaultyHttp,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("bucket-faults")
    environment = {
        **bucket_environment(object_store_server, endpoint=store.url),
        "MEDIABUS_FILE_RETRY_SECONDS": "0.05",
        "MEDIABUS_REMOVAL_SWEEP_SECONDS": "0.5",
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
    system: System, syncer: RunningService, store: FaultyHttp, object_store_server: ObjectStoreServer
) -> AsyncIterator[SyncWorld]:
    async with (
        Bus(system.kafka_bootstrap, SYNC_EVENTS, dead_letter_topic("s3-syncer")) as bus,
        object_store_server.client() as client,
    ):
        yield SyncWorld(system, bus, client)
    store.rule = healthy


def medium_of(request: Request) -> str:
    """The medium that a request is about; "" for those about the bucket."""
    found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request.target)
    return found[0] if found else ""


def about(key: str, method: str) -> Callable[[Request], bool]:
    return lambda request: request.method == method and request.target.startswith(f"/{BUCKET}/{key}")


async def assert_bucket_and_disk_hold_what_is_recorded(
    world: SyncWorld, server: ObjectStoreServer, pictures: Sequence[Picture]
) -> None:
    """As rclone sees it: neither less nor more, byte for byte."""
    ids = [picture.media_id for picture in pictures]
    rows = await world.rows("SELECT media_id, files, on_disk, in_bucket FROM media WHERE media_id = ANY($1)", ids)
    assert len(rows) == len(ids)
    recorded = {f["key"]: f["size_bytes"] for row in rows if row["in_bucket"] for f in _files(row["files"])}
    listed = await rclone.sizes_in_bucket(server, BUCKET)
    assert {key: size for key, size in listed.items() if _names_one_of(key, ids)} == recorded
    on_disk = {f["key"]: f["size_bytes"] for row in rows if row["on_disk"] for f in _files(row["files"])}
    there = {str(path.relative_to(world.disk)): path.stat().st_size for path in files_of(world, ids)}
    assert there == on_disk
    if both := sorted(recorded.keys() & on_disk.keys()):
        await rclone.assert_same_bytes(world.disk, server, BUCKET, both)


def _files(column: str) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(column)
    return files


def _names_one_of(key: str, ids: Sequence[UUID]) -> bool:
    return any(str(media_id) in key for media_id in ids)


def files_of(world: SyncWorld, ids: Sequence[UUID]) -> list[Path]:
    """Every file on the disk whose path names one of the media, finished or not."""
    return [path for path in files_below(world.disk) if _names_one_of(str(path), ids)]


@pytest.mark.parametrize("seed", range(1, 1 + SEEDS))
async def test_a_job_completes_under_every_kind_of_fault(
    world: SyncWorld, store: FaultyHttp, object_store_server: ObjectStoreServer, seed: int
) -> None:
    pictures = await world.pictures(60)
    before = len(store.faults)
    store.rule = Mix(seed, 0.3, EVERY_FAULT, medium_of, most_per_group=ATTEMPTS - 1)
    job_id = await world.start(SyncOperation.UPLOAD_TO_S3, pictures, batch_size=20)
    ended = await world.ended(job_id, within_seconds=120)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("completed", 60, 0)
    assert {fault for _, fault in store.faults[before:]} == set(EVERY_FAULT)
    results = world.results(job_id)
    assert {result["status"] for result in results.values()} == {"done"}
    assert set(results) == {str(picture.media_id) for picture in pictures}
    for fact in world.all_facts(job_id):
        assert fact["processed_files"] + fact["failed_files"] <= fact["total_files"]
    for picture in pictures:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)
        await world.told_of(picture, "synced")
    await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, pictures)


async def test_what_the_store_always_refuses_fails_alone(
    world: SyncWorld, store: FaultyHttp, object_store_server: ObjectStoreServer
) -> None:
    refused, *others = await world.pictures(20, files=1)
    put = about(refused.keys[0], "PUT")
    store.rule = always(INTERNAL_ERROR, put)
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, [refused, *others], delete_source=True)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("failed", 19, 1)
    result = world.results(ended["job_id"])[str(refused.media_id)]
    assert (result["status"], result["code"]) == ("failed", "store_error")
    assert "500 InternalError" in result["detail"]
    assert store.count(put) == ATTEMPTS
    await world.assert_stored(refused, on_disk=True, in_bucket=False)
    await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, [refused, *others])


@pytest.mark.parametrize("fault", [SLOW_DOWN, Cut(Moment.BEFORE_REQUEST)], ids=["503 to all", "every connection reset"])
async def test_a_store_that_fails_everything_is_away_and_uses_up_no_attempt(
    world: SyncWorld, store: FaultyHttp, syncer: RunningService, fault: Fault
) -> None:
    pictures = await world.pictures(10, files=1)
    copied = await world.picture(files=1)
    seen, logged = len(store.faults), len(syncer.log_lines())
    store.rule = always(fault)
    job_id = await world.start(SyncOperation.UPLOAD_TO_S3, pictures)
    await world.bus.send(copy_command(copied))
    await eventually(lambda: says(syncer, logged, "copies to the bucket wait") >= 2, within_seconds=60, why="both wait")
    await eventually(
        lambda: any(medium_of(r) == str(pictures[0].media_id) for r, _ in store.faults[seen:]), why="the job was tried"
    )
    assert await world.rows("SELECT 1 FROM items WHERE job_id = $1 AND status = 'pending'", job_id)
    assert not world.results(job_id)
    (queued,) = await world.rows("SELECT attempts, given_up_at FROM bucket_copies")
    assert (queued["attempts"], queued["given_up_at"]) == (0, None)
    await world.told_of(copied, "pending")

    store.rule = healthy
    ended = await world.ended(job_id, within_seconds=60)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("completed", 10, 0)
    await world.told_of(copied, "pending", "synced")
    for picture in [*pictures, copied]:
        await world.assert_stored(picture, on_disk=True, in_bucket=True)


async def test_uploads_go_on_while_the_bucket_is_away_and_their_copies_are_made_when_it_is_back(
    world: SyncWorld, store: FaultyHttp
) -> None:
    system = world.system
    store.rule = always(SLOW_DOWN)
    await system.make_superadmin()
    ingest, processor = await asyncio.gather(system.started("ingest-api"), system.started("image-processor"))
    async with signed_in(system, ingest.base_url) as api:
        contents = [photo_jpeg(300, 200, seed=number) for number in range(5)]
        accepted = [await api.upload(content, storageStrategy="local_first") for content in contents]
        await api.all_completed([entry["jobId"] for entry in accepted])

        async def are(status: str) -> bool:
            return {(await api.media(entry["mediaId"]))["storageStatus"] for entry in accepted} == {status}

        await eventually(lambda: are("pending"), within_seconds=30, why="their copies wait")
        store.rule = healthy
        await eventually(lambda: are("synced"), within_seconds=60, why="their copies are made")
        ids = [UUID(entry["mediaId"]) for entry in accepted]
        assert all([(await api.media(str(media_id)))["s3Key"] for media_id in ids])
    assert tuple(await asyncio.gather(ingest.stop(), processor.stop())) == (0, 0)


@pytest.mark.parametrize("pictures_count", [10, 60], ids=["a small job", "a parent and its children"])
async def test_a_job_that_waits_for_the_bucket_is_cancelled_at_once(
    world: SyncWorld, store: FaultyHttp, pictures_count: int
) -> None:
    pictures = await world.pictures(pictures_count, files=1)
    store.rule = always(SLOW_DOWN)
    job_id = await world.start(SyncOperation.UPLOAD_TO_S3, pictures, batch_size=20)
    jobs = 1 if pictures_count < 50 else 3
    await eventually(lambda: put_off(world, job_id, 2 * jobs), within_seconds=60, why="each batch was put off twice")

    last_due = await last_put_off_until(world, job_id)
    await world.cancel(job_id)
    ended = await world.ended(job_id)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("cancelled", 0, 0)
    assert datetime.fromisoformat(ended["finished_at"]) < last_due, "it waited for a batch to come back"
    of_job = "job_id = $1 OR parent_job_id = $1"
    assert len(await world.rows(f"SELECT 1 FROM jobs WHERE finished_at IS NULL AND ({of_job})", job_id)) == 0
    assert not await world.rows("SELECT 1 FROM media WHERE held_by IS NOT NULL")

    # The batches that were put off come back to a job that has ended, and leave it and its media alone.
    store.rule = healthy
    assert (await world.run(SyncOperation.UPLOAD_TO_S3, pictures[:3]))["status"] == "completed"
    await eventually(lambda: none_put_off(world), within_seconds=60, why="what was put off has come back")
    assert await world.ended(job_id) == ended
    for picture in pictures[3:]:
        await world.assert_stored(picture, on_disk=True, in_bucket=False)


PUT_OFF = "topic = 's3-syncer.retry' AND headers ? 'mb_postponed'"
OF_JOB = "key IN (SELECT job_id::text FROM jobs WHERE job_id = $1 OR parent_job_id = $1)"


async def put_off(world: SyncWorld, job_id: UUID, times: int) -> bool:
    """Whether the batches of a job were put off so often, taken together, and none is in hand."""
    rows = await world.rows(f"SELECT 1 FROM outbox WHERE {PUT_OFF} AND {OF_JOB}", job_id)
    return len(rows) >= times and not await world.rows("SELECT 1 FROM media WHERE held_by IS NOT NULL")


async def last_put_off_until(world: SyncWorld, job_id: UUID) -> datetime:
    """When the last of a job's batches comes back."""
    sql = f"SELECT max(due_at) AS due_at FROM outbox WHERE {PUT_OFF} AND {OF_JOB} AND sent_at IS NULL"
    (row,) = await world.rows(sql, job_id)
    due_at: datetime = row["due_at"]
    return due_at


async def none_put_off(world: SyncWorld) -> bool:
    return not await world.rows(f"SELECT 1 FROM outbox WHERE {PUT_OFF} AND sent_at IS NULL")


def says(service: RunningService, since_line: int, message: str) -> int:
    return sum(1 for line in service.log_lines()[since_line:] if line.get("message") == message)


async def test_what_the_store_does_not_let_go_holds_up_neither_the_job_nor_others(
    world: SyncWorld, store: FaultyHttp, object_store_server: ObjectStoreServer
) -> None:
    kept, *others = await world.pictures(10, files=1)
    await world.run(SyncOperation.UPLOAD_TO_S3, [kept, *others])
    store.rule = always(INTERNAL_ERROR, about(kept.keys[0], "DELETE"))
    ended = await world.run(SyncOperation.DELETE_S3, [kept, *others])
    assert (ended["status"], ended["processed_files"]) == ("completed", 10)
    await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, others)
    (left,) = await world.rows("SELECT media_id, store, key FROM removals")
    assert tuple(left) == (kept.media_id, "s3", kept.keys[0])

    waiting = await world.start(SyncOperation.UPLOAD_TO_S3, [kept])
    await eventually(lambda: len(world.facts(waiting)) > 1, why="the next job began")
    assert not world.results(waiting), "it must not take the file that is to go for its copy"
    store.rule = healthy
    ended = await world.ended(waiting)
    assert (ended["status"], ended["moved_bytes"]) == ("completed", len(kept.contents[kept.keys[0]]))
    await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, [kept, *others])


async def test_every_operation_leaves_what_is_recorded_under_faults(
    world: SyncWorld, store: FaultyHttp, object_store_server: ObjectStoreServer
) -> None:
    pictures = await world.pictures(15)
    steps: list[tuple[SyncOperation, dict[str, Any]]] = [
        (SyncOperation.UPLOAD_TO_S3, {}),
        (SyncOperation.DELETE_LOCAL, {}),
        (SyncOperation.DOWNLOAD_FROM_S3, {}),
        (SyncOperation.RENAME, {"rename_prefix": ("media/", "archive/")}),
        (SyncOperation.DELETE_S3, {}),
        (SyncOperation.UPLOAD_TO_S3, {"delete_source": True}),
        (SyncOperation.DOWNLOAD_FROM_S3, {"delete_source": True}),
        (SyncOperation.UPLOAD_TO_S3, {}),
        (SyncOperation.HARD_DELETE, {}),
    ]
    for seed, (operation, options) in enumerate(steps):
        # Each medium meets one less than what a file may: a removal has fewer attempts.
        store.rule = Mix(seed, 0.2, EVERY_FAULT, medium_of, most_per_group=2)
        ended = await world.ended(await world.start(operation, pictures, **options), within_seconds=120)
        assert (ended["status"], ended["processed_files"]) == ("completed", 15), operation
        store.rule = healthy
        await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, pictures)
        assert not await world.rows("SELECT 1 FROM removals"), operation


async def test_a_cancelled_job_makes_no_further_attempt_at_a_file(
    world: SyncWorld, store: FaultyHttp, syncer: RunningService
) -> None:
    await syncer.stop()
    slow = await world.system.started("s3-syncer", {"MEDIABUS_FILE_RETRY_SECONDS": "60"})
    refused, *others = await world.pictures(5, files=1)
    store.rule = always(INTERNAL_ERROR, about(refused.keys[0], "PUT"))
    job_id = await world.start(SyncOperation.UPLOAD_TO_S3, [refused, *others])
    await eventually(lambda: len(world.results(job_id)) == 4, within_seconds=30, why="the others are done")
    await eventually(lambda: says(slow, 0, "a file failed, trying again"), why="the refused one waits")
    await world.cancel(job_id)
    # It would be tried again in a minute.
    ended = await world.ended(job_id, within_seconds=20)
    assert (ended["status"], ended["processed_files"], ended["failed_files"]) == ("cancelled", 4, 0)
    assert not await world.rows("SELECT 1 FROM media WHERE held_by IS NOT NULL")
    assert await slow.stop() == 0
    syncer.start()
    await syncer.wait_until_ready()


async def test_an_upload_in_parts_survives_resets_and_leaves_no_parts(
    world: SyncWorld, store: FaultyHttp, object_store_server: ObjectStoreServer
) -> None:
    picture = await world.picture(files=1, size_bytes=66 * MEBIBYTE)
    lost_parts = in_turn([Cut(Moment.IN_REQUEST), Cut(Moment.BEFORE_ANSWER), SLOW_DOWN], is_part)
    lost_joining = in_turn([Cut(Moment.BEFORE_ANSWER)], is_joining)
    store.rule = lambda request: lost_parts(request) or lost_joining(request)
    ended = await world.run(SyncOperation.UPLOAD_TO_S3, [picture])
    assert (ended["status"], ended["processed_files"]) == ("completed", 1)
    assert store.count(is_joining) == 1, "what took effect is not sent again"
    await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, [picture])
    open_uploads = await world.client.list_multipart_uploads(Bucket=BUCKET)
    assert not open_uploads.get("Uploads")


def is_part(request: Request) -> bool:
    return request.method == "PUT" and "partNumber=" in request.target


def is_joining(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.target


async def test_a_download_that_is_cut_never_leaves_a_part_of_a_file(
    world: SyncWorld, store: FaultyHttp, object_store_server: ObjectStoreServer
) -> None:
    picture = await world.picture(files=1, size_bytes=3 * MEBIBYTE)
    await world.run(SyncOperation.UPLOAD_TO_S3, [picture], delete_source=True)
    reading = about(picture.keys[0], "GET")
    async with watched(world, picture) as sizes:
        store.rule = always(Cut(Moment.IN_ANSWER, by_reset=False), reading)
        failed = await world.run(SyncOperation.DOWNLOAD_FROM_S3, [picture])
        assert world.results(failed["job_id"])[str(picture.media_id)]["code"] == "store_error"
        assert store.count(reading) >= ATTEMPTS
        assert files_of(world, [picture.media_id]) == []
        await world.assert_stored(picture, on_disk=False, in_bucket=True)

        store.rule = in_turn([Cut(Moment.IN_ANSWER), Cut(Moment.IN_ANSWER, by_reset=False), INTERNAL_ERROR], reading)
        ended = await world.run(SyncOperation.DOWNLOAD_FROM_S3, (), retry_of=failed["job_id"], delete_source=True)
        assert (ended["status"], ended["processed_files"]) == ("completed", 1)
    assert sizes <= {3 * MEBIBYTE}
    await world.assert_stored(picture, on_disk=True, in_bucket=False)
    await assert_bucket_and_disk_hold_what_is_recorded(world, object_store_server, [picture])


@asynccontextmanager
async def watched(world: SyncWorld, picture: Picture) -> AsyncIterator[set[int]]:
    """Every size that the picture's file is seen to have meanwhile."""
    path = world.disk / picture.keys[0]
    sizes: set[int] = set()

    async def look() -> None:
        while True:
            if path.exists():
                sizes.add(path.stat().st_size)
            await asyncio.sleep(0.001)

    looking = asyncio.create_task(look())
    try:
        yield sizes
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
