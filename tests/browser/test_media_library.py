"""The media library in a browser: uploads to their end, choosing, filters, and one medium beside the list."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import FilePayload, Locator, Page, Request, Route, WebSocketRoute, expect

from ingest_api.accounts import Role
from shared.identifiers import new_id
from shared.testing.pictures import photo_jpeg, truncated_jpeg
from shared.testing.waiting import eventually
from tests.browser.site import Site
from tests.browser.visitors import Visitors

pytestmark = pytest.mark.stack

LIBRARY = "/admin/media"
SETTLED_MILLISECONDS = 180_000
"""Within which pictures are uploaded and rendered."""


@pytest.fixture
def entity() -> str:
    """The entity type of a test's own media."""
    return f"t-{new_id()}"


@pytest.fixture(scope="module")
async def shelf(site: Site) -> str:
    """An entity type with twelve small pictures, `shelf-00.jpg` being the newest."""
    entity = f"shelf-{new_id()}"
    async with site.api() as api:
        uploads = [
            await api.upload(photo_jpeg(80 + number, 60, seed=number), f"shelf-{number:02}.jpg", entityType=entity)
            for number in reversed(range(12))
        ]
        await api.all_completed([upload["jobId"] for upload in uploads])
    return entity


def jpeg(name: str, content: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="image/jpeg", buffer=content)


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile", has_text=name)


async def choose_files(page: Page, entity: str, files: list[FilePayload]) -> None:
    await page.get_by_role("button", name="Upload", exact=True).first.click()
    await page.locator("#pick-files").set_input_files(files)
    await page.get_by_label("What they are of").fill(entity)


async def test_thirty_files_are_uploaded_and_rendered(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await expect(page.get_by_text("No medium is like this")).to_be_visible()
    files = [jpeg(f"file-{number:02}.jpg", photo_jpeg(64 + number, 48, seed=number)) for number in range(30)]
    await choose_files(page, entity, files)
    await expect(page.get_by_text(re.compile(r"30 files, \d"))).to_be_visible()
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Upload 30 files").click()
    queue = page.get_by_role("region", name="Uploads")
    await expect(queue.get_by_text("30 files are uploaded")).to_be_visible(timeout=SETTLED_MILLISECONDS)
    await expect(page.locator(".tile img:not(.blur)")).to_have_count(30, timeout=SETTLED_MILLISECONDS)
    await visitors.assert_accessible(page)
    await queue.get_by_role("button", name="Close").click()
    await expect(queue).to_be_hidden()


async def test_a_folder_gives_its_pictures_and_a_drop_anywhere_its_files(
    visitors: Visitors, entity: str, tmp_path: Path
) -> None:
    for name in ("one.jpg", "deeper/two.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo_jpeg(64, 48))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.jpg").write_text("left behind by a system")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await page.keyboard.press("u")
    await page.locator("#pick-folder").set_input_files(tmp_path)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text(re.compile(r"^2 files, .* 1 file is left out"))).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await page.evaluate("""() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["x"], "dropped.jpg", { type: "image/jpeg" }));
      for (const type of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
    }""")
    await expect(dialog.get_by_role("button", name="Upload 1 file")).to_be_enabled()
    await expect(page.locator("#drop-anywhere")).to_be_hidden()


async def test_a_folder_that_is_dropped_gives_its_pictures(visitors: Visitors, entity: str, tmp_path: Path) -> None:
    folder = tmp_path / "wedding"
    for name in ("one.jpg", "deeper/two.jpg", "deeper/and deeper/three.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo_jpeg(64, 48))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_text("left behind by a system")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    browser = await page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        if step == "drop":
            await expect(page.locator("#drop-anywhere")).to_be_visible()
        await browser.send("Input.dispatchDragEvent", {"type": step, "x": 640, "y": 400, "data": dragged})
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text(re.compile(r"^3 files, .* 1 file is left out"))).to_be_visible()
    await expect(page.locator("#drop-anywhere")).to_be_hidden()
    await dialog.get_by_label("What they are of").fill(entity)
    await dialog.get_by_role("button", name="Upload 3 files").click()
    for name in ("one.jpg", "two.jpg", "three.jpg"):
        await expect(tile(page, name).locator("img:not(.blur)")).to_be_visible(timeout=SETTLED_MILLISECONDS)


async def test_refused_files_say_why_and_the_others_go_on(visitors: Visitors, entity: str) -> None:
    visitors.expect_trouble(r"status of 415")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await choose_files(
        page,
        entity,
        [
            jpeg("no-picture.jpg", b"This is a letter, not a picture."),
            jpeg("empty.jpg", b""),
            FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"notes"),
            jpeg("cut-off.jpg", truncated_jpeg()),
            jpeg("good.jpg", photo_jpeg(64, 48)),
        ],
    )
    await page.get_by_role("button", name="Upload 5 files").click()
    queue = page.get_by_role("region", name="Uploads")
    await expect(queue.get_by_text("1 file is uploaded · 4 failed")).to_be_visible(timeout=SETTLED_MILLISECONDS)
    for name, reason in (
        ("no-picture.jpg", "none of AVIF"),
        ("empty.jpg", "The file is empty."),
        ("notes.txt", "It is no picture."),
    ):
        await expect(queue.get_by_role("listitem").filter(has_text=name)).to_contain_text(reason)
    # What can succeed another time is offered to; the server refuses the others again.
    await expect(queue.get_by_role("button", name=re.compile("^Retry .*jpg"))).to_have_count(1)
    await expect(tile(page, "cut-off.jpg").get_by_text("failed")).to_be_visible()
    await visitors.assert_accessible(page)


async def test_a_server_that_is_busy_is_asked_again_and_gets_each_file_once(visitors: Visitors, entity: str) -> None:
    visitors.expect_trouble(r"503")
    page = await visitors.page(Role.ADMIN)
    keys: list[str] = []

    async def busy_at_first(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            await route.fulfill(status=503, headers={"Retry-After": "1"}, json={"title": "busy"})
        else:
            await route.continue_()

    await page.route("**/api/admin/media", busy_at_first)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await choose_files(page, entity, [jpeg("late.jpg", photo_jpeg(64, 48))])
    await page.get_by_role("button", name="Upload 1 file").click()
    queue = page.get_by_role("region", name="Uploads")
    await expect(queue.get_by_text("1 file is uploaded")).to_be_visible(timeout=SETTLED_MILLISECONDS)
    assert len(keys) == 2
    assert keys[0] == keys[1]


async def test_uploads_are_paused_and_go_on_and_leaving_asks_first(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.ADMIN)
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/api/admin/media", hold)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await choose_files(page, entity, [jpeg(f"{number}.jpg", photo_jpeg(64, 48, seed=number)) for number in range(6)])
    await page.get_by_role("button", name="Upload 6 files").click()
    queue = page.get_by_role("region", name="Uploads")
    await eventually(lambda: len(held) == 4, why="four uploads are in flight")
    await page.get_by_role("link", name="Media", exact=True).click()
    await expect(page.get_by_text("Uploads are still running.")).to_be_visible()
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await queue.get_by_role("button", name="Pause").click()
    await expect(queue.get_by_text("0 of 6 done · Paused")).to_be_visible()
    await page.unroute("**/api/admin/media", hold)
    await queue.get_by_role("button", name="Cancel 5.jpg").click()
    await queue.get_by_role("button", name="Go on").click()
    await expect(queue.get_by_text("5 files are uploaded")).to_be_visible(timeout=SETTLED_MILLISECONDS)


async def test_without_the_websocket_progress_is_asked_for(visitors: Visitors, entity: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.route_web_socket("**/api/ws", lambda socket: None)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await choose_files(page, entity, [jpeg("polled.jpg", photo_jpeg(64, 48))])
    await page.get_by_role("button", name="Upload 1 file").click()
    await expect(page.get_by_text("1 file is uploaded")).to_be_visible(timeout=SETTLED_MILLISECONDS)
    await expect(tile(page, "polled.jpg").locator("img:not(.blur)")).to_be_visible(timeout=SETTLED_MILLISECONDS)


async def test_everything_is_done_by_the_keyboard_alone(visitors: Visitors, shelf: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={shelf}")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await page.locator("#filter-before").focus()
    for _ in range(20):
        if await page.evaluate("document.activeElement.closest('.tile') !== null"):
            break
        await page.keyboard.press("Tab")
    await expect(tile(page, "shelf-00.jpg").get_by_role("link")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Space")
    await page.keyboard.press("Shift+ArrowRight")
    await page.keyboard.press("Shift+ArrowRight")
    bar = page.get_by_role("toolbar")
    await expect(bar.get_by_text("3 chosen")).to_be_visible()
    await visitors.assert_accessible(page)
    await page.keyboard.press("Control+a")
    await expect(bar.get_by_text("12 chosen")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(bar).to_be_hidden()
    await page.keyboard.press("Home")
    await page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog")
    await expect(drawer.get_by_role("heading", name="shelf-00.jpg")).to_be_visible()
    await page.keyboard.press("j")
    await expect(drawer.get_by_role("heading", name="shelf-01.jpg")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(drawer).to_be_hidden()
    await expect(tile(page, "shelf-01.jpg").get_by_role("link")).to_be_focused()


async def test_one_medium_is_described_deleted_and_restored_beside_the_list(visitors: Visitors, entity: str) -> None:
    media_id = await upload(visitors.site, entity, "harbour.jpg")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await tile(page, "harbour.jpg").get_by_role("link").click()
    drawer = page.get_by_role("dialog")
    await expect(page).to_have_url(re.compile(f"{LIBRARY}/{media_id}$"))
    await drawer.get_by_label("Title").fill("<b>The harbour</b>")
    await drawer.get_by_role("button", name="Save").click()
    await expect(drawer.get_by_role("heading", name="<b>The harbour</b>")).to_be_visible()
    await expect(tile(page, "<b>The harbour</b>")).to_be_visible()
    await visitors.assert_accessible(page)
    await drawer.get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("dialog").last.get_by_role("button", name="Delete").click()
    await expect(drawer.get_by_text("This medium is deleted.")).to_be_visible()
    await expect(page.locator(".tile")).to_have_count(0)
    await visitors.assert_accessible(page)
    await drawer.get_by_role("button", name="Restore").click()
    await expect(drawer.get_by_text("This medium is deleted.")).to_be_hidden()
    await drawer.get_by_role("button", name="Close").click()
    await expect(page).to_have_url(re.compile(f"entityType={entity}$"))
    await expect(tile(page, "<b>The harbour</b>")).to_be_visible()


async def upload(site: Site, entity: str, name: str, **fields: Any) -> str:
    async with site.api() as api:
        accepted = await api.upload(photo_jpeg(64, 48), name, entityType=entity, **fields)
        await api.ended(accepted["jobId"])
    return str(accepted["mediaId"])


async def test_many_are_deleted_and_restored_at_once(visitors: Visitors, entity: str) -> None:
    await asyncio.gather(*(upload(visitors.site, entity, f"many-{number}.jpg") for number in range(3)))
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={entity}")
    await tile(page, "many-0.jpg").get_by_role("checkbox").click()
    await tile(page, "many-1.jpg").get_by_role("link").click()
    bar = page.get_by_role("toolbar")
    await expect(bar.get_by_text("2 chosen")).to_be_visible()
    await bar.get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".tile")).to_have_count(1)
    await page.get_by_role("link", name="Deleted").click()
    await expect(page).to_have_url(re.compile(r"deleted=true"))
    await page.goto(f"{LIBRARY}?entityType={entity}&deleted=true")
    await expect(page.locator(".tile")).to_have_count(2)
    await page.locator(".tile").first.get_by_role("link").focus()
    await page.keyboard.press("Control+a")
    await bar.get_by_role("button", name="Restore").click()
    await expect(page.locator(".tile")).to_have_count(0)
    await visitors.assert_accessible(page)


async def test_more_than_a_few_are_deleted_only_by_who_types_how_many(visitors: Visitors, shelf: str) -> None:
    visitors.expect_trouble(r"status of 409")
    page = await visitors.page(Role.ADMIN)

    async def refuse(route: Route) -> None:
        if confirmation(route.request) == 12:
            await route.fulfill(status=202, json={"jobId": str(new_id())})
            return
        await route.fulfill(
            status=409,
            content_type="application/problem+json",
            json={"code": "confirmation_needed", "detail": "This deletes 12 media.", "count": 12},
        )

    await page.route("**/api/admin/media/delete", refuse)
    await page.goto(f"{LIBRARY}?entityType={shelf}")
    await tile(page, "shelf-03.jpg").get_by_role("link").focus()
    await page.keyboard.press("Control+a")
    await page.keyboard.press("Delete")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("Type 12 to go on")).to_be_visible()
    await expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    await dialog.get_by_label("Number of media").fill("12")
    await visitors.assert_accessible(page)
    async with page.expect_request("**/api/admin/media/delete") as confirmed:
        await page.keyboard.press("Enter")
    assert confirmation(await confirmed.value) == 12


def confirmation(request: Request) -> int | None:
    number: int | None = json.loads(request.post_data or "{}").get("confirm")
    return number


@pytest.fixture(scope="module")
async def stack(site: Site) -> str:
    """An entity type with more media than a page has, as if they were stored."""
    entity = f"stack-{new_id()}"
    await site.system.rows(
        "ingest-api",
        """
        INSERT INTO media (id, filename, mime_type, size_bytes, sha256, entity_type, uploaded_by, storage_strategy,
                           status, storage_status, on_disk)
        SELECT (lpad(to_hex(1710000000000 + number), 12, '0') || '70008000000000000000')::uuid,
               'stack-' || number || '.jpg', 'image/jpeg', 1000, repeat('0', 64), $1, gen_random_uuid(), 'local_only',
               'completed', 'local_only', true
        FROM generate_series(1, 300) AS number
        """,
        entity,
    )
    return entity


async def test_everything_that_matches_is_deleted_and_restored_without_its_ids(visitors: Visitors, stack: str) -> None:
    visitors.expect_trouble(r"status of 409")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={stack}")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    bar = page.get_by_role("toolbar")
    await page.locator(".tile").first.get_by_role("checkbox").click()
    await expect(bar.get_by_text("1 chosen")).to_be_visible()
    await bar.get_by_role("button", name="Choose all 300 that match").click()
    await expect(bar.get_by_text("All 300 that match", exact=True)).to_be_visible()
    await expect(page.locator(".tile:not(.absent):not(.chosen)")).to_have_count(0)
    await visitors.assert_accessible(page)
    await page.keyboard.press("Escape")
    await expect(bar).to_be_hidden()
    await page.keyboard.press("Control+a")
    await expect(bar.get_by_text("All 300 that match", exact=True)).to_be_visible()
    async with page.expect_request(lambda asked: confirmation(asked) == 300) as deletion:
        await bar.get_by_role("button", name="Delete", exact=True).click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text("Delete all 300 media that match?")).to_be_visible()
        await dialog.get_by_role("button", name="Delete").click()
        await dialog.get_by_label("Number of media").fill("300")
        await page.keyboard.press("Enter")
    assert json.loads((await deletion.value).post_data or "") == {
        "hard": False,
        "matching": {"entityType": stack},
        "confirm": 300,
    }
    await expect(page.locator(".tile")).to_have_count(0)
    await page.goto(f"{LIBRARY}?entityType={stack}&deleted=true")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await page.keyboard.press("Control+a")
    await bar.get_by_role("button", name="Restore").click()
    await page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    await expect(page.locator(".tile")).to_have_count(0)


async def test_everything_goes_for_good_only_for_who_types_how_much(visitors: Visitors, stack: str) -> None:
    visitors.expect_trouble("503")
    page = await visitors.page(Role.ADMIN, language="ru", phone=True)
    await page.goto(f"{LIBRARY}?entityType={stack}&deleted=false&q=stack")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    bar = page.get_by_role("toolbar")
    await page.locator(".tile").first.get_by_role("checkbox").click()
    await expect(bar.get_by_role("button", name="Выбрать все подходящие: 300")).to_be_visible()
    await assert_fits(page)
    await visitors.assert_accessible(page)
    await page.keyboard.press("Control+a")
    await expect(bar.get_by_text("Все подходящие: 300", exact=True)).to_be_visible()
    await assert_fits(page)

    async def begin(route: Route) -> None:
        await route.fulfill(status=202, json={"jobId": str(new_id())})

    await page.route(re.compile(r"/media/delete$"), begin)
    counts = {"total": 300, "completed": 100, "failed": 0}
    looks: list[dict[str, Any]] = [
        {"status": "active", "progress": 33, "isCancellable": True, "cancelledAt": None, **counts},
        {"status": "active", "progress": 33, "isCancellable": False, "cancelledAt": "2030-01-01T00:00:00Z", **counts},
        {"status": "cancelled", "progress": 33, "isCancellable": False, **counts},
    ]
    may_end = asyncio.Event()

    outages = ["the first look finds nobody"]

    async def look(route: Route) -> None:
        if outages:
            outages.pop()
            await route.fulfill(status=503, json={"code": "service_unavailable"})
            return
        if len(looks) == 1:
            await may_end.wait()
        # Until it is cancelled it is under way.
        await route.fulfill(json=looks[0] if len(looks) == 3 else looks.pop(0))

    async def cancel(route: Route) -> None:
        looks.pop(0)
        await route.fulfill(status=202, json={"success": True, "status": "active", "message": ""})

    await page.route("**/api/admin/media/jobs/*", look)
    await page.route("**/api/admin/media/jobs/*/cancel", cancel)
    # On a phone what is deleted already is deleted for good; the button of the library stays for keyboards.
    await page.evaluate("document.querySelector('[data-do=delete_hard]').click()")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("Введите 300")).to_be_visible()
    await expect(dialog.get_by_role("button", name="Удалить")).to_be_disabled()
    await assert_fits(page)
    await visitors.assert_accessible(page)
    await dialog.get_by_label("Количество").fill("300")
    async with page.expect_request(re.compile(r"/media/delete$")) as deletion:
        await page.keyboard.press("Enter")
    assert json.loads((await deletion.value).post_data or "") == {
        "hard": True,
        "matching": {"q": "stack", "entityType": stack},
        "confirm": 300,
    }
    # Who leaves the page, and whom the network left, can still cancel it.
    await expect(page.get_by_text("100 из 300")).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("100 из 300")).to_be_visible()
    await assert_fits(page)
    await visitors.assert_accessible(page)
    await page.get_by_role("button", name="Отменить остальное").click()
    await expect(page.get_by_text("Отменено: начатое заканчивается")).to_be_visible()
    await expect(page.get_by_role("button", name="Отменить остальное")).to_be_hidden()
    await assert_fits(page)
    may_end.set()
    await expect(page.get_by_text("Отменено: сделано 100 из 300")).to_be_visible()
    await expect(page.get_by_text("начатое заканчивается")).to_be_hidden()
    assert await page.evaluate("sessionStorage.getItem('mediabus-followed')") == "{}"


async def test_the_end_of_what_is_done_with_many_is_shown_when_it_is_told_of(visitors: Visitors, stack: str) -> None:
    """After its first look the page does not look again by itself: longer waits never end here."""
    page = await visitors.page(Role.ADMIN)
    job_id, counts = str(new_id()), {"total": 30, "completed": 10, "failed": 0}
    standing: dict[str, Any] = {"status": "active", "progress": 33, "isCancellable": True, "cancelledAt": None}
    sockets: list[WebSocketRoute] = []
    await page.route_web_socket("**/api/ws*", lambda socket: sockets.append(socket))

    async def look(route: Route) -> None:
        await route.fulfill(json=standing | counts)

    await page.route("**/api/admin/media/jobs/*", look)
    await page.add_init_script(
        "const wait = setTimeout; window.setTimeout = (then, ms, ...more) => ms > 600 ? 0 : wait(then, ms, ...more);"
    )
    await page.goto(f"{LIBRARY}?entityType={stack}")
    await page.evaluate(
        "followed => sessionStorage.setItem('mediabus-followed', followed)", json.dumps({job_id: "Job"})
    )
    await page.reload()
    await expect(page.get_by_text("10 of 30")).to_be_visible()
    standing["status"] = "cancelled"
    sockets[-1].send(json.dumps({"id": 1, "type": "jobs:progress", "jobId": job_id, "status": "cancelled"}))
    await expect(page.get_by_text("Cancelled: 10 of 30 done")).to_be_visible()


async def test_a_storage_job_takes_everything_that_matches(visitors: Visitors, stack: str) -> None:
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(f"{LIBRARY}?entityType={stack}&q=stack-29")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await page.locator(".tile").first.get_by_role("checkbox").click()
    await page.keyboard.press("Control+a")
    bar = page.get_by_role("toolbar")
    await expect(bar.get_by_text("11 chosen")).to_be_visible()  # they are all here: they are chosen by their ids
    await page.goto(f"{LIBRARY}?entityType={stack}")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await page.keyboard.press("Control+a")
    await bar.get_by_role("button", name="Storage job").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("All 300 media that matched in the library")).to_be_checked()
    await visitors.assert_accessible(page)
    async with page.expect_request(lambda asked: asked.method == "POST") as started:
        await dialog.get_by_role("button", name="Start").click()
    body = json.loads((await started.value).post_data or "")
    assert body["matching"] == {"entityType": stack}
    assert "mediaIds" not in body
    await expect(dialog).to_be_hidden()


async def test_filters_are_in_the_address_and_going_back_undoes_them(visitors: Visitors, shelf: str) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={shelf}")
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await page.keyboard.press("/")
    await page.keyboard.type("shelf-07")
    await expect(page.locator(".tile")).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"q=shelf-07"))
    await page.get_by_label("State").select_option("failed")
    await expect(page.get_by_text("No medium is like this")).to_be_visible()
    await page.go_back()
    await expect(page.locator(".tile")).to_have_count(1)
    await page.go_back()
    await expect(page.locator(".tile")).to_have_count(12)
    await expect(page.get_by_label("Search")).to_have_value("")


@pytest.fixture(scope="module")
async def long_list(site: Site) -> str:
    """An entity type with two thousand media that were never rendered."""
    entity = f"long-{new_id()}"
    await site.system.rows(
        "ingest-api",
        """
        INSERT INTO media (id, filename, mime_type, size_bytes, sha256, entity_type, uploaded_by, storage_strategy,
                           status)
        SELECT (lpad(to_hex(1700000000000 + number), 12, '0') || '70008000000000000000')::uuid,
               'long-' || number || '.jpg', 'image/jpeg', 1000, repeat('0', 64), $1, gen_random_uuid(), 'local_only',
               'failed'
        FROM generate_series(1, 2000) AS number
        """,
        entity,
    )
    return entity


async def test_a_long_list_keeps_the_document_small_and_the_place_for_who_comes_back(
    visitors: Visitors, long_list: str
) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}?entityType={long_list}")
    await expect(page.locator("html[data-ready]")).to_be_attached()

    async def is_far_down() -> bool:
        await page.mouse.wheel(0, 20_000)
        return bool(await page.locator(".tile", has_text=re.compile(r"long-1[0-4]\d\d\.jpg")).count())

    await eventually(is_far_down, within_seconds=60, every_seconds=0.1, why="further tiles come")
    assert await page.locator(".tile").count() < 200
    seen = await page.locator(".tile:not(.absent) .about span:first-child").all_inner_texts()
    assert len(seen) == len(set(seen))
    in_view = "[...document.querySelectorAll('.tile')].find((tile) => tile.getBoundingClientRect().top > 0)"
    # The place is kept a while after the last of scrolling: until then it may go on.
    is_kept = f"history.state?.library?.scroll === scrollY && !{in_view}.matches('.absent')"
    await eventually(lambda: page.evaluate(is_kept), why="the place is kept")
    scrolled, first = await page.evaluate(f"[scrollY, {in_view}.innerText]")
    await page.goto("/account")
    await page.go_back()
    await expect(page.locator("html[data-ready]")).to_be_attached()
    await eventually(
        lambda: page.evaluate(f"{in_view}?.innerText === {first!r} && Math.abs(scrollY - {scrolled}) < 50"),
        within_seconds=20,
        why="the same tiles are in view",
    )


async def test_the_library_fits_a_phone(visitors: Visitors, shelf: str) -> None:
    for language in ("en", "ru"):
        page = await visitors.page(Role.ADMIN, phone=True, language=language)
        await page.goto(f"{LIBRARY}?entityType={shelf}")
        await expect(page.locator(".tile")).to_have_count(12)
        await assert_fits(page)
        await visitors.assert_accessible(page)
        await page.locator(".tile a").first.click()
        await expect(page.locator(".medium h1")).to_be_visible()
        await assert_fits(page)
        await visitors.assert_accessible(page)


async def assert_fits(page: Page) -> None:
    sizes = await page.evaluate(
        "[document.documentElement, document.querySelector('dialog[open]') ?? document.body]"
        ".map((one) => one.scrollWidth - one.clientWidth)"
    )
    assert sizes == [0, 0]


async def test_the_page_of_one_medium_stands_by_itself(visitors: Visitors, entity: str) -> None:
    media_id = await upload(visitors.site, entity, "alone.jpg")
    page = await visitors.page(Role.ADMIN)
    await page.goto(f"{LIBRARY}/{media_id}")
    await expect(page.get_by_role("heading", name="alone.jpg")).to_be_visible()
    await visitors.assert_accessible(page)
    await page.get_by_label("Replace file").set_input_files([jpeg("other.jpg", photo_jpeg(90, 60, seed=9))])
    await page.get_by_role("button", name="Replace", exact=True).click()
    await expect(page.get_by_role("heading", name="other.jpg")).to_be_visible(timeout=SETTLED_MILLISECONDS)
    await page.get_by_role("button", name="Delete for good").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()
    await expect(page).to_have_url(re.compile(f"{LIBRARY}$"))
