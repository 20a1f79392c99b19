"""From a bucket's listing to photos and orders, on a real database: restarts, outages, changes, and many keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from face_embedder.layout import Folder
from face_embedder.listing import CannotBeSynced, Listing, Superseded
from face_embedder.repositories.events import Events
from face_embedder.repositories.photos import Photos, Result
from face_embedder.repositories.tasks import Outcome, Tasks
from face_embedder.runner import Runner
from face_embedder.settings import FaceEmbedderSettings
from face_embedder.tasks import Task
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import FaceSyncStatus, IndexPhotoV1, PhotoStatus
from shared.identifiers import new_id
from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo, ObjectStore
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack

NUMBER = 7
PREVIEWS = f"events/{NUMBER}/previews/"
ORIGINALS = f"events/{NUMBER}/originals/"


@dataclass
class Bucket:
    """A listing as a store gives it: in the order of the keys, and broken off after so many objects."""

    etags: dict[str, str] = field(default_factory=dict)
    breaks_after: int | None = None

    def put(self, *keys: str, etag: str = "1") -> None:
        self.etags |= dict.fromkeys(keys, etag)

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        keys = sorted(key for key in self.etags if key.startswith(prefix) and key > start_after)
        for count, key in enumerate(keys):
            if count == self.breaks_after:
                raise StoreUnavailable("s3", "it went away in the middle")
            yield ObjectInfo(key, 1, self.etags[key], datetime.now(UTC))


@dataclass
class Site:
    """The listing on a database of its own, without the processes that index."""

    work: UnitOfWork
    bucket: Bucket
    event_id: UUID

    @property
    def listing(self) -> Listing:
        return Listing(self.work, cast(ObjectStore, self.bucket))

    async def begin(self, s3_prefix: str = PREVIEWS) -> Task:
        async with self.work.begin() as transaction:
            task = await Tasks(transaction.connection).add(new_id(), self.event_id, s3_prefix)
        assert task is not None
        return task

    async def now(self, task: Task) -> Task:
        """The task as it is kept."""
        rows = await self.rows("SELECT * FROM tasks WHERE task_id = $1", task.task_id)
        kept = {name: rows[0][name] for name in task.__slots__}
        kept |= {"folder": Folder(kept["folder"]), "status": FaceSyncStatus(kept["status"])}
        return replace(task, **kept)

    async def listed(self, task: Task) -> Task:
        await self.listing.go_on(await self.now(task))
        return await self.now(task)

    async def index_all(self) -> None:
        """Do as if every pending photo had been looked at."""
        for row in await self.rows("SELECT photo_id, generation FROM photos WHERE status = 'pending'"):
            async with self.work.begin() as transaction:
                photos, tasks = Photos(transaction.connection), Tasks(transaction.connection)
                due = await photos.due(row["photo_id"], row["generation"])
                assert due is not None
                photo = due.photo
                etag = photo.preview_etag or "made"
                done = Result(PhotoStatus.INDEXED, 1, 0.9, preview_etag=etag, makes_preview=photo.makes_preview)
                recorded = await photos.record(photo, done)
                assert recorded is not None
                await tasks.settle(recorded, Outcome(processed=1))
                if photo.makes_preview:
                    self.bucket.put(photo.s3_key, etag=etag)

    async def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.work.database.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def photos(self) -> dict[str, Any]:
        return {row["s3_key"]: row for row in await self.rows("SELECT * FROM photos")}

    async def orders(self) -> Counter[tuple[str, int]]:
        """How often each content of each photo was ordered to be indexed."""
        rows = await self.rows("SELECT payload FROM outbox WHERE topic = $1", IndexPhotoV1.topic.name)
        found = [json.loads(bytes(row["payload"])) for row in rows]
        return Counter((order["photo_id"], order["generation"]) for order in found)


@pytest.fixture
async def site(database: TestDatabase) -> AsyncIterator[Site]:
    pool = Database(database.dsn("face-embedder"), application_name="test")
    made = Site(UnitOfWork(pool, source="/test", schema="faces"), Bucket(), new_id())
    async with made.work.begin() as transaction:
        await Events(transaction.connection).ensure(made.event_id, NUMBER)
    yield made
    await pool.close()


async def test_every_photo_is_found_once_however_often_the_listing_breaks_off(site: Site) -> None:
    site.bucket.put(*(f"{PREVIEWS}{number:03}.jpg" for number in range(250)))
    site.bucket.put(*(f"{ORIGINALS}{number:03}.jpg" for number in range(0, 250, 2)))
    task = await site.begin()
    site.bucket.breaks_after = 130
    with pytest.raises(StoreUnavailable):
        await site.listed(task)
    assert (await site.now(task)).total_found == 100  # what was begun after the last whole batch is undone
    site.bucket.breaks_after = 120
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await site.listed(task)
    site.bucket.breaks_after = None
    ended = await site.listed(task)
    assert (ended.status, ended.total_found, ended.new_photos, ended.skipped) == ("indexing", 250, 250, 0)
    assert ended.originals_missing == 125
    assert set((await site.orders()).values()) == {1}
    assert len(await site.orders()) == 250


async def test_twelve_thousand_keys_are_listed_in_batches(site: Site) -> None:
    site.bucket.put(*(f"{PREVIEWS}{number:05}.jpg" for number in range(12_000)))
    ended = await site.listed(await site.begin())
    assert (ended.total_found, ended.new_photos) == (12_000, 12_000)
    assert len(await site.photos()) == 12_000


async def test_what_is_no_photo_of_this_event_is_passed_over(site: Site) -> None:
    site.bucket.put(
        f"{PREVIEWS}a.jpg",
        f"{PREVIEWS}folder/b.jpg",
        f"{PREVIEWS}..",
        PREVIEWS,
        f"events/{NUMBER}/x.jpg",
        f"events/{NUMBER}1/previews/other.jpg",
    )
    ended = await site.listed(await site.begin())
    assert (list(await site.photos()), ended.total_found) == ([f"{PREVIEWS}a.jpg"], 1)


@pytest.mark.parametrize(
    "prefix",
    ["", "events/", "events/7", "events/8/previews/", f"{PREVIEWS}../../8/previews/", f"{PREVIEWS}a/", ORIGINALS],
)
async def test_a_prefix_outside_of_the_previews_is_refused(site: Site, prefix: str) -> None:
    site.bucket.put(f"{PREVIEWS}a.jpg", "events/8/previews/theirs.jpg")
    with pytest.raises(CannotBeSynced):
        await site.listed(await site.begin(prefix))
    assert await site.photos() == {}


async def test_a_prefix_within_the_previews_lists_those_photos_alone(site: Site) -> None:
    site.bucket.put(
        f"{PREVIEWS}day1-a.jpg", f"{PREVIEWS}day2-a.jpg", f"{ORIGINALS}day1-b.jpg", f"{ORIGINALS}day2-b.jpg"
    )
    ended = await site.listed(await site.begin(f"{PREVIEWS}day1"))
    assert sorted(await site.photos()) == [f"{PREVIEWS}day1-a.jpg", f"{PREVIEWS}day1-b.jpg"]
    assert ended.total_found == 2


async def test_nothing_found_is_no_error(site: Site) -> None:
    ended = await site.listed(await site.begin())
    assert (ended.status, ended.message) == ("completed", "No photos found in S3")


async def test_originals_find_their_previews_or_get_one(site: Site) -> None:
    site.bucket.put(f"{PREVIEWS}a.jpg", f"{PREVIEWS}b.jpg", f"{PREVIEWS}alone.jpg")
    site.bucket.put(f"{ORIGINALS}a.jpg", f"{ORIGINALS}a.png", f"{ORIGINALS}b.heic", f"{ORIGINALS}c.png")
    ended = await site.listed(await site.begin())
    photos = await site.photos()
    assert {key.removeprefix(PREVIEWS): photo["image_key"] for key, photo in photos.items()} == {
        "a.jpg": f"{ORIGINALS}a.jpg",  # the very same name comes before the same stem
        "b.jpg": f"{ORIGINALS}b.heic",
        "c.jpg": f"{ORIGINALS}c.png",
        "alone.jpg": None,
    }
    assert [key for key, photo in photos.items() if photo["makes_preview"]] == [f"{PREVIEWS}c.jpg"]
    assert (ended.total_found, ended.originals_missing) == (4, 1)

    await site.index_all()
    del site.bucket.etags[f"{ORIGINALS}b.heic"]
    site.bucket.put(f"{ORIGINALS}c.png", etag="2")
    del site.bucket.etags[f"{PREVIEWS}a.jpg"]
    again = await site.listed(await site.begin())
    assert (again.total_found, again.new_photos, again.skipped, again.originals_missing) == (4, 2, 2, 2)
    photos = await site.photos()
    # The original of the first one's preview is still there, so it gets a new one; the other's content has changed.
    remade = {key.removeprefix(PREVIEWS) for key, photo in photos.items() if photo["status"] == "pending"}
    assert remade == {"a.jpg", "c.jpg"}
    assert photos[f"{PREVIEWS}b.jpg"]["image_key"] is None


async def test_only_what_is_new_changed_or_failed_is_looked_at_again(site: Site) -> None:
    site.bucket.put(*(f"{PREVIEWS}{name}.jpg" for name in ("same", "changed", "failed", "pending")))
    await site.listed(await site.begin())
    del site.bucket.etags[f"{PREVIEWS}pending.jpg"]
    await site.index_all()
    async with site.work.begin() as transaction:
        await transaction.connection.execute("UPDATE photos SET status = 'failed' WHERE stem = 'failed'")
        await transaction.connection.execute("UPDATE photos SET status = 'pending' WHERE stem = 'pending'")
    site.bucket.put(f"{PREVIEWS}changed.jpg", etag="2")
    site.bucket.put(f"{PREVIEWS}new.jpg", f"{PREVIEWS}pending.jpg")
    again = await site.listed(await site.begin())
    assert (again.total_found, again.new_photos, again.skipped) == (5, 3, 2)
    photos = await site.photos()
    assert {photo["stem"]: photo["generation"] for photo in photos.values()} == {
        "same": 1,
        "changed": 2,
        "failed": 2,
        "pending": 1,
        "new": 1,
    }
    assert set((await site.orders()).values()) == {1}


async def test_of_two_syncs_at_once_each_ends_and_every_photo_is_ordered_once(site: Site) -> None:
    site.bucket.put(*(f"{PREVIEWS}{number:03}.jpg" for number in range(150)))
    first, second = await site.begin(), await site.begin()
    assert (await site.listed(first)).new_photos == 150
    other = await site.listed(second)
    assert (other.status, other.new_photos, other.skipped) == ("completed", 0, 150)
    assert other.message == "Successfully synced 0 new photos"
    assert set((await site.orders()).values()) == {1}


async def test_who_was_taken_for_dead_changes_nothing(site: Site) -> None:
    site.bucket.put(*(f"{PREVIEWS}{number:03}.jpg" for number in range(150)))
    task = await site.now(await site.begin())
    await site.listing.go_on(task)
    with pytest.raises(Superseded):
        await site.listing.go_on(task)
    assert (await site.now(task)).total_found == 150


async def test_a_listing_is_tried_again_three_times(site: Site) -> None:
    site.bucket.put(f"{PREVIEWS}a.jpg")
    site.bucket.breaks_after = 0
    task = await site.begin()
    settings = FaceEmbedderSettings.model_construct(
        listings_at_once=1, task_hold_seconds=60.0, listing_retry_seconds=60.0, tasks_kept_seconds=60.0
    )
    runner = Runner(site.work, site.listing, settings)
    for attempt in range(1, 5):
        assert (await site.now(task)).status == "listing"
        await runner.turn()
        await runner.turn()  # not due yet
        assert (await site.now(task)).listing_failures == attempt
        await site.rows("UPDATE tasks SET due_at = clock_timestamp() WHERE status = 'listing'")
    failed = await site.now(task)
    assert failed.status == "failed"
    assert "it went away in the middle" in failed.message
    await runner.turn()
    assert (await site.now(task)).listing_failures == 4
