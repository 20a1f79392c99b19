"""The gallery of a link as guests see it: finding oneself, originals, and being forgotten."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from ingest_api.accounts import Role
from tests.browser.site import Site
from tests.browser.visitors import Visitors
from tests.browser.weddings import GUEST, Wedding, add_event, put_photos, sync
from tests.face_world import group, nobody, portrait

pytestmark = pytest.mark.stack

PATIENCE_MILLISECONDS = 60_000
TEXT = "We look for you on the photos.\n<b>Nothing</b> is kept."


@pytest.fixture(scope="module")
async def wedding(site: Site, face_embedder: None) -> Wedding:
    made = await add_event(site, "Party <script>alert(1)</script>", consent_text=TEXT)
    await put_photos(made)
    await sync(made)
    return made


def picture(content: bytes) -> FilePayload:
    return FilePayload(name="me.jpg", mimeType="image/jpeg", buffer=content)


async def search(page: Page, content: bytes) -> Locator:
    """Look for the person on a picture; the dialog, which closes where a face was found."""
    dialog = page.locator("#find")
    if not await dialog.is_visible():
        await page.locator("[data-opens='find']:visible").first.click()
    agrees = dialog.locator("[data-agrees]")
    if not await agrees.is_checked():
        await agrees.check()
    await dialog.locator("#find-file").set_input_files(picture(content))
    await expect(dialog.get_by_alt_text("Your picture, not sent yet")).to_be_visible()
    await dialog.get_by_role("button", name="Find me").click()
    return dialog


async def test_a_guest_finds_their_photos_by_a_selfie_on_a_phone(
    visitors: Visitors, wedding: Wedding, tmp_path: Path
) -> None:
    visitors.expect_trouble("status of 422")
    path = await wedding.link(name="Guests")
    page = await visitors.page(phone=True)
    await page.goto(path)
    await expect(page.locator("#all-photos .tile")).to_have_count(5)
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Find my photos").click()
    dialog = page.locator("#find")
    await expect(dialog.locator("[data-consent-text]")).to_have_text(TEXT)
    # Nothing can be given before the guest agrees.
    await expect(dialog.locator("[data-camera]")).to_be_hidden()
    await visitors.assert_accessible(page)

    # Nobody on it: said kindly, and another picture goes.
    await search(page, nobody())
    await expect(dialog.get_by_role("alert")).to_contain_text("No face was found", timeout=PATIENCE_MILLISECONDS)
    await visitors.assert_accessible(page)
    await search(page, portrait(GUEST, quality=55))
    found = page.locator("#found-photos .tile")
    await expect(page.locator("#found-title")).to_have_text("You are on 3 photos", timeout=PATIENCE_MILLISECONDS)
    await expect(found).to_have_count(3)
    await expect(dialog).to_be_hidden()
    await visitors.assert_accessible(page)

    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download all of these").click()
    archive = tmp_path / "found.zip"
    await (await saved.value).save_as(archive)
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == ["group.jpg", "guest.jpg"]


async def test_several_faces_and_nobody_found_are_told(visitors: Visitors, wedding: Wedding) -> None:
    page = await visitors.page()
    await page.goto(await wedding.link(may_list=False))
    await expect(page.locator("#all")).to_have_count(0)
    await search(page, group())
    faces = page.locator("#found-faces")
    await expect(faces).to_contain_text("There are 6 faces on your picture", timeout=PATIENCE_MILLISECONDS)
    await faces.get_by_role("button", name="Face 3").click()
    await expect(faces.get_by_role("button", name="Face 3")).to_be_disabled(timeout=PATIENCE_MILLISECONDS)
    await expect(page.locator("#found-photos .tile").first).to_be_visible()
    await search(page, portrait(7))
    await expect(page.locator("#found-title")).to_have_text("No photos of you", timeout=PATIENCE_MILLISECONDS)
    await expect(faces).to_be_hidden()
    await visitors.assert_accessible(page)


async def test_the_camera_shows_the_picture_before_it_is_sent(visitors: Visitors, wedding: Wedding) -> None:
    visitors.expect_trouble("status of 422")
    page = await visitors.page(phone=True)
    await page.goto(await wedding.link())
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    await page.get_by_role("button", name="Find my photos").click()
    dialog = page.locator("#find")
    await dialog.locator("[data-agrees]").check()
    await dialog.get_by_role("button", name="Use the camera").click()
    await expect(dialog.locator("video")).to_be_visible()
    # The camera gives its first picture a little after the element is there.
    await expect(dialog.locator("video")).to_have_js_property("readyState", 4)
    await dialog.get_by_role("button", name="Take the picture").click()
    await expect(dialog.get_by_alt_text("Your picture, not sent yet")).to_be_visible()
    await expect(dialog.locator("video")).to_be_hidden()
    assert "POST" not in sent
    await dialog.get_by_role("button", name="Find me").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("No face", timeout=PATIENCE_MILLISECONDS)
    # Closing lets go of the picture.
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Find my photos").click()
    await expect(dialog.get_by_alt_text("Your picture, not sent yet")).to_be_hidden()


async def test_a_camera_that_is_refused_leaves_the_file(visitors: Visitors, wedding: Wedding) -> None:
    page = await visitors.page(phone=True, language="ru")
    refuse = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    await page.add_init_script(refuse)
    await page.goto(await wedding.link())
    await page.locator("[data-opens='find']:visible").click()
    dialog = page.locator("#find")
    await dialog.locator("[data-agrees]").check()
    await dialog.locator("[data-camera]").click()
    await expect(dialog.locator("[data-says]")).to_contain_text("Браузеру нельзя пользоваться камерой")
    await expect(dialog.locator("[data-capture]")).to_be_visible()
    await visitors.assert_accessible(page)


async def test_photos_are_looked_at_and_chosen_by_keys(visitors: Visitors, wedding: Wedding, tmp_path: Path) -> None:
    page = await visitors.page()
    await page.goto(await wedding.link())
    first = page.locator("#all-photos .tile").first
    await first.locator("button").focus()
    await page.keyboard.press("Enter")
    place = page.locator("#viewer-place")
    await expect(place).to_have_text("1 of 5")
    await page.keyboard.press("ArrowLeft")
    await expect(place).to_have_text("5 of 5")
    await page.keyboard.press("ArrowRight")
    await expect(place).to_have_text("1 of 5")
    await visitors.assert_accessible(page)
    await page.keyboard.press("Escape")
    await expect(page.locator("#viewer")).to_be_hidden()
    await expect(first.locator("button")).to_be_focused()
    # The phone's button leads from the photo to the gallery, not away from it.
    await page.evaluate("window.isSameDocument = true")
    await first.locator("button").click()
    await expect(place).to_be_visible()
    # The viewer has its entry in the history once the browser has gone back over that of the one before.
    await page.wait_for_function("history.state?.behind !== undefined")
    await page.go_back()
    await expect(page.locator("#viewer")).to_be_hidden()
    await page.go_forward()
    await expect(place).to_have_text("1 of 5")
    await page.go_back()
    await expect(page.locator("#viewer")).to_be_hidden()
    assert await page.evaluate("window.isSameDocument")
    await page.locator("#all-photos .tile[data-original] button").first.click()
    async with page.expect_download() as original:
        await page.keyboard.press("d")
    assert (await original.value).suggested_filename in {"group.jpg", "guest.jpg"}
    await page.keyboard.press("Escape")
    # Only those with originals can be chosen.
    boxes = page.locator("#all-photos input[type='checkbox']:visible")
    await expect(boxes).to_have_count(2)
    await boxes.first.focus()
    await page.keyboard.press("Space")
    await expect(page.locator("#chosen-count")).to_have_text("1 photo chosen")
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download as ZIP").click()
    archive = tmp_path / "chosen.zip"
    await (await saved.value).save_as(archive)
    with zipfile.ZipFile(archive) as opened:
        assert len(opened.namelist()) == 1


async def test_a_pin_opens_and_a_wrong_one_is_told(visitors: Visitors, wedding: Wedding) -> None:
    visitors.expect_trouble("status of 403")
    path = await wedding.link(name="Guests", pin="4711")
    early = await visitors.page(phone=True)
    await early.route("**/*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    await early.main_frame.goto(path)  # which waits for no scripts
    await early.get_by_label("PIN").fill("4711")
    await early.get_by_role("button", name="Open").click()
    # While the scripts are on their way nothing is sent: the PIN would stand in the address.
    assert await early.evaluate("fetch(location.href).then((answer) => answer.status)") == 200
    assert early.url.endswith(path)
    page = await visitors.page(phone=True)
    await page.goto(path)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Guests")
    await page.get_by_label("PIN").fill("0000")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("The PIN is wrong.")
    await visitors.assert_accessible(page)
    await page.get_by_label("PIN").fill("4711")
    await page.keyboard.press("Enter")
    await expect(page.locator("#all-photos .tile")).to_have_count(5)


async def test_who_wants_to_be_forgotten_reads_how_it_stands(visitors: Visitors, wedding: Wedding) -> None:
    visitors.expect_trouble("status of 404")
    path = await wedding.link(name="Guests")
    page = await visitors.page(phone=True)
    await page.goto(path)
    await page.get_by_role("button", name="Ask to be forgotten").click()
    dialog = page.locator("#forget")
    await visitors.assert_accessible(page)
    await dialog.locator("[data-agrees]").check()
    await dialog.locator("#forget-file").set_input_files(picture(portrait(0, quality=55)))
    await dialog.get_by_role("button", name="Send the request").click()
    number = dialog.locator("[data-made='id']")
    await expect(number).not_to_be_empty(timeout=PATIENCE_MILLISECONDS)
    await visitors.assert_accessible(page)
    erasure_id, secret = await number.inner_text(), await dialog.locator("[data-made='secret']").inner_text()
    await dialog.get_by_role("button", name="Close").last.click()
    await expect(page.locator("#erasures")).to_contain_text("Waits for a decision")

    owner = await visitors.page(Role.PHOTOGRAPHER)
    await owner.goto(f"{wedding.address}/requests")
    request = owner.locator(f"#request-{erasure_id}")
    await expect(request.locator(".tile")).to_have_count(1)
    await visitors.assert_accessible(owner)
    await request.get_by_role("button", name="Erase chosen faces").click()
    await owner.get_by_role("dialog").get_by_role("button", name="Erase chosen faces").click()
    await expect(owner.locator(".changes")).to_contain_text("1 face erased", timeout=PATIENCE_MILLISECONDS)
    async with owner.expect_download() as receipt:
        await owner.get_by_role("button", name="Receipt").click()
    assert (await receipt.value).suggested_filename == f"erasure-{erasure_id}.json"

    await page.reload()
    await expect(page.locator("#erasures")).to_contain_text("Done: 1 face was erased")
    # On another device, and when the link is over, by what was written down.
    other = await visitors.page()
    await other.goto("/gallery/never-was")
    await expect(other.get_by_role("heading", level=1)).to_have_text("This gallery is closed")
    await other.get_by_text("See how a request stands").click()
    await other.get_by_label("Number").fill(erasure_id)
    await other.get_by_label("Secret").fill("not this")
    await other.get_by_role("button", name="Look it up").click()
    await expect(other.get_by_role("alert")).to_contain_text("There is no request")
    await other.get_by_label("Secret").fill(secret)
    await other.get_by_role("button", name="Look it up").click()
    await expect(other.locator("#erasures")).to_contain_text("Done: 1 face was erased")
    await visitors.assert_accessible(other)


@pytest.mark.parametrize("allowed", ["may_list", "may_search", "may_download"])
async def test_a_gallery_fits_a_phone_whatever_it_allows(visitors: Visitors, wedding: Wedding, allowed: str) -> None:
    nothing = {"may_list": False, "may_search": False, "may_download": False}
    page = await visitors.page(phone=True, language="ru")
    await page.goto(await wedding.link(**{**nothing, allowed: True}))
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Party <script>")
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(width) <= 0
    await visitors.assert_accessible(page)


async def test_the_address_of_a_gallery_goes_nowhere(visitors: Visitors, wedding: Wedding) -> None:
    path = await wedding.link()
    page = await visitors.page()
    referrers: list[str] = []
    page.on("request", lambda request: referrers.append(request.headers.get("referer", "")))
    await page.goto(path)
    await expect(page.locator("#all-photos .tile")).to_have_count(5)
    assert set(referrers) == {""}
