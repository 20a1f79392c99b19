"""Checks and fixes over HTTP: ingest-api asks, reconciler compares real stores with what it was told, files move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.identifiers import new_id
from shared.messaging.topics import RECONCILE_EVENTS
from shared.testing.waiting import eventually
from tests.api_client import signed_in
from tests.bus import Bus
from tests.reconcile_world import ReconcileWorld, opened_world
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("reconcile-checks")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_OBJECT_GRACE_SECONDS": "0",
        "MEDIABUS_RECORD_GRACE_SECONDS": "0",
        "MEDIABUS_SWEEP_EVERY_SECONDS": "3600",
        "MEDIABUS_SCRUB_ENABLED": "false",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        yield made


@pytest.fixture(scope="module")
async def ingest(system: System) -> RunningService:
    return await system.started("ingest-api")


@pytest.fixture(scope="module")
async def reconciler(system: System) -> RunningService:
    return await system.started("reconciler")


@pytest.fixture(scope="module")
async def api_key(system: System, ingest: RunningService) -> str:
    async with signed_in(system, ingest.base_url) as api:
        answer = await api.http.post("/api/admin/api-keys", json={"name": "tests", "role": "admin"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])


@pytest.fixture
async def world(
    system: System,
    ingest: RunningService,
    reconciler: RunningService,
    api_key: str,
    object_store_server: ObjectStoreServer,
) -> AsyncIterator[ReconcileWorld]:
    async with (
        Bus(system.kafka_bootstrap, RECONCILE_EVENTS) as bus,
        opened_world(system, bus, object_store_server, ingest.base_url, api_key) as made,
    ):
        yield made
        await made.empty()


async def test_one_product_in_the_words_of_the_contract(world: ReconcileWorld) -> None:
    product = await world.product()
    await world.image(product, "synced.png")
    await world.image(product, "missing.png", is_stored=False)
    await world.put(product.key("orphan.png"))
    assert await world.checked(product) == {
        "productId": str(product.product_id),
        "orphanedFiles": [product.key("orphan.png")],
        "missingFiles": [product.key("missing.png")],
        "syncedFiles": [product.key("synced.png")],
        "errors": [],
    }


async def test_what_differs_and_what_lies_on_the_disk_is_told_among_the_errors(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "differs.png")
    await world.put(image.key, b"something longer than before")
    world.put_on_disk(product.key("left.png"))
    body = await world.checked(product)
    assert body["errors"] == [
        f"{product.key('differs.png')}: content_differs: what is stored is not what the record says",
        f"{product.key('left.png')}: orphaned_on_disk: lies on the disk without a record",
    ]
    assert (body["orphanedFiles"], body["missingFiles"], body["syncedFiles"]) == ([], [], [])


async def test_a_record_that_is_being_changed_is_in_no_list(world: ReconcileWorld) -> None:
    product = await world.product()
    await world.image(product, "going.png", is_stored=False, changes={"is_settled": False})
    body = await world.checked(product)
    assert (body["orphanedFiles"], body["missingFiles"], body["syncedFiles"], body["errors"]) == ([], [], [], [])


async def test_an_older_fact_that_comes_late_changes_nothing(world: ReconcileWorld) -> None:
    product = await world.product()
    image = await world.image(product, "newer.png", version=3)
    image.version, image.is_removed = 2, True
    await world.bus.send(image.event())
    later = await world.image(product, "z.png")
    assert (await world.checked(product))["syncedFiles"] == [image.key, later.key]


@pytest.mark.parametrize("name", ["a b.png", "a+b.png", "grün 😀.png", "%41.png", "a&b=c?d#e.png", "'quoted\".png"])
async def test_keys_of_every_kind_are_the_same_in_all_places(world: ReconcileWorld, name: str) -> None:
    product = await world.product()
    image = await world.image(product, name, on_disk=True)
    assert (await world.checked(product))["syncedFiles"] == [image.key]


async def test_all_products_in_the_words_of_the_contract(world: ReconcileWorld) -> None:
    # Those of other tests are known too, and have no files any more.
    before = (await world.http.get("/admin/products/sync/check-all")).json()
    clean, broken = await world.product(), await world.product()
    image = await world.image(clean, "one.png")
    await world.put(broken.key("orphan.png"))
    unknown = f"products/{new_id()}/250g/hero-card/a.png"
    await world.put(unknown)
    await world.put("products/readme.txt")
    answer = await world.http.get("/admin/products/sync/check-all")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    results = {result["productId"]: result for result in body.pop("results")}
    assert body == {
        "totalProducts": before["totalProducts"] + 2,
        "totalImages": before["totalImages"] + 1,
        "orphanedFiles": 3,
        "missingFiles": before["missingFiles"],
        "syncedFiles": 1,
        "errors": before["errors"] + 1,
    }
    assert results[str(clean.product_id)]["syncedFiles"] == [image.key]
    assert results[str(broken.product_id)]["orphanedFiles"] == [broken.key("orphan.png")]
    assert results[unknown.split("/")[1]]["orphanedFiles"] == [unknown]
    assert results[None]["orphanedFiles"] == ["products/readme.txt"]


async def test_an_unknown_product_is_404(world: ReconcileWorld) -> None:
    answer = await world.check(new_id())
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_nobody_checks_without_a_key(world: ReconcileWorld, ingest: RunningService) -> None:
    async with httpx.AsyncClient(base_url=ingest.base_url, timeout=30) as nobody:
        answer = await nobody.get("/admin/products/sync/check-all")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")


async def test_many_who_ask_at_once_get_their_own_answers(world: ReconcileWorld) -> None:
    products = [await world.product() for _ in range(5)]
    images = [await world.image(product, "one.png") for product in products]
    bodies = await asyncio.gather(*(world.checked(product) for product in products for _ in range(10)))
    assert [body["syncedFiles"] for body in bodies] == [[image.key] for image in images for _ in range(10)]


async def test_a_store_that_breaks_off_gives_no_answer_that_looks_like_loss(
    world: ReconcileWorld, system: System, reconciler: RunningService, api_key: str
) -> None:
    product = await world.product()
    await world.image(product, "one.png")
    await reconciler.stop()
    blind = await system.started("reconciler", {"MEDIABUS_S3_ENDPOINT": "http://127.0.0.1:9"})
    try:
        answer = await world.check(product)
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert "broke off" in answer.json()["detail"]
    finally:
        await blind.stop()
        reconciler.start()
        await reconciler.wait_until_ready()


async def test_a_report_too_long_for_one_message_is_answered_whole_and_kept_with_its_run(world: ReconcileWorld) -> None:
    product = await world.product()
    names = [f"{number:04}-{'n' * 200}" for number in range(2500)]
    for name in names:
        world.put_on_disk(product.key(name))
    expected = [f"{product.key(name)}: orphaned_on_disk: lies on the disk without a record" for name in names]
    assert sum(map(len, expected)) > 700_000
    assert (await world.checked(product))["errors"] == expected
    everything = (await world.http.get("/admin/products/sync/check-all")).json()
    (found,) = [one for one in everything["results"] if one["productId"] == str(product.product_id)]
    assert (everything["errors"], found["errors"]) == (len(expected), expected)

    started = await world.http.post("/admin/reconcile/runs", json={"scope": "products", "approve": True})
    run = await ended(world, started)
    assert (run["result"]["errors"], run["result"]["results"], run["result"]["truncated"]) == (2500, [], True)
    told: list[str] = []
    part: int | None = 0
    while part is not None:
        page = (await world.http.get(f"/admin/reconcile/reports/{run['id']}", params={"part": part})).json()
        told += [error for one in page["results"] for error in one["errors"]]
        part = page["next"]
    assert told == expected
    unknown = await world.http.get(f"/admin/reconcile/reports/{new_id()}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


# --- fixes over HTTP --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def syncer(system: System) -> RunningService:
    return await system.started("s3-syncer")


async def test_a_fix_answers_in_the_words_of_the_contract(world: ReconcileWorld, syncer: RunningService) -> None:
    product = await world.product()
    image, orphan = await world.image(product, "kept.png"), product.key("orphan.png")
    await world.put(orphan)
    answer = await world.http.post(f"/admin/products/{product.product_id}/images/sync", json={"removeOrphaned": True})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "productId": str(product.product_id),
        "orphanedFiles": [],
        "missingFiles": [],
        "syncedFiles": [image.key],
        "errors": [],
    }
    everything = await world.http.post("/admin/products/sync/sync-all", json={})
    assert everything.status_code == 200, everything.text
    assert (everything.json()["syncedFiles"], everything.json()["orphanedFiles"]) == (1, 0)


async def ended(world: ReconcileWorld, answer: httpx.Response) -> dict[str, Any]:
    """The run of an answer at its end: on a busy machine the answer may be that it goes on."""

    async def final() -> dict[str, Any] | None:
        run: dict[str, Any] = (await world.http.get(answer.headers["location"])).json()
        return None if run["status"] in {"comparing", "executing", "undoing"} else run

    assert answer.status_code in {200, 202}, answer.text
    run: dict[str, Any] = await eventually(final, within_seconds=60, every_seconds=0.1, why="the run ends")
    return run


async def test_a_large_removal_is_409_with_its_plan_then_read_approved_and_undone(
    world: ReconcileWorld, syncer: RunningService
) -> None:
    product = await world.product()
    orphans = [product.key(f"{number:02}.png") for number in range(21)]
    for key in orphans:
        await world.put(key)
    fix = f"/admin/products/{product.product_id}/images/sync"
    refused = await world.http.post(fix, json={"removeOrphaned": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_needed")
    plan = f"/admin/reconcile/plans/{refused.json()['planId']}"

    first = (await world.http.get(plan, params={"limit": 20})).json()
    rest = (await world.http.get(plan, params={"limit": 20, "after": first["next"]})).json()
    assert [item["key"] for item in first["items"] + rest["items"]] == orphans
    assert {(item["action"], item["why"], item["status"]) for item in first["items"]} == {
        ("remove", "orphaned_in_bucket", "planned")
    }
    assert (first["run"]["counts"]["removals"], first["run"]["counts"]["removalBytes"]) == (21, 21 * 9)
    assert (rest["next"], rest["summary"]) == (None, None)
    group = {"action": "remove", "why": "orphaned_in_bucket", "place": "bucket", "items": 21, "sizeBytes": 21 * 9}
    files = {"why": "orphaned_in_bucket", "becomesSynced": False, "files": 21}
    expected = {"groups": [{**group, "status": "planned"}], "files": [{**files, "done": 0}], "isExpired": False}
    assert first["summary"] == expected

    assert (await world.http.post(f"{plan}/undo")).status_code == 409
    approved = await ended(world, await world.http.post(f"{plan}/approve"))
    assert (approved["status"], approved["result"]["orphanedFiles"]) == ("completed", [])
    assert (await world.http.post(f"{plan}/approve")).status_code == 409
    done = (await world.http.get(plan, params={"limit": 1})).json()["summary"]
    assert (done["groups"], done["files"]) == ([{**group, "status": "done"}], [{**files, "done": 21}])

    undone = await ended(world, await world.http.post(f"{plan}/undo"))
    assert (undone["status"], undone["result"]["orphanedFiles"]) == ("undone", orphans)
    assert set(await world.stored(f"products/{product.product_id}")) == set(orphans)

    (run, *_) = (await world.http.get("/admin/reconcile/runs", params={"limit": 1})).json()["runs"]
    assert (run["planId"], run["status"]) == (refused.json()["planId"], "undone")
    assert [one["decision"] for one in run["decisions"]] == ["start", "approve", "undo"]
    assert {one["decidedBy"] for one in run["decisions"]} == {run["requestedBy"]}


async def test_a_plan_that_somebody_wants_to_read_waits_and_can_be_discarded(world: ReconcileWorld) -> None:
    product = await world.product()
    await world.put(product.key("orphan.png"))
    body = {"scope": "product", "productId": str(product.product_id), "removeOrphaned": True}
    run = (await world.http.post("/admin/reconcile/runs", json=body)).json()
    assert (run["status"], run["planId"]) == ("awaiting_approval", run["id"])
    discarded = await world.http.post(f"/admin/reconcile/plans/{run['id']}/discard")
    assert discarded.json()["status"] == "discarded"
    assert (await world.checked(product))["orphanedFiles"] == [product.key("orphan.png")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/admin/products/{id}/images/sync"),
        ("GET", "/admin/reconcile/plans/{id}"),
        ("GET", "/admin/reconcile/runs/{id}"),
        ("POST", "/admin/reconcile/plans/{id}/approve"),
    ],
)
async def test_what_is_not_known_is_404(world: ReconcileWorld, method: str, path: str) -> None:
    answer = await world.http.request(method, path.format(id=new_id()), json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


async def test_a_scope_and_its_product_go_together(world: ReconcileWorld) -> None:
    answer = await world.http.post("/admin/reconcile/runs", json={"scope": "media", "productId": str(new_id())})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "productId")


async def test_at_the_deadline_the_answer_is_a_job_to_follow(
    world: ReconcileWorld, system: System, reconciler: RunningService
) -> None:
    product = await world.product()
    hasty = await system.started("ingest-api", {"MEDIABUS_RECONCILE_WAIT_SECONDS": "1"})
    await reconciler.stop()
    try:
        answer = await world.http.post(f"{hasty.base_url}/admin/products/{product.product_id}/images/sync", json={})
        assert answer.status_code == 202, answer.text
        where = answer.headers["location"]
        assert where == f"/admin/reconcile/runs/{answer.json()['jobId']}"
        assert (await world.http.get(where)).json()["status"] == "comparing"
    finally:
        await hasty.stop()
        reconciler.start()
        await reconciler.wait_until_ready()

    assert (await ended(world, answer))["status"] == "completed"


async def test_undo_is_409_once_it_is_done_and_once_quarantine_is_over(
    world: ReconcileWorld, syncer: RunningService
) -> None:
    product = await world.product()
    wanted = {"scope": "product", "productId": str(product.product_id), "removeOrphaned": True, "approve": True}
    plans = []
    for _ in range(2):
        await world.put(product.key("orphan.png"))
        run = await ended(world, await world.http.post("/admin/reconcile/runs", json=wanted))
        assert (run["status"], run["counts"]["done"]) == ("completed", 1)
        plans.append(f"/admin/reconcile/plans/{run['id']}")
    expired = plans[0].rpartition("/")[2]
    sql = "UPDATE plan_items SET is_expired = true WHERE plan_id = $1::uuid RETURNING 1"
    await world.system.rows("reconciler", sql, expired)

    over = await world.http.post(f"{plans[0]}/undo")
    assert (over.status_code, over.json()["detail"]) == (
        409,
        "It can't be undone: the time of its quarantine is over, and what it removed is gone.",
    )
    assert (await ended(world, await world.http.post(f"{plans[1]}/undo")))["counts"]["undone"] == 1
    again = await world.http.post(f"{plans[1]}/undo")
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "The plan is undone; to undo it, it has to be completed, failed or partly_undone.",
    )
