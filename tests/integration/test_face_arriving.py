"""Photos as face-embedder hears of them, uploaded or told of by the bucket, on a real database and bucket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from face_embedder.analysis import Analysis
from face_embedder.arriving import Arriving
from face_embedder.bucket_news import MOST_WAITS, BucketNews
from face_embedder.face_pool import FacePool
from face_embedder.indexing import Indexing
from face_embedder.packs import PackId, PacksAtHand
from face_embedder.photos import Photo
from face_embedder.repositories.events import Events
from face_embedder.repositories.photos import NewPhoto, Photos, Result
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import AddEventPhotoV1, BucketObjectV1, IndexPhotoV1, PhotoStatus
from shared.identifiers import new_id
from shared.messaging.errors import Postponed, TransientError
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.testing.databases import TestDatabase
from shared.worker_pool import Urgency
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

    async def hear(self, key: str, **facts: Any) -> None:
        """What the bucket tells of a key, or who has removed something."""
        fact = {"happened": "created", "told_by": "webhook", "event_name": "test", "happened_at": datetime.now(UTC)}
        news = BucketObjectV1.model_validate({"bucket": self.bucket.bucket, "object_key": key, **fact, **facts})
        await BucketNews(self.work, self.bucket).hear(news, delivery_of(news))

    async def know(self, status: PhotoStatus, preview_etag: str | None, original_etag: str | None) -> None:
        sql = "UPDATE photos SET status = $1, preview_etag = $2, original_etag = $3 WHERE event_id = $4 RETURNING 1"
        await self.rows(sql, status.value, preview_etag, original_etag, self.event_id)

    async def indexes_by_itself(self) -> None:
        await self.rows("UPDATE events SET auto_index = true WHERE event_id = $1 RETURNING 1", self.event_id)

    async def told(self) -> list[dict[str, Any]]:
        """What was told of photos."""
        rows = await self.rows("SELECT payload FROM outbox WHERE topic = 'face.events' ORDER BY id")
        return [json.loads(row["payload"]) for row in rows]

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


@pytest.mark.parametrize(
    ("auto_index", "preview", "is_known", "is_awaited", "original", "looks"),
    [
        (False, None, False, False, None, False),
        (False, b"newer", False, False, None, False),
        (True, b"newer", False, False, None, True),
        # A sync has found the newer one already.
        (False, b"newer", True, False, None, True),
        # A preview was to be made of an original: of the one that is gone, and of a newer one that stays.
        (True, None, False, True, None, False),
        (False, None, False, True, b"newer", True),
    ],
)
async def test_a_deleted_photo_goes_and_what_came_later_is_another(
    site: Site,
    auto_index: bool,
    preview: bytes | None,
    is_known: bool,
    is_awaited: bool,
    original: bytes | None,
    looks: bool,
) -> None:
    assert site.photo.image_key is not None
    if auto_index:
        await site.indexes_by_itself()
    await site.bucket.delete(site.photo.image_key)
    seen = None if preview is None else (await site.bucket.put_bytes(site.photo.s3_key, preview)).etag
    left = None if original is None else (await site.bucket.put_bytes(site.photo.image_key, original)).etag
    known = None if is_awaited else seen if is_known else "of the file that was deleted"
    await site.know(PhotoStatus.PENDING if is_awaited else PhotoStatus.INDEXED, known, left or site.photo.original_etag)
    await site.hear(site.photo.s3_key, happened="removed", told_by="deletion")
    assert [(told["status"], told["faces"]) for told in await site.told()] == [("removed", 0)]
    assert await site.orders() == ([site.photo.generation + 2] if looks else [])
    ((status,),) = await site.rows("SELECT status FROM photos WHERE event_id = $1", site.event_id)
    assert status == ("pending" if looks else "removed")


async def test_a_preview_of_our_own_does_not_bring_a_deleted_photo_back(site: Site) -> None:
    assert site.photo.image_key is not None
    await site.indexes_by_itself()
    made = await site.bucket.put_bytes(site.photo.s3_key, b"made of the original")
    async with site.work.begin() as transaction:
        assert made.sha256 is not None
        await Photos(transaction.connection).note_made(site.photo, made.sha256)
    await site.bucket.delete(site.photo.image_key)
    await site.hear(site.photo.s3_key, happened="removed", told_by="deletion")
    assert await S3Store.stat(site.bucket, site.photo.s3_key) is None, "nobody else would remove it"
    await site.hear(site.photo.s3_key)
    assert await site.orders() == []


async def test_a_preview_that_was_remade_while_its_photo_was_deleted_goes_too(site: Site) -> None:
    assert site.photo.image_key is not None
    await site.indexes_by_itself()
    await site.index()
    replaced = await site.bucket.put_bytes(site.photo.image_key, b"another original")
    async with site.work.begin() as transaction:
        photos = Photos(transaction.connection)
        (remaking,) = await photos.make({site.photo.photo_id: (replaced.key, replaced.etag)})
        remade = await site.bucket.put_bytes(site.photo.s3_key, b"made of the other original")
        assert remade.sha256 is not None
        await photos.note_made(remaking, remade.sha256)
    # Whoever removed the files has kept the preview: it is another one than when the photo was deleted.
    await site.bucket.delete(site.photo.image_key)
    await site.hear(site.photo.s3_key, happened="removed", told_by="deletion")
    assert await S3Store.stat(site.bucket, site.photo.s3_key) is None
    assert (await site.told())[-1]["status"] == "removed"
    assert await site.orders() == []


class Looking(FacePool):
    """Finds no faces, makes a preview where one is wanted, and then lets something happen."""

    def __init__(self, then: Callable[[], Awaitable[object]]) -> None:
        self.packs = PacksAtHand(PackId("lite", "1"))
        self.looked_at: list[bytes] = []
        self._then = then

    async def look(self, picture: bytes, pack: PackId, urgency: Urgency, *, makes_preview: bool = False) -> Analysis:
        self.looked_at.append(picture)
        preview = base64.b64encode(b"a preview of our own").decode() if makes_preview else None
        if makes_preview:
            await self._then()
        return Analysis(
            pack=pack.name, pack_version=pack.version, threshold=0.5, width_px=1, height_px=1, faces=(), preview=preview
        )


async def test_a_preview_that_comes_while_one_is_made_is_not_overwritten(site: Site) -> None:
    pool = Looking(lambda: site.bucket.put_bytes(site.photo.s3_key, b"a preview of somebody's"))
    order = site.photo.order(None)
    indexing = Indexing(site.work, site.bucket, pool, limit_bytes=2**20, limit_seconds=60.0)
    await indexing.index(order, delivery_of(order))
    async with site.bucket.open(site.photo.s3_key) as opened:
        assert b"".join([chunk async for chunk in opened.chunks]) == b"a preview of somebody's"
    assert pool.looked_at == [b"an original", b"a preview of somebody's"]
    ((makes_preview,),) = await site.rows("SELECT makes_preview FROM photos WHERE event_id = $1", site.event_id)
    assert makes_preview is False, "it is theirs from now on"


async def test_no_preview_comes_of_a_photo_that_is_deleted_meanwhile(site: Site) -> None:
    async def deleted() -> None:
        assert site.photo.image_key is not None
        await site.bucket.delete(site.photo.image_key)
        await site.hear(site.photo.s3_key, happened="removed", told_by="deletion")

    order = site.photo.order(None)
    indexing = Indexing(site.work, site.bucket, Looking(deleted), limit_bytes=2**20, limit_seconds=60.0)
    await indexing.index(order, delivery_of(order))
    assert await S3Store.stat(site.bucket, site.photo.s3_key) is None
    assert [told["status"] for told in await site.told()] == ["removed"]


@pytest.mark.parametrize("is_deleted", ["before it is put", "while it is put", "before it is tried again"])
async def test_a_preview_that_is_put_after_its_photo_was_deleted_goes_again(
    site: Site, is_deleted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.indexes_by_itself()

    async def deleted() -> None:
        assert site.photo.image_key is not None
        await site.bucket.delete(site.photo.image_key)
        await site.hear(site.photo.s3_key, happened="removed", told_by="deletion")

    async def put_bytes(*arguments: Any, **options: Any) -> ObjectInfo:
        async def put_meanwhile() -> None:
            await put(*arguments, **options)

        if is_deleted == "while it is put":
            # The bucket is asked before the preview lies there, and the photo is removed after.
            site.meanwhile = put_meanwhile
        await deleted()
        stored = await put(*arguments, **options)
        # The bucket tells of it before anybody has taken it away.
        await site.hear(site.photo.s3_key)
        if is_deleted == "before it is tried again":
            raise TransientError("test", "the process was killed")
        return stored

    put = site.bucket.put_bytes
    monkeypatch.setattr(site.bucket, "put_bytes", put_bytes)
    order = site.photo.order(None)
    indexing = Indexing(
        site.work, site.bucket, Looking(lambda: asyncio.sleep(0)), limit_bytes=2**20, limit_seconds=60.0
    )
    delivery = delivery_of(order)
    if is_deleted == "before it is tried again":
        with pytest.raises(TransientError, match="killed"):
            await indexing.index(order, delivery)
    await indexing.index(order, delivery)
    assert await S3Store.stat(site.bucket, site.photo.s3_key) is None
    assert await site.orders() == []
    assert [told["status"] for told in await site.told()] == ["removed"]


async def test_a_photo_that_is_done_while_its_deletion_is_heard_takes_its_preview_with_it(site: Site) -> None:
    assert site.photo.image_key is not None
    order = site.photo.order(None)
    await site.bucket.delete(site.photo.image_key)

    async def done() -> None:
        info = await site.bucket.put_bytes(site.photo.s3_key, b"a preview of our own")
        assert info.sha256 is not None
        result = Result(PhotoStatus.INDEXED, preview_etag=info.etag, makes_preview=True)
        async with site.work.begin() as transaction:
            photos = Photos(transaction.connection)
            await photos.note_made(site.photo, info.sha256)
            assert await photos.record(site.photo, result) is not None

    site.meanwhile = done
    await site.hear(site.photo.s3_key, happened="removed", told_by="deletion")
    assert await S3Store.stat(site.bucket, site.photo.s3_key) is None
    assert [told["status"] for told in await site.told()] == ["removed"]
    indexing = Indexing(site.work, site.bucket, Looking(done), limit_bytes=2**20, limit_seconds=60.0)
    await indexing.index(order, delivery_of(order))
    assert await site.orders() == []


async def test_no_preview_comes_into_the_folder_of_an_event_that_is_deleted_meanwhile(site: Site) -> None:
    def deleted() -> Awaitable[object]:
        return site.rows("UPDATE events SET is_deleted = true WHERE event_id = $1 RETURNING 1", site.event_id)

    order = site.photo.order(None)
    indexing = Indexing(site.work, site.bucket, Looking(deleted), limit_bytes=2**20, limit_seconds=60.0)
    await indexing.index(order, delivery_of(order))
    assert await S3Store.stat(site.bucket, site.photo.s3_key) is None
    assert [(told["status"], told["code"]) for told in await site.told()] == [("failed", "faces_not_kept")]


async def test_what_was_seen_of_a_photo_is_told(site: Site) -> None:
    await site.indexes_by_itself()
    key = f"events/{site.number}/previews/b.jpg"
    preview = await site.bucket.put_bytes(key, b"a preview")
    original = await site.bucket.put_bytes(key.replace("previews", "originals"), b"an original")
    await site.hear(key)
    await site.rows("UPDATE photos SET status = 'indexed' WHERE s3_key = $1 RETURNING 1", key)
    later = await site.bucket.put_bytes(original.key, b"another original")
    await site.hear(original.key)
    await site.hear(original.key)
    ((etag,),) = await site.rows("SELECT preview_etag FROM photos WHERE s3_key = $1", key)
    assert etag == preview.etag
    assert later.etag != original.etag
    assert [(told["preview_etag"], told["image_etag"]) for told in await site.told()] == [(preview.etag, later.etag)]
    await site.bucket.delete(original.key)
    await site.hear(original.key, happened="removed")
    assert [told["image_etag"] for told in await site.told()] == [later.etag, None]


async def test_the_event_is_free_while_originals_are_looked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.indexes_by_itself()
    key = f"events/{site.number}/previews/b.jpg"
    original = await site.bucket.put_bytes(f"events/{site.number}/originals/b.png", b"an original")
    await site.bucket.put_bytes(key, b"a preview")
    free = "SELECT 1 FROM events WHERE event_id = $1 FOR NO KEY UPDATE SKIP LOCKED"
    seen: list[tuple[bool, bool]] = []

    async def listed(prefix: str) -> AsyncIterator[ObjectInfo]:
        # One that comes from now on finds the photo.
        known = await site.rows("SELECT 1 FROM photos WHERE s3_key = $1", key)
        seen.append((bool(await site.rows(free, site.event_id)), bool(known)))
        async for info in S3Store.list(site.bucket, prefix):
            yield info

    monkeypatch.setattr(site.bucket, "list", listed)
    await site.hear(key)
    await site.hear(key)
    assert seen == [(True, True)]
    ((linked,),) = await site.rows("SELECT image_key FROM photos WHERE s3_key = $1", key)
    assert linked == original.key
    assert await site.orders() == [1]
