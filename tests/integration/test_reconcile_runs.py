"""Plans, their execution and their undoing: reconciler and s3-syncer as processes on real stores and Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import DeletionReason, MediaDeletionBegunV1, MediaDeletionCompletedV1, ReconcileScope
from shared.identifiers import new_id
from shared.messaging.topics import RECONCILE_EVENTS
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.reconcile_world import BYTES, Product, ReconcileWorld, opened_world
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack
ALL = ReconcileScope(kind="products")
MEDIA = ReconcileScope(kind="media")
AGAIN = "undo tries them again"


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("reconcile-runs")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_OBJECT_GRACE_SECONDS": "0",
        "MEDIABUS_RECORD_GRACE_SECONDS": "0",
        "MEDIABUS_MEDIA_GRACE_SECONDS": "0",
        "MEDIABUS_TEMPORARY_KEPT_SECONDS": "0.001",
        "MEDIABUS_SWEEP_EVERY_SECONDS": "3600",
        "MEDIABUS_SCRUB_ENABLED": "false",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        yield made


@pytest.fixture(scope="module")
async def reconciler(system: System) -> RunningService:
    return await system.started("reconciler")


@pytest.fixture(scope="module")
async def syncer(system: System) -> RunningService:
    return await system.started("s3-syncer")


@pytest.fixture
async def world(
    system: System, reconciler: RunningService, syncer: RunningService, object_store_server: ObjectStoreServer
) -> AsyncIterator[ReconcileWorld]:
    for service in (reconciler, syncer):
        if not service.running:
            service.start()
            await service.wait_until_ready()
    async with (
        Bus(system.kafka_bootstrap, RECONCILE_EVENTS) as bus,
        opened_world(system, bus, object_store_server) as made,
    ):
        yield made
        await made.empty()


def lists(product: Product, **given: list[str]) -> dict[str, Any]:
    names = ("orphanedFiles", "missingFiles", "syncedFiles", "errors")
    return {"productId": str(product.product_id), **{name: given.get(name, []) for name in names}}


# --- what the two wishes mean -----------------------------------------------------------------------------------------


async def test_an_orphan_goes_into_quarantine(world: ReconcileWorld) -> None:
    product = await world.product()
    image, orphan = await world.image(product, "kept.png"), product.key("orphan.png")
    await world.put(orphan, b"nobody's")
    run_id = await world.start(product, "remove_orphaned")
    run = await world.reached(run_id, "completed")
    assert run["result"] == lists(product, syncedFiles=[image.key])
    assert run["counts"] | {"orphaned": 1, "synced": 1, "removals": 1, "removal_bytes": 8, "done": 1} == run["counts"]
    assert await world.stored(f"products/{product.product_id}") == {image.key: BYTES}
    assert await world.stored(f"quarantine/{run_id}/") == {f"quarantine/{run_id}/{orphan}": b"nobody's"}


async def test_without_wishes_nothing_is_done(world: ReconcileWorld) -> None:
    product = await world.product()
    missing, orphan = await world.image(product, "missing.png", is_stored=False), product.key("orphan.png")
    await world.put(orphan)
    assert await world.fixed(product) == lists(product, orphanedFiles=[orphan], missingFiles=[missing.key])
    assert await world.stored(f"products/{product.product_id}") == {orphan: BYTES}


async def test_what_parses_gets_its_record_and_only_the_rest_goes(world: ReconcileWorld) -> None:
    product = await world.product()
    parses, stray = product.key("parses.png"), f"products/{product.product_id}/stray.txt"
    await world.put(parses)
    await world.put(stray)
    assert await world.fixed(product, "remove_orphaned", "recreate_missing") == lists(product, syncedFiles=[parses])
    assert await world.stored(f"products/{product.product_id}") == {parses: BYTES}


async def test_a_lost_object_comes_back_from_the_disk(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "lost.png", on_disk=True)
    await world.remove(image.key)
    assert await world.fixed(product, "recreate_missing") == lists(product, syncedFiles=[image.key])
    assert await world.stored(image.key) == {image.key: BYTES}


async def test_the_record_of_what_is_gone_for_good_goes(world: ReconcileWorld) -> None:
    product = await world.product()
    gone = await world.image(product, "gone.png", is_stored=False)
    run_id = await world.start(product, "recreate_missing")
    assert (await world.reached(run_id, "completed"))["result"] == lists(product)
    assert gone.is_removed


async def test_removing_orphans_leaves_missing_ones_alone(world: ReconcileWorld) -> None:
    product = await world.product()
    gone = await world.image(product, "gone.png", is_stored=False)
    assert await world.fixed(product, "remove_orphaned") == lists(product, missingFiles=[gone.key])


async def test_a_copy_on_the_disk_that_was_lost_comes_back(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "lost.png", on_disk=True)
    (world.system.media_root / image.key).unlink()
    assert await world.fixed(product, "recreate_missing") == lists(product, syncedFiles=[image.key])
    assert world.on_disk(f"products/{product.product_id}") == {image.key: BYTES}


async def test_what_the_outside_overwrote_is_taken_over_in_both_places(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "new.png", on_disk=True)
    await world.put(image.key, b"another picture, longer")
    run_id = await world.start(product, "recreate_missing")
    assert (await world.reached(run_id, "completed"))["result"] == lists(product, syncedFiles=[image.key])
    assert world.on_disk(f"products/{product.product_id}") == {image.key: b"another picture, longer"}
    # What was replaced is not lost either.
    assert await world.stored(f"quarantine/{run_id}/disk/") == {f"quarantine/{run_id}/disk/{image.key}": BYTES}


OTHER_BYTES = bytes(reversed(BYTES))


async def test_other_bytes_of_the_same_length_are_taken_over_where_no_good_copy_is_left(world: ReconcileWorld) -> None:
    product = await world.product()
    lost = await world.image(product, "lost.png", on_disk=True)
    differing = await world.image(product, "differing.png", on_disk=True)
    for image in (lost, differing):
        await world.put(image.key, OTHER_BYTES)
    (world.system.media_root / lost.key).unlink()
    world.put_on_disk(differing.key, b"short")
    prefix = f"products/{product.product_id}"
    run_id = await world.start(product, "recreate_missing")
    run = await world.reached(run_id, "completed")
    assert (run["error"], run["result"]) == (None, lists(product, syncedFiles=[differing.key, lost.key]))
    assert world.on_disk(prefix) == await world.stored(prefix) == {lost.key: OTHER_BYTES, differing.key: OTHER_BYTES}
    assert {(item["action"], item["why"]) for item in await world.items(run_id)} == {
        ("refresh_record", "content_differs"),
        ("copy", "content_differs"),
    }
    await world.decide(run_id, product, "undo")
    assert (await world.reached(run_id, "undone"))["error"] is None
    assert world.on_disk(prefix) == {differing.key: b"short"}


async def test_a_lost_object_is_not_made_of_other_bytes_of_the_same_length(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "lost.png", on_disk=True)
    await world.remove(image.key)
    world.put_on_disk(image.key, OTHER_BYTES)
    run_id = await world.start(product, "remove_orphaned", "recreate_missing")
    run = await world.reached(run_id, "completed")
    assert (run["error"], run["result"]) == (None, lists(product))
    assert image.is_removed
    assert await world.stored(f"quarantine/{run_id}/") == {f"quarantine/{run_id}/disk/{image.key}": OTHER_BYTES}


async def test_a_file_on_the_disk_that_no_record_names_goes_into_quarantine(world: ReconcileWorld) -> None:
    product = await world.product()
    world.put_on_disk(product.key("left.png"), b"left")
    run_id = await world.start(product, "remove_orphaned")
    assert (await world.reached(run_id, "completed"))["result"] == lists(product)
    assert world.on_disk(f"products/{product.product_id}") == {}
    assert await world.stored(f"quarantine/{run_id}/") == {
        f"quarantine/{run_id}/disk/{product.key('left.png')}": b"left"
    }


async def test_a_record_that_is_refused_is_told_and_its_object_stays(world: ReconcileWorld) -> None:
    product = await world.product()
    key = product.key("a.png", weight="refused")
    await world.put(key)
    expected = lists(product, orphanedFiles=[key], errors=[f"{key}: refused: no such weight"])
    assert await world.fixed(product, "recreate_missing") == expected


async def test_keys_outside_every_product_are_told_and_left_alone(world: ReconcileWorld) -> None:
    await world.put("products/readme.txt")
    await world.put("products/not-a-product/250g/hero-card/a.png")
    result = await world.fixed(ALL, "remove_orphaned", "recreate_missing")
    (outside,) = [one for one in result["results"] if one["productId"] is None]
    assert outside["orphanedFiles"] == ["products/not-a-product/250g/hero-card/a.png", "products/readme.txt"]
    assert outside["errors"] == [
        f"{key}: outside_folders: lies in no product's folder, and is left alone" for key in outside["orphanedFiles"]
    ]
    assert set(await world.stored("products/")) == set(outside["orphanedFiles"])


@pytest.mark.parametrize("name", ["a b.png", "a+b.png", "grün 😀.png", "%41.png", "a&b=c?d#e.png"])
async def test_keys_of_every_kind_go_and_come_back(world: ReconcileWorld, name: str) -> None:
    product = await world.product()
    orphan = product.key(name)
    await world.put(orphan)
    run_id = await world.start(product, "remove_orphaned")
    await world.reached(run_id, "completed")
    assert await world.stored(f"products/{product.product_id}") == {}
    await world.decide(run_id, product, "undo")
    await world.reached(run_id, "undone")
    assert await world.stored(f"products/{product.product_id}") == {orphan: BYTES}


# --- the guard --------------------------------------------------------------------------------------------------------


async def test_a_large_removal_waits_for_a_person(world: ReconcileWorld) -> None:
    product = await world.product()
    orphans = [product.key(f"{number:02}.png") for number in range(21)]
    await asyncio.gather(*(world.put(key) for key in orphans))
    run_id = await world.start(product, "remove_orphaned")
    waiting = await world.reached(run_id, "awaiting_approval")
    assert waiting["needs_approval_because"] == ("21 of 21 files or records would be removed, more than 20 and 10%")
    assert waiting["plan_id"] == str(run_id)
    assert set(await world.stored(f"products/{product.product_id}")) == set(orphans)
    await world.decide(run_id, product, "approve")
    assert (await world.reached(run_id, "completed"))["result"] == lists(product)


async def test_what_a_record_names_by_the_time_of_approval_stays(world: ReconcileWorld) -> None:
    product = await world.product()
    orphans = [product.key(f"{number:02}.png") for number in range(21)]
    await asyncio.gather(*(world.put(key) for key in orphans))
    run_id = await world.start(product, "remove_orphaned")
    await world.reached(run_id, "awaiting_approval")
    await world.image(product, "07.png")
    await world.put(orphans[9], b"other bytes than those of the plan")
    await world.decide(run_id, product, "approve")
    run = await world.reached(run_id, "completed")
    assert run["result"]["syncedFiles"] == [orphans[7]]
    assert run["result"]["orphanedFiles"] == [orphans[9]]
    assert set(await world.stored(f"products/{product.product_id}")) == {orphans[7], orphans[9]}
    assert (run["counts"]["done"], run["counts"]["failed"]) == (19, 2)


async def test_a_copy_that_no_record_wants_by_the_time_of_approval_is_not_made(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "lost.png", on_disk=True)
    (world.system.media_root / image.key).unlink()
    run_id = await world.start(product, "recreate_missing", approves=False)
    await world.reached(run_id, "awaiting_approval")
    image.on_disk, image.version = False, 2
    await world.tell(image)
    for _ in range(2):
        await world.decide(run_id, product, "approve")
    run = await world.reached(run_id, "completed")
    assert run["error"] == "items_not_done: 1 of the plan's items could not be carried out (changed 1)"
    assert world.on_disk(f"products/{product.product_id}") == {}


async def test_a_discarded_plan_does_nothing_ever(world: ReconcileWorld) -> None:
    product = await world.product()
    orphan = product.key("orphan.png")
    await world.put(orphan)
    run_id = await world.start(product, "remove_orphaned", approves=False)
    await world.reached(run_id, "awaiting_approval")
    await world.decide(run_id, product, "discard")
    await world.reached(run_id, "discarded")
    await world.decide(run_id, product, "approve")
    # The later run of the same product comes after the decision.
    assert await world.fixed(product) == lists(product, orphanedFiles=[orphan])


# --- undo -------------------------------------------------------------------------------------------------------------


async def test_undo_brings_back_exactly_what_was_there_records_included(world: ReconcileWorld) -> None:
    product = await world.product()
    kept = await world.image(product, "kept.png", on_disk=True)
    gone = await world.image(product, "gone.png", is_stored=False)
    lost = await world.image(product, "lost.png", content=b"from the disk", on_disk=True)
    await world.remove(lost.key)
    parses, stray = product.key("parses.png"), f"products/{product.product_id}/stray.txt"
    await world.put(parses, b"parses")
    await world.put(stray, b"stray")
    world.put_on_disk(product.key("left.png"), b"left")
    prefix = f"products/{product.product_id}"
    before = await world.stored(prefix), world.on_disk(prefix), set(await recorded(world, product))
    run_id = await world.start(product, "remove_orphaned", "recreate_missing")
    run = await world.reached(run_id, "completed")
    assert run["result"] == lists(product, syncedFiles=[kept.key, lost.key, parses])
    assert gone.key not in await recorded(world, product)
    await world.decide(run_id, product, "undo")
    undone = await world.reached(run_id, "undone")
    assert undone["error"] is None
    assert (await world.stored(prefix), world.on_disk(prefix), set(await recorded(world, product))) == before
    assert await world.stored(f"quarantine/{run_id}") == {}
    # What the bucket tells of these makes no records of them: they were nobody's.
    assert {key: "nobodys" in await world.metadata(key) for key in (parses, stray, kept.key)} == {
        parses: False,
        stray: True,
        kept.key: False,
    }


async def recorded(world: ReconcileWorld, product: Product) -> list[str]:
    sql = "SELECT object_key FROM product_images WHERE product_id = $1 AND NOT is_removed"
    return [row["object_key"] for row in await world.system.rows("reconciler", sql, product.product_id)]


async def test_undo_overwrites_nothing_that_came_since(world: ReconcileWorld) -> None:
    product = await world.product()
    orphan = product.key("orphan.png")
    await world.put(orphan, b"before")
    run_id = await world.start(product, "remove_orphaned")
    await world.reached(run_id, "completed")
    await world.put(orphan, b"since")
    await world.decide(run_id, product, "undo")
    undone = await world.reached(run_id, "partly_undone")
    assert undone["error"] == f"items_not_undone: 1 of the plan's items could not be brought back (conflict 1); {AGAIN}"
    assert await world.stored(orphan) == {orphan: b"since"}
    assert await world.stored(f"quarantine/{run_id}/") == {f"quarantine/{run_id}/{orphan}": b"before"}


async def test_an_undo_that_failed_in_part_is_repeated_also_after_a_kill(
    world: ReconcileWorld, reconciler: RunningService, syncer: RunningService
) -> None:
    product = await world.product()
    gone = await world.image(product, "gone.png", is_stored=False)
    orphans = [product.key(f"{number}/stray.png") for number in range(3)]
    await asyncio.gather(*(world.put(key, key.encode()) for key in orphans))
    run_id = await world.start(product, "remove_orphaned", "recreate_missing")
    await world.reached(run_id, "completed")
    await world.put(orphans[1], b"since")
    await world.decide(run_id, product, "undo")
    partly = await world.reached(run_id, "partly_undone")
    counts = {name: partly["counts"][name] for name in ("done", "failed", "undone", "undo_failed")}
    assert counts == {"done": 4, "failed": 0, "undone": 3, "undo_failed": 1}
    (left,) = [item for item in await world.items(run_id) if item["status"] == "undo_failed"]
    assert (left["object_key"], left["code"]) == (orphans[1], "conflict")

    # What is in the way goes; what was brought back already is looked at by nobody.
    await world.remove(orphans[1])
    await world.put(orphans[0], b"overwritten since it came back")
    await syncer.stop()
    await world.decide(run_id, product, "undo")

    async def under_way() -> bool:
        return "undoing" in {item["status"] for item in await world.items(run_id)}

    await eventually(under_way, within_seconds=60, why="the second undo is under way")
    reconciler.kill()
    syncer.start()
    reconciler.start()
    await reconciler.wait_until_ready()
    undone = await world.reached(run_id, "undone")
    assert (undone["error"], undone["counts"]["undone"], undone["counts"]["undo_failed"]) == (None, 4, 0)
    assert await world.stored(f"products/{product.product_id}") == {
        key: b"overwritten since it came back" if key == orphans[0] else key.encode() for key in orphans
    }
    assert await recorded(world, product) == [gone.key]
    assert await world.stored(f"quarantine/{run_id}") == {}


@pytest.mark.parametrize("replaced", [True, False])
async def test_undo_takes_back_no_copy_that_was_overwritten_since(world: ReconcileWorld, replaced: bool) -> None:
    product = await world.product()
    image = await world.image(product, "overwritten.png", on_disk=True)
    await world.put(image.key, b"what the bucket holds now")
    if not replaced:
        (world.system.media_root / image.key).unlink()
    run_id = await world.start(product, "recreate_missing")
    await world.reached(run_id, "completed")
    assert world.on_disk(image.key.rpartition("/")[0]) == {image.key: b"what the bucket holds now"}
    world.put_on_disk(image.key, b"since")
    await world.decide(run_id, product, "undo")
    undone = await world.reached(run_id, "partly_undone")
    assert undone["error"] == f"items_not_undone: 1 of the plan's items could not be brought back (changed 1); {AGAIN}"
    assert world.on_disk(image.key.rpartition("/")[0]) == {image.key: b"since"}


async def test_undo_leaves_a_record_that_tells_of_other_bytes_since(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "a.png")
    await world.put(image.key, b"overwritten")
    run_id = await world.start(product, "recreate_missing")
    await world.reached(run_id, "completed")
    await world.put(image.key, b"and once more")
    image.content, image.version = b"and once more", image.version + 1
    await world.tell(image)
    await world.decide(run_id, product, "undo")
    assert (await world.reached(run_id, "partly_undone"))["result"]["syncedFiles"] == [image.key]


async def test_one_fix_leaves_no_other_bytes_on_the_disk(world: ReconcileWorld) -> None:
    product = await world.product()
    lost = await world.image(product, "lost.png", on_disk=True)
    await world.remove(lost.key)
    world.put_on_disk(lost.key, b"something else")
    found = product.key("found.png")
    await world.put(found, b"in the bucket")
    world.put_on_disk(found, b"on the disk it is something else")
    prefix = f"products/{product.product_id}"
    before = await world.stored(prefix), world.on_disk(prefix), set(await recorded(world, product))
    run_id = await world.start(product, "remove_orphaned", "recreate_missing")
    run = await world.reached(run_id, "completed")
    assert (run["error"], run["result"]) == (None, lists(product, syncedFiles=[found]))
    assert world.on_disk(prefix) == {}
    await world.decide(run_id, product, "undo")
    assert (await world.reached(run_id, "undone"))["error"] is None
    assert (await world.stored(prefix), world.on_disk(prefix), set(await recorded(world, product))) == before


# --- side by side, and half way ---------------------------------------------------------------------------------------


async def test_fixes_of_one_product_wait_for_each_other(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "kept.png")
    for number in range(5):
        await world.put(product.key(f"{number}.png"))
    run_ids = [await world.start(product, "remove_orphaned") for _ in range(4)]
    run_ids.append(await world.start(ALL, "remove_orphaned"))
    runs = [await world.reached(run_id, "completed") for run_id in run_ids]
    assert [run["result"] for run in runs[:4]] == [lists(product, syncedFiles=[image.key])] * 4
    assert sum(run["counts"]["done"] for run in runs) == 5
    assert sum(run["counts"]["failed"] for run in runs) == 0


async def test_a_listing_that_fails_leads_to_no_repair(
    world: ReconcileWorld, system: System, reconciler: RunningService
) -> None:
    product = await world.product()
    await world.image(product, "one.png")
    await reconciler.stop()
    blind = await system.started("reconciler", {"MEDIABUS_S3_ENDPOINT": "http://127.0.0.1:9"})
    try:
        run_id = await world.start(product, "recreate_missing", "remove_orphaned")
        run = await world.reached(run_id, "failed")
        assert "nothing follows from it" in run["error"]
        assert await world.items(run_id) == []
    finally:
        await blind.stop()
        reconciler.start()
        await reconciler.wait_until_ready()
    assert (await world.fixed(product))["missingFiles"] == []


async def test_a_run_whose_process_was_killed_goes_on(
    world: ReconcileWorld, system: System, reconciler: RunningService, syncer: RunningService
) -> None:
    product = await world.product()
    orphans = [product.key(f"{number:02}.png") for number in range(20)]
    await asyncio.gather(*(world.put(key) for key in orphans))
    await syncer.stop()
    run_id = await world.start(product, "remove_orphaned")

    async def under_way() -> bool:
        return [item["status"] for item in await world.items(run_id)] == ["sent"] * 20

    await eventually(under_way, within_seconds=60, why="the items are under way")
    reconciler.kill()
    syncer.start()
    reconciler.start()
    await reconciler.wait_until_ready()
    assert (await world.reached(run_id, "completed"))["result"] == lists(product)


async def test_a_product_that_is_not_known_can_not_be_fixed(world: ReconcileWorld) -> None:
    run_id = await world.start(Product(new_id(), new_id()), "remove_orphaned")
    assert (await world.reached(run_id, "failed"))["error"] == "unknown_product: there is no such product"


# --- media ------------------------------------------------------------------------------------------------------------


async def test_media_are_healed_from_whichever_place_has_the_good_copy(
    world: ReconcileWorld, object_store_server: ObjectStoreServer
) -> None:
    fine, only_on_disk, gone = await world.medium("fine"), await world.medium("a", in_bucket=False), ""
    not_in_bucket, not_on_disk = await world.medium("b"), await world.medium("c")
    cut_in_bucket, cut_on_disk = await world.medium("d"), await world.medium("e")
    gone = await world.medium("gone")
    await world.remove(not_in_bucket)
    await world.remove(gone)
    for key in (not_on_disk, gone):
        (world.system.media_root / key).unlink()
    leftover, rescued = await world.medium("f", in_bucket=False), await world.medium("g", in_bucket=False)
    await world.put(leftover)
    await world.put(rescued)
    (world.system.media_root / rescued).unlink()
    await world.put(cut_in_bucket, b"cut")
    world.put_on_disk(cut_on_disk, b"cut")
    orphan = f"media/00/{new_id()}/1/large.webp"
    await world.put(orphan)
    world.put_on_disk("media/00/.tmp-left")
    run_id = await world.start(MEDIA, "remove_orphaned", "recreate_missing")
    run = await world.reached(run_id, "completed")
    # What the disk had lost came back from an object that no record names: now the disk has it, and the object is
    # an orphan like the other one.
    assert run["result"]["files"] == {"missing_everywhere": [gone], "orphaned_in_bucket": [rescued]}
    assert (run["counts"]["orphaned"], run["counts"]["missing"], run["counts"]["differing"]) == (2, 4, 2)
    assert run["result"]["counts"]["synced"] == 8
    everywhere = {fine, not_in_bucket, not_on_disk, cut_in_bucket, cut_on_disk, rescued}
    assert await world.stored("media/") == dict.fromkeys(everywhere, BYTES)
    # What nobody finished is gone too, and leaves nothing in quarantine.
    assert world.on_disk("media") == dict.fromkeys(everywhere | {only_on_disk, leftover}, BYTES)
    # What was cut lies in quarantine with the orphans.
    assert sorted((await world.stored("quarantine/")).values()) == sorted([b"cut", b"cut", BYTES, BYTES])


async def test_files_of_deleted_media_are_left_to_who_deletes_them(world: ReconcileWorld, system: System) -> None:
    """Until that is done; what the bucket keeps then is nobody's orphan, any other file is."""
    going, kept, left = [await world.medium(name) for name in ("going", "kept", "left")]
    begun: dict[str, MediaDeletionBegunV1] = {}
    for key in (going, kept, left):
        media_id = UUID(key.split("/")[2])
        begun[key] = MediaDeletionBegunV1(
            deletion_id=new_id(),
            media_id=media_id,
            version=1,
            revision=1,
            keeps_bucket=key == kept,
            reason=DeletionReason.REQUESTED,
            begun_by=None,
            begun_at=datetime.now(UTC),
        )
        await world.bus.send(begun[key])
        answer = await world.bus.one(media_id, "reconcile.media-forgotten.v1")
        assert (answer["deletion_id"], answer["records"]) == (str(begun[key].deletion_id), 2)
        assert await system.rows("reconciler", "SELECT FROM media WHERE media_id = $1", media_id) == []
    for key in (kept, left):
        await world.bus.send(
            MediaDeletionCompletedV1(
                deletion_id=begun[key].deletion_id,
                media_id=begun[key].media_id,
                version=2,
                removed_files=0,
                removed_bytes=0,
                kept_files=0,
                kept_bytes=0,
                completed_at=datetime.now(UTC),
            )
        )

    async def both_are_completed() -> bool:
        [row] = await system.rows("reconciler", "SELECT count(completed_at) AS done FROM deleted_media")
        return bool(row["done"] == 2)

    await eventually(both_are_completed, within_seconds=30, why="the end of both deletions is known")
    run = await world.reached(await world.start(MEDIA, "remove_orphaned"), "completed")
    # in both places what is left, on the disk what only the bucket keeps
    assert (run["counts"]["orphaned"], run["counts"]["done"]) == (3, 3)
    assert (await world.stored("media/")).keys() == {going, kept}
    assert world.on_disk("media").keys() == {going}


async def test_the_scrub_finds_rot_and_heals_it(world: ReconcileWorld, system: System) -> None:
    product = await world.product()
    image = await world.image(product, "a.png", on_disk=True)
    on_disk, in_bucket, lost = await world.medium("disk"), await world.medium("bucket"), await world.medium("lost")
    rotten = b"a PICTURE"
    assert len(rotten) == len(BYTES)
    for key in (image.key, on_disk, lost):
        world.put_on_disk(key, rotten)
    for key in (in_bucket, lost):
        await world.put(key, rotten)
    scrubbing = await system.started(
        # One round, which begins at once.
        "reconciler",
        {"MEDIABUS_SCRUB_ENABLED": "true", "MEDIABUS_SCRUB_REST_SECONDS": "3600"},
    )
    try:

        async def healed() -> bool:
            held = world.on_disk("products") | world.on_disk("media")
            good = held[image.key] == held[on_disk] == (await world.stored(in_bucket))[in_bucket] == BYTES
            return bool(good and await system.rows("reconciler", "SELECT 1 FROM alerts WHERE body->>'key' = $1", lost))

        await eventually(healed, within_seconds=60, every_seconds=0.2, why="what can be healed is, the rest is told of")
    finally:
        await scrubbing.stop()
    assert world.on_disk("media")[lost] == rotten
    assert sorted((await world.stored("quarantine/")).values()) == [rotten] * 3
