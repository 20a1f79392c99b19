"""Settings by page: saved, refused, tried, and a watermark seen before it is set."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from tests.browser.visitors import Visitors, answers_keys

pytestmark = pytest.mark.stack

PAGE = "/admin/media/settings"
API = "/api/admin/media/settings"


async def test_what_is_saved_is_what_the_services_get(visitors: Visitors) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(PAGE)
    deletion = page.locator("form#deletion")
    await deletion.get_by_label("Days until soft deletions become final").fill("45")
    await deletion.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status").get_by_text("Saved.")).to_be_visible()
    async with visitors.site.api() as api:
        assert (await api.http.get(API)).json()["softDeleteRetentionDays"] == 45
        await expect(page.locator("#history")).to_contain_text("softDeleteRetentionDays: 30 → 45")
        await visitors.assert_accessible(page)
        # The form knows the version that its own change made.
        await deletion.get_by_label("Days until soft deletions become final").fill("30")
        await deletion.get_by_role("button", name="Save").click()
        await expect(page.locator("#history")).to_contain_text("45 → 30")


async def test_a_change_on_top_of_somebody_elses_is_refused_in_words(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 412")
    page = await visitors.page(Role.ADMIN)
    await page.goto(PAGE)
    async with visitors.site.api() as api:
        days = (await api.http.get(API)).json()["softDeleteRetentionDays"]
        for changed in (days + 1, days):
            answer = await api.http.patch(API, json={"softDeleteRetentionDays": changed})
            assert answer.status_code == 200, answer.text
    deletion = page.locator("form#deletion")
    await deletion.get_by_label("Days until soft deletions become final").fill("60")
    await deletion.get_by_role("button", name="Save").click()
    await expect(deletion.get_by_role("alert")).to_contain_text("Somebody else changed this meanwhile")


async def test_refusals_are_told_in_the_language_of_the_page(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 412")
    page = await visitors.page(Role.ADMIN, language="ru")
    await page.goto(PAGE)
    async with visitors.site.api() as api:
        days = (await api.http.get(API)).json()["softDeleteRetentionDays"]
        for changed in (days + 1, days):
            assert (await api.http.patch(API, json={"softDeleteRetentionDays": changed})).status_code == 200
    deletion = page.locator("form#deletion")
    await deletion.locator("input[name='softDeleteRetentionDays']").fill("60")
    await deletion.get_by_role("button", name="Сохранить").click()
    await expect(deletion.get_by_role("alert")).to_have_text("Это уже изменил кто-то другой; загрузите страницу заново")


async def test_the_bucket_is_tried_with_what_stands_in_the_fields(visitors: Visitors) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(PAGE)
    outcome = page.locator("#test-s3-outcome")
    await page.get_by_role("button", name="Test connection").click()
    await expect(outcome.locator(".good")).to_be_visible()
    await page.locator("form#s3").get_by_role("textbox", name="Bucket").fill("no-such-bucket-here")
    await page.get_by_role("button", name="Test connection").click()
    await expect(outcome.locator(".bad")).to_contain_text("no-such-bucket-here")


async def test_an_admin_reads_what_concerns_s3_and_changes_none_of_it(visitors: Visitors) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(PAGE)
    s3 = page.locator("form#s3")
    await expect(s3.get_by_role("textbox", name="Bucket")).to_be_disabled()
    await expect(s3.get_by_role("button", name="Save")).to_have_count(0)
    await s3.get_by_role("button", name="Test connection").click()
    await expect(page.locator("#test-s3-outcome .notice.good")).to_be_visible()


async def test_a_watermark_is_seen_while_it_is_being_set(visitors: Visitors) -> None:
    name = f"type-{new_id()}"
    page = await visitors.page(Role.ADMIN)
    await page.goto(PAGE)
    await page.get_by_role("textbox", name="Entity type").fill(name)
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    await answers_keys(page)
    preview = page.locator("#preview")
    await expect(preview.locator("text")).to_have_count(0)
    await page.get_by_role("radio", name="Text", exact=True).check()
    await page.locator("#mark-text").fill("<b>© Shop</b>")
    await expect(preview.locator("text")).to_have_text("<b>© Shop</b>")
    await page.get_by_label("Tiled over the whole picture").check()
    await expect(preview.locator("text").nth(4)).to_be_attached()
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status").get_by_text("Saved.")).to_be_visible()
    async with visitors.site.api() as api:
        saved = (await api.http.get(f"{API}/entity-types/{name}")).json()
    assert (saved["watermark"]["text"], saved["watermark"]["tiled"]) == ("<b>© Shop</b>", True)


async def test_photographers_have_no_settings(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 403")
    page = await visitors.page(Role.PHOTOGRAPHER)
    answer = await page.goto(PAGE)
    assert answer is not None
    assert answer.status == 403
