"""The scenarios of product consistency through the whole system: each check and each fix in its exact words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import signed_in
from tests.system import System, bucket_environment, system_of_its_own

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

pytestmark = pytest.mark.stack
BUCKET = "mediabus"


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("product-consistency")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_OBJECT_GRACE_SECONDS": "0",
        "MEDIABUS_RECORD_GRACE_SECONDS": "0",
        # Nobody but the calls below looks after the products.
        "MEDIABUS_SWEEP_EVERY_SECONDS": "3600",
        "MEDIABUS_SWEEP_PREFIXES": "[]",
        "MEDIABUS_SCRUB_ENABLED": "false",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        await made.start_all("ingest-api", "s3-syncer", "reconciler")
        yield made


@dataclass
class Shelf:
    """One product with a variant of 250g and two images."""

    http: httpx.AsyncClient
    client: S3Client
    url: str
    product_id: str
    variant_id: str
    keys: list[str]

    async def call(self, method: str, path: str, status: int, **options: Any) -> Any:
        answer = await self.http.request(method, f"{self.url}{path}", **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def lists(self, **given: list[str]) -> dict[str, Any]:
        names = ("orphanedFiles", "missingFiles", "syncedFiles", "errors")
        return {"productId": self.product_id, **{name: sorted(given.get(name, [])) for name in names}}

    async def checks_as(self, **given: list[str]) -> None:
        """The check gives these lists, once reconciler has heard of the last change."""

        async def as_given() -> bool:
            body = await self.call("GET", "/images/sync/check", 200)
            assert body == self.lists(**given)
            return True

        await eventually(as_given, every_seconds=0.1, why="the check gives these lists")

    async def fix(self, **wishes: bool) -> Any:
        return await self.call("POST", "/images/sync", 200, json=wishes)


@pytest.fixture
async def shelf(system: System, object_store_server: ObjectStoreServer) -> AsyncIterator[Shelf]:
    async with signed_in(system, system.services[0].base_url) as api, object_store_server.client() as client:
        product_id = (await api.http.post("/admin/products", json={"name": "Coffee"})).json()["id"]
        made = Shelf(api.http, client, f"/admin/products/{product_id}", product_id, "", [])
        made.variant_id = (await made.call("POST", "/variants", 201, json={"weight": "250g"}))["id"]
        for width_px in (48, 49):
            fields = {"variantId": made.variant_id, "imageType": "other-images"}
            files = {"file": ("front.jpg", photo_jpeg(width_px, 48))}
            made.keys.append((await made.call("POST", "/images", 201, data=fields, files=files))["fileName"])
        await made.checks_as(syncedFiles=made.keys)
        yield made


async def test_an_orphan(shelf: Shelf) -> None:
    orphan = f"products/{shelf.product_id}/250g/hero-card/by hand + more.jpg"
    await shelf.client.put_object(Bucket=BUCKET, Key=orphan, Body=photo_jpeg(50, 48))
    await shelf.checks_as(orphanedFiles=[orphan], syncedFiles=shelf.keys)
    assert await shelf.fix(removeOrphaned=True) == shelf.lists(syncedFiles=shelf.keys)
    await shelf.checks_as(syncedFiles=shelf.keys)


async def test_an_orphan_that_gets_its_record(shelf: Shelf) -> None:
    orphan = f"products/{shelf.product_id}/250g/hero-card/by hand.jpg"
    stray = f"products/{shelf.product_id}/notes.txt"
    for key in (orphan, stray):
        await shelf.client.put_object(Bucket=BUCKET, Key=key, Body=photo_jpeg(50, 48))
    fixed = await shelf.fix(removeOrphaned=True, recreateMissing=True)
    assert fixed == shelf.lists(syncedFiles=[*shelf.keys, orphan])
    images = (await shelf.call("GET", "", 200))["images"]
    assert sorted(image["fileName"] for image in images) == sorted([*shelf.keys, orphan])


async def test_a_missing_file_comes_back_from_the_disk_or_its_record_goes(shelf: Shelf, system: System) -> None:
    kept, lost = shelf.keys
    for key in shelf.keys:
        await shelf.client.delete_object(Bucket=BUCKET, Key=key)
    (system.media_root / lost).unlink()
    await shelf.checks_as(missingFiles=shelf.keys)
    assert await shelf.fix(recreateMissing=True) == shelf.lists(syncedFiles=[kept])
    assert [image["fileName"] for image in (await shelf.call("GET", "", 200))["images"]] == [kept]


async def test_a_weight_that_changed(shelf: Shelf) -> None:
    await shelf.call("PATCH", f"/variants/{shelf.variant_id}", 200, json={"weight": "500g"})
    moved = [key.replace("/250g/", "/500g/") for key in shelf.keys]
    await shelf.checks_as(syncedFiles=moved)
    assert await shelf.fix(removeOrphaned=True, recreateMissing=True) == shelf.lists(syncedFiles=moved)


async def test_a_variant_that_was_deleted(shelf: Shelf) -> None:
    await shelf.call("DELETE", f"/variants/{shelf.variant_id}", 204)
    await shelf.checks_as()
    assert await shelf.fix(removeOrphaned=True, recreateMissing=True) == shelf.lists()


async def test_an_undone_record_takes_the_variant_with_it_that_was_made_for_it(shelf: Shelf) -> None:
    before = await shelf.call("GET", "", 200)
    orphan = f"products/{shelf.product_id}/1 kg/hero-card/by hand.jpg"
    await shelf.client.put_object(Bucket=BUCKET, Key=orphan, Body=photo_jpeg(50, 48))
    assert await shelf.fix(recreateMissing=True) == shelf.lists(syncedFiles=[*shelf.keys, orphan])
    fixed = await shelf.call("GET", "", 200)
    assert [(one["weight"], one["isActive"]) for one in fixed["variants"]] == [("250g", True), ("1 kg", False)]
    run = (await shelf.http.get("/admin/reconcile/runs", params={"limit": 1})).json()["runs"][0]
    answer = await shelf.http.post(f"/admin/reconcile/plans/{run['planId']}/undo")
    assert answer.status_code in {200, 202}, answer.text
    await shelf.checks_as(orphanedFiles=[orphan], syncedFiles=shelf.keys)
    after = await shelf.call("GET", "", 200)
    assert after | {"updatedAt": before["updatedAt"]} == before
