"""Operations: services that are heard, dead letters settled by a click, schedules, and who did what."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from playwright.async_api import expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.messaging.topics import SYNC_JOBS
from shared.testing.waiting import eventually
from tests.browser.site import Site
from tests.browser.visitors import Visitors

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("s3_syncer", "cleanup_scheduler")]

PAGE = "/admin/ops"
HOSTILE = "<img src=x onerror=alert(1)>"


async def given_up(site: Site) -> dict[str, Any]:
    """The dead letter of a message that s3-syncer does not know; its type is one of a kind."""
    event_type = f"sync.poison-{new_id().hex[-10:]}.v1"
    producer = AIOKafkaProducer(bootstrap_servers=site.system.kafka_bootstrap)
    await producer.start()
    try:
        headers = {
            "ce_id": str(new_id()),
            "ce_type": event_type,
            "ce_source": "/tests",
            "ce_specversion": "1.0",
            "ce_time": datetime.now(UTC).isoformat(),
        }
        await producer.send_and_wait(
            SYNC_JOBS.name,
            f'{{"note": "{HOSTILE}"}}'.encode(),
            key=b"poison",
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
    finally:
        await producer.stop()
    return await letter_of(site, lambda letter: letter["type"] == event_type)


async def letter_of(site: Site, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with site.api() as api:

        async def found() -> dict[str, Any] | None:
            letters = (await api.http.get("/api/admin/ops/dead-letters")).json()["deadLetters"]
            return next((letter for letter in letters if is_wanted(letter)), None)

        letter: dict[str, Any] = await eventually(found, why="the dead letter is known")
        return letter


async def test_services_tell_how_they_fare(visitors: Visitors) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(PAGE)
    for service in ("ingest-api", "s3-syncer"):
        await expect(page.locator(f"#service-{service}").get_by_text("ready").first).to_be_visible()
    await expect(page.locator("#service-s3-syncer .replicas li")).to_have_count(1)
    await visitors.assert_accessible(page)


async def test_a_dead_letter_is_read_replayed_and_dropped(visitors: Visitors) -> None:
    letter = await given_up(visitors.site)
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(f"{PAGE}/dead-letters?service=s3-syncer")
    await page.get_by_role("link", name=letter["type"]).click()
    drawer = page.get_by_role("dialog")
    await expect(drawer.get_by_text(HOSTILE)).to_be_visible()
    await expect(drawer.get_by_text("type_unknown")).to_be_visible()
    await visitors.assert_accessible(page)
    await drawer.get_by_role("button", name="Replay").click()
    await expect(drawer.get_by_text("replayed")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator(f"#letter-{letter['id']}")).to_have_count(0)

    again = await letter_of(visitors.site, lambda one: one["replayOf"] == letter["id"])
    await page.reload()
    row = page.locator(f"#letter-{again['id']}")
    await expect(row.get_by_text("failed again")).to_be_visible()
    await row.get_by_role("button", name="Drop").click()
    await page.get_by_role("dialog").get_by_role("button", name="Drop").click()
    await expect(row).to_have_count(0)
    await page.get_by_label("State").select_option("dropped")
    await page.get_by_role("button", name="Show").click()
    await expect(row.get_by_text("dropped")).to_be_visible()


async def test_a_schedule_is_run_paused_and_given_other_times(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 422")
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(f"{PAGE}/schedules")
    row = page.locator("[id='schedule-messages.pruning']")
    await row.get_by_role("button", name="Run now").click()
    await page.get_by_role("dialog").get_by_role("button", name="Run now").click()
    await expect(row.locator(".chip")).to_have_text(re.compile("running|done|not all answered"))
    await row.get_by_role("button", name="Pause").click()
    await expect(row.get_by_text("paused")).to_be_visible()
    await row.get_by_role("button", name="Resume").click()
    await expect(row.get_by_text("paused")).to_have_count(0)
    await visitors.assert_accessible(page)
    await row.get_by_role("link", name="Pruning of sent messages").click()
    drawer = page.get_by_role("dialog")
    await drawer.get_by_label("Cron expression").fill("at noon")
    await drawer.get_by_role("button", name="Save").click()
    await expect(drawer.locator(".fault")).to_contain_text("such as")
    await visitors.assert_accessible(page)
    await page.goto(f"{PAGE}/audit?area=schedules")
    await expect(page.get_by_text("Ran a schedule").first).to_be_visible()
    await visitors.assert_accessible(page)


async def test_what_is_wrong_with_a_field_is_said_in_russian_until_it_is_edited(visitors: Visitors) -> None:
    visitors.expect_trouble(r"status of 422")
    page = await visitors.page(Role.SUPERADMIN, language="ru")
    await page.goto(f"{PAGE}/schedules/messages.pruning")
    field, zone = page.locator("input[name='cron']"), page.locator("input[name='timeZone']")
    await field.fill("at noon")
    await page.get_by_role("button", name="Сохранить").click()
    fault = page.locator(".fault")
    await expect(fault).to_contain_text("нужны пять полей")
    await expect(page.locator("#schedule .problem")).to_have_text("Что-то не заполнено или заполнено неверно: cron")
    # The page's own part comes anew, as it does when anything happens.
    await page.evaluate("""async () => {
      const { refresh } = await import(document.querySelector("link[href$='js/core/fragments.js']").href);
      await refresh("schedule");
    }""")
    await expect(fault).to_be_visible()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_accessible_error_message(re.compile("нужны пять полей"))
    await expect(zone).not_to_have_attribute("aria-invalid", "true")
    await visitors.assert_accessible(page)
    await field.press_sequentially("!")
    await expect(fault).to_have_count(0)
    await expect(field).not_to_have_attribute("aria-invalid", "true")


async def test_what_is_due_tonight_is_shown_beside_the_schedules(visitors: Visitors) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(f"{PAGE}/schedules")
    await page.get_by_role("link", name="Due tonight").click()
    await expect(page.get_by_role("dialog").get_by_text("30 days")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page).to_have_url(re.compile(r"/schedules$"))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.PHOTOGRAPHER])
async def test_only_superadmins_see_operations(visitors: Visitors, role: Role) -> None:
    visitors.expect_trouble(r"status of 403")
    page = await visitors.page(role)
    answer = await page.goto(PAGE)
    assert answer is not None
    assert answer.status == 403
    await expect(page.get_by_role("link", name="Operations")).to_have_count(0)


@pytest.fixture
async def lost_replica(visitors: Visitors) -> AsyncIterator[str]:
    """What a process says of the database that it does not reach."""
    rows, problem = visitors.site.system.rows, "ConnectionRefusedError: nobody listens there"
    await rows(
        "ingest-api",
        "INSERT INTO replicas (service, instance, version, started_at, told_at, every_seconds, is_ready, problems,"
        " lag_messages) VALUES ('image-processor', 'lost', '1', now(), now(), 60, false, $1, '{}')",
        json.dumps({"postgresql": problem}),
    )
    yield problem
    await rows("ingest-api", "DELETE FROM replicas WHERE instance = 'lost'")


async def test_what_failed_is_told_in_the_language_of_the_page(visitors: Visitors, lost_replica: str) -> None:
    letter = await given_up(visitors.site)
    page = await visitors.page(Role.SUPERADMIN, language="ru")
    await page.goto(PAGE)
    service = page.locator("#service-image-processor")
    await expect(service.get_by_text("База данных не отвечает")).to_be_visible()
    await expect(service.locator("[lang=en]").get_by_text(lost_replica)).to_be_visible()
    await page.goto(f"{PAGE}/dead-letters?service=s3-syncer")
    row = page.locator(f"#letter-{letter['id']}")
    await expect(row.get_by_text("Служба не знает сообщений такого типа")).to_be_visible()
    await expect(row.locator("[lang=en]").get_by_text(letter["detail"])).to_be_visible()
    # Nothing renders the letter's own page anew while somebody else settles it.
    await page.goto(f"{PAGE}/dead-letters/{letter['id']}")
    async with visitors.site.api() as api:
        await api.http.post(f"/api/admin/ops/dead-letters/{letter['id']}/drop")
    visitors.expect_trouble(r"status of 409")
    await page.get_by_role("button", name="Повторить").click()
    told = page.locator(".toast.bad").get_by_text("Это сообщение уже повторили или отбросили")
    await expect(told).to_have_attribute("title", "The letter was dropped already.")
    await visitors.assert_accessible(page)


@pytest.fixture
async def lagging_replica(visitors: Visitors) -> AsyncIterator[None]:
    """One more of a service, far behind on a topic with a long name."""
    rows = visitors.site.system.rows
    await rows(
        "ingest-api",
        "INSERT INTO replicas (service, instance, version, started_at, told_at, every_seconds, is_ready, problems,"
        " lag_messages) VALUES ('image-processor', 'lagging', '1', now(), now(), 60, true, '{}', $1)",
        json.dumps({"cleanup-scheduler.dead-letter": 1_234_567, "image-processor.dead-letter": 7}),
    )
    yield
    await rows("ingest-api", "DELETE FROM replicas WHERE instance = 'lagging'")


@pytest.mark.usefixtures("lagging_replica")
async def test_every_page_fits_a_phone_in_russian(visitors: Visitors) -> None:
    page = await visitors.page(Role.SUPERADMIN, phone=True, language="ru", dark=True)
    for path in ("", "/dead-letters?state=any", "/jobs", "/schedules", "/audit"):
        await page.goto(PAGE + path)
        await expect(page.get_by_role("heading", name="Эксплуатация")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        if not path:
            await expect(page.get_by_text("cleanup-scheduler.dead-letter")).to_be_visible()
        await visitors.assert_accessible(page)
