"""Sessions: how long they last, who ends them, and that other pages can't use them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ingest_api.accounts import Role
from ingest_api.repositories.accounts import AccountRepository
from tests.integration.sign_in.sign_in_site import BASE, COOKIE, EMAILS, Site, SiteWith, log_in, problem

pytestmark = pytest.mark.stack


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
