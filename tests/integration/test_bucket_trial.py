"""The trial of a bucket on a real store: each of its outcomes, in time, and nothing left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from deploy.local.processes import ProcessSpec
from ingest_api.accounts import Role
from ingest_api.bucket_trial import TRIAL_SECONDS
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

SETTINGS = "/api/admin/media/settings"
TRIAL = f"{SETTINGS}/test-s3"
LIMIT_SECONDS = 5.0
BUSY_SECONDS = 30.0
"""What a machine with much else to do may need beside the trial; without a limit it would take longer still."""


class ReadOnlyStore(ObjectStoreServer):
    """The same store, serving what another one wrote, and refusing every write."""

    def _spec(self) -> ProcessSpec:
        spec = super()._spec()
        command = list(spec.command)
        return replace(spec, command=[*command[:2], "--read-only", *command[2:]])


@asynccontextmanager
async def site_with(
    store: ObjectStoreServer, database: TestDatabase, folder: Path, **changes: Any
) -> AsyncIterator[IngestSite]:
    options = {
        "s3_endpoint": store.endpoint,
        "s3_access_key": SecretStr(store.access_key),
        "s3_secret_key": SecretStr(store.secret_key),
    } | changes
    async with running_site(database, folder / "media", **options) as site:
        yield site


async def tried(site: IngestSite, **body: str) -> dict[str, Any]:
    started_at = time.monotonic()
    answer = await site.api.post(TRIAL, json=body) if body else await site.api.post(TRIAL)
    assert time.monotonic() - started_at < TRIAL_SECONDS + BUSY_SECONDS
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    assert set(outcome) == {"success", "code", "message", "bucket", "objectCount"}
    assert site.settings.s3_secret_key is None or site.settings.s3_secret_key.get_secret_value() not in answer.text
    return outcome


async def status_of(site: IngestSite) -> str:
    status: str = (await site.api.get(SETTINGS)).json()["s3Status"]
    return status


def test_a_trial_ends_before_who_asked_for_it_gives_up() -> None:
    assert TRIAL_SECONDS < LIMIT_SECONDS


async def test_a_good_bucket_is_counted_and_left_as_it_was(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path
) -> None:
    bucket = f"trial-{free_port()}"
    await object_store_server.create_bucket(bucket)
    async with object_store_server.client() as client:
        for number in range(3):
            await client.put_object(Bucket=bucket, Key=f"{number}.txt", Body=b"x")
        async with site_with(object_store_server, database, tmp_path, s3_bucket=bucket) as site:
            for _ in range(2):
                outcome = await tried(site)
                assert (outcome["code"], outcome["bucket"], outcome["objectCount"]) == ("usable", bucket, 3), outcome
            assert await status_of(site) == "connected"
            assert (await site.api.get(SETTINGS)).json()["s3Enabled"] is True


async def test_a_closed_port_is_an_unreachable_endpoint(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path
) -> None:
    async with site_with(
        object_store_server, database, tmp_path, s3_endpoint=f"http://127.0.0.1:{free_port()}"
    ) as site:
        outcome = await tried(site)
        assert (outcome["success"], outcome["code"]) == (False, "unreachable")
        assert "can't be reached" in outcome["message"]
        assert outcome["objectCount"] is None
        assert await status_of(site) == "disconnected"


async def test_a_store_that_never_answers_is_unreachable_in_time(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, site_with(object_store_server, database, tmp_path) as site:
        outcome = await tried(site, s3Endpoint=f"http://127.0.0.1:{port}")
        assert (outcome["success"], outcome["code"]) == (False, "unreachable")
        assert "can't be reached" in outcome["message"]


@pytest.mark.parametrize("wrong", [{"s3_secret_key": "another-secret"}, {"s3_access_key": "nobody"}])
async def test_wrong_credentials_are_called_that(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path, wrong: dict[str, str]
) -> None:
    keys = {name: SecretStr(key) for name, key in wrong.items()}
    async with site_with(object_store_server, database, tmp_path, **keys) as site:
        outcome = await tried(site)
        assert (outcome["success"], outcome["code"]) == (False, "wrong_credentials")
        assert "credentials" in outcome["message"].lower()
        assert await status_of(site) == "error"


async def test_a_missing_bucket_is_called_that(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path
) -> None:
    async with site_with(object_store_server, database, tmp_path, s3_bucket="not-there") as site:
        outcome = await tried(site)
        assert (outcome["success"], outcome["code"], outcome["bucket"]) == (False, "no_such_bucket", "not-there")
        assert "no such bucket" in outcome["message"].lower()
        assert await status_of(site) == "error"
        # another one can be tried before it is set
        assert (await tried(site, s3Bucket="mediabus"))["success"] is True


async def test_a_bucket_that_takes_no_writes_is_not_writable(database: TestDatabase, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    await asyncio.to_thread(folder.mkdir)
    writable = ObjectStoreServer(folder, free_port(), "test-access", "test-secret-key")
    await writable.start()
    await writable.create_bucket("mediabus")
    async with writable.client() as client:
        await client.put_object(Bucket="mediabus", Key="there.txt", Body=b"x")
    await writable.stop()
    store = ReadOnlyStore(folder, free_port(), "test-access", "test-secret-key")
    await store.start()
    try:
        async with site_with(store, database, tmp_path) as site:
            outcome = await tried(site)
            assert (outcome["success"], outcome["code"]) == (False, "not_writable")
            assert "not writable" in outcome["message"]
            assert outcome["objectCount"] == 1
    finally:
        await store.stop()


async def test_without_a_bucket_the_answer_says_what_to_set(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media") as site:
        outcome = await tried(site)
        assert (outcome["success"], outcome["code"]) == (False, "not_configured")
        assert "MEDIABUS_S3_ENDPOINT" in outcome["message"]
        refused = await site.api.patch(SETTINGS, json={"s3Enabled": True})
        assert [error["field"] for error in refused.json()["errors"]] == ["s3Enabled"]


async def test_admins_try_what_is_set_and_nothing_else(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path
) -> None:
    async with site_with(object_store_server, database, tmp_path) as site:
        admin = {"Authorization": f"Bearer {await site.key_of(Role.ADMIN)}"}
        assert (await site.api.post(TRIAL, headers=admin)).json()["success"] is True
        elsewhere = await site.api.post(TRIAL, json={"s3Endpoint": "http://127.0.0.1:1"}, headers=admin)
        assert elsewhere.status_code == 403
        wrong = await site.api.post(TRIAL, json={"s3Endpoint": "ftp://x", "colour": "red"})
        assert wrong.status_code == 422
        assert (await site.api.post(TRIAL, content=b"{")).status_code == 400


async def test_the_running_service_goes_where_the_settings_say(
    object_store_server: ObjectStoreServer, database: TestDatabase, tmp_path: Path
) -> None:
    bucket = f"moved-{free_port()}"
    await object_store_server.create_bucket(bucket)
    async with site_with(object_store_server, database, tmp_path) as site:
        store = site.stores.bucket
        assert store is not None
        await store.put_bytes("before.txt", b"x")
        public_url = "https://cdn.example.test/pictures"
        answer = await site.api.patch(SETTINGS, json={"s3Bucket": bucket, "s3PublicUrl": public_url})
        assert answer.status_code == 200, answer.text
        await eventually(lambda: store.bucket == bucket, why="the store moved")
        assert await store.stat("before.txt") is None
        await store.put_bytes("after.txt", b"y")
        assert store.public_url("after.txt") == f"{public_url}/after.txt"
        assert bucket in store.presigned_get("after.txt", expires_in_seconds=60)
        assert (await tried(site))["objectCount"] == 1
        page = await site.api.get("/admin/media")
        assert "https://cdn.example.test" in page.headers["content-security-policy"]
        await site.api.patch(SETTINGS, json={"s3Bucket": "gone-away"})
        await eventually(lambda: store.bucket == "gone-away", why="the store moved")
        assert await status_of(site) == "error"
