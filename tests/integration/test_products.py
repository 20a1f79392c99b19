"""Changes of products as ingest-api goes through them, the tasks of their files being ended by the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from ingest_api.product_changes import MOST_WAITING, ProductChanges
from ingest_api.staging_sweep import StagingSweep
from shared.db.unit_of_work import UnitOfWork
from shared.events import FileAt, FileStepResult, FileTaskEndedV1, RunFileTaskV1
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from tests.ingest_site import IngestSite, running_site

pytestmark = pytest.mark.stack

PRODUCTS = "/admin/products"
PICTURE = photo_jpeg(40, 30)

Sites = Callable[..., AbstractAsyncContextManager[IngestSite]]


@pytest.fixture
def sites(database: TestDatabase, tmp_path: Path) -> Sites:
    """Sites whose bucket is s3-syncer's affair, so that its address only has to be set. Nobody waits for a change."""

    def running(**changes: Any) -> AbstractAsyncContextManager[IngestSite]:
        bucket = {
            "s3_endpoint": "http://127.0.0.1:9",
            "s3_access_key": SecretStr("unused"),
            "s3_secret_key": SecretStr("unused"),
            "product_change_wait_seconds": 0.0,
        }
        return running_site(database, tmp_path / "media", **(bucket | changes))

    return running


@pytest.fixture
async def site(sites: Sites) -> AsyncIterator[IngestSite]:
    async with sites() as running:
        yield running


async def make_product(site: IngestSite, *weights: str) -> tuple[str, list[str]]:
    """The address of a product, and the ids of its variants."""
    product = (await site.api.post(PRODUCTS, json={"name": "Tee"})).json()
    url = f"{PRODUCTS}/{product['id']}"
    variants = [(await site.api.post(f"{url}/variants", json={"weight": weight})).json()["id"] for weight in weights]
    return url, variants


async def test_products_are_found_by_a_part_of_their_name(site: IngestSite) -> None:
    for name in ("Äthiopien 100%", "Kenya_AA", "Kenya AB"):
        await site.api.post(PRODUCTS, json={"name": name})

    async def found(part: str) -> list[str]:
        answer = await site.api.get(PRODUCTS, params={"q": part})
        return [product["name"] for product in answer.json()["products"]]

    assert await found("kenya") == ["Kenya AB", "Kenya_AA"]
    assert (await found("a_a"), await found("%"), await found("äTH")) == (["Kenya_AA"],) + (["Äthiopien 100%"],) * 2
    assert (await site.api.get(PRODUCTS, params={"q": ""})).status_code == 422


async def send(site: IngestSite, url: str, variant_id: str) -> httpx.Response:
    data = {"variantId": variant_id, "imageType": "info-card"}
    return await site.api.post(f"{url}/images", data=data, files={"file": ("a.jpg", PICTURE)})


async def tasks(site: IngestSite) -> list[RunFileTaskV1]:
    """Every file task that was asked for, oldest first."""
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE topic = 'sync.batches' ORDER BY id")
    return [RunFileTaskV1.model_validate_json(row["payload"]) for row in rows]


async def end(site: IngestSite, task: RunFileTaskV1, failure: str | None = None) -> None:
    """Answer as s3-syncer does; with a failure, of the first step."""
    good = FileStepResult(status="done", sha256=task.steps[0].sha256)
    bad = FileStepResult(status="failed", code=failure, detail="for a reason")
    results = (bad,) * len(task.steps) if failure else (good,) * len(task.steps)
    ended = FileTaskEndedV1(
        task_id=task.task_id,
        scope=task.scope,
        succeeded=failure is None,
        results=results,
        ended_at=datetime.now(UTC),
    )
    assert await site.handlers.deliver(ended)


async def job(site: IngestSite, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    read: dict[str, Any] = (await site.api.get(answer.headers["location"])).json()
    return read


async def made_image(site: IngestSite, url: str, variant_id: str) -> dict[str, Any]:
    answer = await send(site, url, variant_id)
    await end(site, next(task for task in reversed(await tasks(site)) if task.steps[0].kind == "copy"))
    done = await job(site, answer)
    assert done["status"] == "completed", done
    image: dict[str, Any] = done["result"]
    return image


async def test_the_files_of_an_image_follow_the_strategy(sites: Sites) -> None:
    async with sites(default_storage_strategy="s3_only", s3_public_url="https://cdn.example/shop") as site:
        url, (variant_id,) = await make_product(site, "1 kg")
        image = await made_image(site, url, variant_id)
        arrival, tidying = await tasks(site)
        assert [(step.kind, step.target.place) for step in arrival.steps] == [("copy", "bucket")]
        assert (arrival.is_atomic, tidying.is_atomic) == (True, False)
        assert [(step.kind, step.target) for step in tidying.steps] == [("remove", arrival.steps[0].source)]
        key = image["fileName"].replace(" ", "%20")
        assert image["imageUrl"] == f"https://cdn.example/shop/{key}"


async def test_a_change_waits_for_its_turn_and_is_looked_at_again_then(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    image = await made_image(site, url, variant_id)
    first = await site.api.delete(f"{url}/variants/{variant_id}")
    # Hidden at once, so that nobody asks for more of it, but a wish that came before is heard.
    assert (await site.api.get(url)).json()["images"] == []
    assert (await send(site, url, variant_id)).status_code == 422
    second = await site.api.delete(url)
    assert [(await job(site, answer))["status"] for answer in (first, second)] == ["active", "waiting"]
    removal = (await tasks(site))[-1]
    assert {(step.kind, step.target.key) for step in removal.steps} == {("remove", image["fileName"])}
    await end(site, removal)
    done = [await job(site, answer) for answer in (first, second)]
    assert [(one["status"], one["error"]) for one in done] == [("completed", None), ("completed", None)]
    assert (await site.api.get(url)).status_code == 404


async def test_a_waiting_change_that_makes_no_sense_any_more_says_so(site: IngestSite) -> None:
    url, (variant_id, other_id) = await make_product(site, "250g", "1kg")
    image = await made_image(site, url, variant_id)
    files = {"file": ("b.jpg", PICTURE)}
    first = await site.api.put(f"{url}/images/{image['id']}", files=files)
    second = await site.api.delete(f"{url}/images/{image['id']}")
    third = await site.api.delete(f"{url}/images/{image['id']}")
    fourth = await site.api.patch(f"{url}/variants/{other_id}", json={"weight": "2kg"})
    for _ in range(3):
        (open_task,) = await site.rows.fetch("SELECT task_id FROM product_changes WHERE status = 'active'")
        await end(site, next(task for task in await tasks(site) if task.task_id == open_task["task_id"]))
    done = [await job(site, answer) for answer in (first, second, third, fourth)]
    assert [one["status"] for one in done] == ["completed", "completed", "failed", "completed"]
    assert done[2]["error"] == {"code": "not_found", "detail": "This product has no such image.", "step": None}
    assert done[3]["result"] == {"id": other_id, "weight": "2kg", "isActive": True}


async def test_a_failure_names_the_step_and_leaves_the_record(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    answer = await send(site, url, variant_id)
    await end(site, (await tasks(site))[0], failure="conflict")
    failed = await job(site, answer)
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert (failed["error"]["code"], failed["error"]["step"]) == ("files_differ", "copy_to_bucket")
    assert (await site.api.get(url)).json()["images"] == []
    assert await site.count("product_images") == 0


async def test_a_weight_is_taken_while_a_variant_moves(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    await made_image(site, url, variant_id)
    moving = await site.api.patch(f"{url}/variants/{variant_id}", json={"weight": "300g"})
    assert (await job(site, moving))["status"] == "active"
    for weight in ("250g", "300g"):
        added = await site.api.post(f"{url}/variants", json={"weight": weight})
        assert (added.status_code, added.json()["code"]) == (409, "weight_taken")
    # What touches no file does not wait.
    disabled = await site.api.patch(f"{url}/variants/{variant_id}", json={"isActive": False})
    assert disabled.json() == {"id": variant_id, "weight": "250g", "isActive": False}
    copies = (await tasks(site))[-1]
    await end(site, copies)
    await end(site, (await tasks(site))[-1])
    assert (await job(site, moving))["result"] == {"id": variant_id, "weight": "300g", "isActive": False}
    assert (await site.api.post(f"{url}/variants", json={"weight": "250g"})).status_code == 201


async def test_too_many_waiting_changes_are_refused(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    await send(site, url, variant_id)
    await site.rows.execute(
        "INSERT INTO product_changes (id, product_id, kind, request, requested_by) "
        "SELECT gen_random_uuid(), $1, 'delete_product', '{}', $1 FROM generate_series(1, $2)",
        UUID(url.rpartition("/")[2]),
        MOST_WAITING,
    )
    refused = await send(site, url, variant_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "product_busy")
    # Of the refused one nothing is left, and the staged file of the other stays for as long as it is needed.
    assert len(site.staged_files()) == 1
    await StagingSweep(site.stores.staging, site.stores.disk, site.database, orphans_kept_seconds=0).sweep()
    assert len(site.staged_files()) == 1


async def test_without_s3_no_image_is_taken(sites: Sites) -> None:
    async with sites(s3_endpoint=None) as site:
        url, (variant_id,) = await make_product(site, "250g")
        refused = await send(site, url, variant_id)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert site.staged_files() == []


async def test_a_task_of_which_nothing_is_heard_is_asked_for_again(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    answer = await send(site, url, variant_id)
    unit_of_work = UnitOfWork(site.database, source="/mediabus/ingest-api", schema="ingest")
    changes = ProductChanges(unit_of_work)
    await changes.remind()
    (task,) = await tasks(site)
    await site.rows.execute("UPDATE product_changes SET remind_at = clock_timestamp()")
    await changes.remind()
    await changes.remind()
    again = (await tasks(site))[1:]
    assert [one.model_copy(update={"requested_at": task.requested_at}) for one in again] == [task]
    await end(site, task)
    await end(site, task)
    assert (await job(site, answer))["status"] == "completed"
    rows = await site.rows.fetch("SELECT payload FROM outbox WHERE topic = 'catalog.events' ORDER BY id")
    facts = [json.loads(row["payload"]) for row in rows]
    assert [fact["version"] for fact in facts if "image_id" in fact] == [1, 2]


async def fill(site: IngestSite, url: str, variant_id: str, count: int) -> list[str]:
    """Records of images whose files are s3-syncer's affair; their keys."""
    product_id = url.rpartition("/")[2]
    keys = [f"products/{product_id}/250g/other-images/{n}.jpg" for n in range(count)]
    await site.rows.execute(
        "INSERT INTO product_images (id, product_id, variant_id, image_type, object_key, mime_type, size_bytes, sha256,"
        " on_disk) SELECT gen_random_uuid(), $1, $2, 'other-images', object_key, 'image/jpeg', 1, $4, true"
        " FROM unnest($3::text[]) AS object_key",
        UUID(product_id),
        UUID(variant_id),
        keys,
        "0" * 64,
    )
    return keys


async def end_next(site: IngestSite, failing: str | None = None) -> RunFileTaskV1:
    """End the task that the active change waits for; where a step fails, only that one does."""
    (active,) = await site.rows.fetch("SELECT task_id FROM product_changes WHERE status = 'active'")
    task = next(task for task in await tasks(site) if task.task_id == active["task_id"])
    results = [FileStepResult(status="done", sha256=step.sha256) for step in task.steps]
    if failing is not None:
        results[-1] = FileStepResult(status="failed", code=failing, detail="for a reason")
    ended = FileTaskEndedV1(
        task_id=task.task_id,
        scope=task.scope,
        succeeded=failing is None,
        results=tuple(results),
        ended_at=datetime.now(UTC),
    )
    assert await site.handlers.deliver(ended)
    return task


def moves_of(task: RunFileTaskV1) -> list[tuple[FileAt | None, FileAt]]:
    return [(step.source, step.target) for step in task.steps]


async def test_a_removal_of_two_tasks_whose_second_fails_puts_back_what_the_first_took(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    keys = await fill(site, url, variant_id, 260)
    before = (await site.api.get(url)).json()
    deletion = await site.api.delete(f"{url}/variants/{variant_id}")
    set_aside = [await end_next(site), await end_next(site)]
    removals = [await end_next(site), await end_next(site, failing="changed")]
    assert [len(task.steps) for task in (*set_aside, *removals)] == [500, 20, 500, 20]
    assert [task.is_atomic for task in (*set_aside, *removals)] == [True, True, False, False]
    # What was set aside lies beside the products, under the same keys.
    kept = {target: source for task in set_aside for source, target in moves_of(task)}
    assert {target.key.partition("products/")[2] for target in kept} == {key.removeprefix("products/") for key in keys}
    put_back = [await end_next(site), await end_next(site)]
    (stayed,) = (step.target for step in removals[1].steps[-1:])
    assert [move for task in put_back for move in moves_of(task)] == [
        (target, source) for target, source in kept.items() if source != stayed
    ]
    withdrawn = [await end_next(site), await end_next(site)]
    assert [step.target for task in withdrawn for step in task.steps] == list(kept)
    failed = await job(site, deletion)
    assert (failed["status"], failed["error"]["code"], failed["error"]["step"]) == (
        "failed",
        "files_differ",
        "remove_from_disk",
    )
    after = (await site.api.get(url)).json()
    assert after | {"updatedAt": before["updatedAt"]} == before
    assert await site.count("product_images WHERE change_id IS NOT NULL") == 0


async def test_what_a_large_removal_could_not_put_back_is_kept_and_named(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    await fill(site, url, variant_id, 260)
    deletion = await site.api.delete(url)
    for failing in (None, None, None, "changed", "store_refused", None):
        await end_next(site, failing)
    failed = await job(site, deletion)
    assert (failed["status"], failed["error"]["step"]) == ("failed", "remove_from_disk")
    assert f"lies below 'set-aside/{failed['jobId']}/'" in failed["error"]["detail"]
    assert len((await site.api.get(url)).json()["images"]) == 260
    assert (await tasks(site))[-1].steps[0].kind == "copy", "nothing that is set aside is removed"


async def test_when_a_large_removal_is_done_nothing_stays_set_aside(site: IngestSite) -> None:
    url, (variant_id,) = await make_product(site, "250g")
    await fill(site, url, variant_id, 260)
    deletion = await site.api.delete(f"{url}/variants/{variant_id}")
    set_aside = [await end_next(site), await end_next(site)]
    for _ in range(2):
        await end_next(site)
    assert (await job(site, deletion))["status"] == "completed"
    tidying = (await tasks(site))[-2:]
    assert [step.target for task in tidying for step in task.steps] == [
        step.target for task in set_aside for step in task.steps
    ]
    assert {(task.is_atomic, step.kind) for task in tidying for step in task.steps} == {(False, "remove")}
    assert await site.count("product_images") == await site.count("product_variants") == 0


async def test_lists_page_through_products(site: IngestSite) -> None:
    urls = [(await make_product(site, "250g"))[0] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await site.api.get(PRODUCTS, params=parameters)).json()
        assert len(page["products"]) <= 2
        seen += [f"{PRODUCTS}/{product['id']}" for product in page["products"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert sorted(seen) == sorted(urls)
    assert len(seen) == 5
    assert (await site.api.get(PRODUCTS, params={"cursor": "x"})).json()["code"] == "invalid_cursor"
    assert (await site.api.get(f"{PRODUCTS}/{new_id()}")).status_code == 404
