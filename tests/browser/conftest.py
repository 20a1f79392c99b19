"""One system and one browser for all files of this folder, and visitors for each test.

Playwright's API is the asynchronous one: all tests run on one event loop, beside which the other API refuses to start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from deploy.local.errors import StackError
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.browser.axe_core import ensure_axe
from tests.browser.chromium import MISSING, find_chromium, running_browser
from tests.browser.exhibits import Exhibits, set_up
from tests.browser.hostile import HOSTILE
from tests.browser.site import Site, running_site
from tests.browser.visitors import WAIT_MILLISECONDS, Visitors


@pytest.fixture(scope="package")
def chromium() -> str:
    program = find_chromium()
    if program is None:
        pytest.skip(MISSING)
    return program


@pytest.fixture(scope="package")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=WAIT_MILLISECONDS)
    async with running_browser(chromium) as browser:
        yield browser


@pytest.fixture(scope="package")
async def site(
    chromium: str,
    databases: TestDatabases,
    kafka_process: KafkaServer,
    object_store_process: ObjectStoreServer,
    face_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """Shared by all files: find your own things by names of their own, and put back what settings you change."""
    folder = tmp_path_factory.mktemp("site")
    async with running_site(databases, kafka_process, object_store_process, face_models, folder) as site:
        yield site


@pytest.fixture(scope="package")
async def exhibits(site: Site) -> Exhibits:
    """What there is to show, named by somebody hostile; all services are at work."""
    return await set_up(site, HOSTILE, photographs=3)


@pytest.fixture(scope="package")
def axe() -> Path | None:
    try:
        return ensure_axe()
    except StackError as reason:
        if "npm is missing" in str(reason):
            return None
        raise


@pytest.fixture
async def visitors(site: Site, browser: Browser, axe: Path | None) -> AsyncIterator[Visitors]:
    """Fails the test on whatever went wrong on the pages it opened."""
    visitors = Visitors(site, browser, axe)
    yield visitors
    troubles = await visitors.leave()
    assert not troubles, "\n".join(["on the pages of this test:", *troubles])


@pytest.fixture(scope="package")
async def s3_syncer(site: Site) -> None:
    await site.start("s3-syncer")


@pytest.fixture(scope="package")
async def reconciler(site: Site) -> None:
    await site.start("reconciler")
    await until_answered(site, "/admin/products/sync/check-all")


@pytest.fixture(scope="package")
async def face_embedder(site: Site) -> None:
    await site.start("face-embedder")


@pytest.fixture(scope="package")
async def cleanup_scheduler(site: Site) -> None:
    await site.start("cleanup-scheduler")
    await until_answered(site, "/api/admin/schedules/due")


async def until_answered(site: Site, path: str) -> None:
    """A service is ready before the questions to it are assigned: pages would tell that nobody answers."""

    async def is_answered() -> bool:
        async with site.api() as api:
            return (await api.http.get(path)).status_code == 200

    await eventually(is_answered, within_seconds=120, every_seconds=0.5, why=f"{path} is answered")
