"""People in front of a browser: signed in as a role or not, with their language, screen and colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Response, ViewportSize

from ingest_api.accounts import Role
from tests.browser.axe_core import findings
from tests.browser.site import Site
from tests.browser.watching import Watch

DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
WAIT_MILLISECONDS = 30_000
Language = Literal["en", "ru"]
_LOCALES = {"en": "en-GB", "ru": "ru-RU"}


class Visitors:
    """Opens pages for one test; whatever goes wrong on any of them fails it."""

    def __init__(self, site: Site, browser: Browser, axe: Path | None) -> None:
        self.site = site
        self._browser = browser
        self._axe = axe
        self._watch = Watch()
        self._contexts: list[BrowserContext] = []

    async def page(
        self, role: Role | None = None, *, language: Language = "en", phone: bool = False, dark: bool = False
    ) -> Page:
        """An empty page of somebody new, with a session of their own unless `role` is None; addresses may be paths."""
        context = await self._browser.new_context(
            base_url=self.site.base_url,
            locale=_LOCALES[language],
            timezone_id="UTC",
            viewport=PHONE if phone else DESKTOP,
            device_scale_factor=2 if phone else 1,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            # What moves is neither waited for nor caught half way.
            reduced_motion="reduce",
            accept_downloads=True,
            # Behind TLS a site of ours has a certificate that it made itself.
            ignore_https_errors=True,
        )
        self._contexts.append(context)
        context.set_default_timeout(WAIT_MILLISECONDS)
        await self._watch.over(context)
        if role is not None:
            cookies = await self.site.session_cookies(role)
            for name, value in cookies.items():
                await context.add_cookies([{"name": name, "value": value, "url": self.site.base_url}])
        page = await context.new_page()
        _answer_keys(page)
        return page

    def expect_trouble(self, pattern: str) -> None:
        """Errors, dialogs and failed requests in which this regular expression is found are meant to happen here.

        The test fails if none does.
        """
        self._watch.expect(pattern)

    def allow_trouble(self, pattern: str) -> None:
        """As `expect_trouble`, for what depends on the moment in which something happens elsewhere."""
        self._watch.allow(pattern)

    async def assert_accessible(self, page: Page) -> None:
        """axe-core finds nothing serious or critical on the page as it stands, in light and in dark colours."""
        if self._axe is None:
            pytest.skip("NO AXE-CORE: pages are not looked at for accessibility. Install npm, which fetches it")
        grave = []
        for colours in ("light", "dark"):
            await page.emulate_media(color_scheme=colours)
            grave += [f"{colours}: {finding}" for finding in await findings(page, self._axe)]
        await page.emulate_media(color_scheme=None)
        assert not grave, "\n".join([f"axe-core on {page.url}:", *grave])

    async def leave(self) -> list[str]:
        """Close every page and return what went wrong on them."""
        for context in self._contexts:
            await context.close()
        return self._watch.verdict()


async def answers_keys(page: Page) -> None:
    """Wait until the page's scripts run: whoever types before that types into nothing.

    To be asked where a click or a key led to another page, once something of that page is seen.
    """
    await page.locator("html[data-ready], html:not(:has(script[type=module]))").wait_for(state="attached")


def _answer_keys(page: Page) -> None:
    """Have `goto` and `reload` end once the page answers keys."""
    go, load_anew = page.goto, page.reload

    async def goto(url: str, **options: Any) -> Response | None:
        answer = await go(url, **options)
        await answers_keys(page)
        return answer

    async def reload(**options: Any) -> Response | None:
        answer = await load_anew(**options)
        await answers_keys(page)
        return answer

    page.goto = goto  # type: ignore[method-assign]
    page.reload = reload  # type: ignore[method-assign]
