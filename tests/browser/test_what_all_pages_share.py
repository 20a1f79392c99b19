"""What holds for each page that is listed: its weight, names that stay words, a keyboard that is enough, a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Request, expect

from tests.browser.exhibits import Exhibits
from tests.browser.hostile import HOSTILE, word_of
from tests.browser.pages import PAGES, ShownPage
from tests.browser.site import Site
from tests.browser.visitors import DESKTOP, PHONE, Visitors

pytestmark = pytest.mark.stack

MOST_BYTES = 150_000
"""HTML, style sheets and scripts as sent."""

STOPS = 40
"""So many times Tab is pressed at most."""

SHOWN = {
    "media": ("title",),
    "medium": ("title", "alt", "file"),
    "catalog": ("product",),
    "product": ("product",),
    "consistency": ("product",),
    "events": ("event",),
    "event": ("event",),
    "event-people": ("event", "person"),
    "event-sharing": ("gallery",),
    "event-settings": ("event", "consent"),
    "gallery": ("event",),
}
"""The names (exhibits.Names) that must stand on a page, by the page's name."""

_PICTURES = frozenset({"image", "media", "websocket"})

_CAN_HAVE_THE_FOCUS = "a[href], button, input, select, textarea, [tabindex='0']"

_FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  // The parts of such a field have the focus one after the other, and are marked by the browser.
  const isOfParts = element.matches("input[type='date'], input[type='datetime-local'], input[type='time']");
  const hasOutline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const isInSight = (one) => {
    const box = one.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0
      && box.top < innerHeight && box.left < innerWidth;
  };
  return {
    html: element.outerHTML.slice(0, 200),
    isMarked: isOfParts || hasOutline || style.boxShadow !== "none",
    isInSight: [element, ...element.children].some(isInSight),
  };
}"""

_CAME_TO_LIFE = """() => [...document.querySelectorAll(
  'x-hostile, [data-hostile], [onmouseover], [onerror], img[src="x"], [href^="javascript:" i], [src^="javascript:" i]')]
  .map((element) => element.outerHTML)"""

_WORDS = """() => document.documentElement.textContent + "\\n"
  + [...document.querySelectorAll("input, textarea")].map((field) => field.value).join("\\n")"""

_TURNS_ITS_NEIGHBOURS = """() => {
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    if (!texts.currentNode.data.includes("\\u202e")) continue;
    const element = texts.currentNode.parentElement;
    const { display, unicodeBidi } = getComputedStyle(element);
    const isIsolated = display !== "inline" || unicodeBidi.includes("isolate") || unicodeBidi === "plaintext";
    const isAlone = element.textContent.trim() === texts.currentNode.data.trim();
    if (!isIsolated || !isAlone) found.push(element.outerHTML);
  }
  return found;
}"""


@dataclass(frozen=True, slots=True)
class Opened:
    """A listed page in a browser, everything on it named by somebody hostile. `sent_bytes` are by address."""

    shown: ShownPage
    visitors: Visitors
    page: Page
    sent_bytes: dict[str, int]


@pytest.fixture(scope="module", params=PAGES, ids=lambda shown: shown.name)
async def opened(
    request: pytest.FixtureRequest, site: Site, browser: Browser, axe: Path | None, exhibits: Exhibits
) -> AsyncIterator[Opened]:
    """Opened once for all tests of it: they leave it as it was."""
    shown: ShownPage = request.param
    visitors = Visitors(site, browser, axe)
    page = await visitors.page(shown.role)
    requests: list[Request] = []
    page.on("requestfinished", lambda finished: requests.append(finished))
    await page.goto(shown.path.format_map(exhibits))
    await expect(page.locator(shown.ready).first).to_be_attached()
    await expect(page.locator("html[data-ready]")).to_be_attached()
    ours = [one for one in requests if one.resource_type not in _PICTURES and one.url.startswith("http")]
    yield Opened(shown, visitors, page, {one.url: (await one.sizes())["responseBodySize"] for one in ours})
    troubles = await visitors.leave()
    assert not troubles, "\n".join([f"on {shown.path}:", *troubles])


def test_it_is_light(opened: Opened) -> None:
    assert len(opened.sent_bytes) > 3, "the page, its style sheet and its scripts are measured"
    assert all(opened.sent_bytes.values())
    assert sum(opened.sent_bytes.values()) <= MOST_BYTES, opened.sent_bytes


async def test_names_stay_words(opened: Opened) -> None:
    assert await opened.page.evaluate(_CAME_TO_LIFE) == []
    words: str = await opened.page.evaluate(_WORDS)
    for kind, name in asdict(HOSTILE).items():
        assert kind not in SHOWN.get(opened.shown.name, ()) or word_of(kind) in words
        assert words.count(word_of(kind)) == words.count(name), kind


async def test_a_name_turns_no_other_words(opened: Opened) -> None:
    assert await opened.page.evaluate(_TURNS_ITS_NEIGHBOURS) == []


async def test_tab_goes_everywhere_and_is_seen(opened: Opened) -> None:
    page = opened.page
    assert await page.locator("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").count() == 0
    first = page.locator(_CAN_HAVE_THE_FOCUS).first
    await expect(first).to_have_class("skip")
    await first.focus()
    lost: list[Any] = []
    for _ in range(STOPS):
        stop = await page.evaluate(_FOCUSED)
        if stop is None:
            break
        if not (stop["isMarked"] and stop["isInSight"]):
            lost.append(stop)
        await page.keyboard.press("Tab")
    assert not lost
    await page.locator("a.skip").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()


async def test_escape_closes_what_a_key_opened(opened: Opened) -> None:
    page = opened.page
    await page.evaluate("document.activeElement?.blur()")
    await page.keyboard.press("?")
    await expect(page.locator("dialog#shortcuts")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog[open]")).to_have_count(0)
    for opener in await page.locator("button[data-opens]:visible").all():
        await opener.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog[open]")).to_have_count(1)
        await page.keyboard.press("Escape")
        await expect(page.locator("dialog[open]")).to_have_count(0)
        await expect(opener).to_be_focused()


async def test_axe_finds_nothing_serious(opened: Opened) -> None:
    await opened.visitors.assert_accessible(opened.page)


async def test_a_phone_is_wide_enough(opened: Opened) -> None:
    page = opened.page
    await page.set_viewport_size(PHONE)
    try:
        width_px: int = await page.evaluate("document.documentElement.scrollWidth")
        assert width_px <= PHONE["width"]
        await opened.visitors.assert_accessible(page)
    finally:
        await page.set_viewport_size(DESKTOP)
