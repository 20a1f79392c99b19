"""Signing in: what it answers, to whom, and how guessing ends."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.local.ports import free_port
from ingest_api.accounts import Role
from ingest_api.passwords import Argon2Parameters
from ingest_api.route_roles import SIGN_IN_ROUTES
from shared.db.pool import Database
from shared.testing.databases import TestDatabase
from tests.integration.sign_in.sign_in_site import BASE, COOKIE, EMAILS, PASSWORD, Site, SiteWith, log_in, problem

pytestmark = pytest.mark.stack


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
