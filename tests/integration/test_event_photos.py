"""Photos of events as callers see them, on a real bucket; the test tells what face-embedder would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from ingest_api.event_photos import EventPhotos
from ingest_api.photo_removal import AskedFile, Removal
from ingest_api.repositories.event_photos import EventPhotoRepository
from shared.db.unit_of_work import UnitOfWork
from shared.events import EventPhotoChangedV1, PhotoStatus
from shared.identifiers import new_id
from shared.storage.errors import StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.testing.databases import TestDatabases
from tests.face_double import photo_of
from tests.ingest_site import IngestSite, bucket_settings, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
async def site(
    databases: TestDatabases, object_store_server: ObjectStoreServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    bucket = {
        **bucket_settings(object_store_server),
    }
    async with running_site(database, tmp_path_factory.mktemp("event-photos") / "media", **bucket) as running:
        yield running
    await databases.drop(database)


@pytest.fixture
async def event(site: IngestSite) -> dict[str, Any]:
    made: dict[str, Any] = (await site.api.post(EVENTS, json={"name": "Wedding"})).json()
    return made


@pytest.fixture
def bucket(site: IngestSite) -> S3Store:
    assert site.stores.bucket is not None
    return site.stores.bucket


async def tell(site: IngestSite, *photos: EventPhotoChangedV1) -> None:
    for photo in photos:
        await site.handlers.deliver(photo)


async def listed(site: IngestSite, event: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
    answer = await site.api.get(f"{EVENTS}/{event['uuid']}/photos", params=parameters)
    assert answer.status_code == 200, answer.text
    photos: list[dict[str, Any]] = answer.json()["photos"]
    return photos


async def told_of_bucket(site: IngestSite, event: dict[str, Any]) -> list[str]:
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE topic = 'bucket.events' ORDER BY id")
    facts = [json.loads(row["payload"]) for row in rows]
    return [fact["object_key"] for fact in facts if fact["object_key"].startswith(f"events/{event['id']}/")]


async def test_what_is_known_of_a_photo_and_where_it_is_read(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    photo = photo_of(event, "a b.jpg")
    assert photo.image_key is not None
    await bucket.put_bytes(photo.s3_key, b"preview")
    await bucket.put_bytes(photo.image_key, b"original")
    await tell(site, photo)
    (read,) = await listed(site, event)
    async with httpx.AsyncClient(timeout=30) as anybody:
        contents = [(await anybody.get(read[name])).content for name in ("preview_url", "image_url")]
    assert contents == [b"preview", b"original"]
    expected = {"id": str(photo.photo_id), "s3_key": photo.s3_key, "image_key": photo.image_key, "status": "indexed"}
    assert {name: read[name] for name in expected} == expected
    assert (read["faces"], read["confidence"], read["code"]) == (1, 0.97, None)


async def test_lists_page_and_filter(site: IngestSite, event: dict[str, Any]) -> None:
    photos = [photo_of(event, f"{number}.jpg") for number in range(5)]
    bare = photo_of(event, "bare.jpg", image_key=None, status=PhotoStatus.NO_FACE_DETECTED, faces=0, confidence=0.0)
    broken = photo_of(event, "broken.jpg", status=PhotoStatus.FAILED, faces=0, confidence=0.0, code="not_a_picture")
    gone = photo_of(event, "gone.jpg", status=PhotoStatus.REMOVED)
    await tell(site, *photos, bare, broken, gone)
    url = f"{EVENTS}/{event['uuid']}/photos"
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await site.api.get(url, params=parameters)).json()
        seen += [photo["id"] for photo in page["photos"]]
        if (cursor := page["next_cursor"]) is None:
            break
    # Ids of one moment are in no order.
    assert seen == sorted(str(photo.photo_id) for photo in (*photos, bare, broken))
    (without,) = await listed(site, event, status="no_face_detected")
    assert (without["image_url"], without["confidence"]) == (None, 0.0)
    assert [photo["code"] for photo in await listed(site, event, status="failed")] == ["not_a_picture"]
    assert (await site.api.get(url, params={"status": "removed"})).status_code == 422


async def test_a_fact_that_comes_late_changes_nothing(site: IngestSite, event: dict[str, Any]) -> None:
    photo = photo_of(event, "a.jpg", version=3)
    late = photo.model_copy(update={"version": 2, "status": PhotoStatus.PENDING})
    await tell(site, photo, late, photo)
    assert [one["status"] for one in await listed(site, event)] == ["indexed"]


async def test_a_deleted_photo_is_hidden_and_its_files_go(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    photo, other = photo_of(event, "a.jpg"), photo_of(event, "b.jpg")
    assert photo.image_key is not None
    for key in (photo.s3_key, photo.image_key, other.s3_key):
        await bucket.put_bytes(key, b"x")
    await tell(site, photo, other)
    url = f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}"
    assert (await site.api.delete(url)).status_code == 204
    assert [one["id"] for one in await listed(site, event)] == [str(other.photo_id)]
    assert [await bucket.stat(key) for key in (photo.s3_key, photo.image_key)] == [None, None]
    assert await bucket.stat(other.s3_key) is not None
    assert await told_of_bucket(site, event) == [photo.image_key, photo.s3_key]
    assert (await site.api.delete(url)).status_code == 404
    assert await site.count("photo_removals") == 0

    # What a sync finds before it hears of the removal stays hidden; what comes under the key later is shown.
    await tell(site, photo.model_copy(update={"version": 2}))
    assert len(await listed(site, event)) == 1
    await tell(site, photo.model_copy(update={"version": 3, "status": PhotoStatus.REMOVED}))
    assert len(await listed(site, event)) == 1
    await tell(site, photo.model_copy(update={"version": 4, "status": PhotoStatus.PENDING}))
    assert len(await listed(site, event)) == 2


async def test_while_the_bucket_is_away_the_files_wait_and_the_photo_is_hidden(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    photo = photo_of(event, "a.jpg", image_key=None)
    await bucket.put_bytes(photo.s3_key, b"x")
    await tell(site, photo)
    unit_of_work = UnitOfWork(site.database, source="/mediabus/ingest-api", schema="ingest")
    nowhere = S3Settings(
        endpoint="http://127.0.0.1:9", bucket="mediabus", access_key=SecretStr("a"), secret_key=SecretStr("b")
    )
    principal = await site.sign_in.by_api_key(site.key)
    assert principal is not None
    known = await site.photo_desk.events.read(UUID(event["uuid"]), principal)
    async with S3Store(nowhere) as away:
        await EventPhotos(unit_of_work, away).delete(known, photo.photo_id, principal.user_id)
    assert await listed(site, event) == []
    assert await told_of_bucket(site, event) == []
    await site.photo_desk.photos.sweep_once()
    assert await bucket.stat(photo.s3_key) is not None, "it is not due yet"
    await site.rows.execute("UPDATE photo_removals SET due_at = clock_timestamp()")
    await site.photo_desk.photos.sweep_once()
    assert await bucket.stat(photo.s3_key) is None
    assert await told_of_bucket(site, event) == [photo.s3_key]


async def test_a_bucket_that_does_not_answer_holds_no_removal_for_ever(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photo_of(event, "a.jpg", image_key=None)
    await bucket.put_bytes(photo.s3_key, b"x")
    await tell(site, photo)

    async def never(_: str) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as slow:
        slow.setattr(bucket, "delete", never)
        slow.setattr("ingest_api.event_photos.GIVEN_UP_SECONDS", 0.05)
        async with asyncio.timeout(20):
            answer = await site.api.delete(f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}")
    assert answer.status_code == 204
    await site.rows.execute("UPDATE photo_removals SET due_at = clock_timestamp()")
    await site.photo_desk.photos.sweep_once()
    assert await bucket.stat(photo.s3_key) is None
    assert await site.count("photo_removals") == 0


async def sweep(site: IngestSite) -> None:
    await site.rows.execute("UPDATE photo_removals SET due_at = clock_timestamp()")
    await site.photo_desk.photos.sweep_once()


@pytest.mark.parametrize("bucket_is", ["away", "read-only"])
@pytest.mark.parametrize("newer", ["preview", "original"])
async def test_a_file_that_comes_while_a_photo_is_being_deleted_stays(
    site: IngestSite,
    event: dict[str, Any],
    bucket: S3Store,
    bucket_is: str,
    newer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = photo_of(event, "a.jpg")
    assert photo.image_key is not None
    # What face-embedder has told counts where the bucket itself can't be asked.
    is_asked = bucket_is == "read-only"
    preview = await bucket.put_bytes(photo.s3_key, b"preview")
    original = await bucket.put_bytes(photo.image_key, b"original")
    await tell(
        site,
        photo.model_copy(
            update={
                "preview_etag": "told before" if is_asked else preview.etag,
                "image_etag": None if is_asked else original.etag,
            }
        ),
    )
    url = f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}"

    async def away(*_: Any) -> None:
        raise StoreUnavailable("s3", "it is away")

    with monkeypatch.context() as patched:
        patched.setattr(bucket, "delete", away)
        if not is_asked:
            patched.setattr(bucket, "stat", away)
        assert (await site.api.get(f"{url}/removal")).status_code == 404
        assert (await site.api.delete(url)).status_code == 204
    assert await listed(site, event) == []
    state = (await site.api.get(f"{url}/removal")).json()
    assert (state["status"], state["kept_keys"], state["completed_at"]) == ("removing", [], None)
    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await site.api.get(f"{url}/removal", headers=other)).status_code == 404

    key, gone = (photo.s3_key, photo.image_key) if newer == "preview" else (photo.image_key, photo.s3_key)
    await bucket.put_bytes(key, b"newer")
    await sweep(site)
    assert [(await bucket.stat(one)) is not None for one in (key, gone)] == [True, False]
    state = (await site.api.get(f"{url}/removal")).json()
    assert (state["status"], state["kept_keys"]) == ("completed", [key])
    # Whoever hears of both keys looks at what lies there, and finds the newer photo.
    assert await told_of_bucket(site, event) == [photo.image_key, photo.s3_key]
    await tell(site, photo.model_copy(update={"version": 2, "status": PhotoStatus.REMOVED}))
    await tell(site, photo.model_copy(update={"version": 3, "status": PhotoStatus.INDEXED}))
    assert len(await listed(site, event)) == 1
    await sweep(site)
    assert await bucket.stat(key) is not None

    assert (await site.api.delete(url)).status_code == 204
    assert await bucket.stat(key) is None, "now somebody has asked for it"
    assert (await site.api.get(f"{url}/removal")).status_code == 404


async def test_what_was_kept_of_a_deleted_photo_is_told_for_a_time(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    photo = photo_of(event, "a.jpg", image_key=None)
    await bucket.put_bytes(photo.s3_key, b"x")
    removal = Removal(photo.photo_id, photo.event_id, (AskedFile(photo.s3_key, "another"),))
    async with site.database.connection() as connection:
        removals = EventPhotoRepository(connection)
        await removals.add_removal(removal, new_id(), 0)
    await site.photo_desk.photos.sweep_once()
    # To versions that remove whatever lies there it is one that is not due.
    due = "SELECT count(*) FROM photo_removals WHERE photo_id = $1 AND due_at <= clock_timestamp() + interval '1 day'"
    assert await site.rows.fetchval(due, photo.photo_id) == 0
    async with site.database.connection() as connection:
        removals = EventPhotoRepository(connection)
        assert await removals.remove_completed_removals(3600, 10) == 0
        assert await removals.removal(photo.event_id, photo.photo_id) is not None
        assert await removals.remove_completed_removals(0, 10) == 1
        assert await removals.removal(photo.event_id, photo.photo_id) is None


async def test_a_removal_that_ends_late_does_not_end_the_next_one_of_its_photo(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photo_of(event, "a.jpg", image_key=None)
    await bucket.put_bytes(photo.s3_key, b"x")
    await tell(site, photo)
    url = f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}"
    remove = bucket.delete

    async def away(*_: Any) -> None:
        raise StoreUnavailable("s3", "it is away")

    async def removed_and_deleted_again(key: str) -> None:
        await remove(key)
        # The store has told of it, the photo has come back, and is deleted again.
        await tell(site, photo.model_copy(update={"version": 2, "status": PhotoStatus.REMOVED}))
        await bucket.put_bytes(key, b"another")
        await tell(site, photo.model_copy(update={"version": 3}))
        with monkeypatch.context() as broken:
            broken.setattr(bucket, "delete", away)
            assert (await site.api.delete(url)).status_code == 204

    with monkeypatch.context() as slow:
        slow.setattr(bucket, "delete", removed_and_deleted_again)
        assert (await site.api.delete(url)).status_code == 204
    assert (await site.api.get(f"{url}/removal")).json()["status"] == "removing"
    assert await told_of_bucket(site, event) == [], "the photo that is there by now has not gone yet"
    await sweep(site)
    assert await bucket.stat(photo.s3_key) is None
    assert await told_of_bucket(site, event) == [photo.s3_key]
    assert (await site.api.get(f"{url}/removal")).status_code == 404


async def removal_of(site: IngestSite, event: dict[str, Any]) -> dict[str, Any]:
    """How far it is, after a turn that is due now."""
    await site.rows.execute("UPDATE event_removals SET due_at = now() WHERE event_id = $1", UUID(event["uuid"]))
    assert await site.photo_desk.removals.turn() is True
    answer: dict[str, Any] = (await site.api.get(f"{EVENTS}/{event['uuid']}/removal")).json()
    return answer


@pytest.mark.parametrize("photos", ["keep", "remove"])
async def test_a_deleted_event_leaves_the_files_that_it_should(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.s3.PAGE_OBJECTS", 2)
    photo = photo_of(event, "a b+c.jpg")
    assert photo.image_key is not None
    folder = f"events/{event['id']}/"
    keys = sorted([photo.s3_key, photo.image_key, f"{folder}originals/never told of.cr2"])
    neighbour = f"events/{event['id']}0/previews/a.jpg"
    for key in (*keys, neighbour):
        await bucket.put_bytes(key, b"x")
    await tell(site, photo)
    url = f"{EVENTS}/{event['uuid']}"
    assert (await site.api.get(f"{url}/removal")).status_code == 404
    assert (await site.api.delete(url, params={"photos": "some"})).status_code == 422
    assert (await site.api.delete(url, params={"photos": photos} if photos == "remove" else {})).status_code == 204
    begun = (await site.api.get(f"{url}/removal")).json()
    assert (begun["photos"], begun["status"], begun["files_removed"]) == (photos, "removing", 0)
    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await site.api.get(f"{url}/removal", headers=other)).status_code == 404

    ended = await removal_of(site, event)
    removed = keys if photos == "remove" else []
    assert (ended["status"], ended["files_removed"], ended["problem"]) == ("completed", len(removed), None)
    assert [info.key async for info in bucket.list(folder)] == [key for key in keys if key not in removed]
    assert await bucket.stat(neighbour) is not None
    assert await told_of_bucket(site, event) == removed
    # And nothing is learned of its photos any more.
    await tell(site, photo.model_copy(update={"version": 2}))
    assert await site.rows.fetchval("SELECT count(*) FROM event_photos WHERE event_id = $1", photo.event_id) == 0


async def test_files_of_a_deleted_event_that_can_not_go_are_tried_again(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [photo_of(event, f"{number}.jpg", image_key=None) for number in range(3)]
    for photo in photos:
        await bucket.put_bytes(photo.s3_key, b"x")
    await site.api.delete(f"{EVENTS}/{event['uuid']}", params={"photos": "remove"})
    remove = bucket.delete

    async def stuck(key: str) -> None:
        if key == photos[1].s3_key:
            raise StoreUnavailable("s3", "it is away")
        await remove(key)

    with monkeypatch.context() as patched:
        patched.setattr(bucket, "delete", stuck)
        halted = await removal_of(site, event)
    assert (halted["status"], "it is away" in halted["problem"]) == ("removing", True)
    assert await site.photo_desk.removals.turn() is False, "it is not due yet"
    assert (await removal_of(site, event))["status"] == "completed"
    assert [info.key async for info in bucket.list(f"events/{event['id']}/")] == []


async def test_what_comes_after_an_event_was_deleted_stays(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, object_store_server: ObjectStoreServer
) -> None:
    folder = f"events/{event['id']}/"
    old, made, newer = f"{folder}originals/a.jpg", f"{folder}previews/a.jpg", f"{folder}previews/b.jpg"
    await bucket.put_bytes(old, b"x")
    await site.api.delete(f"{EVENTS}/{event['uuid']}", params={"photos": "remove"})
    # As if all of this had come an hour later.
    await site.rows.execute(
        "UPDATE event_removals SET asked_at = asked_at - interval '1 hour' WHERE event_id = $1", UUID(event["uuid"])
    )
    # A preview that was being made, with its checksum, and one that a tool has put there.
    await bucket.put_bytes(made, b"x")
    async with object_store_server.client() as tool:
        await tool.put_object(Bucket=bucket.bucket, Key=newer, Body=b"x")
    ended = await removal_of(site, event)
    assert (ended["status"], ended["files_removed"], ended["files_kept"]) == ("completed", 1, 2)
    assert [info.key async for info in bucket.list(folder)] == [old, newer]
    assert await told_of_bucket(site, event) == [made]
    page = await site.api.get(f"/admin/events/{event['uuid']}/removal", headers={"Accept": "text/html"})
    assert "2 files that came after the deletion stay" in page.text


async def test_late_previews_of_a_deleted_event_are_looked_at_several_at_once(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    previews = [f"events/{event['id']}/previews/{number}.jpg" for number in range(3)]
    await site.api.delete(f"{EVENTS}/{event['uuid']}", params={"photos": "remove"})
    await site.rows.execute(
        "UPDATE event_removals SET asked_at = asked_at - interval '1 hour' WHERE event_id = $1", UUID(event["uuid"])
    )
    for key in previews:
        await bucket.put_bytes(key, b"x")
    stat, together = bucket.stat, asyncio.Barrier(len(previews))

    async def stat_together(key: str) -> ObjectInfo | None:
        async with asyncio.timeout(30):
            await together.wait()
        return await stat(key)

    with monkeypatch.context() as patched:
        patched.setattr(bucket, "stat", stat_together)
        ended = await removal_of(site, event)
    assert (ended["status"], ended["files_removed"], ended["files_kept"]) == ("completed", len(previews), 0)


async def test_keys_outside_the_event_are_neither_shown_nor_removed(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    await bucket.put_bytes("media/other.jpg", b"x")
    photo = photo_of(event, "a.jpg", image_key="media/other.jpg")
    await tell(site, photo)
    (read,) = await listed(site, event)
    assert read["image_url"] is None
    assert (await site.api.delete(f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}")).status_code == 204
    assert await bucket.stat("media/other.jpg") is not None


async def test_others_neither_see_nor_delete_photos(site: IngestSite, event: dict[str, Any]) -> None:
    photo = photo_of(event, "a.jpg")
    await tell(site, photo)
    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    mine = (await site.api.post(EVENTS, json={"name": "Other"})).json()
    url = f"{EVENTS}/{event['uuid']}/photos"
    assert (await site.api.get(url, headers=other)).status_code == 404
    assert (await site.api.delete(f"{url}/{photo.photo_id}", headers=other)).status_code == 404
    assert (await site.api.delete(f"{EVENTS}/{mine['uuid']}/photos/{photo.photo_id}")).status_code == 404
    assert (await site.api.delete(f"{url}/{new_id()}")).status_code == 404
    assert len(await listed(site, event)) == 1
