"""A site behind TLS: its cookies are for TLS alone, its forms and calls are its own, and its WebSocket is as safe."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.pictures import photo_jpeg
from tests.browser.site import Site
from tests.browser.tls_front import tls_front
from tests.browser.visitors import Visitors, answers_keys

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def safe_site(site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The same site once more, told that TLS stands before it."""
    replica = await site.system.started("ingest-api", {"MEDIABUS_COOKIE_SECURE": "true"})
    async with tls_front(replica.port, tmp_path_factory.mktemp("tls")) as address:
        yield replace(site, base_url=address)
    await replica.stop()


@pytest.fixture
async def safe_visitors(safe_site: Site, browser: Browser, axe: Path | None) -> AsyncIterator[Visitors]:
    visitors = Visitors(safe_site, browser, axe)
    yield visitors
    troubles = await visitors.leave()
    assert not troubles, "\n".join(["on the pages of this test:", *troubles])


async def test_signing_in_calling_and_listening_all_go_through_tls(site: Site, safe_visitors: Visitors) -> None:
    page = await safe_visitors.page()
    entity = f"tls-{new_id()}"
    await page.goto(f"/login?next=/admin/media%3FentityType={entity}")
    account = site.accounts[Role.ADMIN]
    await page.locator("input[name='email']").fill(account.email)
    await page.locator("input[name='password']").fill(account.password)
    async with page.expect_websocket() as opened:
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(rf"^https://.*entityType={entity}$"))
    assert (await opened.value).url.startswith("wss://")
    await answers_keys(page)

    (cookie,) = await page.context.cookies()
    assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("__Host-mediabus_session", True, True)
    assert (cookie["sameSite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "127.0.0.1")

    # What is uploaded comes to its end by messages of the WebSocket, and a call changes it.
    socket = await opened.value
    await page.get_by_role("button", name="Upload", exact=True).first.click()
    picture = FilePayload(name="safe.jpg", mimeType="image/jpeg", buffer=photo_jpeg(64, 48))
    await page.locator("#pick-files").set_input_files([picture])
    await page.get_by_label("What they are of").fill(entity)
    async with socket.expect_event("framereceived", lambda frame: "media:processed" in str(frame)):
        await page.get_by_role("button", name="Upload 1 file").click()
    await expect(page.get_by_text("1 file is uploaded")).to_be_visible()

    await page.locator("form[action='/logout'] button").click()
    await expect(page).to_have_url(re.compile(r"^https://.*/login$"))
    assert await page.context.cookies() == []
