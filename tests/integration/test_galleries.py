"""Galleries for guests over HTTP, on a real database and bucket."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from shared.events import EventPhotoChangedV1, PhotoStatus
from shared.identifiers import new_id
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
        "gallery_downloads": 1,
        "gallery_archive_photos": 60,
        "gallery_searches_per_minute": 2,
        "gallery_erasure_requests": 1,
    }
    async with running_site(database, tmp_path_factory.mktemp("galleries") / "media", **bucket) as running:
        yield running
    await databases.drop(database)


@pytest.fixture
async def event(site: IngestSite) -> dict[str, Any]:
    body = {"name": "Wedding", "consent_text": "I agree."}
    made: dict[str, Any] = (await site.api.post(EVENTS, json=body)).json()
    return made


@pytest.fixture
async def guest(site: IngestSite) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30) as client:
        yield client


async def linked(site: IngestSite, event: dict[str, Any], **wish: Any) -> tuple[str, str]:
    """The path of a new gallery, and its id."""
    answer = await site.api.post(f"{EVENTS}/{event['uuid']}/galleries", json=wish)
    assert answer.status_code == 201, answer.text
    return answer.json()["path"], answer.json()["gallery"]["id"]


async def photographed(site: IngestSite, event: dict[str, Any], *names: str) -> list[EventPhotoChangedV1]:
    """Photos with their originals in the bucket, told of, by id."""
    assert site.stores.bucket is not None
    photos = [photo_of(event, name) for name in names]
    for photo in photos:
        assert photo.image_key is not None
        await site.stores.bucket.put_bytes(photo.image_key, f"original of {photo.s3_key}".encode())
        await site.handlers.deliver(photo)
    return sorted(photos, key=lambda photo: photo.photo_id)


async def test_a_guest_sees_the_photos_and_gets_originals(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    photos = await photographed(site, event, "a.jpg", "b.jpg", "c.jpg")
    bare = photo_of(event, "bare.jpg", image_key=None)
    await site.handlers.deliver(bare)
    path, _ = await linked(site, event, name="Guests")
    answer = await guest.get(path)
    assert answer.json() == {
        "name": "Guests",
        "is_locked": False,
        "event_name": "Wedding",
        "may_list": True,
        "may_search": True,
        "may_download": True,
        "consent_text": "I agree.",
        "consent_version": 1,
        "expires_at": None,
    }
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in answer.headers["cache-control"]
    first = (await guest.get(f"{path}/photos", params={"limit": 3})).json()
    rest = (await guest.get(f"{path}/photos", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    listed = first["photos"] + rest["photos"]
    assert {photo["id"]: photo["has_original"] for photo in listed} == {
        **{str(photo.photo_id): True for photo in photos},
        str(bare.photo_id): False,
    }
    original = await guest.get(f"{path}/photos/{photos[0].photo_id}/original", follow_redirects=True)
    assert original.content == f"original of {photos[0].s3_key}".encode()
    assert (
        original.headers["content-disposition"] == "attachment; filename*=UTF-8''" + photos[0].s3_key.rpartition("/")[2]
    )
    for photo_id in (bare.photo_id, new_id()):
        assert (await guest.get(f"{path}/photos/{photo_id}/original")).status_code == 404


async def test_originals_come_as_an_archive(site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient) -> None:
    photos = await photographed(site, event, "a.jpg", "b.jpg", "c.jpg")
    gone = photos[2].model_copy(update={"version": 2, "status": PhotoStatus.REMOVED})
    path, _ = await linked(site, event)
    everything = await guest.post(f"{path}/download", json={})
    assert everything.headers["content-type"] == "application/zip"
    assert everything.headers["content-disposition"] == f'attachment; filename="event-{event["id"]}.zip"'
    with zipfile.ZipFile(io.BytesIO(everything.content)) as archive:
        contents = {name: archive.read(name).decode() for name in archive.namelist()}
    assert contents == {photo.s3_key.rpartition("/")[2]: f"original of {photo.s3_key}" for photo in photos}

    await site.handlers.deliver(gone)
    some = {"photo_ids": [str(photo.photo_id) for photo in photos[1:]]}
    with zipfile.ZipFile(io.BytesIO((await guest.post(f"{path}/download", json=some)).content)) as archive:
        assert archive.namelist() == [photos[1].s3_key.rpartition("/")[2]]
    assert (await guest.post(f"{path}/download", json={"photo_ids": [str(gone.photo_id)]})).status_code == 404


async def test_many_photos_come_in_parts_that_new_ones_dont_shift(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    photos = [photo_of(event, f"{number}.jpg") for number in range(130)]
    for photo in photos:
        await site.handlers.deliver(photo)
    path, _ = await linked(site, event)
    refused = await guest.post(f"{path}/download", json={})
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    mixed = await guest.post(f"{path}/download", json={"cursor": "", "photo_ids": [str(photos[0].photo_id)]})
    assert (mixed.status_code, mixed.json()["errors"][0]["field"]) == (422, "cursor")

    page = await guest.get(path, headers={"Accept": "text/html"})
    cursors = re.findall(r'name="cursor" value="([^"]*)"', page.text)
    assert re.findall(r"Photos (\d+)–(\d+)", page.text) == [("1", "60"), ("61", "120"), ("121", "130")]
    await site.handlers.deliver(photo_of(event, "later.jpg"))
    names: list[str] = []
    for cursor in cursors:
        answer = await guest.post(f"{path}/archive", data={"cursor": cursor})
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            # None of them is in the bucket, which archives tell by their names.
            names += archive.read("missing.txt").decode().split()
    assert sorted(names) == [*sorted(f"{number}.jpg" for number in range(130)), "later.jpg"]


async def test_nobody_is_offered_an_archive_of_nothing(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    await site.handlers.deliver(photo_of(event, "bare.jpg", image_key=None))
    path, _ = await linked(site, event)
    page = {"Accept": "text/html"}
    assert "Download all</button>" not in (await guest.get(path, headers=page)).text
    await photographed(site, event, "a.jpg")
    assert "Download all</button>" in (await guest.get(path, headers=page)).text


async def test_archives_on_their_way_are_bounded(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    await photographed(site, event, "a.jpg")
    path, _ = await linked(site, event)
    async with site.photo_desk.galleries.download():
        refused = await guest.post(f"{path}/download", json={})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    # The place is free again, after each of them.
    for _ in range(2):
        assert (await guest.post(f"{path}/download", json={})).status_code == 200


async def test_a_pin_opens_the_gallery_for_a_while(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    await photographed(site, event, "a.jpg")
    path, gallery_id = await linked(site, event, name="Guests", pin="4711")
    other_path, _ = await linked(site, event, pin="4711")
    locked = (await guest.get(path)).json()
    assert (locked["is_locked"], locked["event_name"], locked["consent_text"]) == (True, None, None)
    for method, rest in (("GET", "/photos"), ("POST", "/search"), ("POST", "/download")):
        refused = await guest.request(method, f"{path}{rest}", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "pin_needed"), rest
    assert (await guest.post(f"{path}/unlock", json={"pin": "4712"})).json()["code"] == "wrong_pin"
    unlocked = await guest.post(f"{path}/unlock", json={"pin": "4711"})
    cookie = unlocked.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert f"Path={path}" in cookie
    # By the cookie, and by the header where there are no cookies; for this gallery alone.
    assert (await guest.get(f"{path}/photos")).status_code == 200
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30) as other:
        header = {"X-Gallery-Pass": unlocked.json()["gallery_pass"]}
        assert (await other.get(f"{path}/photos", headers=header)).status_code == 200
        assert (await other.get(f"{other_path}/photos", headers=header)).json()["code"] == "pin_needed"
    stored = await site.rows.fetchrow(
        "SELECT pin_hash, g::text AS row FROM galleries AS g WHERE id::text = $1", gallery_id
    )
    assert stored is not None
    assert stored["pin_hash"].startswith("$argon2id$")
    assert path.rpartition("/")[2] not in stored["row"]


async def test_guessing_a_pin_ends_soon(site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient) -> None:
    path, _ = await linked(site, event, pin="4711")
    answers = [await guest.post(f"{path}/unlock", json={"pin": f"{number:04}"}) for number in range(11)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 60
    assert (await guest.post(f"{path}/unlock", json={"pin": "4711"})).status_code == 429


async def test_a_link_ends_when_it_is_revoked_or_over_or_its_event_goes(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    revoked, revoked_id = await linked(site, event)
    over, _ = await linked(site, event, expires_at="2020-01-01T00:00:00Z")
    open_path, _ = await linked(site, event, expires_at="2999-01-01T00:00:00Z")
    assert (await guest.get(revoked)).status_code == 200
    url = f"{EVENTS}/{event['uuid']}/galleries"
    assert (await site.api.delete(f"{url}/{revoked_id}")).status_code == 204
    assert (await site.api.delete(f"{url}/{new_id()}")).status_code == 404
    answers = [await guest.get(path) for path in (revoked, over, "/gallery/never-was", open_path)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 200]
    assert len({answer.json()["detail"] for answer in answers[:3]}) == 1
    listed = (await site.api.get(url)).json()["galleries"]
    assert {one["id"]: one["revoked_at"] is not None for one in listed}[revoked_id] is True
    assert len(listed) == 3
    await site.api.delete(f"{EVENTS}/{event['uuid']}")
    assert (await guest.get(open_path)).status_code == 404


async def test_a_link_allows_what_it_was_made_for(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    (photo,) = await photographed(site, event, "a.jpg")
    own_only, _ = await linked(site, event, may_list=False)
    look_only, _ = await linked(site, event, may_search=False, may_download=False)
    original = f"/photos/{photo.photo_id}/original"
    for path, method, rest in (
        (own_only, "GET", "/photos"),
        (own_only, "GET", original),
        (own_only, "POST", "/download"),
        (look_only, "POST", "/search"),
        (look_only, "GET", original),
        (look_only, "POST", "/download"),
    ):
        refused = await guest.request(method, f"{path}{rest}", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), (path, rest)
    (shown,) = (await guest.get(f"{look_only}/photos")).json()["photos"]
    assert shown["has_original"] is False
    # A search of somebody else does not help either.
    unknown = await guest.get(f"{own_only}{original}", params={"search_id": str(new_id())})
    assert unknown.status_code == 404


async def test_guests_search_only_with_a_text_to_agree_to_and_not_without_end(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    bare = (await site.api.post(EVENTS, json={"name": "Without a text"})).json()
    path, _ = await linked(site, bare)
    assert (await guest.get(path)).json()["may_search"] is False
    files = {"file": ("me.jpg", b"\xff\xd8\xff\xe0" + bytes(100))}
    codes = [(await guest.post(f"{path}/search", files=files)).json()["code"] for _ in range(3)]
    assert codes == ["search_off", "search_off", "too_many_requests"]
    path, _ = await linked(site, event)
    assert (await guest.post(f"{path}/search", files=files)).json()["code"] == "consent_needed"


async def test_asking_to_be_erased_wants_pin_and_consent_and_has_an_end(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    path, gallery_id = await linked(site, event, pin="4711", may_search=False)
    files = {"file": ("me.jpg", b"\xff\xd8\xff\xe0" + bytes(100))}
    asked = f"{path}/erasure-requests"
    assert (await guest.post(asked, files=files)).json()["code"] == "pin_needed"
    await guest.post(f"{path}/unlock", json={"pin": "4711"})
    for data in ({}, {"consent_version": "7"}):
        assert (await guest.post(asked, files=files, data=data)).json()["code"] == "consent_needed"
    waiting = new_id()
    sql = """INSERT INTO face_erasures (id, event_id, gallery_id, secret_hash, faces, expires_at)
             VALUES ($1, $2, $3, '', '[]', now() + interval '1 day')"""
    await site.rows.execute(sql, waiting, UUID(event["uuid"]), UUID(gallery_id))
    refused = await guest.post(asked, files=files)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    # Who does not reach the event decides nothing.
    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    erasure = f"/api/v1/faces/erasures/{waiting}"
    for method, url in (
        ("GET", f"{EVENTS}/{event['uuid']}/erasure-requests"),
        ("GET", erasure),
        ("POST", f"{erasure}/refuse"),
    ):
        assert (await site.api.request(method, url, headers=other)).status_code == 404


async def test_photographers_make_links_for_their_own_events_alone(site: IngestSite, event: dict[str, Any]) -> None:
    other = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    url = f"{EVENTS}/{event['uuid']}/galleries"
    assert (await site.api.post(url, json={}, headers=other)).status_code == 404
    assert (await site.api.get(url, headers=other)).status_code == 404
    _, gallery_id = await linked(site, event)
    assert (await site.api.delete(f"{url}/{gallery_id}", headers=other)).status_code == 404


@pytest.mark.parametrize(("wish", "field"), [({"pin": "123"}, "pin"), ({"may_list": "x"}, "may_list"), ({"x": 1}, "x")])
async def test_what_is_wrong_with_a_link_is_named(
    site: IngestSite, event: dict[str, Any], wish: dict[str, Any], field: str
) -> None:
    answer = await site.api.post(f"{EVENTS}/{event['uuid']}/galleries", json=wish)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])
