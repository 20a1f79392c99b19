"""Signing in, sessions, API keys, tickets and accounts on a real PostgreSQL, through the routes that serve them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from litestar import Litestar, WebSocket, get, post, websocket

from deploy.local.ports import free_port
from ingest_api.accounts import ApiKeyText, Principal, Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.bootstrap_superadmin import BootstrapRefused, bootstrap_superadmin
from ingest_api.passwords import Argon2Parameters, Passwords
from ingest_api.repositories.accounts import AccountRepository
from ingest_api.repositories.audit import AuditRepository
from ingest_api.route_roles import SIGN_IN_ROUTES, registered_roles
from ingest_api.sign_in import SignIn, SignInSettings
from ingest_api.sign_in_plugin import SignInPlugin
from shared.db.pool import Database
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually

pytestmark = pytest.mark.stack

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


@pytest.fixture
async def site(database: TestDatabase) -> AsyncIterator[Site]:
    async with replica(database, SignInSettings(), CHEAP) as made:
        await add_accounts(made)
        yield made


SiteWith = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site_with(database: TestDatabase) -> AsyncIterator[SiteWith]:
    """Further replicas on the same database, with settings of their own."""
    async with AsyncExitStack() as stack:

        async def make(cost: Argon2Parameters = CHEAP, **settings: Any) -> Site:
            return await stack.enter_async_context(replica(database, SignInSettings(**settings), cost))

        yield make


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(body)
    assert body["status"] == answer.status_code
    return body


# --- signing in ----------------------------------------------------------------------------------------------------


async def test_login_answers_with_the_user_and_a_session_cookie(site: Site) -> None:
    client = site.client()
    answer = await log_in(client, " Admin@Example.org ")
    assert answer.status_code == 200
    user = answer.json()["user"]
    assert set(answer.json()) == {"user"}
    assert set(user) == {"id", "email", "role"}
    assert (user["email"], user["role"]) == ("admin@example.org", "admin")
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= flags
    assert "secure" not in flags
    assert (await client.get("/api/auth/me")).json() == {"user": user}


async def test_the_cookie_is_secure_behind_tls(site: Site, site_with: SiteWith) -> None:
    secure = await site_with(cookie_secure=True)
    cookie = (await log_in(secure.client(), EMAILS[Role.ADMIN])).headers["set-cookie"]
    assert cookie.startswith("__Host-mediabus_session=")
    assert "secure" in cookie.lower()


async def test_a_wrong_pair_gets_the_same_words_whether_the_account_exists_or_not(site: Site) -> None:
    answers = [
        await log_in(site.client(), EMAILS[Role.ADMIN], "wrong"),
        await log_in(site.client(), "nobody@example.org", PASSWORD),
        await log_in(site.client(), "no address \x00", PASSWORD),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert all("set-cookie" not in answer.headers for answer in answers)
    bodies = [problem(answer) for answer in answers]
    for body in bodies:
        body.pop("traceId", None)
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["code"] == "wrong_credentials"


async def test_a_wrong_pair_takes_as_long_whether_the_account_exists_or_not(site: Site, site_with: SiteWith) -> None:
    """In seconds of the processor, its threads' too: how long one waits for it is the machine's."""
    patient = await site_with(Argon2Parameters(time_cost=2, memory_kib=16 * 1024), login_attempts_per_address=1000)
    password_hash = await patient.sign_in.passwords.hash(PASSWORD)
    await site.admin.execute("UPDATE users SET password_hash = $1", password_hash)

    async def seconds(email: str) -> float:
        started = time.process_time()
        assert (await log_in(patient.client(), email, "wrong")).status_code == 401
        return time.process_time() - started

    known, unknown = [], []
    for number in range(9):
        known.append(await seconds(EMAILS[Role.ADMIN]))
        unknown.append(await seconds(f"nobody{number}@example.org"))
    hashing = [await timed(patient.sign_in.passwords.hash(PASSWORD)) for _ in range(5)]
    # Without the decoy the difference would be the whole of the hashing.
    assert abs(statistics.median(known) - statistics.median(unknown)) < 0.5 * statistics.median(hashing)


async def timed(work: Awaitable[Any]) -> float:
    started = time.process_time()
    await work
    return time.process_time() - started


async def test_fields_that_are_missing_or_wrong_are_named(site: Site) -> None:
    answer = await site.client().post("/api/auth/login", json={"email": 5})
    assert answer.status_code == 422
    told = {error["field"]: (error["code"], error["values"]) for error in problem(answer)["errors"]}
    assert told == {"email": ("no_text", {}), "password": ("missing", {})}
    listed = await (await site.signed_in()).get("/api/admin/users", params={"limit": 1000})
    (error,) = problem(listed)["errors"]
    assert (error["field"], error["code"], error["values"]) == ("limit", "too_large", {"most": "200"})
    for malformed in (b"{", b"[" * 60_000, b'{"email":' * 5000):
        assert problem(await site.client().post("/api/auth/login", content=malformed))["status"] == 400


async def test_passwords_and_tokens_never_reach_the_logs(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = site.client(Origin=BASE)
    await log_in(client, EMAILS[Role.ADMIN], "the-wrong-secret-word")
    await log_in(client, EMAILS[Role.SUPERADMIN])
    await client.post("/api/admin/users", json={"email": "no address", "password": "another-secret-word", "role": "x"})
    made = (await client.post("/api/admin/api-keys", json={"name": "k", "role": "admin"})).json()
    await site.client(Authorization=f"Bearer {made['key']}").get("/echo")
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    secrets = ("the-wrong-secret-word", PASSWORD, "another-secret-word", made["key"], client.cookies[COOKIE])
    assert not [secret for secret in secrets if secret in text]
    assert "sign-in refused" in text


async def test_an_old_hash_is_replaced_when_its_owner_signs_in(site: Site, site_with: SiteWith) -> None:
    dearer = await site_with(Argon2Parameters(time_cost=2, memory_kib=128))
    assert (await log_in(dearer.client(), EMAILS[Role.ADMIN])).status_code == 200
    stored = await site.admin.fetchval("SELECT password_hash FROM users WHERE role = 'admin'")
    assert "m=128,t=2" in stored
    assert (await log_in(dearer.client(), EMAILS[Role.ADMIN])).status_code == 200


# --- limits on guessing --------------------------------------------------------------------------------------------


async def test_guessing_ends_with_429_on_every_replica_while_others_sign_in(site: Site, site_with: SiteWith) -> None:
    other = await site_with()
    replicas = (site, other)
    guesses = [await log_in(replicas[number % 2].client(), EMAILS[Role.ADMIN], "wrong") for number in range(10)]
    assert {answer.status_code for answer in guesses} == {401}
    for refusing in replicas:
        answer = await log_in(refusing.client(), EMAILS[Role.ADMIN])
        assert (answer.status_code, problem(answer)["code"]) == (429, "too_many_attempts")
        assert 800 <= int(answer.headers["retry-after"]) <= 900
    assert (await log_in(site.client("192.0.2.9"), EMAILS[Role.ADMIN])).status_code == 200
    assert (await log_in(site.client(), EMAILS[Role.PHOTOGRAPHER])).status_code == 200


async def test_an_address_that_tries_many_accounts_is_stopped(site: Site) -> None:
    for number in range(40):
        assert (await log_in(site.client(), f"user{number}@example.org", "wrong")).status_code == 401
    assert (await log_in(site.client(), "another@example.org", "wrong")).status_code == 429
    assert (await log_in(site.client("2001:db8::7"), "another@example.org", "wrong")).status_code == 401


async def test_an_ipv6_network_counts_as_one_address(site: Site) -> None:
    for number in range(10):
        assert (await log_in(site.client(f"2001:db8::{number}"), EMAILS[Role.ADMIN], "wrong")).status_code == 401
    assert (await log_in(site.client("2001:db8::a:b"), EMAILS[Role.ADMIN])).status_code == 429
    assert (await log_in(site.client("2001:db8:0:1::1"), EMAILS[Role.ADMIN])).status_code == 200


async def test_guesses_made_at_once_are_limited_too(site: Site) -> None:
    answers = await asyncio.gather(*(log_in(site.client(), EMAILS[Role.ADMIN], "wrong") for _ in range(40)))
    assert sum(answer.status_code == 401 for answer in answers) <= 10
    assert {answer.status_code for answer in answers} == {401, 429}


async def test_room_appears_when_attempts_leave_the_window(site: Site, site_with: SiteWith) -> None:
    strict = await site_with(login_attempts_per_account_and_address=1)
    assert (await log_in(strict.client(), EMAILS[Role.ADMIN], "wrong")).status_code == 401
    assert (await log_in(strict.client(), EMAILS[Role.ADMIN])).status_code == 429
    await site.admin.execute("UPDATE login_attempts SET attempted_at = attempted_at - interval '15 minutes'")
    assert (await log_in(strict.client(), EMAILS[Role.ADMIN])).status_code == 200
    assert await site.admin.fetchval("SELECT count(*) FROM login_attempts") == 0


# --- sessions ------------------------------------------------------------------------------------------------------


async def test_sign_out_ends_the_session(site: Site) -> None:
    client = await site.signed_in()
    token = client.cookies[COOKIE]
    assert (await client.get("/echo")).json() == {"kind": "session", "role": "superadmin"}
    answer = await client.post("/api/auth/logout")
    assert answer.status_code == 204
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    stolen = site.client(Cookie=f"{COOKIE}={token}")
    assert problem(await stolen.get("/echo"))["code"] == "not_signed_in"
    assert (await client.post("/api/auth/logout")).status_code == 204


async def test_only_a_hash_of_the_token_is_stored(site: Site) -> None:
    client = await site.signed_in()
    rows = await site.admin.fetch("SELECT * FROM sessions")
    assert len(rows) == 1
    assert client.cookies[COOKIE] not in str(rows)


@pytest.mark.parametrize("column", ["expires_at", "last_seen_at"])
async def test_a_session_ends_when_idle_and_at_its_age(site: Site, site_with: SiteWith, column: str) -> None:
    client = await site.signed_in()
    other = await site_with()
    stolen = other.client(Cookie=f"{COOKIE}={client.cookies[COOKIE]}")
    await site.admin.execute(f"UPDATE sessions SET {column} = {column} - interval '8 days'")
    assert (await stolen.get("/echo")).status_code == 401
    await site.sign_in.sweep_once()
    assert await site.admin.fetchval("SELECT count(*) FROM sessions") == 0


async def test_what_has_ended_is_removed_in_batches(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.sign_in.SWEPT_AT_ONCE", 2)
    await site.signed_in()
    await site.admin.execute("INSERT INTO login_attempts (email, address) VALUES ('young@example.test', '192.0.2.1')")
    await site.admin.execute(
        """
        WITH attempts AS (
            INSERT INTO login_attempts (email, address, attempted_at)
            SELECT 'old@example.test', '192.0.2.1', now() - interval '1 day' FROM generate_series(1, 5)
        ),
        tickets AS (
            INSERT INTO tickets (token_hash, user_id, role, expires_at)
            SELECT sha256(number::text::bytea), (SELECT id FROM users LIMIT 1), 'admin', now() - interval '1 second'
            FROM generate_series(1, 5) AS number
        )
        INSERT INTO sessions (token_hash, user_id, expires_at, last_seen_at)
        SELECT sha256(number::text::bytea), (SELECT id FROM users LIMIT 1), now() + make_interval(days => number - 3),
               now() - make_interval(days => number)
        FROM generate_series(1, 5) AS number
        """
    )
    async with site.database.connection() as connection:
        accounts = AccountRepository(connection)
        assert await accounts.remove_old_attempts(3600, 2) == 2
        assert await accounts.remove_ended_sessions(3600, 2) == 2
        assert await accounts.remove_ended_tickets(2) == 2
    await site.sign_in.sweep_once()
    for table, left in (("login_attempts", 1), ("sessions", 1), ("tickets", 0)):
        assert await site.admin.fetchval(f"SELECT count(*) FROM {table}") == left, table


async def test_use_keeps_a_session_alive(site: Site, site_with: SiteWith) -> None:
    client = await site.signed_in()
    await site.admin.execute("UPDATE sessions SET last_seen_at = last_seen_at - interval '11 hours'")
    site.sign_in.forget()
    assert (await client.get("/echo")).status_code == 200
    idle = await site.admin.fetchval("SELECT clock_timestamp() - last_seen_at FROM sessions")
    assert idle < timedelta(minutes=1)


async def test_many_requests_at_once_share_one_lookup(site: Site) -> None:
    client = await site.signed_in()
    site.sign_in.forget()
    borrowed: list[str] = []
    lend = site.database.connection

    def counting() -> Any:
        borrowed.append("connection")
        return lend()

    site.database.connection = counting  # type: ignore[method-assign]
    answers = await asyncio.gather(*(client.get("/echo") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(borrowed) == 1


async def test_the_oldest_sessions_end_beyond_a_hundred(site: Site) -> None:
    user_id = await site.admin.fetchval("SELECT id FROM users WHERE role = 'admin'")
    await site.admin.execute(
        "INSERT INTO sessions (token_hash, user_id, created_at, expires_at) "
        "SELECT sha256(n::text::bytea), $1, now() - interval '1 day', now() + interval '1 day' "
        "FROM generate_series(1, 150) AS n",
        user_id,
    )
    assert (await (await site.signed_in(Role.ADMIN)).get("/echo")).status_code == 200
    assert await site.admin.fetchval("SELECT count(*) FROM sessions") == 100


# --- same origin ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": BASE}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "http://mediabus.test.evil.test"}, 403),
        ({"Origin": "http://mediabus.test:8080"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.test", "Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
async def test_changes_with_the_cookie_need_a_same_origin(site: Site, headers: dict[str, str], status: int) -> None:
    signed_in = await site.signed_in()
    client = site.client(Cookie=f"{COOKIE}={signed_in.cookies[COOKIE]}")
    answer = await client.post("/echo", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert problem(answer)["code"] == "cross_origin"
    assert (await client.get("/echo", headers=headers)).status_code == 200


async def test_an_api_key_needs_no_origin(site: Site) -> None:
    client = await site.with_key(Role.PHOTOGRAPHER)
    assert (await client.post("/echo")).json() == {"kind": "api_key"}


async def test_a_foreign_page_can_not_sign_anybody_in(site: Site) -> None:
    client = site.client(Origin="http://evil.test")
    assert problem(await log_in(client, EMAILS[Role.ADMIN]))["code"] == "cross_origin"


# --- API keys ------------------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_works_and_is_revoked(site: Site) -> None:
    owner = await site.signed_in(Role.ADMIN)
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    made = await owner.post(
        "/api/admin/api-keys", json={"name": "gateway", "role": "photographer", "expiresAt": expires_at}
    )
    assert made.status_code == 201
    key = made.json()
    assert key["key"].startswith("mb_")
    client = site.client(Authorization=f"Bearer {key['key']}")
    assert (await client.get("/echo")).json() == {"kind": "api_key", "role": "photographer"}
    listed = (await owner.get("/api/admin/api-keys")).json()
    assert [entry["id"] for entry in listed["apiKeys"]] == [key["id"]]
    assert listed["apiKeys"][0]["expiresAt"] == expires_at
    assert listed["apiKeys"][0]["lastUsedAt"] is not None
    assert secret_of(key["key"]) not in str(listed)
    assert key["key"].encode() not in bytes(str(await site.admin.fetch("SELECT * FROM api_keys")), "utf-8")
    assert (await owner.delete(f"/api/admin/api-keys/{key['id']}")).status_code == 204
    assert (await client.get("/echo")).status_code == 401
    assert (await owner.delete(f"/api/admin/api-keys/{key['id']}")).status_code == 404


async def test_a_revoked_key_is_refused_by_other_replicas_within_seconds(site: Site, site_with: SiteWith) -> None:
    other = await site_with(principal_cache_seconds=0.2)
    owner = await site.signed_in()
    key = (await owner.post("/api/admin/api-keys", json={"name": "k", "role": "admin"})).json()
    client = other.client(Authorization=f"Bearer {key['key']}")
    assert (await client.get("/echo")).status_code == 200
    await owner.delete(f"/api/admin/api-keys/{key['id']}")

    async def refused() -> bool:
        return (await client.get("/echo")).status_code == 401

    await eventually(refused, within_seconds=5)


async def test_a_key_ends_at_its_time_even_when_it_is_remembered(site: Site, site_with: SiteWith) -> None:
    remembering = await site_with(principal_cache_seconds=60.0)
    client = remembering.client(Authorization=(await site.with_key(Role.ADMIN)).headers["authorization"])
    await site.admin.execute("UPDATE api_keys SET expires_at = clock_timestamp() + interval '2 seconds'")
    assert (await client.get("/echo")).status_code == 200

    async def refused() -> bool:
        return (await client.get("/echo")).status_code == 401

    await eventually(refused, why="the key has ended")


@pytest.mark.parametrize("tampering", ["secret", "id", "scheme", "empty", "basic"])
async def test_what_is_no_key_is_refused(site: Site, tampering: str) -> None:
    client = await site.with_key(Role.ADMIN)
    key = client.headers["authorization"].removeprefix("Bearer ")
    prefix, key_id, secret = key.split("_", 2)
    authorization = {
        "secret": f"Bearer {prefix}_{key_id}_{'A' * len(secret)}",
        "id": f"Bearer {prefix}_{'0' * 32}_{secret}",
        "scheme": key,
        "empty": "Bearer ",
        "basic": "Basic YTpi",
    }[tampering]
    # Not even with a good cookie beside it: what is sent explicitly counts.
    signed_in = await site.signed_in()
    answer = await signed_in.get("/echo", headers={"Authorization": authorization})
    assert problem(answer)["code"] == "not_signed_in"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_can_not_exceed_its_maker(site: Site) -> None:
    admin = await site.signed_in(Role.ADMIN)
    answer = await admin.post("/api/admin/api-keys", json={"name": "k", "role": "superadmin"})
    assert (answer.status_code, problem(answer)["code"]) == (403, "role_too_high")
    weak = await site.with_key(Role.ADMIN)
    answer = await weak.post("/api/admin/api-keys", json={"name": "k", "role": "superadmin"})
    assert answer.status_code == 403


async def test_a_key_can_not_outlive_the_key_that_makes_it(site: Site) -> None:
    root = await site.signed_in()
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    wanted = {"name": "k", "role": "admin"}
    made = await root.post("/api/admin/api-keys", json={**wanted, "expiresAt": ends_at.isoformat()})
    maker = site.client(Authorization=f"Bearer {made.json()['key']}")

    async def end_of(**body: str) -> datetime:
        answer = await maker.post("/api/admin/api-keys", json={**wanted, **body})
        assert answer.status_code == 201, answer.text
        stored = await site.admin.fetchval("SELECT expires_at FROM api_keys WHERE id = $1", answer.json()["id"])
        assert datetime.fromisoformat(answer.json()["expiresAt"]) == stored
        return cast(datetime, stored)

    assert await end_of() == ends_at
    sooner = ends_at - timedelta(hours=1)
    assert await end_of(expiresAt=sooner.isoformat()) == sooner
    later = (ends_at + timedelta(seconds=1)).isoformat()
    answer = await maker.post("/api/admin/api-keys", json={**wanted, "expiresAt": later})
    assert answer.status_code == 422
    (error,) = problem(answer)["errors"]
    assert error["field"] == "expiresAt"
    assert ends_at.isoformat().replace("+00:00", "Z") in error["message"]


async def test_a_revoked_key_that_is_remembered_leaves_neither_key_nor_ticket(site: Site, site_with: SiteWith) -> None:
    other = await site_with(principal_cache_seconds=60.0)
    root = await site.signed_in()
    key = (await root.post("/api/admin/api-keys", json={"name": "k", "role": "admin"})).json()
    client = other.client(Authorization=f"Bearer {key['key']}")
    assert (await client.post("/api/auth/ticket")).status_code == 201
    await root.delete(f"/api/admin/api-keys/{key['id']}")
    assert await site.admin.fetchval("SELECT count(*) FROM tickets") == 0
    for answer in (
        await client.post("/api/admin/api-keys", json={"name": "k", "role": "admin"}),
        await client.post("/api/auth/ticket"),
    ):
        assert (answer.status_code, problem(answer)["code"]) == (401, "not_signed_in")


async def test_a_key_sinks_with_its_maker(site: Site) -> None:
    root = await site.signed_in()
    admin = await site.signed_in(Role.ADMIN)
    key = (await admin.post("/api/admin/api-keys", json={"name": "k", "role": "admin"})).json()["key"]
    client = site.client(Authorization=f"Bearer {key}")
    assert (await client.get("/echo")).json()["role"] == "admin"
    users = (await root.get("/api/admin/users")).json()["users"]
    admin_id = next(user["id"] for user in users if user["role"] == "admin")
    await root.patch(f"/api/admin/users/{admin_id}", json={"role": "photographer"})
    assert (await client.get("/echo")).json()["role"] == "photographer"
    await root.delete(f"/api/admin/users/{admin_id}")
    assert (await client.get("/echo")).status_code == 401


@pytest.mark.parametrize(
    ("change", "field_name"),
    [
        ({"expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "2999-01-01T00:00:00"}, "expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-23:59"}, "expiresAt"),
        ({"role": "guest"}, "role"),
        ({"name": "  "}, "name"),
        ({"name": "a\x00b"}, "name"),
    ],
)
async def test_bad_keys_are_refused_with_the_field_named(site: Site, change: dict[str, str], field_name: str) -> None:
    admin = await site.signed_in(Role.ADMIN)
    answer = await admin.post("/api/admin/api-keys", json={"name": "k", "role": "admin", **change})
    assert answer.status_code == 422
    assert [error["field"] for error in problem(answer)["errors"]] == [field_name]


async def test_admins_see_and_revoke_their_own_keys_superadmins_all(site: Site) -> None:
    root, admin = await site.signed_in(), await site.signed_in(Role.ADMIN)
    keys = [
        (await client.post("/api/admin/api-keys", json={"name": f"{number}", "role": "admin"})).json()["id"]
        for number, client in enumerate((root, admin, root))
    ]
    assert {key["id"] for key in (await admin.get("/api/admin/api-keys")).json()["apiKeys"]} == {keys[1]}
    assert (await admin.delete(f"/api/admin/api-keys/{keys[0]}")).status_code == 404
    first = (await root.get("/api/admin/api-keys?limit=2")).json()
    rest = (await root.get(f"/api/admin/api-keys?limit=2&cursor={first['nextCursor']}")).json()
    assert sorted(key["id"] for key in first["apiKeys"] + rest["apiKeys"]) == sorted(keys)
    assert (len(first["apiKeys"]), rest["nextCursor"]) == (2, None)


# --- accounts ------------------------------------------------------------------------------------------------------


async def test_who_changes_accounts_and_keys_is_known_afterwards(site: Site) -> None:
    boss = await site.signed_in()
    me = (await boss.get("/api/auth/me")).json()["user"]["id"]
    new = {"email": "new@example.org", "password": "another long phrase 2", "role": "photographer"}
    user = (await boss.post("/api/admin/users", json=new)).json()["id"]
    path = f"/api/admin/users/{user}"
    change = {"role": "admin", "email": "newer@example.org", "password": "a third long phrase 3"}
    assert (await boss.patch(path, json=change)).status_code == 200
    taken = await boss.patch(path, json={"email": EMAILS[Role.ADMIN]})
    assert taken.status_code == 409, "what did not happen is not told of"
    theirs = site.client(Origin=BASE)
    assert (await log_in(theirs, "newer@example.org", "a third long phrase 3")).status_code == 200
    made = (await theirs.post("/api/admin/api-keys", json={"name": "gateway", "role": "admin"})).json()
    by_key = site.client(Authorization=f"Bearer {made['key']}")
    other = (await by_key.post("/api/admin/api-keys", json={"name": "other", "role": "photographer"})).json()
    assert (await boss.delete(f"/api/admin/api-keys/{made['id']}")).status_code == 204
    assert (await boss.delete(f"/api/admin/api-keys/{made['id']}")).status_code == 404
    assert (await theirs.post("/api/auth/logout-everywhere")).status_code == 204
    in_vain = site.client(Authorization=f"Bearer {other['key']}")
    assert (await in_vain.post("/api/auth/logout-everywhere")).status_code == 204, "it ends nothing more"
    assert (await boss.delete(path)).status_code == 204
    async with site.database.connection() as connection:
        audit = AuditRepository(connection)
        entries = [entry for entry in await audit.newest(None, None, 50) if entry.area in ("accounts", "api_keys")]
        keys = await audit.newest("api_keys", None, 50)
        page = await audit.newest("accounts", entries[0].id, 1)
    assert [entry for entry in entries if entry.area == "api_keys"] == keys
    assert page == [entries[1]]
    assert [(one.area, one.action, one.subject, str(one.done_by)) for one in entries[::-1]] == [
        ("accounts", "added", user, me),
        ("accounts", "changed", user, me),
        ("api_keys", "made", made["id"], user),
        ("api_keys", "made", other["id"], user),
        ("api_keys", "revoked", made["id"], me),
        ("accounts", "signed_out_everywhere", user, user),
        ("accounts", "removed", user, me),
    ]
    assert [entry.detail for entry in entries[::-1]] == [
        {"email": "new@example.org", "role": "photographer"},
        {
            "email": "new@example.org",
            "newPassword": True,
            "before": {"email": "new@example.org", "role": "photographer"},
            "after": {"email": "newer@example.org", "role": "admin"},
        },
        {"name": "gateway", "role": "admin", "expiresAt": None},
        {"name": "other", "role": "photographer", "expiresAt": None, "byApiKey": made["id"]},
        {"name": "gateway", "role": "admin", "madeBy": "newer@example.org"},
        {"email": "newer@example.org"},
        {"email": "newer@example.org", "role": "admin", "apiKeys": 1},
    ]
    assert (entries[0].email, entries[1].email) == (EMAILS[Role.SUPERADMIN], None)
    stored = str(await site.admin.fetch("SELECT c::text FROM account_changes AS c"))
    hashes = [row["password_hash"] for row in await site.admin.fetch("SELECT password_hash FROM users")]
    for secret in (change["password"], new["password"], made["key"], secret_of(made["key"]), *hashes):
        assert secret not in stored


async def test_accounts_are_added_read_changed_listed_and_removed(site: Site) -> None:
    root = await site.signed_in()
    made = await root.post(
        "/api/admin/users", json={"email": "New@Example.org", "password": PASSWORD, "role": "photographer"}
    )
    assert made.status_code == 201
    user = made.json()
    assert (user["email"], user["role"]) == ("new@example.org", "photographer")
    assert set(user) == {"id", "email", "role", "createdAt", "updatedAt"}
    path = f"/api/admin/users/{user['id']}"
    assert (await root.get(path)).json() == user
    again = await root.post(
        "/api/admin/users", json={"email": "new@example.ORG", "password": PASSWORD, "role": "admin"}
    )
    assert (again.status_code, problem(again)["code"]) == (409, "email_taken")
    clash = await root.patch(path, json={"email": EMAILS[Role.ADMIN]})
    assert (clash.status_code, problem(clash)["code"]) == (409, "email_taken")
    changed = (await root.patch(path, json={"email": "newer@example.org", "role": "admin"})).json()
    assert (changed["email"], changed["role"]) == ("newer@example.org", "admin")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await root.get(f"/api/admin/users?limit=3{cursor and '&cursor=' + cursor}")).json()
        seen += [entry["email"] for entry in page["users"]]
        cursor = page["nextCursor"]
    assert sorted(seen) == sorted([*EMAILS.values(), "newer@example.org"])
    assert (await root.delete(path)).status_code == 204
    assert problem(await root.get(path))["code"] == "not_found"
    assert (await root.delete(path)).status_code == 404
    assert (await root.patch(path, json={"role": "admin"})).status_code == 404


@pytest.mark.parametrize("change", [{"password": "another long phrase 2"}, {"role": "photographer"}])
async def test_a_new_password_or_role_ends_the_sessions(site: Site, change: dict[str, str]) -> None:
    root, admin = await site.signed_in(), await site.signed_in(Role.ADMIN)
    admin_id = (await admin.get("/api/auth/me")).json()["user"]["id"]
    assert (await root.patch(f"/api/admin/users/{admin_id}", json={"email": "a@example.org"})).status_code == 200
    assert (await admin.get("/api/auth/me")).json()["user"]["email"] == "a@example.org"
    assert (await root.patch(f"/api/admin/users/{admin_id}", json=change)).status_code == 200
    assert (await admin.get("/api/auth/me")).status_code == 401
    password = change.get("password", PASSWORD)
    assert (await log_in(site.client(), "a@example.org", password)).status_code == 200
    if "password" in change:
        assert (await log_in(site.client(), "a@example.org")).status_code == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"email": "nobody", "password": PASSWORD, "role": "admin"}, {"email"}),
        ({"email": "a@b", "password": "short", "role": "admin"}, {"password"}),
        ({"email": "a@b", "password": PASSWORD, "role": "guest"}, {"role"}),
        ({}, {"email", "password", "role"}),
    ],
)
async def test_bad_accounts_are_refused_with_the_fields_named(
    site: Site, body: dict[str, str], fields: set[str]
) -> None:
    answer = await (await site.signed_in()).post("/api/admin/users", json=body)
    assert answer.status_code == 422
    assert {error["field"] for error in problem(answer)["errors"]} == fields


async def test_the_last_superadmin_stays(site: Site) -> None:
    root = await site.signed_in()
    path = f"/api/admin/users/{(await root.get('/api/auth/me')).json()['user']['id']}"
    for answer in (await root.delete(path), await root.patch(path, json={"role": "admin"})):
        assert (answer.status_code, problem(answer)["code"]) == (409, "last_superadmin")
    assert (await root.patch(path, json={"role": "superadmin"})).status_code == 200


async def test_of_two_superadmins_removed_at_once_one_stays(site: Site) -> None:
    root = await site.with_key(Role.SUPERADMIN)
    for _ in range(5):
        body = {"email": "second@example.org", "password": PASSWORD, "role": "superadmin"}
        second = (await root.post("/api/admin/users", json=body)).json()["id"]
        first = (await root.get("/api/auth/me")).json()["user"]["id"]
        answers = await asyncio.gather(
            *(root.patch(f"/api/admin/users/{user_id}", json={"role": "admin"}) for user_id in (first, second))
        )
        assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])
        assert await site.admin.fetchval("SELECT count(*) FROM users WHERE role = 'superadmin'") == 1
        await site.admin.execute("DELETE FROM users WHERE id = $1", second)
        await site.admin.execute("UPDATE users SET role = 'superadmin' WHERE id = $1", first)
        site.sign_in.forget()


async def test_the_first_superadmin_is_made_once(database: TestDatabase, site_with: SiteWith) -> None:
    site = await site_with()
    makers = [bootstrap_superadmin(site.database, f"root{number}@example.org", PASSWORD) for number in range(3)]
    said = await asyncio.gather(*makers)
    assert sum(sentence.startswith("made the superadmin") for sentence in said) == 1
    assert not [sentence for sentence in said if PASSWORD in sentence]
    assert await site.admin.fetchval("SELECT count(*) FROM users") == 1
    email = await site.admin.fetchval("SELECT email FROM users")
    assert (await log_in(site.client(), email)).json()["user"]["role"] == "superadmin"
    with pytest.raises(BootstrapRefused, match="MEDIABUS_SUPERADMIN_PASSWORD must have at least"):
        await bootstrap_superadmin(site.database, "root@example.org", "short")


async def test_the_command_makes_the_first_superadmin_and_never_shows_the_password(database: TestDatabase) -> None:
    async def run(**settings: str) -> tuple[int | None, str]:
        environment = {"PATH": os.environ["PATH"], "MEDIABUS_POSTGRES_DSN": database.dsn("ingest-api"), **settings}
        command = (sys.executable, "-m", "ingest_api.bootstrap_superadmin")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment)
        output, _ = await asyncio.wait_for(process.communicate(), timeout=120)
        return process.returncode, output.decode()

    good = {"MEDIABUS_SUPERADMIN_EMAIL": "root@example.org", "MEDIABUS_SUPERADMIN_PASSWORD": PASSWORD}
    runs = [
        (await run(**good), 0, "made the superadmin root@example.org"),
        (await run(**good), 0, "there is a superadmin already, root@example.org: nothing was changed"),
        (await run(**{**good, "MEDIABUS_SUPERADMIN_PASSWORD": "short"}), 2, "must have at least 8 characters"),
        (await run(MEDIABUS_SUPERADMIN_PASSWORD=PASSWORD), 1, "superadmin_email"),
    ]
    for (status, output), expected_status, expected in runs:
        assert (status, expected in output) == (expected_status, True), output
        assert PASSWORD not in output


# --- who may do what -----------------------------------------------------------------------------------------------


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


# --- WebSockets ----------------------------------------------------------------------------------------------------


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


# --- when something is away ----------------------------------------------------------------------------------------


async def test_without_the_database_the_answer_is_503_with_retry_after(site: Site, database: TestDatabase) -> None:
    address = urlsplit(database.dsn("ingest-api"))
    absent = address._replace(netloc=f"nobody:x@127.0.0.1:{free_port()}").geturl()
    site.sign_in.database = Database(absent, application_name="absent")
    for answer in (
        await log_in(site.client(), EMAILS[Role.ADMIN]),
        await site.client(Cookie=f"{COOKIE}={'x' * 43}").get("/echo"),
    ):
        assert (answer.status_code, problem(answer)["code"]) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_documentation_lists_every_operation_and_loads_nothing_from_elsewhere(site: Site) -> None:
    schema = (await site.client().get("/docs/openapi.json")).json()
    assert set(schema["components"]["securitySchemes"]) == {"session", "apiKey", "webhookToken"}
    for (method, path), role in SIGN_IN_ROUTES.items():
        if path.startswith("/api"):
            operation = schema["paths"][path][method.lower()]
            assert (operation.get("security") == [{}]) == (role is None), (method, path)
            assert operation["summary"]
            assert {status for status in operation["responses"] if not status.startswith("2")} == {"default"}
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    answer = problem(await site.client().post("/api/auth/login", json={}))
    described = schema["components"]["schemas"]["Problem"]
    assert set(described["required"]) <= set(answer) <= set(described["properties"])
    page = await site.client().get("/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in schema["paths"]:
        assert path in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert 'id="too_many_attempts"' in page.text
