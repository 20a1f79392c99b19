"""The pages for people, on a real PostgreSQL: signing in by form, languages, assets, and what every page has."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
from litestar import Litestar
from litestar.di import Provide

from deploy.local.ports import free_port
from ingest_api.accounts import Role
from ingest_api.catalogue import Records
from ingest_api.media_urls import MediaUrls
from ingest_api.pages_plugin import PagesPlugin
from ingest_api.passwords import Argon2Parameters, Passwords
from ingest_api.route_roles import PAGE_ROUTES, SIGN_IN_ROUTES, registered_roles
from ingest_api.sign_in import SignIn, SignInSettings
from ingest_api.sign_in_plugin import SignInPlugin
from shared.db.pool import Database
from shared.events import MediaSettings
from shared.identifiers import new_id
from shared.settings_feed import SettingsFeed
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack

BASE = "http://mediabus.test"
PASSWORD = "a quite long phrase 1"
BUCKET = "https://bucket.example.org"
OF_OTHER_PAGES = (
    "photo_desk",
    "products",
    "reconciling",
    "records",
    "scheduling",
    "settings",
    "settings_desk",
    "stores",
)
"""What pages are made of that nobody opens here."""


class Site:
    """The application with pages, and the database behind it."""

    def __init__(self, app: Litestar, sign_in: SignIn, admin: asyncpg.Connection[Any]) -> None:
        self.app = app
        self.sign_in = sign_in
        self.admin = admin
        self.clients: list[httpx.AsyncClient] = []

    def client(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=cast(Any, self.app), client=("192.0.2.1", 4711))
        made = httpx.AsyncClient(transport=transport, base_url=BASE, headers={"Origin": BASE, **headers})
        self.clients.append(made)
        return made

    async def add_account(self, role: Role) -> UUID:
        user_id = new_id()
        await self.admin.execute(
            "INSERT INTO users (id, email, role, password_hash) VALUES ($1, $2, $3, $4)",
            user_id,
            f"{role}@example.org",
            role,
            await self.sign_in.passwords.hash(PASSWORD),
        )
        return user_id

    async def signed_in(self, role: Role) -> httpx.AsyncClient:
        client = self.client()
        answer = await client.post("/login", data={"email": f"{role}@example.org", "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client


def _provide(part: object) -> Provide:
    return Provide(lambda: part, sync_to_thread=False)


@pytest.fixture
async def site(database: TestDatabase) -> AsyncIterator[Site]:
    pool = Database(database.dsn("ingest-api"), application_name="tests", max_connections=4)
    sign_in = SignIn(pool, Passwords(Argon2Parameters(time_cost=1, memory_kib=64)), SignInSettings())
    records = Records(MediaUrls(b"k" * 32, 3600))
    parts = {"database": pool, "feed": SettingsFeed("127.0.0.1:9", MediaSettings()), **dict.fromkeys(OF_OTHER_PAGES)}
    app = Litestar(
        plugins=[SignInPlugin(sign_in), PagesPlugin(records, lambda: [BUCKET])],
        dependencies={name: _provide(part) for name, part in parts.items()},
        logging_config=None,
    )
    async with pool.connection() as connection:
        made = Site(app, sign_in, cast("asyncpg.Connection[Any]", connection))
        yield made
        for client in made.clients:
            await client.aclose()
    sign_in.passwords.close()
    await pool.close()


async def test_every_page_asks_for_the_role_in_the_table(site: Site) -> None:
    assert registered_roles(site.app) == {**SIGN_IN_ROUTES, **PAGE_ROUTES}


async def test_who_is_not_signed_in_is_led_to_the_form_and_back(site: Site) -> None:
    await site.add_account(Role.ADMIN)
    client = site.client()
    assert (await client.get("/")).headers["location"] == "/login"
    led = await client.get("/account?cursor=abc")
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2Faccount%3Fcursor%3Dabc")
    form = await client.get(led.headers["location"])
    assert 'name="next" value="/account?cursor=abc"' in form.text
    fields = {"email": "admin@example.org", "password": PASSWORD, "next": "/account?cursor=abc"}
    begun = await client.post("/login", data=fields)
    assert (begun.status_code, begun.headers["location"]) == (303, "/account?cursor=abc")
    assert "HttpOnly" in begun.headers["set-cookie"]
    assert (await client.get("/login?next=/account")).headers["location"] == "/account"
    ended = await client.post("/logout")
    assert (ended.status_code, ended.headers["location"]) == (303, "/login")
    assert (await client.get("/account")).status_code == 303


async def test_a_refused_sign_in_is_told_on_the_form(site: Site) -> None:
    await site.add_account(Role.ADMIN)
    client = site.client()
    wrong = {"email": 'a"b@example.org', "password": "wrong-secret", "next": "//evil.test"}
    answer = await client.post("/login", data=wrong)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert 'value="a&#34;b@example.org"' in answer.text
    assert 'name="next" value="/"' in answer.text
    assert "wrong-secret" not in answer.text
    for _ in range(9):
        await client.post("/login", data=wrong)
    assert (await client.post("/login", data=wrong)).status_code == 429
    assert (await client.post("/login", data={})).status_code == 401


async def test_a_foreign_page_can_not_use_the_forms(site: Site) -> None:
    await site.add_account(Role.ADMIN)
    client = await site.signed_in(Role.ADMIN)
    for path in ("/login", "/logout"):
        answer = await client.post(path, headers={"Origin": "http://evil.test"})
        assert answer.status_code == 403
        assert answer.headers["content-type"].startswith("text/html")
    assert (await client.get("/account")).status_code == 200


async def test_pages_load_nothing_from_elsewhere_and_run_no_script_but_ours(site: Site) -> None:
    await site.add_account(Role.ADMIN)
    client = await site.signed_in(Role.ADMIN)
    library, refusal = await client.get("/admin/media"), await client.get("/admin/media?cursor=no")
    pages = [library, await site.client().get("/login"), refusal]
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:")
        assert "frame-ancestors 'none'" in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"
        assert "unsafe" not in policy
        assert not re.search(
            r"<script(?! type=\"module\" src=\"/static/)|<style| style=| on[a-z]+=|https?://", page.text
        )
    assert f"img-src 'self' data: blob: {BUCKET};" in pages[0].headers["content-security-policy"]


async def test_what_a_page_loads_is_there_packed_and_kept_for_ever(site: Site) -> None:
    client = site.client()
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', (await client.get("/login")).text))
    assert {address.rpartition("/")[2] for address in addresses} >= {"pages.css", "start.js", "en.js"}
    for address in addresses:
        asset = await client.get(address)
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-encoding"] == "gzip"
        plain = await client.get(address, headers={"Accept-Encoding": "identity"})
        assert (plain.content, "content-encoding" in plain.headers) == (asset.content, False)
    version = next(iter(addresses)).split("/")[2]
    assert (await client.get(f"/static/{version}/css/absent.css")).status_code == 404
    assert (await client.get("/static/0123456789ab/css/pages.css")).status_code == 404
    assert (await client.get(f"/static/{version}/..%2f..%2fapp.py")).status_code == 404


async def test_pages_speak_the_language_of_the_visitor(site: Site) -> None:
    client = site.client(**{"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.5"})
    page = (await client.get("/login")).text
    assert '<html lang="ru">' in page
    assert "Войти" in page
    back = await client.post("/language", data={"language": "en"}, headers={"Referer": f"{BASE}/login?next=/account"})
    assert (back.status_code, back.headers["location"]) == (303, "/login?next=/account")
    assert "Sign in" in (await client.get("/login")).text
    elsewhere = await client.post("/language", data={"language": "xx"}, headers={"Referer": "https://evil.test//evil"})
    assert (elsewhere.headers["location"], "set-cookie" in elsewhere.headers) == ("/", False)


async def test_signing_out_everywhere_ends_all_sessions(site: Site) -> None:
    await site.add_account(Role.ADMIN)
    one, other = await site.signed_in(Role.ADMIN), await site.signed_in(Role.ADMIN)
    assert "admin@example.org" in (await one.get("/account")).text
    assert (await one.post("/logout/everywhere", headers={"Origin": "https://evil.test"})).status_code == 403
    ended = await one.post("/logout/everywhere")
    assert (ended.status_code, ended.headers["location"]) == (303, "/login")
    assert (await other.get("/account")).status_code == 303


async def test_without_the_database_a_page_says_so(site: Site, database: TestDatabase) -> None:
    parts = urlsplit(database.dsn("ingest-api"))
    absent = parts._replace(netloc=f"nobody:x@127.0.0.1:{free_port()}").geturl()
    site.sign_in.database = Database(absent, application_name="absent")
    client = site.client(Cookie=f"mediabus_session={'x' * 43}")
    answer = await client.get("/account")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert int(answer.headers["retry-after"]) >= 1
    form = await client.post("/login", data={"email": "a@example.org", "password": PASSWORD}, headers={"Cookie": ""})
    assert form.status_code == 503
    assert 'role="alert"' in form.text
