"""Settings changed over HTTP take effect in the running services, without a restart of any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

SETTINGS = "/api/admin/media/settings"
ENTITY_TYPE = "poster"


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("settings")
    environment = bucket_environment(object_store_server)
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        await made.start_all("ingest-api", "image-processor", "ingest-api")
        yield made


async def settings_state(service: RunningService) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as client:
        details = (await client.get("/health/ready")).json()["details"]
    state: dict[str, Any] = details["settings"]
    return state


async def applied(service: RunningService, key: str, version: int) -> None:
    async def is_applied() -> bool:
        state = await settings_state(service)
        return bool(state["caughtUp"]) and int(state["versions"].get(key, 0)) >= version

    await eventually(is_applied, why=f"{key} {version} holds in {service.module}")


async def has_handled(service: RunningService, event_type: str) -> bool:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return any(line.startswith("mediabus_messages_handled_total{") and f'"{event_type}"' in line for line in lines)


async def rendered(api: Api) -> dict[str, tuple[int, str]]:
    accepted = await api.upload(photo_jpeg(1600, 1200), entityType=ENTITY_TYPE)
    job = await api.ended(accepted["jobId"])
    assert job["status"] == "completed", job
    record = await api.media(accepted["mediaId"])
    return {variant["name"]: (variant["width"], variant["mimeType"]) for variant in record["variants"]}


async def test_the_next_upload_has_the_variants_that_were_just_set(system: System) -> None:
    ingest, processor, _ = system.services
    key = f"entity-type:{ENTITY_TYPE}"
    async with signed_in(system, ingest.base_url) as api:
        assert set(await rendered(api)) == {"large", "medium", "small", "thumb"}
        for version, width_px in ((1, 500), (2, 333)):
            variants = [
                {"name": "card", "width": width_px, "format": "jpeg", "quality": 70},
                {"name": "tiny", "width": 64, "format": "webp", "quality": 50},
            ]
            answer = await api.http.put(f"{SETTINGS}/entity-types/{ENTITY_TYPE}", json={"variants": variants})
            assert answer.status_code == 200, answer.text
            await applied(processor, key, version)
            assert await rendered(api) == {"card": (width_px, "image/jpeg"), "tiny": (64, "image/webp")}


async def test_a_change_made_through_one_replica_holds_in_the_others(system: System) -> None:
    ingest, _, other = system.services
    async with signed_in(system, ingest.base_url) as api, signed_in(system, other.base_url) as elsewhere:
        answer = await api.http.patch(
            SETTINGS, json={"uploadLimitBytes": 100_000, "defaultStorageStrategy": "local_only"}
        )
        assert answer.status_code == 200, answer.text
        version = answer.json()["version"]
        await asyncio.gather(*(applied(service, "media", version) for service in system.services))
        assert (await elsewhere.post(photo_jpeg(2000, 1500, seed=1) + bytes(400_000))).status_code == 413
        accepted = await elsewhere.upload(photo_jpeg(200, 100))
        [row] = await system.rows(
            "ingest-api", "SELECT storage_strategy FROM media WHERE id = $1::uuid", accepted["mediaId"]
        )
        assert row["storage_strategy"] == "local_only"
        await elsewhere.ended(accepted["jobId"])
        stale = await elsewhere.http.patch(
            SETTINGS, json={"uploadLimitBytes": 200_000}, headers={"If-Match": f'"{version - 1}"'}
        )
        assert stale.status_code == 412


async def test_a_service_that_starts_later_knows_the_settings(system: System) -> None:
    later = await system.started("image-processor")
    await applied(later, f"entity-type:{ENTITY_TYPE}", 2)
    assert await later.stop() == 0


async def test_auto_sync_is_switched_off_and_on_in_the_running_syncer(
    system: System, object_store_server: ObjectStoreServer
) -> None:
    syncer = await system.started("s3-syncer")
    async with signed_in(system, system.services[0].base_url) as api:

        async def uploaded_with(auto_sync: bool) -> str:
            answer = await api.http.patch(
                SETTINGS, json={"s3AutoSync": auto_sync, "defaultStorageStrategy": "local_first"}
            )
            assert answer.status_code == 200, answer.text
            await applied(syncer, "media", answer.json()["version"])
            accepted = await api.upload(photo_jpeg(300, 200), entityType="switched")
            await api.ended(accepted["jobId"])
            return str(accepted["mediaId"])

        async def is_synced(media_id: str) -> bool:
            return bool((await api.media(media_id))["storageStatus"] == "synced")

        left_local = await uploaded_with(auto_sync=False)
        # Else it might find the switch on when its turn comes.
        await eventually(lambda: has_handled(syncer, "sync.media.v1"), why="the syncer was asked for the copy")
        copied = await uploaded_with(auto_sync=True)
        await eventually(lambda: is_synced(copied), within_seconds=60, every_seconds=0.2, why="it is in the bucket too")
        assert (await api.media(left_local))["storageStatus"] == "local_only"
    assert await syncer.stop() == 0
