"""Settings over HTTP: reading, changing, refusals by field, versions, rights, history; what uploads make of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest_api.accounts import Role
from ingest_api.settings_store import SettingsStore
from shared.db.unit_of_work import UnitOfWork
from shared.events import StorageStrategy
from shared.settings_feed import SettingsFeed
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

SETTINGS = "/api/admin/media/settings"
PRODUCT = f"{SETTINGS}/entity-types/product"
CONTRACT = {
    "defaultStorageStrategy",
    "deleteMode",
    "softDeleteRetentionDays",
    "autoCleanupEnabled",
    "s3Enabled",
    "s3AutoSync",
    "s3DeleteWithLocal",
    "s3Bucket",
    "s3Region",
    "s3Endpoint",
    "s3PublicUrl",
    "s3Status",
}
CARD = {"name": "card", "width": 320, "format": "jpeg", "quality": 70}


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


async def patched(site: IngestSite, **changes: Any) -> httpx.Response:
    return await site.api.patch(SETTINGS, json=changes)


async def as_role(site: IngestSite, role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {await site.key_of(role)}"}


def errors_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


async def test_the_first_document_is_that_of_the_environment(site: IngestSite) -> None:
    answer = await site.api.get(SETTINGS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"0"'
    settings = answer.json()
    assert set(settings) >= CONTRACT
    assert settings["defaultStorageStrategy"] == "local_first"
    assert (settings["deleteMode"], settings["softDeleteRetentionDays"]) == ("soft", 30)
    assert (settings["autoCleanupEnabled"], settings["s3AutoSync"], settings["s3DeleteWithLocal"]) == (True,) * 3
    assert (settings["s3Enabled"], settings["s3Status"], settings["s3Endpoint"]) == (False, "disconnected", None)
    assert settings["uploadLimitBytes"] == site.settings.upload_limit_bytes
    assert "s" * 32 not in answer.text


async def test_a_change_is_kept_versioned_recorded_and_told(site: IngestSite) -> None:
    answer = await patched(site, deleteMode="hard", softDeleteRetentionDays=7)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["etag"], answer.json()["version"]) == ('"1"', 1)
    assert (await site.api.get(SETTINGS)).json()["deleteMode"] == "hard"

    [event] = await site.rows.fetch("SELECT key, payload FROM outbox WHERE topic = 'settings.events'")
    assert event["key"] == "media"
    assert b'"delete_mode":"hard"' in event["payload"]

    history = (await site.api.get(f"{SETTINGS}/audit")).json()
    [change] = history["changes"]
    assert (change["settings"], change["version"], change["changedBy"]) == ("media", 1, str(site.user_id))
    assert change["before"] == {"deleteMode": "soft", "softDeleteRetentionDays": 30}
    assert change["after"] == {"deleteMode": "hard", "softDeleteRetentionDays": 7}
    assert change["changedByEmail"].endswith("@example.test")
    assert history["nextCursor"] is None


async def test_a_change_that_changes_nothing_makes_no_version(site: IngestSite) -> None:
    await patched(site, deleteMode="hard")
    again = await patched(site, deleteMode="hard")
    assert (again.status_code, again.headers["etag"]) == (200, '"1"')
    assert await site.count("settings_audit") == 1


async def test_the_document_that_was_read_can_be_put_back_changed(site: IngestSite) -> None:
    document = (await site.api.get(SETTINGS)).json()
    document["hybridModeEnabled"] = True
    answer = await site.api.put(SETTINGS, json=document, headers={"If-Match": '"0"'})
    assert answer.status_code == 200, answer.text
    assert answer.json()["hybridModeEnabled"] is True


@pytest.mark.parametrize("if_match", ['"0"', '"7"', 'W/"1"', "nonsense"])
async def test_a_stale_writer_is_told(site: IngestSite, if_match: str) -> None:
    await patched(site, deleteMode="hard")
    answer = await site.api.patch(SETTINGS, json={"deleteMode": "soft"}, headers={"If-Match": if_match})
    assert answer.status_code == 412, answer.text
    assert answer.json()["code"] == "precondition_failed"
    assert answer.headers["etag"] == '"1"'
    assert (await site.api.get(SETTINGS)).json()["deleteMode"] == "hard"


@pytest.mark.parametrize("if_match", ['"1"', '"0", "1"', "*"])
async def test_a_current_writer_may_write(site: IngestSite, if_match: str) -> None:
    await patched(site, deleteMode="hard")
    answer = await site.api.patch(SETTINGS, json={"deleteMode": "soft"}, headers={"If-Match": if_match})
    assert answer.status_code == 200, answer.text


async def test_of_many_writers_at_once_one_wins(site: IngestSite) -> None:
    """Also before the first row is there, when nothing could be locked but the name."""
    answers = await asyncio.gather(
        *(
            site.api.patch(SETTINGS, json={"softDeleteRetentionDays": days}, headers={"If-Match": '"0"'})
            for days in range(1, 9)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert await site.count("settings_audit") == 1


async def test_blind_writers_are_counted_one_by_one(site: IngestSite) -> None:
    await asyncio.gather(*(patched(site, softDeleteRetentionDays=days) for days in range(1, 9)))
    versions = await site.rows.fetch("SELECT version FROM settings_audit ORDER BY version")
    assert [row["version"] for row in versions] == list(range(1, 9))


async def test_every_wrong_field_is_named_and_nothing_changes(site: IngestSite) -> None:
    answer = await patched(
        site,
        deleteMode="maybe",
        softDeleteRetentionDays=0,
        s3AutoSync="true",
        s3Status="connected",
        s3SecretKey="x",
        colour="red",
        autoCleanupEnabled=False,
    )
    errors = errors_of(answer)
    assert set(errors) == {
        "deleteMode",
        "softDeleteRetentionDays",
        "s3AutoSync",
        "s3Status",
        "s3SecretKey",
        "colour",
    }
    assert "environment" in errors["s3SecretKey"]
    assert errors["s3Status"] == "is read only"
    assert (await site.api.get(SETTINGS)).json()["autoCleanupEnabled"] is True


async def test_put_wants_the_whole_document(site: IngestSite) -> None:
    errors = errors_of(await site.api.put(SETTINGS, json={"deleteMode": "hard"}))
    assert {"s3Bucket", "s3AutoSync", "uploadLimitBytes"} <= set(errors)
    assert "deleteMode" not in errors


async def test_s3_is_changed_by_superadmins_alone(site: IngestSite) -> None:
    admin = await as_role(site, Role.ADMIN)
    refused = await site.api.patch(SETTINGS, json={"s3AutoSync": False, "deleteMode": "hard"}, headers=admin)
    assert refused.status_code == 403
    assert "s3AutoSync" in refused.json()["detail"]
    assert (await site.api.patch(SETTINGS, json={"deleteMode": "hard"}, headers=admin)).status_code == 200
    assert (await patched(site, s3AutoSync=False)).status_code == 200
    photographer = await as_role(site, Role.PHOTOGRAPHER)
    assert (await site.api.get(SETTINGS, headers=photographer)).status_code == 403


async def test_entity_types_have_the_defaults_until_they_are_set(site: IngestSite) -> None:
    answer = await site.api.get(PRODUCT)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"0"')
    assert [variant["name"] for variant in answer.json()["variants"]] == ["large", "medium", "small", "thumb"]
    watermark = {"text": "© Example", "position": "center", "opacity": 0.3, "scale": 0.2, "margin": 0, "tiled": True}
    wanted = {"variants": [CARD], "strategy": "local_only", "watermark": watermark}
    put = await site.api.put(PRODUCT, json=wanted, headers={"If-Match": '"0"'})
    assert put.status_code == 200, put.text
    held = (await site.api.get(PRODUCT)).json()
    assert held["entityType"] == "product"
    assert (held["variants"], held["strategy"]) == ([CARD], "local_only")
    assert held["watermark"] == {**watermark, "pictureMediaId": None, "variants": None}
    stale = await site.api.put(PRODUCT, json=wanted, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    [event] = await site.rows.fetch("SELECT key FROM outbox WHERE topic = 'settings.events'")
    assert event["key"] == "entity-type:product"
    [change] = (await site.api.get(f"{SETTINGS}/audit")).json()["changes"]
    assert (change["settings"], set(change["after"])) == (
        "entity-type:product",
        {"variants", "strategy", "watermark"},
    )


async def test_history_pages_newest_first(site: IngestSite) -> None:
    for days in (1, 2, 3):
        await patched(site, softDeleteRetentionDays=days)
    first = (await site.api.get(f"{SETTINGS}/audit", params={"limit": 2})).json()
    rest = (await site.api.get(f"{SETTINGS}/audit", params={"limit": 2, "cursor": first["nextCursor"]})).json()
    assert [change["version"] for change in first["changes"] + rest["changes"]] == [3, 2, 1]
    assert rest["nextCursor"] is None


async def strategy_of_next_upload(site: IngestSite, **fields: str) -> StorageStrategy:
    accepted = await site.uploaded(**fields)
    strategy = await site.rows.fetchval("SELECT storage_strategy FROM media WHERE id = $1", accepted["mediaId"])
    return StorageStrategy(strategy)


async def test_uploads_follow_strategy_and_limit_at_once(site: IngestSite) -> None:
    assert await strategy_of_next_upload(site) is StorageStrategy.LOCAL_FIRST
    await patched(site, defaultStorageStrategy="local_only")
    assert await strategy_of_next_upload(site) is StorageStrategy.LOCAL_ONLY
    await site.api.put(PRODUCT, json={"variants": [CARD], "strategy": "local_first"})
    assert await strategy_of_next_upload(site) is StorageStrategy.LOCAL_FIRST
    assert await strategy_of_next_upload(site, entityType="article") is StorageStrategy.LOCAL_ONLY
    assert await strategy_of_next_upload(site, storageStrategy="local_only") is StorageStrategy.LOCAL_ONLY
    assert "storageStrategy" in errors_of(await site.upload(storageStrategy="both"))
    await patched(site, uploadLimitBytes=100)
    assert (await site.upload()).status_code == 413


async def test_hybrid_mode_is_switched_on_and_off(site: IngestSite) -> None:
    await patched(site, hybridModeEnabled=True, hybridWaitSeconds=0.5)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    assert (await site.upload()).status_code == 202
    assert loop.time() - started_at > 0.5, "it waited for the outcome until the deadline"


async def test_another_replica_follows_without_kafka(site: IngestSite) -> None:
    """Through the database, which both share."""
    feed = SettingsFeed("127.0.0.1:9", site.settings.media_defaults())
    unit_of_work = UnitOfWork(site.database, source="/mediabus/ingest-api", schema="ingest")
    store = SettingsStore(unit_of_work, feed, site.settings.media_defaults(), {})
    await patched(site, deleteMode="hard")
    await site.api.put(PRODUCT, json={"variants": [CARD]})
    following = asyncio.create_task(store.follow())
    await eventually(lambda: feed.version("entity-type:product") == 1, why="it looked into the database")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert feed.current().delete_mode == "hard"


async def test_what_the_topic_lacks_is_told_again_once(site: IngestSite) -> None:
    """A topic that was made anew beside a database that came from a backup."""
    feed = SettingsFeed("127.0.0.1:9", site.settings.media_defaults())
    unit_of_work = UnitOfWork(site.database, source="/mediabus/ingest-api", schema="ingest")
    store = SettingsStore(unit_of_work, feed, site.settings.media_defaults(), {})
    await patched(site, deleteMode="hard")

    async def told() -> int:
        return await site.count("outbox WHERE topic = 'settings.events'")

    for _ in range(2):
        await store.look()
    assert await told() == 1, "nobody knows what the topic holds before it was read"
    feed.caught_up = True
    for _ in range(3):
        await store.look()
    assert await told() == 2
    await patched(site, deleteMode="soft")
    for _ in range(3):
        await store.look()
    assert await told() == 4


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"3", b"{", b'{"deleteMode": "hard"', b'{"deleteMode": "\\ud800"}']
)
async def test_bodies_that_are_no_document_are_refused(site: IngestSite, body: bytes) -> None:
    for method, path in (("PATCH", SETTINGS), ("PUT", SETTINGS), ("PUT", PRODUCT)):
        answer = await site.api.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, (method, answer.text)
    assert await site.count("settings") == 0


@pytest.mark.parametrize("name", ["1x", "a b", "x" * 65, "ä", "a%00b"])
async def test_names_that_are_no_entity_type_are_refused(site: IngestSite, name: str) -> None:
    path = f"{SETTINGS}/entity-types/{name}"
    assert (await site.api.get(path)).status_code == 422
    assert (await site.api.put(path, json={"variants": [CARD]})).status_code == 422
