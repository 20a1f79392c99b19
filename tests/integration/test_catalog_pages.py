"""The pages of the catalog and of consistency as they are answered, without Kafka: reconciler is away here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

HOSTILE = '"><script>alert(1)</script>'
PAGES = (
    "/admin/catalog",
    "/admin/consistency",
    "/admin/consistency/runs",
    "/admin/consistency/objects?key=products/a.jpg",
)


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    bucket = {
        "s3_endpoint": "http://bucket.test:9",
        "s3_access_key": SecretStr("unused"),
        "s3_secret_key": SecretStr("unused"),
        "reconcile_wait_seconds": 0.1,
    }
    async with running_site(database, tmp_path / "media", **bucket) as running:
        yield running


async def product(site: IngestSite, name: str) -> str:
    return str((await site.api.post("/admin/products", json={"name": name})).json()["id"])


async def page(site: IngestSite, path: str) -> httpx.Response:
    answer = await site.api.get(path, headers={"Accept-Language": "en"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8", answer.text
    return answer


async def test_the_catalog_lists_finds_and_goes_on(site: IngestSite) -> None:
    ids = [await product(site, f"Tee {number}") for number in range(31)]
    first = (await page(site, "/admin/catalog")).text
    assert [f'id="product-{one}"' in first for one in ids] == [False] + [True] * 30
    address = first.split('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert f'id="product-{ids[0]}"' in (await page(site, address)).text
    found = (await page(site, "/admin/catalog?q=tee+30")).text
    assert [f'id="product-{one}"' in found for one in ids] == [False] * 30 + [True]


async def test_names_are_never_markup(site: IngestSite) -> None:
    product_id = await product(site, HOSTILE)
    for path in (f"/admin/catalog/{product_id}", "/admin/catalog", f"/admin/consistency/products/{product_id}"):
        answer = await page(site, path)
        assert answer.status_code == 200
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script>alert" not in answer.text
    assert "<script>alert" not in (await page(site, f"/admin/catalog?q={HOSTILE}")).text


async def test_what_is_not_there_is_told_on_a_page(site: IngestSite) -> None:
    for path in ("/admin/catalog/{}", "/admin/consistency/products/{}", "/admin/consistency/plans/{}"):
        assert (await page(site, path.format(new_id()))).status_code == 404


async def test_pages_ask_for_an_admin_and_schedules_for_a_superadmin(site: IngestSite) -> None:
    as_photographer = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    as_admin = {"Authorization": f"Bearer {await site.key_of(Role.ADMIN)}"}
    for path in PAGES:
        assert (await site.api.get(path, headers=as_photographer)).status_code == 403
        assert (await site.api.get(path, headers=as_admin)).status_code in (200, 302)
    assert 'id="due"' not in (await site.api.get("/admin/consistency", headers=as_admin)).text
    assert 'id="due"' in (await page(site, "/admin/consistency")).text


async def test_pictures_are_read_where_comparisons_look_and_nowhere_else(site: IngestSite) -> None:
    key = f"products/{new_id()}/250g/a b.jpg"
    answer = await site.api.get("/admin/consistency/objects", params={"key": key})
    assert answer.status_code == 302
    assert httpx.URL(answer.headers["location"]).host == "bucket.test"
    assert httpx.URL(answer.headers["location"]).path.endswith(key)
    for elsewhere in ("backups/a.jpg", "staging/a.jpg", "products/../backups/a.jpg"):
        refused = await site.api.get("/admin/consistency/objects", params={"key": elsewhere})
        assert refused.status_code == 404, elsewhere


async def test_a_plan_in_the_making_says_that_nothing_is_changed(site: IngestSite) -> None:
    started = await site.api.post("/admin/reconcile/runs", json={"scope": "products", "removeOrphaned": True})
    assert started.status_code == 202
    plan = await page(site, f"/admin/consistency/plans/{started.json()['id']}")
    assert plan.status_code == 200
    assert "data-under-way" in plan.text
    assert "Nothing is changed yet" in plan.text
    part = await page(site, f"/admin/consistency/plans/{started.json()['id']}?fragment=plan")
    assert "<html" not in part.text
    assert "data-under-way" in part.text
    assert started.json()["id"] in (await page(site, "/admin/consistency/runs")).text
