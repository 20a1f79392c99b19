"""Consistency: checks of how everything stands, plans that are read, approved and undone, and who may see what."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from playwright.async_api import Page, Route, expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.browser.site import Site
from tests.browser.visitors import Visitors, answers_keys
from tests.bucket_contents import BUCKET

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("s3_syncer", "reconciler")]

HOME = "/admin/consistency"
HOSTILE = '<img src=x onerror="alert(1)">'


@dataclass
class Shelf:
    """A product with one image that is well, and one file of nobody."""

    site: Site
    product_id: str
    orphan: str

    async def holds_orphan(self) -> bool:
        async with self.site.store.client() as bucket:
            listed = await bucket.list_objects_v2(Bucket=BUCKET, Prefix=self.orphan)
        return listed["KeyCount"] == 1


@pytest.fixture
async def shelf(site: Site, s3_syncer: None, reconciler: None) -> Shelf:
    async with site.api() as api:
        made = await api.http.post("/admin/products", json={"name": f"{HOSTILE} {new_id()}"})
        product_id: str = made.json()["id"]
        url = f"/admin/products/{product_id}"
        variant = (await api.http.post(f"{url}/variants", json={"weight": "250g"})).json()
        fields = {"variantId": variant["id"], "imageType": "hero-card"}
        files = {"file": ("front.jpg", photo_jpeg(320, 240))}
        # A slow machine answers with the job of the change.
        assert (await api.http.post(f"{url}/images", data=fields, files=files)).status_code in (201, 202)
        # In no slot, so that nothing makes a record of it.
        orphan = f"products/{product_id}/250g/by hand {HOSTILE.replace('/', '')}.jpg"
        async with site.store.client() as bucket:
            await bucket.put_object(Bucket=BUCKET, Key=orphan, Body=photo_jpeg(300, 220), ContentType="image/jpeg")

        async def is_known() -> bool:
            found = (await api.http.get(f"{url}/images/sync/check")).json()
            return len(found.get("syncedFiles", ())) == 1 and found["orphanedFiles"] == [orphan]

        await eventually(is_known, within_seconds=90, every_seconds=0.1, why="the check finds the orphan")
    return Shelf(site, product_id, orphan)


async def ask_for_plan(page: Page) -> None:
    """By keys alone, as the other decisions below."""
    await page.keyboard.press("p")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("Nothing is changed before you approve it")).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(rf"{HOME}/plans/[0-9a-f-]+$"))
    await expect(page.locator("#plan").get_by_text("Nothing has been changed yet.")).to_be_visible()
    await answers_keys(page)


async def answer_question(page: Page, word: str) -> None:
    question = page.locator("dialog[open]")
    await expect(question.get_by_role("button", name=word)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(question).to_have_count(0)


async def loads(page: Page, selector: str) -> None:
    """The picture is there, not only its place."""
    await page.wait_for_function(
        "(selector) => [...document.querySelectorAll(selector)].some((one) => one.complete && one.naturalWidth > 0)",
        arg=selector,
    )


async def test_a_plan_is_read_approved_and_undone(visitors: Visitors, shelf: Shelf) -> None:
    # The page may ask for the picture in the very moment in which its file moves.
    visitors.allow_trouble(r"by(%20|\+| )hand")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{HOME}/products/{shelf.product_id}")
    await expect(page.get_by_role("heading", name="Orphaned")).to_be_visible()
    await loads(page, "#report .tile img[src*='objects']")
    await visitors.assert_accessible(page)

    await ask_for_plan(page)
    plan = page.locator("#plan")
    orphaned = plan.get_by_role("row", name=re.compile(r"^Orphaned 1 0$"))
    await expect(orphaned).to_be_visible()
    await expect(plan.get_by_text("1 file of the bucket goes into quarantine")).to_be_visible()
    await loads(page, "#plan .tile.removal img")
    await visitors.assert_accessible(page)

    await page.keyboard.press("a")
    await visitors.assert_accessible(page)
    await answer_question(page, "Approve")
    await expect(plan.get_by_text("Completed")).to_be_visible()
    await expect(plan.get_by_text("1 change made")).to_be_visible()
    assert not await shelf.holds_orphan()
    await page.reload()
    await loads(page, "#plan .tile.removal img[src*='quarantine']")
    await visitors.assert_accessible(page)

    await page.keyboard.press("u")
    await answer_question(page, "Undo")
    await expect(plan.get_by_text("The plan was undone.")).to_be_visible()
    assert await shelf.holds_orphan()
    account = visitors.site.accounts[Role.ADMIN].email
    await expect(plan.locator(".decisions li")).to_have_text(
        [re.compile(rf"{what} · {account}") for what in ("asked for", "approved", "undone")]
    )


async def test_a_plan_is_discarded_and_changes_nothing(visitors: Visitors, shelf: Shelf) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{HOME}/products/{shelf.product_id}")
    await ask_for_plan(page)
    plan_id = page.url.rpartition("/")[2]
    await page.goto(HOME)
    await page.locator(f"#waiting a[href$='{plan_id}']", has_text="Read the plan").click()
    await expect(page).to_have_url(re.compile(rf"/plans/{plan_id}$"))
    await answers_keys(page)
    await page.get_by_role("button", name="Discard").click()
    await expect(page.locator("#decision").get_by_text("The plan was discarded. Nothing was changed.")).to_be_visible()
    assert await shelf.holds_orphan()
    await page.goto(f"{HOME}/runs")
    first = page.locator("tbody tr").first
    await expect(first.get_by_text("Discarded")).to_be_visible()
    await expect(first.get_by_text(HOSTILE)).to_be_visible()
    await visitors.assert_accessible(page)


async def test_the_overview_tells_totals_and_products(visitors: Visitors, shelf: Shelf) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(HOME)
    product = page.locator("#report tbody tr", has=page.locator(f"a[href$='{shelf.product_id}']"))
    await expect(product.locator("td")).to_have_text([re.compile(re.escape(HOSTILE)), "1", "1", "1", "0", "0"])
    await expect(page.locator("#report .totals > div")).to_have_count(6)
    await visitors.assert_accessible(page)
    await expect(page.locator("#nightly")).to_have_count(0)
    await page.get_by_role("button", name="Plan a repair").click()
    await visitors.assert_accessible(page)


async def test_an_answer_that_does_not_come_is_told_and_asked_for_again(visitors: Visitors, shelf: Shelf) -> None:
    visitors.expect_trouble(r"status of 503")
    visitors.expect_trouble(r"answer 503")
    page = await visitors.page(Role.ADMIN)
    answers = iter([503])

    async def away_once(route: Route) -> None:
        status = next(answers, None)
        if status is None:
            await route.continue_()
        else:
            await route.fulfill(status=status, content_type="text/html", body="<p role=alert>reconciler is away</p>")

    await page.route("**/products/*?fragment=report", away_once)
    await page.goto(f"{HOME}/products/{shelf.product_id}")
    report = page.locator("#report")
    await expect(report.get_by_text("Nothing was changed.")).to_be_visible()
    await expect(report.get_by_text("reconciler is away")).to_be_visible()
    await visitors.assert_accessible(page)
    await report.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("heading", name="Orphaned")).to_be_visible()


@pytest.mark.parametrize("path", [HOME, f"{HOME}/runs", f"{HOME}/objects?key=products/x.jpg", "/admin/catalog"])
async def test_photographers_are_kept_out(visitors: Visitors, path: str) -> None:
    visitors.expect_trouble(r"status of 403")
    page = await visitors.page(Role.PHOTOGRAPHER)
    answer = await page.goto(path)
    assert answer is not None
    assert answer.status == 403
    await page.goto("/account")
    await expect(page.get_by_role("navigation").get_by_role("link", name="Consistency")).to_have_count(0)


@pytest.mark.usefixtures("cleanup_scheduler")
async def test_superadmins_see_and_set_when_it_runs_by_itself(visitors: Visitors) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(HOME)
    nightly, due = page.locator("#nightly"), page.locator("#due")
    await expect(due.get_by_text("Nothing will be deleted for good.")).to_be_visible()
    await nightly.get_by_role("button", name="Pause").click()
    await expect(nightly.get_by_role("button", name="Resume")).to_be_visible()
    await nightly.get_by_role("button", name="Resume").click()
    await expect(nightly.get_by_role("button", name="Pause")).to_be_visible()
    await nightly.get_by_role("button", name="Change the time").click()
    when = page.get_by_role("dialog").get_by_label("When")
    visitors.expect_trouble(r"status of 422")
    await when.fill("at night")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog").locator(".fault")).to_be_visible()
    await visitors.assert_accessible(page)


async def test_nothing_is_wider_than_a_phone(visitors: Visitors, shelf: Shelf) -> None:
    page = await visitors.page(Role.SUPERADMIN, language="ru", phone=True, dark=True)
    for path, shown in (
        (f"{HOME}/products/{shelf.product_id}", "#report .tile"),
        (HOME, "#report .totals"),
        (f"{HOME}/runs", "#runs"),
        ("/admin/catalog", ".products"),
        (f"/admin/catalog/{shelf.product_id}", ".variant .tile"),
    ):
        await page.goto(path)
        await expect(page.locator(shown).first).to_be_visible()
        is_too_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not await page.evaluate(is_too_wide), path
