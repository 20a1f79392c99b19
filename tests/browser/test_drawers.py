"""Drawers and the history: what is beside a list is where one went, and going back leads to the list."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.pictures import photo_jpeg
from tests.browser.site import Site
from tests.browser.visitors import Visitors, answers_keys

pytestmark = pytest.mark.stack

LIBRARY = "/admin/media"
NAMES = ("drawn-0.jpg", "drawn-1.jpg", "drawn-2.jpg")


@pytest.fixture(scope="module")
async def entity(site: Site) -> str:
    """An entity type with three media, in the order of NAMES."""
    entity = f"drawers-{new_id()}"
    async with site.api() as api:
        for name in reversed(NAMES):
            await api.upload(photo_jpeg(64, 48), name, entityType=entity)
    return entity


async def open_first(page: Page, entity: str) -> Locator:
    """The library's first medium, in the drawer."""
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await page.locator(".tile", has_text=NAMES[0]).get_by_role("link").click()
    drawer = page.get_by_role("dialog")
    await expect(drawer.get_by_role("heading", name=NAMES[0])).to_be_visible()
    return drawer


async def expect_list(page: Page, entity: str) -> None:
    """The list alone, at its own address."""
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page).to_have_url(re.compile(rf"{LIBRARY}\?entityType={entity}$"))
    await expect(page.locator(".tile")).to_have_count(3)
    await answers_keys(page)


@pytest.mark.parametrize("phone", [False, True])
async def test_going_back_closes_the_drawer_and_forward_opens_it(visitors: Visitors, entity: str, phone: bool) -> None:
    page = await visitors.page(Role.ADMIN, phone=phone)
    drawer = await open_first(page, entity)
    shown = page.url
    await page.evaluate("window.isSameDocument = true")
    await page.go_back()
    await expect_list(page, entity)
    await page.go_forward()
    await expect(drawer.get_by_role("heading", name=NAMES[0])).to_be_visible()
    await expect(page).to_have_url(shown)
    await page.go_back()
    await expect_list(page, entity)
    assert await page.evaluate("window.isSameDocument")


@pytest.mark.parametrize("way", ["Escape", "Close", "beside"])
async def test_closing_the_drawer_leaves_nothing_to_go_back_to(visitors: Visitors, entity: str, way: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto("/account")
    for _ in range(2):
        # The list's address again takes the place of itself in the history.
        drawer = await open_first(page, entity)
        if way == "Escape":
            await page.keyboard.press("Escape")
        elif way == "Close":
            await drawer.get_by_role("button", name="Close").click()
        else:
            await page.mouse.click(40, 400)
        await expect_list(page, entity)
    # What is asked for while the browser still goes back is shown.
    await page.locator(".tile a").first.click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.evaluate("""() => {
      const drawer = document.getElementById("drawer");
      drawer.addEventListener("close", () => document.querySelectorAll(".tile a")[1].click(), { once: true });
      drawer.close();
    }""")
    await expect(page.get_by_role("dialog").get_by_role("heading", name=NAMES[1])).to_be_visible()
    await expect(page).not_to_have_url(re.compile(r"entityType"))
    await page.go_back()
    await expect_list(page, entity)
    await page.go_back()
    await expect(page).to_have_url(re.compile(r"/account$"))


async def test_going_from_one_to_the_next_is_one_step_back(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.ADMIN)
    drawer = await open_first(page, entity)
    for name in NAMES[1:]:
        address = page.url
        await page.keyboard.press("j")
        await expect(drawer.get_by_role("heading", name=name)).to_be_visible()
        assert page.url != address
    # A question that was asked above the drawer goes with it.
    await drawer.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_role("dialog")).to_have_count(2)
    await page.go_back()
    await expect_list(page, entity)
    await expect(page.locator(".tile", has_text=NAMES[2]).get_by_role("link")).to_be_focused()


async def test_loaded_anew_the_address_shows_a_page_and_back_leads_to_the_list(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await open_first(page, entity)
    await page.reload()
    own_page = page.locator("main").get_by_role("heading", name=NAMES[0])
    await expect(own_page).to_be_visible()
    await page.go_back()
    await expect_list(page, entity)
    await page.go_forward()
    await expect(own_page).to_be_visible()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_filters_that_were_set_before_are_undone_after_the_drawer(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await page.get_by_label("Search").fill("drawn-1")
    await expect(page.locator(".tile")).to_have_count(1)
    await page.locator(".tile a").click()
    drawer = page.get_by_role("dialog")
    await expect(drawer).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(re.compile(r"q=drawn-1"))
    await expect(page.locator(".tile")).to_have_count(1)
    await page.locator(".tile a").click()
    await expect(drawer).to_be_visible()
    # From the drawer over its list to the one before, and all the way forward again.
    await page.evaluate("history.go(-2)")
    await expect_list(page, entity)
    await expect(page.get_by_label("Search")).to_have_value("")
    await page.evaluate("history.go(2)")
    await expect(drawer.get_by_role("heading", name=NAMES[1])).to_be_visible()
    await expect(page.get_by_label("Search")).to_have_value("drawn-1")
    await page.keyboard.press("Escape")
    await expect(page.locator(".tile")).to_have_count(1)
