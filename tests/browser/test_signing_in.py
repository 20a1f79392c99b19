"""The way in and out, and the pages that are there without it."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from ingest_api.accounts import Role
from tests.browser.visitors import Visitors

pytestmark = pytest.mark.stack


async def fill_in(page: Page, email: str, password: str) -> None:
    form = page.locator("form[action='/login']")
    await form.locator("input[name='email']").fill(email)
    await form.locator("input[name='password']").fill(password)
    await form.locator("button").click()


async def test_the_right_words_lead_to_where_one_wanted_to_go(visitors: Visitors) -> None:
    page = await visitors.page()
    await page.goto("/account")
    await expect(page).to_have_url(re.compile(r"/login\?next=%2Faccount$"))
    account = visitors.site.accounts[Role.ADMIN]
    await fill_in(page, account.email, account.password)
    await expect(page).to_have_url(re.compile(r"/account$"))
    await expect(page.get_by_role("heading", name=account.email)).to_be_visible()


async def test_wrong_words_are_told_on_the_form_and_the_address_stays(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 401")
    page = await visitors.page()
    await page.goto("/login")
    await fill_in(page, "somebody@example.test", "not the password")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.locator("input[name='email']")).to_have_value("somebody@example.test")
    await expect(page.locator("input[name='password']")).to_have_value("")
    await visitors.assert_accessible(page)


async def test_signing_out_ends_the_session_in_every_tab(visitors: Visitors) -> None:
    page = await visitors.page(Role.PHOTOGRAPHER)
    other = await page.context.new_page()
    for tab in (page, other):
        await tab.goto("/account")
    await page.locator("form[action='/logout'] button").click()
    await expect(page).to_have_url(re.compile(r"/login"))
    await other.reload()
    await expect(other).to_have_url(re.compile(r"/login"))


async def test_refusals_are_told_in_russian_where_pages_are(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 40[134]")
    page = await visitors.page(language="ru")
    await page.goto("/login")
    await fill_in(page, "somebody@example.test", "not the password")
    await expect(page.get_by_role("alert")).to_have_text("Адрес или пароль не подходит.")
    stranger = await visitors.page(Role.PHOTOGRAPHER, language="ru")
    await stranger.goto("/admin/ops")
    await expect(stranger.get_by_role("heading", name="Вашей роли это не разрешено")).to_be_visible()
    await expect(stranger.get_by_role("alert")).to_have_attribute("lang", "en")
    await visitors.assert_accessible(stranger)


@pytest.mark.parametrize("phone", [False, True])
async def test_the_form_is_accessible_on_any_screen(visitors: Visitors, phone: bool) -> None:
    page = await visitors.page(phone=phone)
    await page.goto("/login")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await visitors.assert_accessible(page)


async def test_the_description_of_the_api_is_open_and_accessible(visitors: Visitors) -> None:
    page = await visitors.page(phone=True)
    await page.goto("/docs")
    await expect(page.get_by_role("heading", name="Error codes")).to_be_visible()
    await visitors.assert_accessible(page)
