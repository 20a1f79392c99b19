"""Events in a browser: photos and faces, people, links, and what guests ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, expect

from ingest_api.accounts import Role
from tests.browser.site import Site
from tests.browser.visitors import Visitors, answers_keys
from tests.browser.weddings import GUEST, PEOPLE, Wedding, add_event, put_photos, sync
from tests.face_world import SYNC_SECONDS, group, nobody, portrait

pytestmark = pytest.mark.stack

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
PATIENCE_MILLISECONDS = SYNC_SECONDS * 1000


@pytest.fixture(scope="module")
async def wedding(site: Site, face_embedder: None) -> Wedding:
    made = await add_event(site, "Wedding of A & B", consent_text="I agree to be looked for.")
    await put_photos(made)
    await sync(made)
    return made


async def test_an_event_is_made_and_synced_by_keys_alone(visitors: Visitors, face_embedder: None) -> None:
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto("/")
    await expect(page).to_have_url(re.compile(r"/admin/events$"))
    await page.keyboard.press("n")
    await page.keyboard.type("By keys")
    await visitors.assert_accessible(page)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("By keys")
    uuid = page.url.rpartition("/")[2]
    async with visitors.site.api(Role.PHOTOGRAPHER) as api:
        event = (await api.http.get(f"/api/v1/events/{uuid}")).json()
    await put_photos(Wedding(visitors.site, event))
    await answers_keys(page)
    await page.keyboard.press("s")
    await expect(page.locator("#sync")).to_contain_text("Up to date", timeout=PATIENCE_MILLISECONDS)
    await expect(page.locator("#photos .tile")).to_have_count(5)
    await expect(page.locator(".sync-counts")).to_contain_text("5 new · 1 without faces")
    await visitors.assert_accessible(page)
    # Pictures that are there are not loaded again, though their addresses are signed anew.
    addresses = "all => all.map((one) => one.src)"
    before = await page.locator("#photos img").evaluate_all(addresses)
    async with page.expect_response(lambda answer: "fragment=photos" in answer.url):
        await page.keyboard.press("s")
    await expect(page.locator(".sync-counts")).to_contain_text("0 new", timeout=PATIENCE_MILLISECONDS)
    assert await page.locator("#photos img").evaluate_all(addresses) == before
    await page.get_by_role("link", name=re.compile("No faces")).click()
    await expect(page.locator("#photos .tile")).to_have_count(1)


async def test_a_card_is_dropped_onto_the_page_and_its_photos_appear(
    visitors: Visitors, face_embedder: None, tmp_path: Path
) -> None:
    """A folder of a memory card: two photos of one name, one of a hostile name, and what is none."""
    card = tmp_path / "DCIM"
    hostile = "<img src=x onerror=alert(1)>.jpg"
    photos = {"100/DSC_1.jpg": portrait(2), "101/DSC_1.jpg": portrait(3), f"101/{hostile}": nobody()}
    for name, content in (photos | {"101/MOVIE.MP4": b"a film"}).items():
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        (card / name).write_bytes(content)
    made = await add_event(visitors.site, "A card")
    page = await visitors.page(Role.PHOTOGRAPHER, phone=True)
    await page.goto(made.address)
    await expect(page.locator("html[data-ready]")).to_be_attached()
    browser = await page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(card)], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        if step == "drop":
            await expect(page.locator("#drop-anywhere")).to_be_visible()
        await browser.send("Input.dispatchDragEvent", {"type": step, "x": 200, "y": 300, "data": dragged})
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text(re.compile(r"^3 files, .* 1 file is left out"))).to_be_visible()
    await visitors.assert_accessible(page)
    # The key to begin has the focus.
    await page.keyboard.press("Enter")
    queue = page.get_by_role("region", name="Uploads")
    await expect(queue.get_by_text("3 files are uploaded")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    await expect(queue.get_by_role("listitem").filter(has_text="Kept as DSC_1-2.jpg")).to_have_count(1)
    await expect(queue.get_by_text(hostile, exact=True)).to_be_visible()
    await assert_fits(page)
    await visitors.assert_accessible(page)
    # Nobody presses "sync".
    await expect(page.locator("#photos .tile")).to_have_count(3, timeout=PATIENCE_MILLISECONDS)
    await expect(page.get_by_role("link", name="No faces 1")).to_be_visible()
    # The same card again adds nothing.
    await page.keyboard.press("u")
    await page.locator("#pick-folder").set_input_files(card)
    await dialog.get_by_role("button", name="Upload 3 files").click()
    await expect(queue.get_by_text("It is here already.")).to_have_count(3, timeout=PATIENCE_MILLISECONDS)
    await expect(page.locator("#photos .tile")).to_have_count(3)


async def test_faces_are_boxed_and_named_on_the_photo(visitors: Visitors, wedding: Wedding) -> None:
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto(wedding.address)
    await page.locator("#photos img[alt='group.jpg']").click()
    drawer = page.locator("#drawer")
    await expect(drawer.locator("g.box")).to_have_count(6)
    await visitors.assert_accessible(page)
    # The box leads to the name.
    await drawer.locator("g.box[data-face='1']").click()
    name = drawer.locator("li[data-face='1'] input")
    await expect(name).to_be_focused()
    await expect(drawer.locator("li[data-face='1']")).to_have_class("shown")
    async with page.expect_response(lambda answer: answer.request.method == "PATCH") as named:
        await page.keyboard.type(HOSTILE)
        await page.keyboard.press("Tab")
    assert (await named.value).status == 200
    await page.keyboard.press("Escape")
    await expect(drawer).to_be_hidden()
    await page.goto(f"{wedding.address}/people")
    await expect(page.locator("input[data-saves]").filter(has_not_text="x").first).to_be_visible()
    assert HOSTILE in await page.locator("input[data-saves]").evaluate_all("all => all.map((one) => one.value)")
    async with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        await (
            page.locator("#people .tile", has=page.locator("input[value*='onerror']"))
            .locator("input[data-saves]")
            .fill("")
        )
        await page.keyboard.press("Enter")


async def test_people_are_merged_split_and_undone(visitors: Visitors, wedding: Wedding) -> None:
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto(f"{wedding.address}/people")
    tiles = page.locator("#people .tile")
    await expect(tiles).to_have_count(PEOPLE)
    await visitors.assert_accessible(page)
    for place in (0, 1):
        await tiles.nth(place).locator("input[type='checkbox']").check()
    await page.keyboard.press("m")
    await expect(page.locator("#merge-choices input")).to_have_count(2)
    await visitors.assert_accessible(page)
    await page.locator("#merge-do").click()
    await expect(tiles).to_have_count(PEOPLE - 1)
    await expect(page.locator("#merge-bar")).to_be_hidden()
    undo = page.locator(".changes li", has_text="Merged 2 people").get_by_role("button", name="Undo")
    await undo.click()
    await expect(tiles).to_have_count(PEOPLE)
    await tiles.first.locator("a.portrait").click()
    faces = page.locator("#person .tile")
    await expect(faces).to_have_count(3)
    await answers_keys(page)
    await visitors.assert_accessible(page)
    await faces.last.locator("input[type='checkbox']").check()
    await page.get_by_role("button", name="Split off").click()
    await expect(faces).to_have_count(2)
    await page.goto(f"{wedding.address}/people")
    await expect(tiles).to_have_count(PEOPLE + 1)
    await page.locator(".changes li", has_text="Split faces off").get_by_role("button", name="Undo").click()
    await expect(tiles).to_have_count(PEOPLE)


async def test_staff_find_somebody_by_a_picture_and_erase_their_faces(visitors: Visitors, face_embedder: None) -> None:
    party = await add_event(visitors.site, "Party", consent_text="I agree to be looked for.")
    await put_photos(party)
    await sync(party)
    picture: FilePayload = {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": portrait(GUEST)}
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto(f"{party.address}/people")
    await page.keyboard.press("f")
    dialog = page.locator("#seek")
    await dialog.locator("input[type='file']").set_input_files(picture)
    await visitors.assert_accessible(page)
    # Without the consent that the event asks for, nothing is sent.
    await dialog.get_by_role("button", name="Find photos").click()
    await expect(dialog.locator("input[type='checkbox']")).to_be_focused()
    await dialog.locator("input[type='checkbox']").check()
    await dialog.get_by_role("button", name="Find photos").click()
    await expect(page.locator("#sought")).to_be_focused(timeout=PATIENCE_MILLISECONDS)
    await expect(page.locator("#sought-title")).to_have_text("3 photos")
    await expect(page.locator("#sought-photos .tile")).to_have_count(3)
    await visitors.assert_accessible(page)
    await page.locator("#sought-photos img[alt='guest.jpg']").click()
    await expect(page.locator("#drawer g.box")).to_have_count(1)

    await page.goto(f"{party.address}/requests")
    faces = page.locator("#requests .tile")
    await page.keyboard.press("n")
    several = FilePayload(name="all.jpg", mimeType="image/jpeg", buffer=group())
    await page.locator("#erase-file").set_input_files(several)
    await page.get_by_role("button", name="Look for them").click()
    await expect(faces).to_have_count(3, timeout=PATIENCE_MILLISECONDS)
    # Whoever stands beside them is let go of: nothing of theirs is offered to be erased.
    await expect(page.locator("#erase-faces")).to_contain_text("6 faces on the picture. Who is it?")
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Face 2").click()
    await expect(faces).to_have_count(1, timeout=PATIENCE_MILLISECONDS)
    await expect(page.get_by_role("button", name="Face 2")).to_be_disabled()
    await page.get_by_role("button", name="Drop").click()
    await page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    await expect(faces).to_have_count(0)
    await page.keyboard.press("n")
    await page.locator("#erase-file").set_input_files(picture)
    await page.get_by_role("button", name="Look for them").click()
    await expect(faces).to_have_count(3, timeout=PATIENCE_MILLISECONDS)
    await expect(page.locator("#erase-faces")).to_be_hidden()
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Erase chosen faces").click()
    await page.get_by_role("dialog").get_by_role("button", name="Erase chosen faces").click()
    await expect(page.locator(".changes")).to_contain_text("3 faces erased", timeout=PATIENCE_MILLISECONDS)
    await page.keyboard.press("n")
    await page.locator("#erase-file").set_input_files(picture)
    await page.get_by_role("button", name="Look for them").click()
    await expect(page.get_by_text("Nobody on the photos looks like this")).to_be_visible(timeout=PATIENCE_MILLISECONDS)


async def test_a_link_is_shown_once_and_revoked(visitors: Visitors, wedding: Wedding) -> None:
    visitors.expect_trouble("status of 404")
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto(f"{wedding.address}/sharing")
    await page.keyboard.press("n")
    await page.locator("#field-name").fill(HOSTILE)
    await page.get_by_role("button", name="Make one").click()
    pin = await page.locator("#field-pin").input_value()
    assert re.fullmatch(r"\d{6}", pin)
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Make the link").click()
    await expect(page.locator("#made-pin-text")).to_have_text(pin)
    address = await page.locator("#made-address").input_value()
    await visitors.assert_accessible(page)
    await page.locator("#made-link").get_by_role("button", name="Close").click()
    assert address.rpartition("/")[2] not in await page.content()
    row = page.locator(".links li", has_text="onerror")
    guest = await visitors.page()
    await guest.goto(address)
    await expect(guest.locator("#pin")).to_be_visible()
    await row.get_by_role("button", name="Revoke").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(row).to_contain_text("Revoked")
    await guest.reload()
    await expect(guest.get_by_role("heading", level=1)).to_have_text("This gallery is closed")


async def test_settings_are_kept_and_told(visitors: Visitors) -> None:
    made = await add_event(visitors.site, "Birthday")
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto(f"{made.address}/settings")
    await page.get_by_role("button", name="Use a suggestion").click()
    await page.locator("#day-expires_at").fill("2999-12-31")
    async with page.expect_response(lambda answer: answer.request.method == "PATCH") as saved:
        await page.get_by_role("button", name="Save").click()
    event = await (await saved.value).json()
    assert event["expires_at"].startswith("2999-12-31T23:59:59")
    assert event["consent_text"].startswith("I am the person")
    await page.reload()
    await expect(page.locator("#day-expires_at")).to_have_value("2999-12-31")
    await visitors.assert_accessible(page)
    await page.goto(f"{made.address}/activity")
    await expect(page.locator(".changes")).to_contain_text("Consent text 1")
    await visitors.assert_accessible(page)
    await page.goto(f"{made.address}/settings")
    await page.get_by_role("button", name="Delete with photos").click()
    await page.get_by_role("button", name="Delete everything").click()
    await expect(page).to_have_url(re.compile(r"/removal$"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("The event is deleted")
    await visitors.assert_accessible(page)


async def test_events_of_others_are_not_there(visitors: Visitors) -> None:
    visitors.expect_trouble("status of 404")
    async with visitors.site.api(Role.ADMIN) as api:
        others = (await api.http.post("/api/v1/events", json={"name": "Not yours"})).json()
    page = await visitors.page(Role.PHOTOGRAPHER)
    await page.goto(f"/admin/events/{others['uuid']}")
    await expect(page.get_by_role("alert")).to_have_text("Event not found")
    await page.goto("/admin/events")
    await expect(page.get_by_text("Not yours")).to_have_count(0)
    admin = await visitors.page(Role.ADMIN)
    await admin.goto(f"/admin/events/{others['uuid']}")
    await expect(admin.get_by_role("heading", level=1)).to_have_text("Not yours")
    nobody = await visitors.page()
    await nobody.goto("/admin/events")
    await expect(nobody).to_have_url(re.compile(r"/login\?next="))


@pytest.mark.parametrize("tab", ["", "/people", "/sharing", "/requests", "/activity", "/settings"])
async def test_pages_of_an_event_fit_a_phone(visitors: Visitors, wedding: Wedding, tab: str) -> None:
    page = await visitors.page(Role.PHOTOGRAPHER, phone=True, language="ru")
    await page.goto(f"{wedding.address}{tab}")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await assert_fits(page)
    await visitors.assert_accessible(page)


async def assert_fits(page: Page) -> None:
    """Nothing is wider than the screen."""
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(width) <= 0
