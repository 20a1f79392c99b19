"""What pages refuse: inline code, foreign callers, strange sessions, addresses that lead elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import Page, expect

from ingest_api.accounts import Role
from ingest_api.route_roles import PAGE_ROUTES, ROUTES
from shared.identifiers import new_id
from tests.browser.foreign_page import ForeignPage, foreign_page
from tests.browser.site import Site
from tests.browser.visitors import Visitors

pytestmark = pytest.mark.stack

SESSION = "mediabus_session"
AS_A_BROWSER = {"Accept": "text/html,application/xhtml+xml"}
ELSEWHERE = (
    "//evil.test",
    "///evil.test",
    "https://evil.test/",
    "https:evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    " //evil.test",
    "/.//evil.test",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://127.0.0.1@evil.test/",
)
HAS_PAGES = re.compile(r"/docs|/gallery")
"""Where the API has pages too."""


class InlineCode(HTMLParser):
    """Collects what would run or style without a file of ours; names that people chose are text, whatever they say."""

    ADDRESSES = frozenset({"href", "src", "action", "formaction"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            is_code = name in self.ADDRESSES and (value or "").strip().lower().startswith("javascript:")
            if name.startswith("on") or name == "style" or is_code:
                self.found.append(f"<{tag} {name}>")


def test_inline_code_is_seen_and_names_are_not_taken_for_it() -> None:
    assert InlineCode("<p onclick=x><i style=y><style></style><script>1</script><a href=' JavaScript:z'>").found == [
        "<p onclick>",
        "<i style>",
        "<style>",
        "<script>",
        "<a href>",
    ]
    assert (
        InlineCode('<p title="&lt;img onerror=x&gt;">&lt;img src=x onerror=y&gt;</p><script src="a"></script>').found
        == []
    )


def concrete(path: str) -> str:
    """An address of this pattern; most are of nothing that is there, which is told on a page too."""
    return re.sub(r"\{(\w+)\}", lambda found: "product" if found[1] == "entity_type" else str(new_id()), path)


def faults_of(path: str, answer: httpx.Response) -> Iterator[str]:
    """What a page lacks of what every page has, whatever its status."""
    directives = answer.headers["content-security-policy"].split("; ")
    policy = {name: value for name, _, value in (directive.partition(" ") for directive in directives)}
    wanted = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    for directive, value in wanted.items():
        if policy.get(directive) != value:
            yield f"{path}: {directive} is {policy.get(directive)}"
    if "unsafe" in answer.headers["content-security-policy"] or "*" in answer.headers["content-security-policy"]:
        yield f"{path}: the policy has gaps"
    # The address of a gallery is the key to it, so pages of guests tell nobody where a click came from.
    is_guests = path.startswith("/gallery/")
    headers = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cache-control": "private, no-store" if is_guests else "no-store",
        "referrer-policy": "no-referrer" if is_guests else "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }
    for name, value in headers.items():
        if answer.headers.get(name) != value:
            yield f"{path}: {name} is {answer.headers.get(name)}"
    for inline in InlineCode(answer.text).found:
        yield f"{path}: inline {inline}"


async def html_answers(site: Site, role: Role | None) -> dict[str, httpx.Response]:
    """What a browser is given at every address that may have a page, where that is one."""
    cookies = {} if role is None else await site.session_cookies(role)
    paths = [
        path for method, path in ROUTES if method == "GET" and (("GET", path) in PAGE_ROUTES or HAS_PAGES.match(path))
    ]
    found = {}
    async with httpx.AsyncClient(base_url=site.base_url, cookies=cookies, headers=AS_A_BROWSER, timeout=30) as http:
        for path in paths:
            answer = await http.get(concrete(path))
            if answer.headers.get("content-type", "").startswith("text/html"):
                found[path] = answer
    return found


@pytest.mark.parametrize("role", [None, Role.SUPERADMIN])
async def test_every_page_forbids_what_is_inline_or_from_elsewhere(site: Site, role: Role | None) -> None:
    answers = await html_answers(site, role)
    assert {"/login", "/docs"} <= answers.keys() if role is None else {"/account", "/docs"} <= answers.keys()
    assert not [fault for path, answer in answers.items() for fault in faults_of(path, answer)]
    assert not [path for path, answer in answers.items() if answer.status_code >= 500]


async def test_pages_lead_to_the_form_or_say_that_a_role_is_needed(site: Site) -> None:
    pages = {path: role for (method, path), role in PAGE_ROUTES.items() if method == "GET" and role is not None}
    lower = {Role.SUPERADMIN: Role.ADMIN, Role.ADMIN: Role.PHOTOGRAPHER}
    cookies = {role: await site.session_cookies(role) for role in lower.values()}
    wrong = []
    async with httpx.AsyncClient(base_url=site.base_url, headers=AS_A_BROWSER, timeout=30) as http:
        for path, role in pages.items():
            address = concrete(path)
            answer = await http.get(address)
            if (answer.status_code, answer.headers.get("cache-control")) != (303, "no-store"):
                wrong.append(f"{path}: {answer.status_code} for nobody")
            if role in lower:
                header = "; ".join(f"{name}={value}" for name, value in cookies[lower[role]].items())
                refused = await http.get(address, headers={"Cookie": header})
                if refused.status_code != 403 or not refused.headers["content-type"].startswith("text/html"):
                    wrong.append(f"{path}: {refused.status_code} for {lower[role]}")
                wrong += faults_of(path, refused)
    assert not wrong


async def test_no_answer_leads_to_another_site(visitors: Visitors) -> None:
    account = visitors.site.accounts[Role.PHOTOGRAPHER]
    led: list[str] = []
    async with httpx.AsyncClient(base_url=visitors.site.base_url, timeout=30) as http:
        for wish in ELSEWHERE:
            fields = {"email": account.email, "password": account.password, "next": wish}
            begun = await http.post("/login", data=fields, headers={"Origin": visitors.site.base_url})
            signed_in = await http.get(f"/login?{urlencode({'next': wish})}")
            led += [begun.headers["location"], signed_in.headers["location"]]
        for address in ("https://x//evil.test/", "https://x/\\evil.test", f"{visitors.site.base_url}//evil.test"):
            headers = {"Origin": visitors.site.base_url, "Referer": address}
            led.append((await http.post("/language", data={"language": "en"}, headers=headers)).headers["location"])
    page = await visitors.page()
    # Browsers read addresses in ways of their own: one of them says where these lead.
    origins = await page.evaluate(
        "([led, base]) => led.map((one) => new URL(one, base).origin)", [led, visitors.site.base_url]
    )
    assert set(origins) == {visitors.site.base_url}


async def test_a_script_reaches_no_cookie(visitors: Visitors) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto("/account")
    cookies = {cookie["name"]: cookie for cookie in await page.context.cookies()}
    assert cookies.keys() == {SESSION}
    fresh = await visitors.page()
    account = visitors.site.accounts[Role.ADMIN]
    await sign_in_by_form(fresh, account.email, account.password)
    (cookie,) = await fresh.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert await fresh.evaluate("document.cookie") == ""


async def test_a_planted_session_is_not_taken_over(visitors: Visitors) -> None:
    account = visitors.site.accounts[Role.ADMIN]
    known = "k" * 43
    page = await visitors.page()
    await page.context.add_cookies([{"name": SESSION, "value": known, "url": visitors.site.base_url}])
    await sign_in_by_form(page, account.email, account.password)
    (cookie,) = await page.context.cookies()
    assert cookie["value"] != known
    async with httpx.AsyncClient(base_url=visitors.site.base_url, cookies={SESSION: known}, timeout=30) as attacker:
        assert (await attacker.get("/account")).status_code == 303


async def test_signing_out_everywhere_ends_every_session_of_the_account_and_no_other(visitors: Visitors) -> None:
    here, elsewhere, other = [await visitors.page(role) for role in (Role.PHOTOGRAPHER, Role.PHOTOGRAPHER, Role.ADMIN)]
    for page in (here, elsewhere, other):
        await page.goto("/account")
    await here.locator("form[action='/logout/everywhere'] button").click()
    await expect(here).to_have_url(re.compile(r"/login"))
    await elsewhere.reload()
    await expect(elsewhere).to_have_url(re.compile(r"/login"))
    await other.reload()
    await expect(other).to_have_url(re.compile(r"/account$"))


async def test_going_back_after_signing_out_shows_nothing(visitors: Visitors) -> None:
    page = await visitors.page(Role.ADMIN)
    await page.goto("/account")
    await page.locator("form[action='/logout'] button").click()
    await expect(page).to_have_url(re.compile(r"/login"))
    await page.go_back()
    await expect(page).to_have_url(re.compile(r"/login"))
    await expect(page.locator("body")).not_to_contain_text(visitors.site.accounts[Role.ADMIN].email)


@pytest.fixture
async def foreign() -> AsyncIterator[ForeignPage]:
    async with foreign_page() as page:
        yield page


async def test_a_foreign_page_can_not_send_our_forms(visitors: Visitors, foreign: ForeignPage) -> None:
    visitors.expect_trouble(r"status of 403")
    page = await visitors.page(Role.ADMIN)
    actions = [path for method, path in PAGE_ROUTES if method == "POST"]
    assert {"/login", "/logout", "/logout/everywhere", "/language"} <= set(actions)
    for origin in (foreign.neighbour, foreign.stranger):
        for action in actions:
            foreign.html = f'<form method="post" action="{visitors.site.base_url}{action}"><button>win</button></form>'
            await page.goto(origin)
            async with page.expect_response(f"**{action}") as answered:
                await page.get_by_role("button").click()
            answer = await answered.value
            kind = (await answer.all_headers())["content-type"]
            assert (answer.status, kind) == (403, "text/html; charset=utf-8"), (origin, action)
    await page.goto("/account")
    await expect(page).to_have_url(re.compile(r"/account$"))


async def test_a_foreign_script_can_neither_change_anything_nor_listen(
    visitors: Visitors, foreign: ForeignPage
) -> None:
    visitors.expect_trouble(r"WebSocket connection")
    visitors.expect_trouble(r"status of 403")
    page = await visitors.page(Role.SUPERADMIN)
    await page.goto(foreign.neighbour)
    email = f"{new_id()}@example.test"
    base = visitors.site.base_url
    await page.evaluate(
        """async ([base, body]) => {
          for (const type of ["text/plain", "application/x-www-form-urlencoded"])
            await fetch(`${base}/api/admin/users`,
              { method: "POST", mode: "no-cors", credentials: "include", headers: { "Content-Type": type }, body });
        }""",
        [base, f'{{"email": "{email}", "password": "a quite long phrase 1", "role": "superadmin"}}'],
    )
    heard = await page.evaluate(
        """(address) => new Promise((resolve) => {
          const socket = new WebSocket(address);
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("refused");
        })""",
        base.replace("http", "ws") + "/api/ws",
    )
    assert heard == "refused"
    async with visitors.site.api() as api:
        listed = (await api.http.get("/api/admin/users")).text
    assert visitors.site.accounts[Role.ADMIN].email in listed
    assert email not in listed


async def test_no_page_is_shown_within_a_foreign_one(visitors: Visitors, foreign: ForeignPage) -> None:
    visitors.expect_trouble(r"frame-ancestors|X-Frame-Options")
    visitors.expect_trouble(r"ERR_BLOCKED_BY_RESPONSE")
    page = await visitors.page(Role.ADMIN)
    paths = ("/account", "/docs")
    foreign.html = "".join(f'<iframe src="{visitors.site.base_url}{path}"></iframe>' for path in paths)
    await page.goto(foreign.neighbour)
    shown = [frame for frame in page.frames if frame is not page.main_frame]
    assert len(shown) == len(paths)
    for frame in shown:
        await expect(frame.locator("body")).not_to_contain_text("Mediabus")


async def sign_in_by_form(page: Page, email: str, password: str) -> None:
    await page.goto("/login?next=/account")
    await page.locator("input[name='email']").fill(email)
    await page.locator("input[name='password']").fill(password)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"/account$"))
