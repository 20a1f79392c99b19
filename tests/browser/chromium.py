"""Debian's Chromium, driven by Playwright's wheel: a browser of Playwright's own can't be downloaded everywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

VARIABLE = "MEDIABUS_CHROMIUM"
MISSING = (
    "NO BROWSER: pages are not tested. Install Chromium, for example with `sudo apt-get install chromium`, "
    f"or name a program with {VARIABLE}"
)


def find_chromium() -> str | None:
    """The program that the variable names, or the first one on the PATH."""
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def running_browser(program: str) -> AsyncIterator[Browser]:
    """A browser without windows; cameras show a moving test picture and are granted without asking."""
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            # Its sandbox needs rights that containers seldom have; it visits nothing but our own pages.
            chromium_sandbox=False,
            args=camera,
        )
        try:
            yield browser
        finally:
            await browser.close()
