"""The catalog: products, their variants, and images that are put into slots, replaced and deleted."""

from __future__ import annotations

import base64
import re

import pytest
from playwright.async_api import FilePayload, Locator, Page, Route, expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.pictures import photo_jpeg
from tests.browser.site import Site
from tests.browser.visitors import Visitors, answers_keys

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("s3_syncer")]

HOME = "/admin/catalog"
HOSTILE = "<script>alert(1)</script>"
_DROP = """(place, [name, content]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], name, { type: "image/jpeg" }));
  for (const kind of ["dragenter", "dragover", "drop"])
    place.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


def picture(name: str, width_px: int = 320) -> FilePayload:
    return FilePayload(name=name, mimeType="image/jpeg", buffer=photo_jpeg(width_px, 240))


@pytest.fixture
async def product(site: Site, s3_syncer: None) -> str:
    """The id of a product with a variant of 250g."""
    async with site.api() as api:
        made = (await api.http.post("/admin/products", json={"name": f"{HOSTILE} {new_id()}"})).json()
        await api.http.post(f"/admin/products/{made['id']}/variants", json={"weight": "250g"})
    return str(made["id"])


def slot(page: Page, name: str, weight: str = "250g") -> Locator:
    return page.get_by_role("region", name=f"{weight}, {name}")


async def test_a_product_gets_its_name_and_its_first_image(visitors: Visitors) -> None:
    name = f"House blend {new_id()}"
    page = await visitors.page(Role.ADMIN)
    await page.goto(HOME)
    await page.keyboard.press("n")
    await page.keyboard.type(name)
    await visitors.assert_accessible(page)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.get_by_text("No variants yet")).to_be_visible()
    await answers_keys(page)
    await page.keyboard.press("v")
    await page.keyboard.type("1kg")
    await page.keyboard.press("Enter")
    hero = slot(page, "Hero card", "1kg")
    await hero.locator("input[type='file']").set_input_files(picture("front.jpg"))
    await expect(hero.locator(".tile img")).to_be_visible()
    await expect(hero.get_by_text("Drop a picture here")).to_have_count(0)
    await visitors.assert_accessible(page)
    await page.goto(f"{HOME}?q={name.upper()}")
    await expect(page.get_by_role("link", name=name)).to_be_visible()
    await visitors.assert_accessible(page)
    await page.goto(f"{HOME}?q={new_id()}")
    await expect(page.get_by_text("No product's name has")).to_be_visible()


async def test_images_are_dropped_replaced_and_deleted(visitors: Visitors, product: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{HOME}/{product}")
    others = slot(page, "Other images")
    dropped = base64.b64encode(photo_jpeg(330, 240)).decode()
    await others.locator(".drop").evaluate(_DROP, ["dropped.jpg", dropped])
    tile = others.locator(".tile")
    await expect(tile.get_by_text(re.compile(r"^dropped-"))).to_be_visible()
    await others.locator(".drop input").set_input_files([picture("second.jpg", 340), picture("third.jpg", 350)])
    await expect(tile).to_have_count(3)
    address = await tile.first.locator("img").get_attribute("src")
    await tile.first.locator("input[type='file']").set_input_files(picture("replaced.jpg", 360))
    await expect(tile.get_by_text(re.compile(r"^replaced-"))).to_be_visible()
    await expect(tile.get_by_text(re.compile(r"^dropped-"))).to_have_count(0)
    # Another address: what the browser keeps under the former one is another picture.
    await expect(tile.first.locator("img")).not_to_have_attribute("src", str(address))
    await others.get_by_role("button", name=re.compile("^Delete replaced-")).click()
    await page.locator("dialog[open]").get_by_role("button", name="Delete").click()
    await expect(tile).to_have_count(2)


async def test_a_variant_is_moved_switched_off_and_deleted(visitors: Visitors, product: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{HOME}/{product}")
    await slot(page, "Info card").locator("input[type='file']").set_input_files(picture("label.jpg"))
    await expect(slot(page, "Info card").locator(".tile img")).to_be_visible()
    await page.get_by_role("button", name="Change the weight 250g").click()
    weight = page.get_by_role("dialog").get_by_label("Weight")
    await weight.fill("a/b")
    visitors.expect_trouble(r"status of 422")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog").locator(".fault")).to_be_visible()
    await visitors.assert_accessible(page)
    await weight.fill("300g")
    await page.get_by_role("button", name="Save").click()
    await expect(slot(page, "Info card", "300g").locator(".tile img")).to_be_visible()
    await page.get_by_role("button", name="Deactivate 300g").click()
    await expect(page.locator(".variant").get_by_text("Inactive", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Delete variant 300g").click()
    question = page.locator("dialog[open]")
    await expect(question.get_by_text("with its 1 image?")).to_be_visible()
    await question.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No variants yet")).to_be_visible()


async def test_what_can_not_be_taken_is_told_beside_its_slot(visitors: Visitors, product: str) -> None:
    visitors.expect_trouble(r"status of 4\d\d")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{HOME}/{product}")
    hero = slot(page, "Hero card")
    no_picture = FilePayload(name=f"{HOSTILE.replace('/', '')}.jpg", mimeType="image/jpeg", buffer=b"no picture" * 99)
    await hero.locator("input[type='file']").set_input_files(no_picture)
    await expect(hero.get_by_text("Not done:")).to_be_visible()
    await visitors.assert_accessible(page)
    await hero.locator(".uploads").get_by_role("button", name="Close").click()
    await expect(hero.locator(".uploads li")).to_have_count(0)
    await expect(hero.get_by_text("Drop a picture here")).to_be_visible()


async def test_a_change_that_takes_long_is_followed_to_its_end(visitors: Visitors, product: str) -> None:
    page = await visitors.page(Role.ADMIN)
    job = str(new_id())
    job_is = "waiting"

    async def goes_on(route: Route) -> None:
        await route.fulfill(status=202, json={"jobId": job, "status": "waiting"})

    async def stands(route: Route) -> None:
        error = {"code": "storage_failed", "detail": "copy_to_bucket failed, everything is as it was before"}
        await route.fulfill(json={"jobId": job, "status": job_is, "error": error if job_is == "failed" else None})

    await page.route(f"**/admin/products/{product}/images", goes_on)
    await page.route(f"**/admin/products/jobs/{job}", stands)
    await page.goto(f"{HOME}/{product}")
    hero = slot(page, "Hero card")
    await hero.locator("input[type='file']").set_input_files(picture("slow.jpg"))
    await expect(hero.get_by_text("Waits for other changes of this product")).to_be_visible()
    job_is = "active"
    await expect(hero.get_by_text("Being stored…")).to_be_visible()
    job_is = "failed"
    await expect(hero.get_by_text("everything is as it was before")).to_be_visible()


async def test_a_product_is_renamed_and_deleted(visitors: Visitors, product: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{HOME}/{product}")
    await expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    await page.keyboard.press("r")
    renamed = f'"{HOSTILE}" & sons {new_id()}'
    await page.get_by_role("dialog").get_by_label("Name").fill(renamed)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=renamed)).to_be_visible()
    await answers_keys(page)
    await page.get_by_role("button", name="Delete this product").click()
    question = page.locator("dialog[open]")
    await expect(question.get_by_text(renamed)).to_be_visible()
    await question.get_by_role("button", name="Delete").click()
    await expect(page).to_have_url(re.compile(rf"{HOME}$"))
    await expect(page.get_by_text(renamed)).to_have_count(0)
