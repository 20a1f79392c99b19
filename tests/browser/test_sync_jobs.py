"""Storage jobs: begun in a dialog, watched to their end, and only by superadmins."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.pictures import photo_jpeg
from tests.browser.site import Site
from tests.browser.visitors import Visitors

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("s3_syncer")]

PAGE = "/admin/media/sync"


@pytest.fixture(scope="module")
async def entity(site: Site, s3_syncer: None) -> str:
    """Three pictures of one entity, on the disk alone."""
    name = f"sync-{new_id()}"
    async with site.api() as api:
        for number in range(3):
            fields = {"entityType": "product", "entityId": name, "storageStrategy": "local_only"}
            uploaded = await api.upload(photo_jpeg(320 + number, 240), f"{number}.jpg", **fields)
            await api.ended(uploaded["jobId"])
    return name


async def begin(page: Page, operation: str, entity: str) -> None:
    await page.goto(PAGE)
    await page.get_by_role("button", name="New job").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Operation").select_option(operation)
    await dialog.get_by_label("Entity id").fill(entity)
    await dialog.get_by_role("button", name="Start").click()


async def test_a_job_is_begun_and_watched_to_its_end(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await begin(page, "upload_to_s3", entity)
    await expect(page.get_by_role("dialog")).to_be_hidden()
    job = page.locator("tbody[id^='job-']").first
    await expect(job.get_by_text("completed")).to_be_visible()
    await expect(job.get_by_text(re.compile(r"of 3 files"))).to_be_visible()
    await visitors.assert_accessible(page)
    await job.get_by_role("link", name="Upload to S3").click()
    drawer = page.get_by_role("dialog")
    await expect(drawer.locator("tbody tr")).to_have_count(3)
    await expect(page).to_have_url(re.compile(rf"{PAGE}/[0-9a-f-]+$"))
    await visitors.assert_accessible(page)
    await page.keyboard.press("Escape")
    await expect(drawer).to_be_hidden()
    await expect(page).to_have_url(re.compile(rf"{PAGE}$"))


async def test_a_removal_is_asked_about_first(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await begin(page, "delete_local", f"{entity}-absent")
    question = page.get_by_role("dialog").filter(
        has_text="“Remove from disk” – Those that match. This job removes stored files."
    )
    await question.get_by_role("button", name="Cancel").click()
    await expect(question).to_be_hidden()
    await expect(page.get_by_role("button", name="Start")).to_be_enabled()


async def test_what_the_api_refuses_is_told_at_its_field(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 422")
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(f"{PAGE}?new")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Operation").select_option("rename")
    await dialog.get_by_label("All media").check()
    await dialog.get_by_label("Old beginning of keys").fill("media/")
    await dialog.get_by_label("New beginning of keys").fill("media/")
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog.get_by_text("is the same as renamePrefix.from")).to_be_visible()


@pytest.mark.parametrize("role", [Role.ADMIN, Role.PHOTOGRAPHER])
async def test_only_superadmins_see_the_page(visitors: Visitors, role: Role) -> None:
    visitors.expect_trouble(r"status of 403")
    page = await visitors.page(role)
    answer = await page.goto(PAGE)
    assert answer is not None
    assert answer.status == 403
    await expect(page.get_by_role("link", name="Sync jobs")).to_have_count(0)


async def test_the_page_fits_a_phone_in_russian(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.SUPERADMIN, phone=True, language="ru", dark=True)
    await page.goto(PAGE)
    await expect(page.get_by_role("heading", name="Синхронизация")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.get_by_role("button", name="Меню").click()
    await expect(page.get_by_role("link", name="Синхронизация")).to_be_visible()
    await visitors.assert_accessible(page)
