"""Repairs of image records: done once, told of, and refused where the world has changed since they were planned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from deploy.local.object_store import ObjectStoreServer
from ingest_api.product_repairs import ProductRepairs
from shared.events import (
    BucketObjectV1,
    FileStepResult,
    FileTaskEndedV1,
    ProductImageType,
    RecordRepair,
    RepairRecordsV1,
)
from shared.identifiers import new_id
from shared.messaging.errors import Postponed, TransientError
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from tests.ingest_site import IngestSite, bucket_settings, running_site

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

pytestmark = pytest.mark.stack

BUCKET = "mediabus"


class Shelf:
    """One product of a site without s3-syncer, and files that others put into the bucket."""

    def __init__(self, site: IngestSite, client: S3Client, product_id: UUID, variant_id: str) -> None:
        self.site = site
        self.client = client
        self.product_id = product_id
        self.variant_id = variant_id

    def key(self, name: str, weight: str = "250g") -> str:
        return f"products/{self.product_id}/{weight}/hero-card/{name}"

    async def put(self, name: str, content: bytes, weight: str = "250g") -> str:
        key = self.key(name, weight)
        await self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return key

    async def repair(
        self, *wanted: RecordRepair, product_id: UUID | None = None, plan_id: UUID | None = None
    ) -> list[dict[str, Any]]:
        """The results of a command, as reconciler hears of them."""
        command = RepairRecordsV1(
            plan_id=plan_id or new_id(),
            product_id=product_id or self.product_id,
            repairs=wanted,
            wanted_at=datetime.now(UTC),
        )
        assert await self.site.handlers.deliver(command)
        answers = await self.told("catalog.records-repaired.v1")
        answer = answers[-1]
        assert answer["plan_id"] == str(command.plan_id)
        assert [result["item_id"] for result in answer["results"]] == [str(one.item_id) for one in wanted]
        results: list[dict[str, Any]] = answer["results"]
        return results

    async def one(self, action: str, key: str, plan_id: UUID | None = None, **values: Any) -> dict[str, Any]:
        wanted = RecordRepair.model_validate({"item_id": new_id(), "action": action, "object_key": key, **values})
        return (await self.repair(wanted, plan_id=plan_id))[0]

    async def told(self, event_type: str) -> list[dict[str, Any]]:
        rows = await self.site.rows.fetch(
            "SELECT payload FROM outbox WHERE headers->>'ce_type' = $1 ORDER BY id", event_type
        )
        return [json.loads(row["payload"]) for row in rows]

    async def fail_file_task(self) -> None:
        """Answer the one file task that was asked for as s3-syncer does where it could not carry it out."""
        (task,) = await self.told("sync.run-file-task.v1")
        failed = FileStepResult(status="failed", code="conflict", detail="other bytes")
        ended = FileTaskEndedV1(
            task_id=task["task_id"],
            scope=task["scope"],
            succeeded=False,
            results=(failed,) * len(task["steps"]),
            ended_at=datetime.now(UTC),
        )
        assert await self.site.handlers.deliver(ended)

    async def weights(self) -> dict[str, bool]:
        """The variants by their weights, and whether they are active, as callers and as reconciler read them."""
        product = (await self.site.api.get(f"/admin/products/{self.product_id}")).json()
        read = {variant["weight"]: variant["isActive"] for variant in product["variants"]}
        fact = (await self.told("catalog.product-changed.v1"))[-1]
        assert {variant["weight"]: variant["is_active"] for variant in fact["variants"]} == read
        return read

    async def images(self) -> list[dict[str, Any]]:
        answer = await self.site.api.get(f"/admin/products/{self.product_id}")
        assert answer.status_code == 200, answer.text
        images: list[dict[str, Any]] = answer.json()["images"]
        return images

    async def rows(self) -> list[dict[str, Any]]:
        sql = "SELECT * FROM product_images WHERE product_id = $1 ORDER BY object_key"
        return [dict(row) for row in await self.site.rows.fetch(sql, self.product_id)]


@pytest.fixture
async def shelf(database: TestDatabase, tmp_path: Path, object_store_server: ObjectStoreServer) -> AsyncIterator[Shelf]:
    bucket = {
        **bucket_settings(object_store_server),
        "product_change_wait_seconds": 0.0,
    }
    async with running_site(database, tmp_path / "media", **bucket) as site, object_store_server.client() as client:
        product = (await site.api.post("/admin/products", json={"name": "Tee"})).json()
        variant = await site.api.post(f"/admin/products/{product['id']}/variants", json={"weight": "250g"})
        yield Shelf(site, client, UUID(product["id"]), variant.json()["id"])


async def test_a_file_gets_its_record_from_its_path(shelf: Shelf) -> None:
    key = await shelf.put("a b+c.jpg", b"picture")
    disk = shelf.site.settings.media_root / key
    disk.parent.mkdir(parents=True)
    disk.write_bytes(b"picture")
    result = await shelf.one("make", key, size_bytes=7)
    assert (result["done"], result["code"]) == (True, None)
    assert await shelf.images() == [
        {
            "id": result["image_id"],
            "fileName": key,
            "variantWeight": "250g",
            "imageType": "hero-card",
            "imageUrl": f"/product-images/{result['image_id']}",
        }
    ]
    (fact,) = await shelf.told("catalog.product-image-changed.v1")
    assert (fact["sha256"], fact["size_bytes"], fact["mime_type"], fact["on_disk"], fact["is_settled"]) == (
        hashlib.sha256(b"picture").hexdigest(),
        7,
        "image/jpeg",
        True,
        True,
    )
    again = await shelf.one("make", key)
    assert (again["done"], again["code"]) == (False, "already_recorded")
    assert len(await shelf.rows()) == 1


async def test_a_weight_that_no_variant_has_gets_a_disabled_one(shelf: Shelf) -> None:
    key = await shelf.put("a.jpg", b"picture", "1 kg")
    assert (await shelf.one("make", key))["done"]
    product = (await shelf.site.api.get(f"/admin/products/{shelf.product_id}")).json()
    assert [(one["weight"], one["isActive"]) for one in product["variants"]] == [("250g", True), ("1 kg", False)]
    assert (await shelf.told("catalog.product-changed.v1"))[-1]["variants"][1]["weight"] == "1 kg"


async def test_the_variant_that_a_plan_made_goes_with_the_plan(shelf: Shelf) -> None:
    plan_id = new_id()
    keys = [await shelf.put(name, b"picture", "1 kg") for name in ("a.jpg", "b.jpg")]
    for key in keys:
        assert (await shelf.one("make", key, plan_id))["done"]
    assert await shelf.weights() == {"250g": True, "1 kg": False}
    assert (await shelf.one("remove", keys[0], plan_id))["done"]
    assert await shelf.weights() == {"250g": True, "1 kg": False}, "an image is in it"
    assert (await shelf.one("remove", keys[1], plan_id))["done"]
    assert await shelf.weights() == {"250g": True}
    # And comes back with it, should the plan be made anew.
    assert (await shelf.one("make", keys[0]))["done"]
    assert await shelf.weights() == {"250g": True, "1 kg": False}


async def test_a_variant_that_others_made_changed_or_use_outlives_the_plan(shelf: Shelf) -> None:
    url = f"/admin/products/{shelf.product_id}/variants"
    plan_id = new_id()
    weights = ("1 kg", "2 kg", "3 kg", "250g")
    keys = {weight: await shelf.put("a.jpg", b"picture", weight) for weight in weights}
    for key in keys.values():
        assert (await shelf.one("make", key, plan_id))["done"]
    product = (await shelf.site.api.get(f"/admin/products/{shelf.product_id}")).json()
    variants = {variant["weight"]: variant["id"] for variant in product["variants"]}
    assert (await shelf.site.api.patch(f"{url}/{variants['1 kg']}", json={"isActive": True})).status_code == 200
    fields = {"variantId": variants["2 kg"], "imageType": "hero-card"}
    sent = await shelf.site.api.post(
        f"/admin/products/{shelf.product_id}/images", data=fields, files={"file": ("b.jpg", photo_jpeg(40, 30))}
    )
    assert sent.status_code == 202, "on its way"
    # Another plan takes a record away: what the variant was before is not its affair.
    assert (await shelf.one("remove", keys["3 kg"]))["done"]
    for weight in ("1 kg", "2 kg", "250g"):
        assert (await shelf.one("remove", keys[weight], plan_id))["done"]
    assert await shelf.weights() == {"250g": True, "1 kg": True, "2 kg": False, "3 kg": False}


async def test_a_record_that_goes_can_come_back(shelf: Shelf) -> None:
    key = await shelf.put("a.jpg", b"picture")
    image_id = (await shelf.one("make", key))["image_id"]
    (before,) = await shelf.rows()
    refused = await shelf.one("remove", key, image_id=image_id, size_bytes=8)
    assert (refused["done"], refused["code"]) == (False, "changed")
    assert (await shelf.one("remove", key, image_id=image_id, size_bytes=7))["done"]
    assert await shelf.rows() == []
    gone = await shelf.one("remove", key, image_id=image_id)
    assert (gone["done"], gone["code"]) == (False, "not_recorded")
    for _ in range(2):
        assert (await shelf.one("restore", key, image_id=image_id))["done"]
        (after,) = await shelf.rows()
        assert after | {"version": before["version"]} == before
    facts = await shelf.told("catalog.product-image-changed.v1")
    assert [(fact["version"], fact["is_removed"]) for fact in facts] == [(1, False), (2, True), (3, False)]


async def test_a_record_takes_over_what_is_stored(shelf: Shelf) -> None:
    key = await shelf.put("a.jpg", b"picture")
    image_id = (await shelf.one("make", key))["image_id"]
    await shelf.put("a.jpg", b"another one")
    stale = await shelf.one("refresh", key, image_id=image_id, size_bytes=7)
    assert (stale["done"], stale["code"]) == (False, "changed")
    assert (await shelf.one("refresh", key, image_id=image_id, size_bytes=11))["done"]
    (row,) = await shelf.rows()
    assert (row["size_bytes"], row["sha256"]) == (11, hashlib.sha256(b"another one").hexdigest())
    # Taking a refresh back names what the record told before, and what it tells since, whatever is stored now.
    former, now = (hashlib.sha256(content).hexdigest() for content in (b"picture", b"another one"))
    values: dict[str, Any] = {"image_id": image_id, "size_bytes": 7, "sha256": former}
    for action in ("refresh", "remove"):
        since = await shelf.one(action, key, **values, expected_sha256=former)
        assert (since["done"], since["code"]) == (False, "changed")
    taken_back = await shelf.one("refresh", key, **values, expected_sha256=now)
    assert (taken_back["done"], taken_back["sha256"]) == (True, former)
    assert (await shelf.one("refresh", key, image_id=image_id, size_bytes=7, sha256=former))["done"]
    (row,) = await shelf.rows()
    assert (row["size_bytes"], row["sha256"]) == (7, former)


async def test_what_does_not_fit_is_refused_alone(shelf: Shelf) -> None:
    good = await shelf.put("good.jpg", b"picture")
    outside = f"products/{shelf.product_id}/250g/poster/a.jpg"
    await shelf.client.put_object(Bucket=BUCKET, Key=outside, Body=b"x")
    foreign = await shelf.put("a.jpg", b"x")
    wanted = [
        RecordRepair(item_id=new_id(), action="make", object_key=outside),
        RecordRepair(item_id=new_id(), action="make", object_key=shelf.key("missing.jpg")),
        RecordRepair(item_id=new_id(), action="make", object_key=foreign, size_bytes=5),
        RecordRepair(item_id=new_id(), action="make", object_key=foreign.replace(str(shelf.product_id), str(new_id()))),
        RecordRepair(item_id=new_id(), action="refresh", object_key=good, sha256="0" * 64, size_bytes=1),
        RecordRepair(item_id=new_id(), action="restore", object_key=good, image_id=new_id()),
        RecordRepair(item_id=new_id(), action="make", object_key=good, image_type=ProductImageType.HERO_CARD),
    ]
    results = await shelf.repair(*wanted)
    assert [result["code"] for result in results] == [
        "outside_layout",
        "object_missing",
        "changed",
        "object_missing",
        "not_recorded",
        "not_kept",
        None,
    ]
    assert [image["fileName"] for image in await shelf.images()] == [good]
    unknown = await shelf.repair(wanted[6], product_id=new_id())
    assert unknown[0]["code"] == "product_unknown"


async def test_a_record_in_a_change_is_left_alone(shelf: Shelf) -> None:
    key = await shelf.put("a.jpg", b"picture")
    image_id = (await shelf.one("make", key))["image_id"]
    url = f"/admin/products/{shelf.product_id}/variants/{shelf.variant_id}"
    assert (await shelf.site.api.patch(url, json={"weight": "300g"})).status_code == 202
    arriving = await shelf.put("a.jpg", b"picture", "300g")
    before = await shelf.rows()
    for action, wanted_key in (("remove", key), ("refresh", key), ("make", arriving), ("make", key)):
        result = await shelf.one(action, wanted_key)
        assert (result["done"], result["code"]) == (False, "in_change"), action
    assert await shelf.rows() == before
    # The change fails, and the record is as it was: then it may be repaired.
    await shelf.fail_file_task()
    assert (await shelf.one("remove", key, image_id=image_id))["done"]


def told_of(key: str, happened: str = "created") -> BucketObjectV1:
    return BucketObjectV1(
        bucket=BUCKET,
        object_key=key,
        happened=happened,
        event_name=f"s3:Object{happened.title()}:Any",
        happened_at=datetime.now(UTC),
        told_by="webhook",
    )


async def test_what_the_bucket_tells_is_looked_at(shelf: Shelf) -> None:
    """Doubled, late and in any order: what is there when it is heard of is what counts."""
    hear = shelf.site.handlers.deliver
    key = await shelf.put("a b+ü.jpg", b"picture")
    for happened in ("removed", "created", "created"):
        await hear(told_of(key, happened))
    (made,) = await shelf.rows()
    assert (made["object_key"], made["sha256"], made["missing_since"]) == (
        key,
        hashlib.sha256(b"picture").hexdigest(),
        None,
    )
    await shelf.put("a b+ü.jpg", b"another one")
    await hear(told_of(key))
    (changed,) = await shelf.rows()
    assert (changed["id"], changed["size_bytes"]) == (made["id"], 11)

    await shelf.client.delete_object(Bucket=BUCKET, Key=key)
    # The news of its making comes after that of its removal.
    await hear(told_of(key, "removed"))
    await hear(told_of(key))
    (marked,) = await shelf.rows()
    assert marked["missing_since"] is not None
    assert (await shelf.site.api.get(f"/product-images/{marked['id']}")).status_code == 404
    await shelf.put("a b+ü.jpg", b"another one")
    assert (await shelf.site.api.get(f"/product-images/{marked['id']}")).status_code == 302
    await hear(told_of(key))
    (found,) = await shelf.rows()
    assert found == changed
    facts = await shelf.told("catalog.product-image-changed.v1")
    assert [fact["version"] for fact in facts] == [1, 2]


async def test_no_record_is_made_of_what_an_undo_brought_back_as_nobodys(shelf: Shelf) -> None:
    hear = shelf.site.handlers.deliver
    key = await shelf.put("left.jpg", b"picture", "999g")
    await shelf.client.copy_object(
        Bucket=BUCKET,
        Key=key,
        CopySource={"Bucket": BUCKET, "Key": key},
        MetadataDirective="REPLACE",
        Metadata={"nobodys": "true"},
    )
    for _ in range(2):
        assert await hear(told_of(key))
    assert await shelf.rows() == []
    assert await shelf.weights() == {"250g": True}
    # Whoever puts it anew says that it is somebody's.
    await shelf.put("left.jpg", b"another", "999g")
    assert await hear(told_of(key))
    assert [row["object_key"] for row in await shelf.rows()] == [key]


async def test_what_leaves_or_comes_while_it_is_looked_at_is_looked_at_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change may begin and end between the look and the lock: no record is made of what is gone."""
    hear, look = shelf.site.handlers.deliver, ProductRepairs._see
    key = await shelf.put("a.jpg", b"picture")

    async def too_early(self: ProductRepairs, object_key: str) -> Any:
        seen = await look(self, object_key)
        await shelf.client.delete_object(Bucket=BUCKET, Key=object_key)
        return seen

    async def too_early_as_well(self: ProductRepairs, object_key: str) -> Any:
        seen = await look(self, object_key)
        await shelf.put("a.jpg", b"picture")
        return seen

    for meanwhile in (too_early, too_early_as_well):
        with monkeypatch.context() as patched:
            patched.setattr(ProductRepairs, "_see", meanwhile)
            with pytest.raises(TransientError, match="object_changing"):
                await hear(told_of(key))
        assert await shelf.rows() == []
    await hear(told_of(key))
    assert len(await shelf.rows()) == 1


async def test_what_the_bucket_tells_of_others_or_of_changes_is_left_alone(shelf: Shelf) -> None:
    hear = shelf.site.handlers.deliver
    foreign = await shelf.put("a.jpg", b"picture")
    elsewhere = told_of(foreign).model_copy(update={"bucket": "another"})
    no_product = foreign.replace(str(shelf.product_id), str(new_id()))
    outside = f"products/{shelf.product_id}/notes.txt"
    for event in (elsewhere, told_of(no_product), told_of(outside)):
        await hear(event)
    assert await shelf.rows() == []
    await hear(told_of(foreign))
    url = f"/admin/products/{shelf.product_id}/variants/{shelf.variant_id}"
    assert (await shelf.site.api.patch(url, json={"weight": "300g"})).status_code == 202
    before = await shelf.rows()
    await hear(told_of(foreign))
    await shelf.client.delete_object(Bucket=BUCKET, Key=foreign)
    await hear(told_of(foreign, "removed"))
    assert await shelf.rows() == before


async def test_other_bytes_are_taken_over_once_a_change_has_ended(shelf: Shelf) -> None:
    """Of the same length no listing shows them, so what was told of them must not be forgotten."""
    hear = shelf.site.handlers.deliver
    key = await shelf.put("a.jpg", b"picture")
    await hear(told_of(key))
    url = f"/admin/products/{shelf.product_id}/variants/{shelf.variant_id}"
    assert (await shelf.site.api.patch(url, json={"weight": "300g"})).status_code == 202
    await shelf.put("a.jpg", b"erutcip")
    arriving = await shelf.put("a.jpg", b"picture", "300g")
    before = await shelf.rows()
    for event in (told_of(key), told_of(arriving)):
        with pytest.raises(Postponed, match="in_change"):
            await hear(event)
    assert await shelf.rows() == before

    await shelf.fail_file_task()
    await hear(told_of(key))
    (row,) = await shelf.rows()
    assert (row["object_key"], row["sha256"]) == (key, hashlib.sha256(b"erutcip").hexdigest())


async def test_while_the_bucket_is_away_a_repair_waits(shelf: Shelf, object_store_server: ObjectStoreServer) -> None:
    key = await shelf.put("a.jpg", b"picture")
    await object_store_server.stop()
    try:
        with pytest.raises(Postponed, match="store_away"):
            await shelf.one("make", key)
        with pytest.raises(Postponed, match="store_away"):
            await shelf.site.handlers.deliver(told_of(key))
    finally:
        await object_store_server.start()
    assert await shelf.rows() == []
    assert (await shelf.one("make", key))["done"]


async def test_an_answer_that_is_told_again_brings_nothing_on(shelf: Shelf) -> None:
    key = await shelf.put("a.jpg", b"picture")
    image_id = (await shelf.one("make", key))["image_id"]
    answer = await shelf.site.api.delete(f"/admin/products/{shelf.product_id}/images/{image_id}")
    assert answer.status_code == 202
    (task,) = await shelf.told("sync.run-file-task.v1")
    ended = FileTaskEndedV1(
        task_id=task["task_id"],
        scope=task["scope"],
        succeeded=True,
        results=(FileStepResult(status="done"),) * len(task["steps"]),
        ended_at=datetime.now(UTC),
    )
    event_id = new_id()
    assert await shelf.site.handlers.deliver(ended, event_id=event_id)
    assert not await shelf.site.handlers.deliver(ended, event_id=event_id)
    assert await shelf.site.handlers.deliver(ended)
    job = (await shelf.site.api.get(answer.headers["location"])).json()
    assert (job["status"], job["kind"], job["error"]) == ("completed", "delete_image", None)
    facts = await shelf.told("catalog.product-image-changed.v1")
    assert [(fact["version"], fact["is_removed"]) for fact in facts] == [(1, False), (2, False), (3, True)]
