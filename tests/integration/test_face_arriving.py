"""Photos as face-embedder hears of them, uploaded or told of by the bucket, on a real database and bucket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from face_embedder.arriving import Arriving
from face_embedder.bucket_news import MOST_WAITS, BucketNews
from face_embedder.photos import Photo
from face_embedder.repositories.events import Events
from face_embedder.repositories.photos import NewPhoto, Photos, Result
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import AddEventPhotoV1, BucketObjectV1, IndexPhotoV1, PhotoStatus
from shared.identifiers import new_id
from shared.messaging.errors import Postponed
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.testing.databases import TestDatabase
from tests.pack_album import delivery_of

pytestmark = pytest.mark.stack


@dataclass
class Site:
    """An event with one photo whose preview was made of its original; what the bucket is asked for is noted."""

    work: UnitOfWork
    bucket: S3Store
    event_id: UUID
    number: int
    photo: Photo
    asked: list[tuple[str, bool]] = field(default_factory=list)
    """Which preview, and whether the event was free meanwhile."""
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """Happens once, when the bucket has answered for the first preview."""

    async def stat(self, key: str) -> ObjectInfo | None:
        found = await S3Store.stat(self.bucket, key)
        if "/previews/" in key:
            free = "SELECT 1 FROM events WHERE event_id = $1 FOR NO KEY UPDATE SKIP LOCKED"
            self.asked.append((key, bool(await self.rows(free, self.event_id))))
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                await meanwhile()
        return found

    async def arrive(self) -> None:
        assert self.photo.image_key is not None
        command = AddEventPhotoV1(
            event_id=self.event_id,
            number=self.number,
            image_key=self.photo.image_key,
            uploaded_by=new_id(),
            uploaded_at=datetime.now(UTC),
        )
        await Arriving(self.work, self.bucket).add(command, delivery_of(command))

    async def index(self) -> None:
        """As if the preview had been made and looked at."""
        info = await self.bucket.put_bytes(self.photo.s3_key, b"a preview")
        done = Result(PhotoStatus.INDEXED, 0, 0.0, preview_etag=info.etag, makes_preview=True)
        async with self.work.begin() as transaction:
            assert await Photos(transaction.connection).record(self.photo, done) is not None

    async def orders(self) -> list[int]:
        """The generations of the photo that are to be looked at."""
        rows = await self.rows("SELECT payload FROM outbox WHERE topic = $1 ORDER BY id", IndexPhotoV1.topic.name)
        return [json.loads(row["payload"])["generation"] for row in rows]

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.work.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))


@pytest.fixture
async def site(
    database: TestDatabase, object_store_server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    pool = Database(database.dsn("face-embedder"), application_name="tests", max_connections=4)
    work = UnitOfWork(pool, source="/tests", schema="faces")
    event_id = new_id()
    number = event_id.int % 10**15 + 1
    original = f"events/{number}/originals/a.png"
    settings = S3Settings(
        endpoint=object_store_server.endpoint,
        bucket="mediabus",
        access_key=SecretStr(object_store_server.access_key),
        secret_key=SecretStr(object_store_server.secret_key),
    )
    async with S3Store(settings) as bucket:
        info = await bucket.put_bytes(original, b"an original")
        async with work.begin() as transaction:
            await Events(transaction.connection).ensure(event_id, number)
            new = NewPhoto(f"events/{number}/previews/a.jpg", "a", None, original, original_etag=info.etag)
            (photo,) = await Photos(transaction.connection).add(event_id, [new])
        made = Site(work, bucket, event_id, number, photo)
        monkeypatch.setattr(bucket, "stat", made.stat)
        yield made
    await pool.close()


async def test_the_event_is_free_while_the_bucket_is_asked(site: Site) -> None:
    await site.arrive()
    assert site.asked == [(site.photo.s3_key, True)]
    assert await site.orders() == [], "it is waiting to be looked at already"


async def test_a_photo_that_changes_while_the_bucket_is_asked_is_asked_for_again(site: Site) -> None:
    site.meanwhile = site.index
    await site.arrive()
    assert site.asked == [(site.photo.s3_key, True), (site.photo.s3_key, False)]
    assert await site.orders() == [], "its preview is there by now"


async def test_a_photo_whose_preview_is_missing_is_made_again(site: Site) -> None:
    await site.index()
    await site.bucket.delete(site.photo.s3_key)
    await site.arrive()
    assert site.asked == [(site.photo.s3_key, True)]
    assert await site.orders() == [site.photo.generation + 1]


async def test_what_is_told_of_a_photo_waits_for_its_event_but_not_for_ever(site: Site) -> None:
    created = BucketObjectV1(
        bucket=site.bucket.bucket,
        object_key=f"events/{site.number + 1}/previews/a.jpg",
        happened="created",
        event_name="test",
        happened_at=datetime.now(UTC),
        told_by="webhook",
    )
    news = BucketNews(site.work, site.bucket)
    for postponed in range(MOST_WAITS):
        with pytest.raises(Postponed, match="event_not_told"):
            await news.hear(created, replace(delivery_of(created), postponed=postponed))
    await news.hear(created, replace(delivery_of(created), postponed=MOST_WAITS))
    removed = created.model_copy(update={"happened": "removed"})
    await news.hear(removed, delivery_of(removed))
