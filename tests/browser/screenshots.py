"""`python -m tests.browser.screenshots FOLDER`: a picture of each page in light and dark colours and on a phone."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from playwright.async_api import FloatRect, TimeoutError

from deploy.local.face_models import ensure_lite, models_folder
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from shared.testing.databases import TestDatabases
from tests.browser.chromium import MISSING, find_chromium, running_browser
from tests.browser.exhibits import Exhibits, set_up
from tests.browser.pages import PAGES, ShownPage
from tests.browser.site import Site, running_site
from tests.browser.visitors import Language, Visitors
from tests.bucket_contents import BUCKET

APPEARANCES: dict[str, tuple[bool, bool, Language]] = {
    "light": (False, False, "en"),
    "dark": (False, True, "en"),
    "phone": (True, False, "en"),
    "phone-dark-ru": (True, True, "ru"),
}
"""Whether on a phone, whether dark, and in which language, by the name that files end with."""

SCREENS = 3
"""So many screens of a long page are shown."""

_SIZE = """() => {
  const page = document.documentElement;
  return { width: page.clientWidth, screen: page.clientHeight, page: page.scrollHeight };
}"""
_ALL_IMAGES = """() => [...document.images].every((image) => {
  image.loading = "eager";
  return image.complete;
})"""


@asynccontextmanager
async def site_of_its_own(folder: Path) -> AsyncIterator[Site]:
    """A site on servers that end with it."""
    postgres = PostgresServer(folder / "postgres", free_port())
    kafka = KafkaServer(folder / "kafka", free_port())
    store = ObjectStoreServer(folder / "object-store", free_port(), "shown-access", "shown-secret-key")
    async with AsyncExitStack() as stack:
        for server in (postgres, kafka, store):
            server.data_folder.mkdir(parents=True)
            await server.start()
            stack.push_async_callback(server.stop)
        await store.create_bucket(BUCKET)
        databases = await TestDatabases.prepare(postgres.admin_dsn)
        models = ensure_lite(models_folder()).parent
        yield await stack.enter_async_context(running_site(databases, kafka, store, models, folder))


async def take_all(chromium: str, target: Path) -> list[str]:
    """Write the pictures and return what went wrong on the pages."""
    with tempfile.TemporaryDirectory() as temporary:
        async with site_of_its_own(Path(temporary)) as site, running_browser(chromium) as browser:
            exhibits = await set_up(site)
            visitors = Visitors(site, browser, None)
            late = []
            for shown in PAGES:
                for appearance in APPEARANCES:
                    if not await _take(visitors, shown, exhibits, appearance, target):
                        late.append(f"{shown.name}-{appearance}: nothing matches {shown.ready}; see its picture")
                print(f"{shown.name}: {', '.join(APPEARANCES)}")
            return late + await visitors.leave()


async def _take(visitors: Visitors, shown: ShownPage, exhibits: Exhibits, appearance: str, target: Path) -> bool:
    """Whether the page got ready; its picture is there anyway."""
    phone, dark, language = APPEARANCES[appearance]
    page = await visitors.page(shown.role, language=language, phone=phone, dark=dark)
    await page.goto(shown.path.format_map(exhibits))
    try:
        await page.locator(shown.ready).first.wait_for()
        await page.wait_for_function(_ALL_IMAGES)
        is_ready = True
    except TimeoutError:
        is_ready = False
    size: dict[str, int] = await page.evaluate(_SIZE)
    height_px = min(size["page"], SCREENS * size["screen"])
    clip = FloatRect(x=0, y=0, width=size["width"], height=height_px)
    await page.screenshot(path=target / f"{shown.name}-{appearance}.png", full_page=True, clip=clip)
    await page.close()
    return is_ready


def main(folder: str) -> int:
    chromium = find_chromium()
    if chromium is None:
        print(MISSING, file=sys.stderr)
        return 1
    target = Path(folder).resolve()
    target.mkdir(parents=True, exist_ok=True)
    troubles = asyncio.run(take_all(chromium, target))
    for trouble in troubles:
        print(f"went wrong: {trouble}", file=sys.stderr)
    print(f"{len(PAGES) * len(APPEARANCES)} pictures in {target}")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
