"""Accounts: who may change them, what that ends, and how the first one is made."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest

from ingest_api.accounts import Role
from ingest_api.bootstrap_superadmin import BootstrapRefused, bootstrap_superadmin
from ingest_api.repositories.audit import AuditRepository
from shared.testing.databases import TestDatabase
from tests.integration.sign_in.sign_in_site import BASE, EMAILS, PASSWORD, Site, SiteWith, log_in, problem, secret_of

pytestmark = pytest.mark.stack


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
