"""The media library as the server renders it, on a real PostgreSQL."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest

from ingest_api.accounts import Role
from ingest_api.media_filters import first_id_of
from ingest_api.media_library import TILES_PER_PAGE
from shared.events import StoredFile
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

LIBRARY = "/admin/media"
PLACEHOLDER = "data:image/webp;base64,UklGRg=="
HOSTILE = "\"><img src=x onerror=alert(1)>'{{7*7}}"


@pytest.fixture(scope="module")
async def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    async with running_site(database, tmp_path_factory.mktemp("site") / "media") as made:
        yield made
    await databases.drop(database)


@pytest.fixture
def entity() -> str:
    """The entity type of a test's own media."""
    return f"t-{new_id()}"


def variant(name: str, width_px: int, height_px: int, size_bytes: int) -> dict[str, Any]:
    return StoredFile(
        name=name,
        key=f"media/{name}.webp",
        mime_type="image/webp",
        size_bytes=size_bytes,
        sha256="0" * 64,
        width_px=width_px,
        height_px=height_px,
    ).model_dump()


RENDERED: dict[str, Any] = {
    "status": "completed",
    "width_px": 4000,
    "height_px": 3000,
    "storage_status": "local_only",
    "on_disk": True,
    "placeholder": PLACEHOLDER,
    "variants": [variant("large", 2000, 1500, 420_000), variant("thumb", 200, 150, 5_000)],
}


_milliseconds = itertools.count(int(datetime.now(UTC).timestamp() * 1000))


def later_id() -> UUID:
    """Behind all that were made before; ids of one millisecond are in no order."""
    return UUID(int=next(_milliseconds) << 80 | new_id().int & (1 << 64) - 1)


async def add(site: IngestSite, entity: str, *, job: dict[str, Any] | None = None, **facts: Any) -> UUID:
    """A medium, and its job if that is given."""
    row = {
        "id": later_id(),
        "filename": "wedding.jpg",
        "mime_type": "image/jpeg",
        "size_bytes": 8_400_000,
        "sha256": "0" * 64,
        "entity_type": entity,
        "uploaded_by": site.user_id,
        "storage_strategy": "local_only",
        **facts,
    }
    await insert(site, "media", row)
    if job is not None:
        fixed = {"media_id": row["id"], "revision": 1, "uploader": site.user_id, "entity_type": entity}
        await insert(site, "jobs", {"id": new_id(), **fixed, **job})
    return UUID(str(row["id"]))


async def insert(site: IngestSite, table: str, row: dict[str, Any]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    async with site.database.connection() as connection:
        await connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def page(site: IngestSite, path: str = LIBRARY, **asked: str) -> str:
    answer = await site.api.get(path, params=asked or None)
    assert answer.status_code == 200, answer.text
    return answer.text


def shown_ids(html: str) -> list[UUID]:
    return [UUID(found) for found in re.findall(r'<li class="tile" data-id="([^"]+)"', html)]


async def test_a_tile_shows_a_medium_and_leads_to_it(site: IngestSite, entity: str) -> None:
    media_id = await add(site, entity, **RENDERED)
    html = await page(site, entityType=entity)
    assert shown_ids(html) == [media_id]
    for part in (
        f'href="/admin/media/{media_id}" data-drawer',
        f'<img class="blur" src="{PLACEHOLDER}" alt="">',
        f'src="/media/{media_id}/large?v=1"',
        "4000 × 3000 · 8.4 MB",
        "wedding.jpg",
    ):
        assert part in html


async def test_a_medium_tells_what_its_variants_save(site: IngestSite, entity: str) -> None:
    media_id = await add(site, entity, job={"status": "completed", "progress": 100, "attempts": 1}, **RENDERED)
    html = await page(site, f"{LIBRARY}/{media_id}")
    for words in ("large weighs 420 kB instead of 8.4 MB", "2000 × 1500", "95 %</td>", "99.9 %</td>", "Uploaded"):
        assert words in html
    for name in ("large", "thumb"):
        assert f'href="/media/{media_id}/{name}?v=1"' in html


async def test_failed_and_unfinished_media_tell_how_they_fare(site: IngestSite, entity: str) -> None:
    refused = {"status": "failed", "attempts": 1, "error_code": "truncated", "error_detail": "The file ends early."}
    failed = await add(site, entity, status="failed", job={"id": new_id(), **refused})
    again = {"attempts": 1, "error_code": "worker_died", "error_detail": "The worker died."}
    active = await add(site, entity, job={"status": "active", "progress": 50, **again})
    waiting = await add(site, entity)
    tiles = await page(site, entityType=entity)
    assert shown_ids(tiles) == [waiting, active, failed]
    assert tiles.count("data-unfinished") == 2
    assert '<progress max="100" value="50"' in tiles
    detail = await page(site, f"{LIBRARY}/{failed}")
    assert "The file ends early (truncated)." in detail
    assert re.search(r'data-api="POST" action="/api/admin/media/jobs/[0-9a-f-]{36}/retry"', detail)
    assert "The last attempt failed: The worker died. Another one follows." in await page(site, f"{LIBRARY}/{active}")


async def test_filters_of_the_address_choose_the_media(site: IngestSite, entity: str) -> None:
    old = await add(site, entity, id=first_id_of((datetime.now(UTC) - timedelta(days=40)).date()), **RENDERED)
    named = await add(site, entity, filename="harbour.jpg", entity_id="47", **RENDERED)
    failed = await add(site, entity, status="failed")
    missing = await add(site, entity, **{**RENDERED, "storage_status": "missing"})
    deleted = await add(site, entity, deleted_at=datetime.now(UTC), **RENDERED)
    last_week = (datetime.now(UTC) - timedelta(days=7)).date().isoformat()
    for asked, expected in (
        ({}, [missing, failed, named, old]),
        ({"q": "harbour"}, [named]),
        ({"entityId": "47"}, [named]),
        ({"status": "failed"}, [failed]),
        ({"status": ""}, [missing, failed, named, old]),
        ({"storageStatus": "missing"}, [missing]),
        ({"deleted": "true"}, [deleted]),
        ({"before": last_week}, [old]),
        ({"q": "nothing is called this"}, []),
    ):
        assert shown_ids(await page(site, entityType=entity, **asked)) == expected, asked
    form = await page(site, entityType=entity, q='a"b', status="failed")
    assert 'name="q" type="search" value="a&#34;b"' in form
    assert '<option value="failed" selected>' in form
    assert f"<option selected>{entity}</option>" in form


@pytest.mark.parametrize(
    "asked", [{"status": "sunny"}, {"storageStatus": "x"}, {"before": "yesterday"}, {"cursor": "nonsense"}, {"q": "\0"}]
)
async def test_an_address_that_makes_no_sense_is_told(site: IngestSite, asked: dict[str, str]) -> None:
    answer = await site.api.get(LIBRARY, params=asked)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"].startswith("text/html")


async def test_pages_of_tiles_follow_each_other_without_a_gap(site: IngestSite, entity: str) -> None:
    added = [await add(site, entity) for _ in range(TILES_PER_PAGE + 5)]
    first = await page(site, entityType=entity)
    cursor = re.search(r'data-next="([^"]+)"', first)
    assert cursor is not None
    further = await page(site, entityType=entity, cursor=cursor[1], fragment="tiles")
    assert "<html" not in further
    assert 'data-next=""' in further
    assert sorted([*shown_ids(first), *shown_ids(further)]) == sorted(added)
    link = re.search(r'href="([^"]+)" rel="next"', first)
    assert link is not None
    assert shown_ids(await page(site, unescape(link[1]))) == shown_ids(further)


async def test_what_people_write_is_never_markup(site: IngestSite) -> None:
    entity = f"t-{new_id()}"
    media_id = await add(
        site, entity, **{**RENDERED, "filename": HOSTILE, "title": HOSTILE, "alt": HOSTILE, "entity_id": HOSTILE}
    )
    await insert_failed_job(site, media_id, entity)
    for html in (await page(site, entityType=entity), await page(site, f"{LIBRARY}/{media_id}")):
        assert "<img src=x" not in html
        assert "49" not in re.findall(r"onerror=alert\(1\)&gt;&#39;(\S{2})", html)
        assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img src=x" not in await page(site, q=HOSTILE, entityType=HOSTILE)


async def insert_failed_job(site: IngestSite, media_id: UUID, entity: str) -> None:
    row = {"id": new_id(), "media_id": media_id, "revision": 1, "uploader": site.user_id, "entity_type": entity}
    await insert(site, "jobs", {**row, "status": "failed", "error_code": "x", "error_detail": HOSTILE})


async def test_private_media_are_shown_by_signed_addresses(site: IngestSite, entity: str) -> None:
    media_id = await add(site, entity, private=True, **RENDERED)
    html = await page(site, entityType=entity)
    assert re.search(rf"/media/{media_id}/large\?v=1&amp;expires=\d+&amp;signature=[0-9a-f]{{64}}", html)


async def test_a_deleted_medium_offers_what_can_be_done_with_it(site: IngestSite, entity: str) -> None:
    deleted = await add(site, entity, deleted_at=datetime.now(UTC), **RENDERED)
    html = await page(site, f"{LIBRARY}/{deleted}")
    assert f'action="/api/admin/media/{deleted}/restore"' in html
    assert "hard=false" not in html
    assert f"/media/{deleted}/large?v=1&amp;deleted=true" in html
    gone = await add(site, entity, deleted_at=datetime.now(UTC), **{**RENDERED, "on_disk": False})
    html = await page(site, f"{LIBRARY}/{gone}")
    assert "its files are in no store any more" in html
    assert "/restore" not in html
    unknown = await site.api.get(f"{LIBRARY}/{new_id()}")
    assert unknown.status_code == 404


async def test_the_library_is_for_admins(site: IngestSite) -> None:
    async with httpx.AsyncClient(base_url=site.base_url, timeout=30) as nobody:
        led = await nobody.get(f"{LIBRARY}?q=harbour")
        assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2Fadmin%2Fmedia%3Fq%3Dharbour")
        key = await site.key_of(Role.PHOTOGRAPHER)
        refused = await nobody.get(LIBRARY, headers={"Authorization": f"Bearer {key}"})
        assert refused.status_code == 403
        key = await site.key_of(Role.ADMIN)
        admin = await nobody.get(LIBRARY, headers={"Authorization": f"Bearer {key}"})
        assert 'data-do="sync"' not in admin.text
    assert 'data-do="sync"' in await page(site)


async def test_the_library_speaks_russian(site: IngestSite, entity: str) -> None:
    media_id = await add(site, entity, **RENDERED)
    for path in (LIBRARY, f"{LIBRARY}/{media_id}"):
        answer = await site.api.get(path, headers={"Accept-Language": "ru"})
        assert "Медиатека" in answer.text
