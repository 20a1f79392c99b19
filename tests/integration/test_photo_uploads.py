"""Photos that are uploaded to events, on a real bucket and PostgreSQL: under which names, once each, never lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from ingest_api.photo_upload import PhotoUpload
from ingest_api.photo_uploads import PhotoUploads
from ingest_api.repositories.event_photos import EventPhotoRepository
from ingest_api.repositories.photo_uploads import PhotoUploadRepository
from shared.events import EventPhotoChangedV1, PhotoStatus
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.storage.errors import StoreRefused, StoreUnavailable
from shared.storage.s3 import S3Store
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from tests.face_double import photo_of
from tests.ingest_site import IngestSite, bucket_settings, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"
PICTURES = [photo_jpeg(48 + 8 * number, 48) for number in range(5)]


@pytest.fixture(scope="module")
async def site(
    databases: TestDatabases, object_store_server: ObjectStoreServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    bucket = {**bucket_settings(object_store_server), "upload_limit_bytes": 200_000}
    async with running_site(database, tmp_path_factory.mktemp("photo-uploads") / "media", **bucket) as running:
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


async def send(
    site: IngestSite, event: dict[str, Any], content: bytes = PICTURES[0], filename: str = "a.jpg", **options: Any
) -> httpx.Response:
    """`headers` are the request's; other options are text fields."""
    headers = options.pop("headers", {})
    files = {"file": (filename, content)}
    return await site.api.post(f"{EVENTS}/{event['uuid']}/photos", files=files, data=options, headers=headers)


async def sent(site: IngestSite, event: dict[str, Any], *file: Any, **options: Any) -> dict[str, Any]:
    """What was answered for a new photo."""
    answer = await send(site, event, *file, **options)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def known(site: IngestSite, event: dict[str, Any], told: dict[str, Any]) -> httpx.Response:
    """Whether the event has this content."""
    return await site.api.get(f"{EVENTS}/{event['uuid']}/photos/by-sha256/{told['sha256']}")


async def commands(site: IngestSite, event: dict[str, Any]) -> list[str]:
    """The originals that face-embedder is told to add."""
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE headers ->> 'ce_type' = 'face.add-event-photo.v1'")
    told = [json.loads(row["payload"]) for row in rows]
    return sorted(one["image_key"] for one in told if one["event_id"] == event["uuid"])


async def originals(bucket: S3Store, event: dict[str, Any]) -> dict[str, bytes]:
    """What lies in the folder, by name."""
    found = {}
    async for info in bucket.list(f"events/{event['id']}/originals/"):
        async with bucket.open(info.key) as opened:
            found[info.key.rpartition("/")[2]] = b"".join([chunk async for chunk in opened.chunks])
    return found


def key_of(event: dict[str, Any], name: str) -> str:
    return f"events/{event['id']}/originals/{name}"


async def test_a_photo_lies_in_the_bucket_and_is_to_be_looked_at(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    sha256 = hashlib.sha256(PICTURES[0]).hexdigest()
    told = await sent(site, event, PICTURES[0], "../Анна & <b>.JPG", sha256=sha256.upper())
    key = key_of(event, "Анна & <b>.JPG")
    assert (told["status"], told["filename"], told["image_key"]) == ("stored", "Анна & <b>.JPG", key)
    assert (told["sha256"], told["size_bytes"], told["event_uuid"]) == (sha256, len(PICTURES[0]), event["uuid"])
    info = await bucket.stat(key)
    assert info is not None
    assert (info.sha256, info.content_type) == (sha256, "image/jpeg")
    assert await originals(bucket, event) == {"Анна & <b>.JPG": PICTURES[0]}
    assert await commands(site, event) == [key]
    assert site.staged_files() == []


async def test_the_same_bytes_are_one_photo_whatever_they_are_called(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    first = await sent(site, event, PICTURES[0], "a.jpg")
    for name in ("a.jpg", "b.jpg"):
        again = await send(site, event, PICTURES[0], name)
        assert (again.status_code, again.json()["status"]) == (200, "duplicate")
        assert [again.json()[one] for one in ("upload_id", "image_key")] == [first["upload_id"], first["image_key"]]
        assert (await known(site, event, first)).json() == {
            "upload": again.json(),
            "photo": None,
            "is_overdue": False,
        }
    photo = photo_of(event, "a.jpg", image_key=first["image_key"])
    await site.handlers.deliver(photo)
    assert (await known(site, event, first)).json()["photo"]["id"] == str(photo.photo_id)
    assert list(await originals(bucket, event)) == ["a.jpg"]
    other = (await site.api.post(EVENTS, json={"name": "Other"})).json()
    assert (await known(site, other, first)).status_code == 404
    assert (await sent(site, other, PICTURES[0]))["image_key"] == key_of(other, "a.jpg")


async def test_an_original_that_is_no_photo_is_looked_at_when_it_is_sent_again(
    site: IngestSite, event: dict[str, Any]
) -> None:
    told = await sent(site, event, PICTURES[0], "a.jpg")
    key = told["image_key"]
    photo = photo_of(event, "a.jpg", image_key=key)
    # The event was over when face-embedder heard of it; then it is a photo; then its preview leaves the bucket.
    for facts, expected in (
        ([], [key] * 2),
        ([photo], [key] * 2),
        ([photo.model_copy(update={"version": 2, "status": PhotoStatus.REMOVED})], [key] * 3),
    ):
        for fact in facts:
            await site.handlers.deliver(fact)
        again = await send(site, event, PICTURES[0], "a.jpg")
        assert (again.status_code, again.json()["image_key"]) == (200, key)
        assert await commands(site, event) == expected


async def test_an_upload_that_is_no_photo_for_an_hour_is_overdue(site: IngestSite, event: dict[str, Any]) -> None:
    told = await sent(site, event, PICTURES[0], "a.jpg")
    sql = "UPDATE photo_uploads SET created_at = now() - interval '1 hour' WHERE id = $1"
    await site.rows.execute(sql, UUID(told["upload_id"]))
    assert (await known(site, event, told)).json()["is_overdue"] is True
    await site.handlers.deliver(photo_of(event, "a.jpg", image_key=told["image_key"]))
    assert (await known(site, event, told)).json()["is_overdue"] is False


async def test_another_photo_of_a_name_gets_another_one_whatever_their_endings(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    # From other hands: an original, and a preview whose photo nobody has looked at.
    await bucket.put_bytes(key_of(event, "tool.png"), b"by a tool")
    await bucket.put_bytes(f"events/{event['id']}/previews/shown.jpg", b"a preview")
    names = [(await sent(site, event, PICTURES[0], "a.jpg"))["filename"]]
    names += [(await sent(site, event, PICTURES[number], "a.jpeg"))["filename"] for number in (1, 2)]
    names += [(await sent(site, event, PICTURES[3], "tool.jpg"))["filename"]]
    names += [(await sent(site, event, PICTURES[4], "shown.jpg"))["filename"]]
    assert names == ["a.jpg", "a-2.jpeg", "a-3.jpeg", "tool-2.jpg", "shown-2.jpg"]
    assert await originals(bucket, event) == dict(zip(names, PICTURES, strict=True)) | {"tool.png": b"by a tool"}


async def test_what_a_tool_has_put_there_is_the_same_photo(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, object_store_server: ObjectStoreServer
) -> None:
    async with object_store_server.client() as tool:
        await tool.put_object(Bucket=bucket.bucket, Key=key_of(event, "a.jpg"), Body=PICTURES[0])
    answer = await send(site, event, PICTURES[0], "a.jpg")
    assert (answer.status_code, answer.json()["image_key"]) == (200, key_of(event, "a.jpg"))
    assert list(await originals(bucket, event)) == ["a.jpg"]
    # Nobody may have looked at it yet.
    assert await commands(site, event) == [key_of(event, "a.jpg")]


async def test_a_deleted_photo_that_is_sent_again_is_another_one(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    told = await sent(site, event, PICTURES[0], "a.jpg")
    photo = photo_of(event, "a.jpg", image_key=told["image_key"])
    await site.handlers.deliver(photo)
    removed = await site.api.delete(f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}")
    assert removed.status_code == 204, removed.text
    assert (await known(site, event, told)).status_code == 404
    again = await sent(site, event, PICTURES[0], "a.jpg")
    assert again["filename"] == "a-2.jpg"
    # A removal that is tried again concerns the first one alone.
    await site.photo_desk.photos.sweep_once()
    assert await originals(bucket, event) == {"a-2.jpg": PICTURES[0]}


async def by_a_tool(site: IngestSite, event: dict[str, Any], bucket: S3Store, name: str) -> EventPhotoChangedV1:
    """A photo that was put into the bucket by other hands, and is known."""
    photo = photo_of(event, name)
    assert photo.image_key is not None
    for key in (photo.image_key, photo.s3_key):
        await bucket.put_bytes(key, PICTURES[0])
    await site.handlers.deliver(photo)
    return photo


async def delete(site: IngestSite, event: dict[str, Any], photo: EventPhotoChangedV1) -> httpx.Response:
    return await site.api.delete(f"{EVENTS}/{event['uuid']}/photos/{photo.photo_id}")


async def test_a_removal_that_is_tried_again_does_not_take_what_was_uploaded_since(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = await by_a_tool(site, event, bucket, "a.jpg")

    async def killed(*_: Any) -> None:
        raise InfrastructureUnavailable("postgresql", "it was killed")

    with monkeypatch.context() as broken:
        broken.setattr(EventPhotoRepository, "end_removal", killed)
        assert (await delete(site, event, photo)).status_code == 503
    assert await originals(bucket, event) == {}
    # The bucket itself has told face-embedder that it is gone.
    await site.handlers.deliver(photo.model_copy(update={"version": 2, "status": PhotoStatus.REMOVED}))
    told = await sent(site, event, PICTURES[1], "a.jpg")
    await site.rows.execute("UPDATE photo_removals SET due_at = now()")
    await site.photo_desk.photos.sweep_once()
    assert await originals(bucket, event) == {told["filename"]: PICTURES[1]}
    assert (await sent(site, event, PICTURES[2], "a.png"))["filename"] == "a.png", "the removal has ended"


async def test_a_photo_that_is_deleted_while_its_name_is_given_is_not_the_one_that_is_sent(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = await by_a_tool(site, event, bucket, "a.jpg")
    occupied = PhotoUploads._occupied

    async def occupied_until_deleted(*arguments: Any) -> Any:
        found = await occupied(*arguments)
        await delete(site, event, photo)
        return found

    monkeypatch.setattr(PhotoUploads, "_occupied", occupied_until_deleted)
    assert (await sent(site, event, PICTURES[0], "a.jpg"))["filename"] == "a-2.jpg"
    assert await originals(bucket, event) == {"a-2.jpg": PICTURES[0]}


async def test_names_that_begin_alike_are_different_names(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = await by_a_tool(site, event, bucket, "a.b.jpg")
    told = await sent(site, event, PICTURES[1], "a.jpg")
    assert told["filename"] == "a.jpg"

    async def away(*_: Any) -> None:
        raise StoreUnavailable("s3", "it does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(S3Store, "delete", away)
        assert (await delete(site, event, longer)).status_code == 204
    assert (await known(site, event, told)).status_code == 200
    assert (await send(site, event, PICTURES[1], "a.jpg")).json()["status"] == "duplicate"
    assert (await sent(site, event, PICTURES[2], "a.b.png"))["filename"] == "a.b-2.png", "its files are still there"


async def test_many_at_once_get_names_of_their_own_and_the_same_is_stored_once(
    site: IngestSite, event: dict[str, Any], bucket: S3Store
) -> None:
    answers = await asyncio.gather(*(send(site, event, picture, "a.jpg") for picture in PICTURES[:4] * 3))
    assert {answer.status_code for answer in answers} == {200, 201}
    assert [answer.status_code for answer in answers].count(201) == 4
    stored = await originals(bucket, event)
    assert sorted(stored.values()) == sorted(PICTURES[:4])
    for answer, picture in zip(answers, PICTURES[:4] * 3, strict=True):
        assert stored[answer.json()["filename"]] == picture
    assert set(await commands(site, event)) == {key_of(event, name) for name in stored}
    assert site.staged_files() == []


async def test_an_idempotency_key_stands_for_one_content_and_event(site: IngestSite, event: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": f"one {event['uuid']}"}
    await sent(site, event, PICTURES[0], headers=headers)
    assert (await send(site, event, PICTURES[0], headers=headers)).status_code == 200
    other = (await site.api.post(EVENTS, json={"name": "Other"})).json()
    for refused in (await send(site, event, PICTURES[1], headers=headers), await send(site, other, headers=headers)):
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert site.staged_files() == []


@pytest.mark.parametrize(
    ("file", "fields", "status", "code"),
    [
        ((b"",), {}, 422, "empty_file"),
        ((b"#!/bin/sh\n" * 20,), {}, 415, "unsupported_media_type"),
        ((PICTURES[0] + bytes(200_001),), {}, 413, "too_large"),
        ((), {"sha256": "0" * 64}, 422, "invalid_request"),
        ((), {"sha256": "short"}, 422, "invalid_request"),
        ((), {"entityType": "event"}, 422, "invalid_request"),
    ],
)
async def test_what_is_no_photo_is_refused_and_leaves_nothing(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, file: Any, fields: Any, status: int, code: str
) -> None:
    answer = await send(site, event, *file, **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await originals(bucket, event), await commands(site, event), site.staged_files()) == ({}, [], [])


async def test_who_may_upload_and_where(site: IngestSite, event: dict[str, Any]) -> None:
    photographer = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await send(site, event, headers=photographer)).status_code == 404, "it is somebody else's event"
    own = (await site.api.post(EVENTS, json={"name": "Own"}, headers=photographer)).json()
    assert (await send(site, own, headers=photographer)).status_code == 201
    assert (await send(site, own, headers={"Authorization": "Bearer nobody's"})).status_code == 401

    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    over = (await site.api.post(EVENTS, json={"name": "Over", "expires_at": past})).json()
    refused = await send(site, over)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (await site.api.delete(f"{EVENTS}/{event['uuid']}")).status_code == 204
    assert (await send(site, event)).status_code == 404


async def test_while_the_bucket_is_away_nothing_is_promised_and_sending_again_goes_on(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("s3", "it does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(S3Store, "put_file", away)
        refused = await send(site, event, PICTURES[0], "a.jpg")
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert (await commands(site, event), site.staged_files()) == ([], [])
    assert (await sent(site, event, PICTURES[0], "other name.jpg"))["filename"] == "a.jpg"
    assert await originals(bucket, event) == {"a.jpg": PICTURES[0]}
    assert await commands(site, event) == [key_of(event, "a.jpg")]


@pytest.mark.parametrize("sha256", ["short", "x" * 64, "0" * 65, "0" * 63 + "%00", "0" * 64 + "%0A"])
async def test_what_is_no_checksum_is_refused(site: IngestSite, event: dict[str, Any], sha256: str) -> None:
    answer = await site.api.get(f"{EVENTS}/{event['uuid']}/photos/by-sha256/{sha256}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert [one["field"] for one in answer.json()["errors"]] == ["sha256"]


async def test_what_a_checksum_looks_like_is_described(site: IngestSite) -> None:
    described = (await site.api.get("/docs/openapi.json")).json()["paths"]
    (sha256,) = [
        one
        for one in described[f"{EVENTS}/{{event_uuid}}/photos/by-sha256/{{sha256}}"]["get"]["parameters"]
        if one["name"] == "sha256"
    ]
    assert sha256["schema"]["pattern"] == "^[0-9a-fA-F]{64}$"


async def test_a_bucket_that_refuses_to_tell_of_a_photo_is_to_be_asked_again(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await sent(site, event)

    async def refused(*_: Any) -> None:
        raise StoreRefused("s3", "the key has no right to look")

    monkeypatch.setattr(S3Store, "stat", refused)
    for answer in (await known(site, event, told), await send(site, event)):
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable"), answer.text


async def broken_off(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, after_storing: bool
) -> None:
    """A photo whose sender never comes back, due to be looked at."""

    async def lost(*_: Any, **__: Any) -> None:
        raise InfrastructureUnavailable("postgresql", "it was killed")

    with monkeypatch.context() as broken:
        if after_storing:
            broken.setattr(PhotoUploads, "_finished", lost)
        else:
            broken.setattr(S3Store, "put_file", lost)
        assert (await send(site, event, PICTURES[0], "a.jpg")).status_code == 503
    await site.photo_desk.uploads.sweep_once()
    assert await commands(site, event) == [], "it is not due yet"
    await site.rows.execute("UPDATE photo_uploads SET due_at = now() WHERE event_id = $1", UUID(event["uuid"]))


async def test_what_broke_off_behind_the_bucket_becomes_a_photo_by_itself(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken_off(site, event, monkeypatch, after_storing=True)
    await site.photo_desk.uploads.sweep_once()
    assert await commands(site, event) == [key_of(event, "a.jpg")]
    assert (await send(site, event, PICTURES[0], "a.jpg")).status_code == 200


async def test_what_broke_off_in_an_event_that_is_over_meanwhile_leaves_nothing(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken_off(site, event, monkeypatch, after_storing=True)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    moved = await site.api.patch(f"{EVENTS}/{event['uuid']}", json={"expires_at": past})
    assert moved.status_code == 200, moved.text
    await site.photo_desk.uploads.sweep_once()
    assert (await originals(bucket, event), await commands(site, event)) == ({}, [])
    assert await site.rows.fetch("SELECT FROM photo_uploads WHERE event_id = $1", UUID(event["uuid"])) == []


async def test_while_the_bucket_is_away_few_that_broke_off_are_claimed(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def stat(key: str) -> None:
        asked.append(key)
        if is_away:
            raise StoreUnavailable("s3", "it is away")

    async with site.database.connection() as connection:
        for number in range(25):
            upload = PhotoUpload(
                id=new_id(),
                event_id=UUID(event["uuid"]),
                image_key=key_of(event, f"{number}.jpg"),
                stem=str(number),
                sha256=f"{number:064}",
                mime_type="image/jpeg",
                size_bytes=1,
                uploader=site.user_id,
                status="storing",
                created_at=datetime.now(UTC),
            )
            assert await PhotoUploadRepository(connection).add(upload, -1)
    left = "SELECT count(*) FILTER (WHERE due_at > clock_timestamp()) FROM photo_uploads WHERE event_id = $1"
    monkeypatch.setattr(site.stores.bucket, "stat", stat)
    is_away = True
    await site.photo_desk.uploads.sweep_once()
    assert (len(asked), await site.rows.fetchval(left, UUID(event["uuid"]))) == (1, 10)
    is_away = False
    await site.photo_desk.uploads.sweep_once()
    rows = await site.rows.fetch("SELECT FROM photo_uploads WHERE event_id = $1", UUID(event["uuid"]))
    assert len(rows) == 10, "they come up again"


async def test_what_never_came_into_the_bucket_frees_its_name(
    site: IngestSite, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken_off(site, event, monkeypatch, after_storing=False)
    await site.photo_desk.uploads.sweep_once()
    assert await site.rows.fetch("SELECT FROM photo_uploads WHERE event_id = $1", UUID(event["uuid"])) == []
    assert (await sent(site, event, PICTURES[1], "a.jpg"))["filename"] == "a.jpg"


async def test_an_event_that_is_deleted_meanwhile_keeps_nothing_of_it(
    site: IngestSite, event: dict[str, Any], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = S3Store.put_file

    async def put_and_delete_event(*arguments: Any, **options: Any) -> Any:
        stored = await put_file(*arguments, **options)
        assert (await site.api.delete(f"{EVENTS}/{event['uuid']}")).status_code == 204
        return stored

    monkeypatch.setattr(S3Store, "put_file", put_and_delete_event)
    assert (await send(site, event)).status_code == 404
    assert (await originals(bucket, event), await commands(site, event)) == ({}, [])
    assert await site.rows.fetch("SELECT FROM photo_uploads WHERE event_id = $1", UUID(event["uuid"])) == []


async def test_rows_of_deleted_events_go(site: IngestSite, event: dict[str, Any]) -> None:
    await sent(site, event)
    event_id = UUID(event["uuid"])
    assert (await site.api.delete(f"{EVENTS}/{event_id}")).status_code == 204
    await site.rows.execute("UPDATE event_removals SET due_at = now() WHERE event_id = $1", event_id)
    while await site.photo_desk.removals.turn():
        pass
    assert await site.rows.fetch("SELECT FROM photo_uploads WHERE event_id = $1", event_id) == []
