"""The pages of events and of galleries over HTTP, on a real database and bucket."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from deploy.local.object_store import ObjectStoreServer
from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from tests.face_double import photo_of
from tests.ingest_site import IngestSite, bucket_settings, running_site

pytestmark = pytest.mark.stack

EVENTS = "/api/v1/events"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
async def site(
    databases: TestDatabases, object_store_server: ObjectStoreServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    bucket = bucket_settings(object_store_server)
    async with running_site(database, tmp_path_factory.mktemp("event-pages") / "media", **bucket) as running:
        yield running
    await databases.drop(database)


@pytest.fixture
async def event(site: IngestSite) -> dict[str, Any]:
    made: dict[str, Any] = (await site.api.post(EVENTS, json={"name": HOSTILE, "consent_text": HOSTILE})).json()
    return made


@pytest.fixture
async def guest(site: IngestSite) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30, headers=BROWSER) as client:
        yield client


async def linked(site: IngestSite, event: dict[str, Any], **wish: Any) -> str:
    """The path of a new gallery."""
    answer = await site.api.post(f"{EVENTS}/{event['uuid']}/galleries", json=wish)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["path"])


async def photographed(site: IngestSite, event: dict[str, Any], *names: str, **changes: Any) -> list[str]:
    """The ids of photos that were told of, with their originals in the bucket."""
    assert site.stores.bucket is not None
    photos = [photo_of(event, name, **changes) for name in names]
    for photo in photos:
        if photo.image_key is not None:
            await site.stores.bucket.put_bytes(photo.image_key, f"original of {photo.s3_key}".encode())
        await site.handlers.deliver(photo)
    return sorted(str(photo.photo_id) for photo in photos)


async def test_every_page_of_an_event_shows_names_as_they_are(site: IngestSite, event: dict[str, Any]) -> None:
    (photo,) = await photographed(site, event, f"{HOSTILE}.jpg")
    await linked(site, event, name=HOSTILE)
    base = f"/admin/events/{event['uuid']}"
    tabs = ("", f"/photos/{photo}", "/people", "/sharing", "/requests", "/activity", "/settings")
    for path in ("/admin/events", *(f"{base}{tab}" for tab in tabs)):
        page = await site.api.get(path, headers=BROWSER)
        assert page.status_code == 200, (path, page.text)
        assert "<img src=x" not in page.text, path
        assert "&lt;img src=x onerror=alert(1)&gt;" in page.text, path
        assert not re.search(r" style=| on[a-z]+=(?!alert)", page.text), path


async def test_parts_of_the_pages_come_alone(site: IngestSite, event: dict[str, Any]) -> None:
    (photo,) = await photographed(site, event, "a.jpg")
    base = f"/admin/events/{event['uuid']}"
    parts = {"": ["sync", "photos"], "/people": ["people"], "/sharing": ["links"], "/requests": ["requests"]}
    parts[f"/photos/{photo}"] = ["drawer"]
    for tab, names in parts.items():
        for name in names:
            part = await site.api.get(f"{base}{tab}", params={"fragment": name}, headers=BROWSER)
            assert part.status_code == 200, part.text
            assert "<html" not in part.text


async def test_photographers_see_their_own_events_and_nobody_below(site: IngestSite, event: dict[str, Any]) -> None:
    keys = {role: await site.key_of(role) for role in (Role.PHOTOGRAPHER, Role.ADMIN)}
    pages = {"": 404, "/people": 404, "/sharing": 404, "/requests": 404, "/activity": 404, "/settings": 404}
    for role, key in keys.items():
        headers = {**BROWSER, "Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=site.base_url, timeout=30, headers=headers) as client:
            for tab, status in pages.items():
                page = await client.get(f"/admin/events/{event['uuid']}{tab}")
                assert page.status_code == (200 if role is Role.ADMIN else status), (role, tab)
                assert "<html" in page.text
            start = await client.get("/")
        assert (start.headers["location"] == "/admin/events") is (role is Role.PHOTOGRAPHER)
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30, headers=BROWSER) as nobody:
        led = await nobody.get("/admin/events")
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2Fadmin%2Fevents")


async def test_what_staff_looked_for_in_place_of_a_guest_waits_for_them_alone(
    site: IngestSite, event: dict[str, Any]
) -> None:
    (photo,) = await photographed(site, event, "a.jpg")
    others, nobody, mine = (new_id() for _ in range(3))
    faces = [{"photo_id": photo, "box": [0.1, 0.1, 0.2, 0.2]}]
    for erasure_id, asker, found in (
        (others, new_id(), faces),
        (nobody, site.user_id, []),
        (mine, site.user_id, faces),
    ):
        await site.rows.execute(
            "INSERT INTO face_erasures (id, event_id, asked_by, faces, expires_at)"
            " VALUES ($1, $2, $3, $4::jsonb, clock_timestamp() + interval '1 hour')",
            erasure_id,
            UUID(event["uuid"]),
            asker,
            json.dumps(found),
        )
    address = f"/admin/events/{event['uuid']}/requests"

    async def shown() -> set[UUID]:
        page = (await site.api.get(address, headers=BROWSER)).text
        assert "Asked by you" in page
        return {one for one in (others, nobody, mine) if f'id="request-{one}"' in page}

    assert await shown() == {mine}
    guests = (await site.api.get(f"{EVENTS}/{event['uuid']}/erasure-requests")).json()
    assert guests["requests"] == []
    confirmed = await site.api.post(f"/api/v1/faces/erasures/{mine}/confirm", json={"photo_ids": [photo]})
    assert confirmed.status_code == 202, confirmed.text
    page = (await site.api.get(address, headers=BROWSER)).text
    assert (f'id="request-{mine}"' in page, "Being erased" in page) == (False, True)


async def test_a_deleted_event_is_listed_until_nothing_is_left(site: IngestSite, event: dict[str, Any]) -> None:
    assert (await site.api.delete(f"{EVENTS}/{event['uuid']}?photos=remove")).status_code == 204
    listed = (await site.api.get("/admin/events", headers=BROWSER)).text
    address = f"/admin/events/{event['uuid']}/removal"
    assert address in listed
    assert "Being removed" in (await site.api.get(address, headers=BROWSER)).text
    assert (await site.api.get(f"/admin/events/{event['uuid']}", headers=BROWSER)).status_code == 404


async def test_a_gallery_is_a_page_for_browsers_and_json_for_all_else(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    await photographed(site, event, "a.jpg")
    path = await linked(site, event, name="Guests")
    page = await guest.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<img src=x" not in page.text
    assert "&lt;img src=x" in page.text
    for answer in (page, await guest.get(path, headers={"Accept": "*/*"})):
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["x-robots-tag"] == "noindex"
        assert answer.headers["vary"] == "Accept"
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        assert (await guest.get(path, headers={"Accept": accept})).json()["name"] == "Guests", accept
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_the_document_of_the_api_describes_the_json(site: IngestSite) -> None:
    described = (await site.api.get("/docs/openapi.json")).json()["paths"]
    answer = described["/gallery/{token}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"]["$ref"].endswith("GalleryPage")
    assert "/gallery/{token}/archive" not in described


async def test_each_allowance_shows_on_its_own(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    (photo,) = await photographed(site, event, "a.jpg")
    nothing = {"may_list": False, "may_search": False, "may_download": False}
    marks = {"may_list": f'data-photo="{photo}"', "may_search": 'id="find"', "may_download": 'id="chosen"'}
    for allowed in (None, *nothing):
        path = await linked(site, event, **{**nothing, **({allowed: True} if allowed else {})})
        page = (await guest.get(path)).text
        assert {name: mark in page for name, mark in marks.items()} == {name: name == allowed for name in marks}
        assert 'id="forget"' in page


async def test_a_locked_gallery_tells_nothing_but_its_name(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    await photographed(site, event, "a.jpg")
    path = await linked(site, event, name="Guests", pin="4711")
    locked = await guest.get(path)
    assert (locked.status_code, "Guests" in locked.text, "onerror" in locked.text) == (200, True, False)
    assert (await guest.post(f"{path}/unlock", json={"pin": "4711"})).status_code == 200
    assert 'id="gallery"' in (await guest.get(path)).text


async def test_links_that_are_over_get_one_kind_page(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    over = await linked(site, event, expires_at="2020-01-01T00:00:00Z")
    pages = [await guest.get(path) for path in (over, "/gallery/never-was")]
    assert {page.status_code for page in pages} == {404}
    told = {page.text.replace(path, "") for page, path in zip(pages, (over, "/gallery/never-was"), strict=True)}
    assert len(told) == 1
    assert "This gallery is closed" in pages[0].text
    assert pages[0].headers["referrer-policy"] == "no-referrer"


async def test_a_guest_chooses_the_language_by_a_link(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    path = await linked(site, event)
    chosen = await guest.get(path, params={"language": "ru"})
    assert (chosen.status_code, chosen.headers["location"]) == (303, path)
    assert '<html lang="ru">' in (await guest.get(path)).text
    assert "set-cookie" not in (await guest.get(path, params={"language": "xx"})).headers


async def test_a_form_gets_the_originals_as_an_archive(
    site: IngestSite, event: dict[str, Any], guest: httpx.AsyncClient
) -> None:
    ids = await photographed(site, event, "a.jpg", "b.jpg", "c.jpg")
    path = await linked(site, event)
    for form, count in (({"photo_ids": ",".join(ids[:2]), "search_id": ""}, 2), ({}, 3)):
        answer = await guest.post(f"{path}/archive", data=form)
        assert answer.headers["content-type"] == "application/zip", answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert len(archive.namelist()) == count
    for form, status in (({"photo_ids": "x"}, 422), ({"photo_ids": str(new_id())}, 404)):
        refused = await guest.post(f"{path}/archive", data=form)
        assert refused.status_code == status
        assert f'href="{path}"' in refused.text
    missing = f"{path}/photos/{new_id()}/original"
    assert f'href="{path}"' in (await guest.get(missing)).text
    assert (await guest.get(missing, headers={"Accept": "*/*"})).json()["code"] == "not_found"
