"""The files of media that go for good, on a real PostgreSQL, disk and bucket, and what might bring them back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from deploy.local.object_store import ObjectStoreServer
from s3_syncer.deletion_repository import DeletionRepository
from s3_syncer.deletions import MediaDeletions
from s3_syncer.file_moves import FileMoves
from s3_syncer.file_tasks import FileTasks
from s3_syncer.jobs import Medium, Outcome
from s3_syncer.local_first import LocalFirst
from s3_syncer.one_medium import OneMedium
from s3_syncer.outages import Outages
from s3_syncer.repository import SyncRepository
from s3_syncer.settings import S3SyncerSettings
from s3_syncer.superseded_repository import SupersededRepository
from s3_syncer.transfers import Order, Transfers
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    Envelope,
    Event,
    FileAt,
    FilePlace,
    FileStep,
    FileTaskEndedV1,
    MediaDeletionBegunV1,
    MediaFilesRemovedV1,
    MediaRemovalDelayedV1,
    MediaRevisionSupersededV1,
    RemoveMediaFilesV1,
    RunFileTaskV1,
    StoredFile,
    SyncJobStatus,
    SyncOperation,
    SyncResult,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.retry import S3_RETRIES
from shared.storage.errors import StoreUnavailable
from shared.storage.keys import MediaKey, media_prefix, staging_key
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import ObjectStore
from shared.storage.s3 import S3Store
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.syncer_ground import syncer_ground

pytestmark = pytest.mark.stack

DATA = b"content"


@dataclass
class Site:
    """s3-syncer's parts in the process of the test, without Kafka."""

    unit_of_work: UnitOfWork
    disk: LocalDiskStore
    bucket: S3Store
    rows: asyncpg.Connection[Any]

    def deletions(self, bucket: ObjectStore | None = None) -> MediaDeletions:
        return MediaDeletions(self.unit_of_work, self.disk, bucket or self.bucket, self.disk, hold_seconds=5, at_once=4)

    async def put(self, *keys: str) -> None:
        for key in keys:
            for store in (self.disk, self.bucket):
                await store.put_bytes(key, DATA)

    async def know(self, media_id: UUID, *keys: str, revision: int = 1) -> None:
        async with self.unit_of_work.begin() as tx:
            files = tuple(map(file, keys))
            await SyncRepository(tx.connection).know_files(
                Medium(media_id, revision, files, on_disk=True, in_bucket=True)
            )

    async def left(self, prefix: str) -> dict[str, set[str]]:
        stores: list[ObjectStore] = [self.disk, self.bucket]
        return {store.name: {info.key async for info in store.list(prefix)} for store in stores}

    async def begin(self, media_id: UUID, *, keeps_bucket: bool = False) -> MediaDeletionBegunV1:
        event = begun(media_id, keeps_bucket=keeps_bucket)
        await self.deletions().fence(event, delivery(event))
        return event

    async def command(self, event: MediaDeletionBegunV1, *keys: str, staged: tuple[str, ...] = ()) -> None:
        command = RemoveMediaFilesV1(
            deletion_id=event.deletion_id,
            media_id=event.media_id,
            keys=keys,
            staging_keys=staged,
            keeps_bucket=event.keeps_bucket,
            requested_at=datetime.now(UTC),
        )
        await self.deletions().remove(command, delivery(command))

    async def told(self, event_type: type[Event]) -> list[Any]:
        rows = await self.rows.fetch("SELECT payload, headers FROM outbox ORDER BY id")
        return [
            event_type.model_validate_json(row["payload"])
            for row in rows
            if event_type.event_type in str(row["headers"])
        ]


@pytest.fixture
async def site(database: TestDatabase, object_store_server: ObjectStoreServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with syncer_ground(database, object_store_server, tmp_path) as ground:
        yield Site(ground.unit_of_work, ground.disk, ground.bucket, ground.rows)


def file(key: str) -> StoredFile:
    return StoredFile(
        name="card", key=key, mime_type="image/webp", size_bytes=7, sha256="0" * 64, width_px=1, height_px=1
    )


def key(media_id: UUID, revision: int = 1, name: str = "card") -> str:
    return str(MediaKey(media_id, revision, name, "webp"))


def begun(media_id: UUID, *, keeps_bucket: bool) -> MediaDeletionBegunV1:
    return MediaDeletionBegunV1.model_validate(
        {
            "deletion_id": new_id(),
            "media_id": media_id,
            "version": 1,
            "revision": 1,
            "keeps_bucket": keeps_bucket,
            "reason": "requested",
            "begun_by": None,
            "begun_at": datetime.now(UTC),
        }
    )


def delivery(event: Event) -> Delivery:
    envelope = Envelope.new(event, "/tests")
    return Delivery(
        consumer="s3-syncer",
        envelope=envelope,
        topic=event.topic.name,
        partition=0,
        offset=0,
        key=event.key().encode(),
        headers=envelope.headers(),
        payload=event.payload(),
        attempt=1,
    )


async def test_everything_goes_wherever_it_is_named(site: Site) -> None:
    media_id, other = new_id(), new_id()
    renamed, superseded = f"elsewhere/{media_id}/card.webp", f"old/{media_id}/card.webp"
    staged = staging_key(new_id())
    going = {key(media_id), key(media_id, 2), key(media_id, 3, "half-rendered"), renamed, superseded}
    await site.put(*going, key(other))
    await site.disk.put_bytes(staged, DATA)
    await site.know(media_id, key(media_id, 2), revision=2)
    fact = MediaRevisionSupersededV1(
        media_id=media_id, revision=1, files=(file(superseded),), superseded_at=datetime.now(UTC)
    )
    async with site.unit_of_work.begin() as tx:
        await SupersededRepository(tx.connection).note(fact, kept_seconds=3600)
    event = await site.begin(media_id)
    assert not await site.deletions().remove_some(), "nothing goes before it is commanded"
    await site.command(event, renamed, staged=(staged,))
    assert await site.deletions().remove_some()
    assert not await site.deletions().remove_some()
    for prefix in (media_prefix(media_id), "elsewhere/", "old/", "staging/"):
        assert await site.left(prefix) == {"disk": set(), "s3": set()}
    assert (await site.left(media_prefix(other)))["disk"] == {key(other)}
    [answer] = await site.told(MediaFilesRemovedV1)
    expected = {(place, one) for place in ("disk", "bucket") for one in going} | {("staging", staged)}
    assert {(one.place.value, one.key) for one in answer.removed} == expected
    assert (answer.removed_files, answer.removed_bytes) == (len(expected), 7 * len(expected))
    assert (answer.deletion_id, answer.records, answer.kept_files) == (event.deletion_id, 2, 0)
    assert await site.rows.fetchval("SELECT count(*) FROM media") == 0
    assert await site.rows.fetchval("SELECT count(*) FROM superseded") == 0


async def test_what_the_bucket_keeps_is_told(site: Site) -> None:
    media_id = new_id()
    await site.put(key(media_id))
    await site.know(media_id, key(media_id))
    event = await site.begin(media_id, keeps_bucket=True)
    await site.command(event, key(media_id))
    await site.deletions().remove_some()
    assert await site.left(media_prefix(media_id)) == {"disk": set(), "s3": {key(media_id)}}
    [answer] = await site.told(MediaFilesRemovedV1)
    assert [(one.place, one.key) for one in answer.kept] == [(FilePlace.BUCKET, key(media_id))]
    assert (answer.kept_because, answer.kept_files, answer.kept_bytes) == ("s3_delete_with_local_off", 1, 7)
    assert [one.place for one in answer.removed] == [FilePlace.DISK]


class Away(S3Store):
    """A bucket that does not answer."""

    def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Any]:
        raise StoreUnavailable("s3", "no answer")


async def test_what_a_store_does_not_let_go_is_tried_again_and_told_once(site: Site) -> None:
    media_id = new_id()
    await site.put(key(media_id))
    event = await site.begin(media_id)
    await site.command(event)
    away = site.deletions(Away(site.bucket.settings))
    for _ in range(3):
        assert await away.remove_some()
        assert not await away.remove_some(), "not before its time"
        await site.rows.execute("UPDATE deletions SET due_at = now()")
    assert (await site.left(media_prefix(media_id)))["disk"] == set(), "what can go does"
    [delay] = await site.told(MediaRemovalDelayedV1)
    assert (delay.place, delay.code, delay.attempts) == (FilePlace.BUCKET, "store_away", 1)
    assert await site.told(MediaFilesRemovedV1) == []
    assert await site.deletions().remove_some()
    [answer] = await site.told(MediaFilesRemovedV1)
    # what was removed in earlier attempts is in the answer, too
    assert {one.place for one in answer.removed} == {FilePlace.DISK, FilePlace.BUCKET}


async def test_who_works_on_a_medium_ends_first_and_nobody_else_begins(site: Site) -> None:
    media_id, job_id, later = new_id(), new_id(), new_id()
    await site.put(key(media_id))
    await site.know(media_id, key(media_id))
    async with site.unit_of_work.begin() as tx:
        sync = SyncRepository(tx.connection)
        for one in (job_id, later):
            await sync.make_job(
                one,
                operation=SyncOperation.UPLOAD_TO_S3,
                status=SyncJobStatus.ACTIVE,
                requested_by=new_id(),
                total_files=1,
            )
            await sync.make_items(one, [media_id], [])
        [held] = await sync.hold_pending(job_id, 60)
    event = await site.begin(media_id)
    await site.command(event)
    assert not await site.deletions().remove_some(), "its files are being copied"
    async with site.unit_of_work.begin() as tx:
        sync = SyncRepository(tx.connection)
        assert await sync.place(job_id, [held])
        await sync.end_items(job_id, [SyncResult(media_id=media_id, status="done", bytes_moved=0)])
        await sync.release_holds(job_id)
        assert await sync.hold_pending(later, 60) == []
        assert await DeletionRepository(tx.connection).pending_deleted(later, 10) == [media_id]
    assert await site.deletions().remove_some()
    [answer] = await site.told(MediaFilesRemovedV1)
    assert answer.records == 2, "the medium and what the ended job says of it"


async def test_what_comes_late_is_not_learned_and_has_the_places_emptied_again(site: Site) -> None:
    media_id = new_id()
    event = await site.begin(media_id)
    await site.command(event)
    assert await site.deletions().remove_some()
    # A rendering that was taken for dead has stored its files after all, and so is told.
    await site.put(key(media_id))
    await site.know(media_id, key(media_id))
    async with site.unit_of_work.begin() as tx:
        await SyncRepository(tx.connection).know_entity(media_id, "product", None)
        await SyncRepository(tx.connection).want_copy(media_id, 1, datetime.now(UTC))
    for table in ("media", "bucket_copies"):
        assert await site.rows.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await site.deletions().remove_some()
    assert await site.left(media_prefix(media_id)) == {"disk": set(), "s3": set()}
    [first, second] = await site.told(MediaFilesRemovedV1)
    assert (first.removed_files, second.removed_files) == (0, 2)


async def test_a_repair_brings_no_file_back(site: Site) -> None:
    media_id = new_id()
    aside = f"quarantine/{media_id}.webp"
    await site.put(aside)
    await site.begin(media_id)
    tasks = FileTasks(
        site.unit_of_work,
        FileMoves(site.disk, site.bucket, site.disk),
        Outages(Transfers(site.disk, site.bucket).check),
        S3_RETRIES,
        hold_seconds=10,
        files_in_flight=2,
    )
    step = FileStep(
        kind="copy",
        source=FileAt(place=FilePlace.BUCKET, key=aside),
        target=FileAt(place=FilePlace.BUCKET, key=key(media_id)),
    )
    command = RunFileTaskV1(
        task_id=new_id(), scope="repairs", steps=(step,), is_atomic=False, requested_at=datetime.now(UTC)
    )
    await tasks.run(command, delivery(command))
    [ended] = await site.told(FileTaskEndedV1)
    assert (ended.succeeded, ended.results[0].code) == (False, "medium_deleted")
    assert (await site.left(media_prefix(media_id)))["s3"] == set()


class SlowMedium(OneMedium):
    """Work during which something else happens."""

    meanwhile: Callable[[], Awaitable[None]]

    async def attempt(self, order: Order, medium: Medium, stop: asyncio.Event | None = None) -> Outcome:
        outcome = await super().attempt(order, medium, stop)
        await self.meanwhile()
        return outcome


async def test_a_copy_whose_hold_had_run_out_has_the_places_emptied_again(site: Site) -> None:
    """A process that was taken for dead writes on when the medium is gone."""
    media_id = new_id()
    await site.disk.put_bytes(key(media_id), DATA)
    content = file(key(media_id)).model_copy(update={"sha256": hashlib.sha256(DATA).hexdigest()})
    async with site.unit_of_work.begin() as tx:
        sync = SyncRepository(tx.connection)
        await sync.know_files(Medium(media_id, 1, (content,), on_disk=True, in_bucket=False))
        await sync.want_copy(media_id, 1, datetime.now(UTC))

    written_again = asyncio.Event()

    async def deleted_and_written_again() -> None:
        await site.command(await site.begin(media_id))
        assert not await site.deletions().remove_some(), "it is held"
        await site.rows.execute("UPDATE media SET held_until = now() - interval '1 second'")
        assert await site.deletions().remove_some()
        await site.bucket.put_bytes(key(media_id), DATA)
        written_again.set()

    media = SlowMedium(Transfers(site.disk, site.bucket), S3_RETRIES, in_flight=1)
    media.meanwhile = deleted_and_written_again
    settings = S3SyncerSettings.model_construct(
        local_first_concurrency=1, hold_seconds=60.0, local_first_poll_seconds=0.05
    )
    copies = LocalFirst(
        site.unit_of_work, media, S3_RETRIES, settings, is_on=lambda: True, is_urgent_work_in_hand=lambda: False
    )
    working = asyncio.create_task(copies.work_off())
    try:
        async with asyncio.timeout(30):
            await written_again.wait()
        await eventually(site.deletions().remove_some, why="the places are emptied once more")
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert await site.left(media_prefix(media_id)) == {"disk": set(), "s3": set()}
    [first, second] = await site.told(MediaFilesRemovedV1)
    assert (first.removed_files, second.removed_files) == (2, 2), "the copy had to go twice, and is one file"
