"""A replica of what signs people in, on a database of its own, and people with their cookies and keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import httpx
from litestar import Litestar, WebSocket, get, post, websocket

from ingest_api.accounts import ApiKeyText, Principal, Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.passwords import Argon2Parameters, Passwords
from ingest_api.sign_in import SignIn, SignInSettings
from ingest_api.sign_in_plugin import SignInPlugin
from shared.db.pool import Database
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase

BASE = "http://mediabus.test"
PASSWORD = "a quite long phrase 1"
CHEAP = Argon2Parameters(time_cost=1, memory_kib=64)
COOKIE = "mediabus_session"
EMAILS = {role: f"{role}@example.org" for role in (Role.SUPERADMIN, Role.ADMIN, Role.PHOTOGRAPHER)}


@get("/echo", guards=[require(Role.PHOTOGRAPHER)])
async def read_echo(request: SignedInRequest) -> dict[str, str]:
    return {"kind": request.user.kind, "role": request.user.role}


@post("/echo", guards=[require(Role.PHOTOGRAPHER)])
async def write_echo(request: SignedInRequest) -> dict[str, str]:
    return {"kind": request.user.kind}


@websocket("/socket", guards=[require(Role.PHOTOGRAPHER)])
async def socket_echo(socket: WebSocket[Principal, Any, Any]) -> None:
    await socket.accept()
    await socket.send_json({"email": socket.user.email, "kind": socket.user.kind})
    await socket.close()


@dataclass
class Site:
    """One replica."""

    app: Litestar
    sign_in: SignIn
    database: Database
    admin: asyncpg.Connection[Any]
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def client(self, address: str = "192.0.2.1", **headers: str) -> httpx.AsyncClient:
        """Somebody with a cookie jar of their own."""
        transport = httpx.ASGITransport(app=cast(Any, self.app), client=(address, 4711))
        made = httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)
        self.clients.append(made)
        return made

    async def signed_in(self, role: Role = Role.SUPERADMIN) -> httpx.AsyncClient:
        client = self.client(Origin=BASE)
        answer = await log_in(client, EMAILS[role])
        assert answer.status_code == 200, answer.text
        return client

    async def with_key(self, role: Role) -> httpx.AsyncClient:
        made = await (await self.signed_in()).post("/api/admin/api-keys", json={"name": "k", "role": role})
        return self.client(Authorization=f"Bearer {made.json()['key']}")


def secret_of(key: str) -> str:
    """What of an API key must never be told again; an underscore may stand in it as well."""
    parts = ApiKeyText.parse(key)
    assert parts is not None
    return parts.secret


async def log_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/auth/login", json={"email": email, "password": password})


@asynccontextmanager
async def replica(database: TestDatabase, settings: SignInSettings, cost: Argon2Parameters) -> AsyncIterator[Site]:
    pool = Database(database.dsn("ingest-api"), application_name="tests", max_connections=8)
    passwords = Passwords(cost)
    sign_in = SignIn(pool, passwords, settings)
    app = Litestar([read_echo, write_echo, socket_echo], plugins=[SignInPlugin(sign_in)], logging_config=None)
    admin = await asyncpg.connect(database.dsn("ingest-api"))
    site = Site(app, sign_in, pool, admin)
    try:
        yield site
    finally:
        for client in site.clients:
            await client.aclose()
        await admin.close()
        passwords.close()
        await pool.close()


async def add_accounts(site: Site) -> None:
    password_hash = await site.sign_in.passwords.hash(PASSWORD)
    for role, email in EMAILS.items():
        await site.admin.execute(
            "INSERT INTO users (id, email, role, password_hash) VALUES ($1, $2, $3, $4)",
            new_id(),
            email,
            role,
            password_hash,
        )


SiteWith = Callable[..., Awaitable[Site]]


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(body)
    assert body["status"] == answer.status_code
    return body
