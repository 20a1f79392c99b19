"""Who may do what, by session, key and WebSocket ticket."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar

from ingest_api.accounts import Role
from ingest_api.route_roles import SIGN_IN_ROUTES, registered_roles
from shared.identifiers import new_id
from tests.integration.sign_in.sign_in_site import BASE, COOKIE, EMAILS, Site

pytestmark = pytest.mark.stack


def test_every_route_asks_for_the_role_in_the_table(site: Site) -> None:
    registered = registered_roles(site.app)
    expected = {
        **SIGN_IN_ROUTES,
        ("GET", "/echo"): Role.PHOTOGRAPHER,
        ("POST", "/echo"): Role.PHOTOGRAPHER,
        ("WEBSOCKET", "/socket"): Role.PHOTOGRAPHER,
    }
    assert registered == expected


@pytest.mark.parametrize("kind", ["session", "api_key"])
async def test_every_role_gets_exactly_the_routes_of_the_table(site: Site, kind: str) -> None:
    callers: dict[Role | None, httpx.AsyncClient] = {None: site.client()}
    for known in EMAILS:
        callers[known] = await (site.signed_in(known) if kind == "session" else site.with_key(known))
    for (method, path), needed in SIGN_IN_ROUTES.items():
        if needed is None:
            continue
        address = path.replace("{user_id}", str(new_id())).replace("{key_id}", str(new_id()))
        for role, caller in callers.items():
            status = (
                await caller.request(method, address, json={} if method in {"POST", "PATCH"} else None)
            ).status_code
            if role is None:
                assert status == 401, (method, path)
            elif role.includes(needed):
                assert status not in {401, 403}, (method, path, role)
            else:
                assert status == 403, (method, path, role)


async def test_a_ticket_opens_one_websocket(site: Site) -> None:
    made = await (await site.with_key(Role.PHOTOGRAPHER)).post("/api/auth/ticket")
    assert made.status_code == 201
    address = f"/socket?ticket={made.json()['ticket']}"
    assert await open_socket(site.app, address) == {"email": EMAILS[Role.SUPERADMIN], "kind": "ticket"}
    assert await open_socket(site.app, address) == 4401
    assert await open_socket(site.app, "/socket") == 4401


async def test_a_ticket_ends_with_its_time(site: Site) -> None:
    made = await (await site.signed_in(Role.PHOTOGRAPHER)).post("/api/auth/ticket")
    await site.admin.execute("UPDATE tickets SET expires_at = clock_timestamp()")
    assert await open_socket(site.app, f"/socket?ticket={made.json()['ticket']}") == 4401
    await site.sign_in.sweep_once()
    assert await site.admin.fetchval("SELECT count(*) FROM tickets") == 0


async def test_a_foreign_page_can_not_open_a_websocket_with_the_cookie(site: Site) -> None:
    signed_in = await site.signed_in(Role.PHOTOGRAPHER)
    cookie = {"cookie": f"{COOKIE}={signed_in.cookies[COOKIE]}"}
    welcome = {"email": EMAILS[Role.PHOTOGRAPHER], "kind": "session"}
    assert await open_socket(site.app, "/socket", cookie) == welcome
    assert await open_socket(site.app, "/socket", {**cookie, "origin": BASE}) == welcome
    assert await open_socket(site.app, "/socket", {**cookie, "origin": "http://evil.test"}) == 4403


async def open_socket(app: Litestar, address: str, headers: dict[str, str] | None = None) -> Any:
    """The first message that the server sends, as JSON, or the code with which it closes."""
    path, _, query = address.partition("?")
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    names = {"host": "mediabus.test", **(headers or {})}
    scope = {
        "type": "websocket",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in names.items()],
        "client": ("192.0.2.1", 4711),
        "server": ("mediabus.test", 80),
        "subprotocols": [],
        "state": {},
    }
    await app(cast(Any, scope), cast(Any, receive), send)
    for message in sent:
        if message["type"] == "websocket.send":
            return json.loads(message.get("text") or message["bytes"])
        if message["type"] == "websocket.close":
            return message["code"]
    raise AssertionError(f"neither message nor close: {sent}")
