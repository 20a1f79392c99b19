"""Who may call what: the table of routes against the whole application, and every refusal in it by a real call."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar
from pydantic import SecretStr

from ingest_api.accounts import ACCOUNT_ROLES, ApiKeyText, Role, new_secret
from ingest_api.http import create_app
from ingest_api.passwords import Argon2Parameters, Passwords
from ingest_api.repositories.accounts import AccountRepository
from ingest_api.route_roles import ROUTES, registered_roles
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignIn, SignInSettings
from shared.db.pool import Database
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack

PLACES = {
    name: str(new_id())
    for name in (
        "user_id",
        "key_id",
        "media_id",
        "job_id",
        "product_id",
        "variant_id",
        "image_id",
        "plan_id",
        "run_id",
        "event_uuid",
        "sha256",
        "task_id",
        "search_id",
        "erasure_id",
        "deletion_id",
        "photo_id",
        "gallery_id",
        "person_id",
        "change_id",
        "report_id",
        "letter_id",
        "name",
    )
} | {
    "variant": "large",
    "entity_type": "product",
    "path": "x",
    "version": "x",
    "asset": "x.css",
    "token": "x",
}


@dataclass
class Callers:
    """The application, and a client for each role; None is nobody."""

    app: Litestar
    clients: Mapping[Role | None, httpx.AsyncClient]


@pytest.fixture
async def callers(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Callers]:
    dsn = database.dsn("ingest-api")
    pool = Database(dsn, application_name="tests", max_connections=4)
    sign_in = SignIn(pool, Passwords(Argon2Parameters(time_cost=1, memory_kib=64)), SignInSettings())
    settings = IngestSettings(
        postgres_dsn=SecretStr(dsn), kafka_bootstrap="127.0.0.1:9", media_root=tmp_path, http_port=9
    )
    # Who is refused meets a guard before anything of these is touched.
    untouched = {name: object() for name in inspect.signature(create_app).parameters}
    app = create_app(**cast(Any, {**untouched, "sign_in": sign_in, "settings": settings, "database": pool}))
    clients: dict[Role | None, httpx.AsyncClient] = {None: _client(app)}
    for role in ACCOUNT_ROLES:
        clients[role] = _client(app, await _add_key(sign_in, role))
    yield Callers(app, clients)
    for client in clients.values():
        await client.aclose()
    sign_in.passwords.close()
    await pool.close()


async def _add_key(sign_in: SignIn, role: Role) -> str:
    user_id, key = new_id(), ApiKeyText(new_id(), new_secret())
    async with sign_in.database.connection() as connection:
        accounts = AccountRepository(connection)
        await accounts.add_user(user_id, f"{role}@example.org", role, await sign_in.passwords.hash("x"))
        await accounts.add_api_key(key, name="k", role=role, created_by=user_id, expires_at=None)
    return str(key)


def _client(app: Litestar, key: str | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=cast(Any, app), client=("192.0.2.1", 4711))
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=transport, base_url="http://mediabus.test", headers=headers)


async def test_every_route_of_the_application_is_in_the_table_with_its_role(callers: Callers) -> None:
    assert registered_roles(callers.app) == ROUTES


async def test_everyone_below_the_role_of_a_route_is_refused(callers: Callers) -> None:
    refusals = 0
    for (method, path), needed in ROUTES.items():
        if needed is None or method == "WEBSOCKET":
            continue
        for role, client in callers.clients.items():
            if role is not None and role.includes(needed):
                continue
            answer = await client.request(method, path.format_map(PLACES))
            # A page leads to the form instead.
            expected = {303, 401} if role is None else {403}
            assert answer.status_code in expected, (method, path, role, answer.text)
            refusals += 1
    assert refusals > 20


async def test_every_address_tells_which_methods_it_knows(callers: Callers) -> None:
    """By OPTIONS, and beside each 405; what answers GET answers HEAD too."""
    known: dict[str, set[str]] = {}
    for method, path in ROUTES:
        if method != "WEBSOCKET":
            known.setdefault(path, {"OPTIONS"}).update({"GET", "HEAD"} if method == "GET" else {method})
    superadmin = callers.clients[Role.SUPERADMIN]
    for path, methods in known.items():
        address = path.format_map(PLACES)
        told = await superadmin.options(address)
        assert (told.status_code, told.headers["allow"]) == (204, ", ".join(sorted(methods))), path
        for method in {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"} - methods:
            refused = await superadmin.request(method, address)
            assert (refused.status_code, refused.headers["allow"]) == (405, told.headers["allow"]), (method, path)
    assert (await superadmin.options("/api/nowhere")).status_code == 404
    assert (await superadmin.head("/api/nowhere")).status_code == 404
