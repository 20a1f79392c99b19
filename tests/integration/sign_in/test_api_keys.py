"""API keys: shown once, bounded by their maker, and revoked on every replica."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from ingest_api.accounts import Role
from shared.testing.waiting import eventually
from tests.integration.sign_in.sign_in_site import Site, SiteWith, problem, secret_of

pytestmark = pytest.mark.stack


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

    await eventually(refused)


async def test_a_key_ends_at_its_time_even_when_it_is_remembered(site: Site, site_with: SiteWith) -> None:
    remembering = await site_with(principal_cache_seconds=60.0)
    client = remembering.client(Authorization=(await site.with_key(Role.ADMIN)).headers["authorization"])
    await site.admin.execute("UPDATE api_keys SET expires_at = clock_timestamp() + interval '4 seconds'")
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
