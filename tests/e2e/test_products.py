"""Products through everything: HTTP, sagas over Kafka, files in bucket and on disk; whatever fails is taken back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import SET_ASIDE_PREFIX
from shared.messaging.topics import CATALOG_EVENTS
from shared.storage.keys import TEMPORARY_PREFIX
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import signed_in
from tests.bus import Bus
from tests.files_on_disk import contents_below, files_below
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

pytestmark = pytest.mark.stack

T = TypeVar("T")

BUCKET = "mediabus"
PRODUCTS = "/admin/products"
REQUESTS_AT_ONCE = 16
FILLING_BYTES = 20
KILL_SEEDS = int(os.environ.get("MEDIABUS_KILL_SEEDS", "2"))


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("products")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_FILE_RETRY_SECONDS": "0.02",
        "MEDIABUS_SCOPE_HOLD_SECONDS": "2",
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "2",
        "MEDIABUS_PRODUCT_CHANGE_WAIT_SECONDS": "20",
        "MEDIABUS_UPLOAD_LIMIT_BYTES": str(2**20),
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        await made.start_all("ingest-api", "s3-syncer")
        yield made


class Shop:
    """One product, changed over HTTP and looked at in both stores without the system."""

    def __init__(self, system: System, http: httpx.AsyncClient, client: S3Client, bus: Bus, product_id: str) -> None:
        self.system = system
        self.http = http
        self.client = client
        self.bus = bus
        self.id = product_id
        self.url = f"{PRODUCTS}/{product_id}"

    @property
    def syncer(self) -> RunningService:
        return self.system.services[1]

    async def variant(self, weight: str, **fields: Any) -> str:
        answer = await self.http.post(f"{self.url}/variants", json={"weight": weight, **fields})
        assert answer.status_code == 201, answer.text
        made: str = answer.json()["id"]
        return made

    async def send(self, content: bytes, filename: str = "Foto: Bär.JPG", /, **fields: str) -> httpx.Response:
        return await self.http.post(f"{self.url}/images", data=fields, files={"file": (filename, content)})

    async def image(self, variant_id: str, content: bytes, image_type: str = "hero-card") -> dict[str, Any]:
        answer = await self.send(content, variantId=variant_id, imageType=image_type)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def replace(self, image_id: str, content: bytes, **fields: str) -> httpx.Response:
        files = {"file": ("other.jpg", content)}
        return await self.http.put(f"{self.url}/images/{image_id}", data=fields, files=files)

    async def read(self) -> dict[str, Any]:
        answer = await self.http.get(self.url)
        assert answer.status_code == 200, answer.text
        product: dict[str, Any] = answer.json()
        return product

    async def fill(self, variant_id: str, weight: str, count: int) -> dict[str, bytes]:
        """Images as they are after as many uploads: files in both stores and records of them, by key."""
        contents = {
            f"products/{self.id}/{weight}/other-images/{n}.jpg": b"%d" % n * FILLING_BYTES for n in range(count)
        }

        async def put(key: str, content: bytes) -> None:
            await self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

        await each_of(put(key, content) for key, content in contents.items())
        for key, content in contents.items():
            path = self.system.media_root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        await self.system.rows(
            "ingest-api",
            "INSERT INTO product_images (id, product_id, variant_id, image_type, object_key, mime_type, size_bytes,"
            " sha256, on_disk) SELECT gen_random_uuid(), $1, $2, 'other-images', object_key, 'image/jpeg', size_bytes,"
            " sha256, true FROM unnest($3::text[], $4::bigint[], $5::text[]) AS file (object_key, size_bytes, sha256)",
            self.id,
            variant_id,
            list(contents),
            [len(content) for content in contents.values()],
            [hashlib.sha256(content).hexdigest() for content in contents.values()],
        )
        return contents

    async def in_bucket(self) -> dict[str, bytes]:
        """Everything stored of the product, by key."""

        async def read(key: str) -> tuple[str, bytes]:
            answer = await self.client.get_object(Bucket=BUCKET, Key=key)
            async with answer["Body"] as body:
                return key, await body.read()

        return dict(await each_of(read(key) for key in await self.keys(f"products/{self.id}/")))

    async def keys(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [listed["Key"] async for page in pages for listed in page.get("Contents", [])]

    async def nothing_is_set_aside(self) -> bool:
        return not files_below(self.system.media_root / SET_ASIDE_PREFIX) and not await self.keys(SET_ASIDE_PREFIX)

    def on_disk(self) -> dict[str, bytes]:
        """The files of the product, but for unfinished ones: those of a process that died go by their age."""
        folder = self.system.media_root / "products" / self.id
        return {
            str(path.relative_to(self.system.media_root)): content
            for path, content in contents_below(folder).items()
            if not path.name.startswith(TEMPORARY_PREFIX)
        }

    async def state(self) -> tuple[dict[str, Any], dict[str, bytes], dict[str, bytes]]:
        """The product as callers read it, and both stores; `updatedAt` may move."""
        product = await self.read()
        product.pop("updatedAt")
        return product, await self.in_bucket(), self.on_disk()

    async def assert_stored(self, contents: dict[str, bytes]) -> None:
        """Both stores hold just this, the records name it, nothing is unsettled, and no staged file is left."""
        await self.assert_agreement(contents)
        await eventually(self.nothing_is_staged, why="nothing is staged")

    async def assert_agreement(self, contents: dict[str, bytes]) -> None:
        """The same, but for the staging area: what an upload leaves there whose process dies goes by its age."""
        assert await self.in_bucket() == contents
        assert self.on_disk() == contents
        assert {image["fileName"] for image in (await self.read())["images"]} == set(contents)
        rows = await self.system.rows(
            "ingest-api",
            "SELECT object_key, sha256 FROM product_images WHERE product_id = $1 AND change_id IS NULL",
            self.id,
        )
        assert {row["object_key"]: row["sha256"] for row in rows} == {
            key: hashlib.sha256(content).hexdigest() for key, content in contents.items()
        }

    def staged(self) -> list[Path]:
        return files_below(self.system.media_root / "staging")

    def nothing_is_staged(self) -> bool:
        return not self.staged()

    async def facts(self, event_type: str, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """What was told of the product up to a last fact."""

        def told() -> list[dict[str, Any]]:
            facts = self.bus.seen(UUID(self.id), event_type)
            return facts if facts and is_last(facts[-1]) else []

        facts: list[dict[str, Any]] = await eventually(told, why=f"the last {event_type} is told")
        return facts

    async def outcome(self, answer: httpx.Response) -> tuple[str, str | None]:
        """How a change ended, whether or not that took longer than its caller waited: code and step of a failure."""
        if answer.status_code == 202:
            error = (await self.job(answer))["error"]
        else:
            error = None if answer.is_success else answer.json()
        return ("completed", None) if error is None else (error["code"], error["step"])

    async def job(self, answer: httpx.Response, within_seconds: float = 60) -> dict[str, Any]:
        """The job of a 202, at its end."""
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"{PRODUCTS}/jobs/{answer.json()['jobId']}"
        return await self.ended(answer.json()["jobId"], within_seconds)

    async def ended(self, job_id: str, within_seconds: float = 60) -> dict[str, Any]:
        async def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = (await self.http.get(f"{PRODUCTS}/jobs/{job_id}")).json()
            return job if job["status"] in {"completed", "failed"} else None

        job: dict[str, Any] = await eventually(ended, within_seconds=within_seconds, why="the job ends")
        return job


@pytest.fixture
async def shop(system: System, object_store_server: ObjectStoreServer) -> AsyncIterator[Shop]:
    for service in system.services:
        if not service.running:
            service.start()
            await service.wait_until_ready()
    async with (
        signed_in(system, system.services[0].base_url) as api,
        object_store_server.client() as client,
        Bus(system.kafka_bootstrap, CATALOG_EVENTS) as bus,
    ):
        answer = await api.http.post(PRODUCTS, json={"name": "Kaffee"})
        assert answer.status_code == 201, answer.text
        yield Shop(system, api.http, client, bus, answer.json()["id"])


async def each_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, some at a time, in their order."""
    places = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def one(work: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await work

    return await asyncio.gather(*(one(work) for work in works))


def picture(number: int = 0) -> bytes:
    return photo_jpeg(48 + number, 48)


# --- what goes well ---------------------------------------------------------------------------------------------------


async def test_the_life_of_a_product_in_exact_answers(shop: Shop) -> None:
    product = await shop.read()
    created_at, updated_at = product.pop("createdAt"), product.pop("updatedAt")
    assert created_at <= updated_at
    assert product == {"id": shop.id, "name": "Kaffee", "variants": [], "images": []}

    answer = await shop.http.post(f"{shop.url}/variants", json={"weight": "250g", "isActive": True})
    variant_id = answer.json()["id"]
    assert (answer.status_code, answer.json()) == (201, {"id": variant_id, "weight": "250g", "isActive": True})

    content = picture()
    answer = await shop.send(content, variantId=variant_id, imageType="hero-card")
    image = answer.json()
    key = image["fileName"]
    assert key.startswith(f"products/{shop.id}/250g/hero-card/foto-bar-")
    assert key.endswith(".jpg")
    assert (answer.status_code, image) == (
        201,
        {
            "id": image["id"],
            "fileName": key,
            "variantWeight": "250g",
            "imageType": "hero-card",
            "imageUrl": f"/product-images/{image['id']}",
        },
    )
    await shop.assert_stored({key: content})
    head = await shop.client.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentType"] == "image/jpeg"

    redirect = await shop.http.get(image["imageUrl"])
    assert redirect.status_code == 302
    async with httpx.AsyncClient(timeout=30) as anybody:
        assert (await anybody.get(redirect.headers["location"])).content == content

    product = await shop.read()
    assert (product["images"], product["variants"]) == (
        [image],
        [{"id": variant_id, "weight": "250g", "isActive": True}],
    )
    listed = (await shop.http.get(PRODUCTS, params={"limit": 1})).json()
    assert listed["products"] == [product]

    answer = await shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"isActive": False})
    assert (answer.status_code, answer.json()) == (200, {"id": variant_id, "weight": "250g", "isActive": False})
    await shop.assert_stored({key: content})

    answer = await shop.http.patch(shop.url, json={"name": "Tee"})
    assert (answer.status_code, answer.json()["name"], answer.json()["images"]) == (200, "Tee", [image])

    answer = await shop.http.delete(f"{shop.url}/images/{image['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    await shop.assert_stored({})
    assert (await shop.http.delete(f"{shop.url}/images/{image['id']}")).status_code == 404

    facts = await shop.facts("catalog.product-image-changed.v1", lambda fact: fact["is_removed"])
    assert [(fact["version"], fact["is_settled"], fact["is_removed"]) for fact in facts] == [
        (1, False, False),
        (2, True, False),
        (3, False, False),
        (4, True, True),
    ]


async def test_a_replaced_image_has_another_file_and_the_same_id(shop: Shop) -> None:
    variant_id = await shop.variant("1 kg")
    image = await shop.image(variant_id, picture(1))
    content = picture(2)
    answer = await shop.replace(image["id"], content)
    assert answer.status_code == 200, answer.text
    replaced = answer.json()
    assert replaced == image | {"fileName": replaced["fileName"]}
    assert replaced["fileName"] != image["fileName"]
    await shop.assert_stored({replaced["fileName"]: content})
    # The same bytes under the same name are another file all the same.
    again = (await shop.replace(image["id"], content, imageType="info-card")).json()
    assert (again["imageType"], again["fileName"].split("/")[3]) == ("info-card", "info-card")
    await shop.assert_stored({again["fileName"]: content})


async def test_a_weight_change_moves_every_file(shop: Shop) -> None:
    variant_id, other_id = await shop.variant("250g"), await shop.variant("1kg")
    images = [await shop.image(variant_id, picture(n), "other-images") for n in range(3)]
    other = await shop.image(other_id, picture(9))
    answer = await shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"weight": "300g", "isActive": False})
    assert (answer.status_code, answer.json()) == (200, {"id": variant_id, "weight": "300g", "isActive": False})
    moved = {image["fileName"].replace("/250g/", "/300g/"): picture(n) for n, image in enumerate(images)}
    await shop.assert_stored(moved | {other["fileName"]: picture(9)})
    weights = {image["id"]: image["variantWeight"] for image in (await shop.read())["images"]}
    assert weights == {image["id"]: "300g" for image in images} | {other["id"]: "1kg"}


async def test_a_variant_goes_with_its_images_and_a_product_with_all(shop: Shop) -> None:
    variant_id, other_id = await shop.variant("250g"), await shop.variant("1kg")
    for number in range(2):
        await shop.image(variant_id, picture(number))
    other = await shop.image(other_id, picture(9))
    answer = await shop.http.delete(f"{shop.url}/variants/{variant_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    await shop.assert_stored({other["fileName"]: picture(9)})
    assert [variant["id"] for variant in (await shop.read())["variants"]] == [other_id]
    assert (await shop.http.delete(shop.url)).status_code == 204
    assert (await shop.http.get(shop.url)).status_code == 404
    assert (await shop.in_bucket(), shop.on_disk()) == ({}, {})
    facts = await shop.facts("catalog.product-changed.v1", lambda fact: fact["is_deleted"])
    versions = [fact["version"] for fact in facts]
    assert versions == sorted(set(versions))


async def test_changes_of_one_product_take_their_turns(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    answers = await asyncio.gather(
        *(shop.send(picture(n), variantId=variant_id, imageType="other-images") for n in range(6)),
        shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"weight": "500g"}),
    )
    assert [answer.status_code for answer in answers] == [201] * 6 + [200]
    stored = await shop.in_bucket()
    assert {key.split("/")[2] for key in stored} == {"500g"}
    await shop.assert_stored(stored)
    assert sorted(stored.values()) == sorted(picture(n) for n in range(6))


# --- what is refused --------------------------------------------------------------------------------------------------


async def test_what_is_wrong_is_named(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    before = await shop.state()
    cases: list[tuple[httpx.Response, int, str, set[str]]] = [
        (await shop.http.post(PRODUCTS, json={"name": " "}), 422, "invalid_request", {"name"}),
        (await shop.http.post(f"{shop.url}/variants", json={}), 422, "invalid_request", {"weight"}),
        (await shop.http.post(f"{shop.url}/variants", json={"weight": "a/b"}), 422, "invalid_request", {"weight"}),
        (await shop.http.post(f"{shop.url}/variants", json={"weight": "250g"}), 409, "weight_taken", set()),
        (await shop.http.patch(f"{shop.url}/variants/{variant_id}", json={}), 422, "invalid_request", {"body"}),
        (await shop.send(picture()), 422, "invalid_request", {"variantId", "imageType"}),
        (
            await shop.send(picture(), variantId="x", imageType="poster"),
            422,
            "invalid_request",
            {"variantId", "imageType"},
        ),
        (await shop.send(picture(), variantId=shop.id, imageType="hero-card"), 422, "invalid_request", {"variantId"}),
        (
            await shop.send(b"no picture at all", variantId=variant_id, imageType="hero-card"),
            415,
            "unsupported_media_type",
            set(),
        ),
        (await shop.send(b"", variantId=variant_id, imageType="hero-card"), 422, "empty_file", {"file"}),
        (await shop.http.post(f"{shop.url}/images", json={}), 415, "unsupported_media_type", set()),
        (await shop.replace(shop.id, picture()), 404, "not_found", set()),
        (await shop.http.delete(f"{shop.url}/variants/{shop.id}"), 404, "not_found", set()),
        (await shop.http.delete(f"{PRODUCTS}/{variant_id}"), 404, "not_found", set()),
        (await shop.http.get(f"{PRODUCTS}/jobs/{variant_id}"), 404, "not_found", set()),
        (
            await shop.send(picture() + bytes(2**20), variantId=variant_id, imageType="hero-card"),
            413,
            "too_large",
            set(),
        ),
    ]
    for answer, status, code, fields in cases:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        body = answer.json()
        assert (answer.status_code, body["code"]) == (status, code), body
        assert {error["field"] for error in body.get("errors", [])} == fields, body
    assert await shop.state() == before
    await eventually(shop.nothing_is_staged, why="nothing is staged")


async def test_only_admins_of_this_site_may(shop: Shop) -> None:
    async with httpx.AsyncClient(base_url=shop.http.base_url, timeout=30) as nobody:
        assert (await nobody.get(shop.url)).status_code == 401
        assert (await nobody.delete(shop.url)).status_code == 401
    foreign = await shop.http.delete(shop.url, headers={"Origin": "https://elsewhere.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "cross_origin")


# --- what fails is taken back -----------------------------------------------------------------------------------------


async def test_an_upload_whose_disk_copy_fails_leaves_neither(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    before = await shop.state()
    # A file stands where the folder should be: the bucket's copy is made, the disk's can't be.
    blocked = shop.system.media_root / "products" / shop.id / "250g"
    await asyncio.to_thread(blocked.parent.mkdir, parents=True)
    await asyncio.to_thread(blocked.write_bytes, b"")
    answer = await shop.send(picture(), variantId=variant_id, imageType="hero-card")
    blocked.unlink()
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["step"]) == (502, "storage_failed", "copy_to_disk")
    assert await shop.state() == before
    await shop.assert_stored({})


async def test_a_deletion_that_fails_restores_the_record(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    image = await shop.image(variant_id, picture())
    (shop.system.media_root / image["fileName"]).write_bytes(b"changed by somebody")
    before = await shop.state()
    for url in (f"{shop.url}/images/{image['id']}", f"{shop.url}/variants/{variant_id}", shop.url):
        answer = await shop.http.delete(url)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["step"]) == (409, "files_differ", "remove_from_disk")
        assert await shop.state() == before


async def test_a_replacement_whose_old_file_stays_is_taken_back(shop: Shop) -> None:
    image = await shop.image(await shop.variant("250g"), picture())
    await shop.client.put_object(Bucket=BUCKET, Key=image["fileName"], Body=b"changed by somebody")
    before = await shop.state()
    answer = await shop.replace(image["id"], picture(1))
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["step"]) == (409, "files_differ", "remove_from_bucket")
    assert await shop.state() == before


async def test_a_weight_change_that_meets_other_files_is_taken_back(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    images = [await shop.image(variant_id, picture(n)) for n in range(3)]
    blocking = images[2]["fileName"].replace("/250g/", "/300g/")
    await shop.client.put_object(Bucket=BUCKET, Key=blocking, Body=b"somebody's")
    before = await shop.state()
    answer = await shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"weight": "300g"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["step"]) == (409, "files_differ", "copy_to_bucket")
    assert "conflict" in problem["detail"]
    assert await shop.state() == before
    # An old file that may not go brings the new ones down too, after the records had switched.
    await shop.client.delete_object(Bucket=BUCKET, Key=blocking)
    (shop.system.media_root / images[1]["fileName"]).write_bytes(b"changed by somebody")
    before = await shop.state()
    answer = await shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"weight": "300g"})
    assert (answer.status_code, answer.json()["code"]) == (409, "files_differ")
    assert await shop.state() == before


async def test_more_images_than_fit_into_one_task_go_together_or_not_at_all(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    contents = await shop.fill(variant_id, "250g", 260)
    *_, last = contents
    (shop.system.media_root / last).write_bytes(b"changed by somebody")
    before = await shop.state()
    url = f"{shop.url}/variants/{variant_id}"
    assert await shop.outcome(await shop.http.delete(url)) == ("files_differ", "copy_to_disk")
    assert await shop.state() == before
    assert await shop.nothing_is_set_aside()
    (shop.system.media_root / last).write_bytes(contents[last])
    assert await shop.outcome(await shop.http.delete(url)) == ("completed", None)
    await shop.assert_stored({})
    assert (await shop.read())["variants"] == []
    await eventually(shop.nothing_is_set_aside, within_seconds=60, why="nothing is set aside")


# --- outages and deaths -----------------------------------------------------------------------------------------------


async def test_while_the_bucket_is_away_the_answer_is_a_job(shop: Shop, object_store_server: ObjectStoreServer) -> None:
    variant_id = await shop.variant("250g")
    hasty = await shop.system.started("ingest-api", {"MEDIABUS_PRODUCT_CHANGE_WAIT_SECONDS": "1"})
    shop.system.services.remove(hasty)
    await object_store_server.stop()
    try:
        async with signed_in(shop.system, hasty.base_url) as api:
            fields, files = {"variantId": variant_id, "imageType": "hero-card"}, {"file": ("a.jpg", picture())}
            answer = await api.http.post(f"{shop.url}/images", data=fields, files=files)
        assert answer.status_code == 202, answer.text
        assert (await shop.read())["images"] == []
        job = (await shop.http.get(answer.headers["location"])).json()
        assert (job["status"], job["kind"], job["result"], job["error"]) == ("active", "upload_image", None, None)
    finally:
        await hasty.stop()
        await object_store_server.start()
    job = await shop.job(answer)
    assert (job["status"], job["result"]) == ("completed", (await shop.read())["images"][0])
    await shop.assert_stored({job["result"]["fileName"]: picture()})


@pytest.mark.fault
async def test_a_weight_change_of_500_images_survives_kills_in_the_middle(shop: Shop) -> None:
    variant_id = await shop.variant("250g")
    before = await shop.fill(variant_id, "250g", 500)
    asked = asyncio.create_task(shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"weight": "300g"}))

    async def are_being_copied() -> bool:
        return len(await shop.keys(f"products/{shop.id}/300g/")) >= 50

    await eventually(are_being_copied, within_seconds=60, why="files are being copied")
    for service in shop.system.services:
        service.kill()
    assert 50 <= len(await shop.keys(f"products/{shop.id}/300g/")) < 500
    with suppress(httpx.TransportError):
        await asked  # cut off, or put off just before
    for service in shop.system.services:
        service.start()
    await asyncio.gather(*(service.wait_until_ready() for service in shop.system.services))
    sql = "SELECT id FROM product_changes WHERE product_id = $1"
    (change,) = await shop.system.rows("ingest-api", sql, shop.id)
    job = await shop.ended(change["id"], within_seconds=120)
    assert (job["status"], job["result"]["weight"]) == ("completed", "300g")
    await shop.assert_stored({key.replace("/250g/", "/300g/"): content for key, content in before.items()})


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(1, 1 + KILL_SEEDS))
async def test_whatever_is_killed_records_and_files_agree_in_the_end(shop: Shop, seed: int) -> None:
    """Callers that ask for all kinds of changes at once, while one service after the other dies."""
    chance = random.Random(seed)
    variants = [await shop.variant(weight) for weight in ("100g", "200g", "300g")]
    for number in range(9):
        await shop.image(variants[number % 3], picture(number % 4), "other-images")
    callers = [asyncio.create_task(asks_for_changes(shop, variants, random.Random(100 * seed + n))) for n in range(3)]
    for _ in range(3):
        await asyncio.sleep(chance.uniform(0.2, 1.5))  # the moment of death is what the seed chooses
        killed = chance.choice(shop.system.services)
        killed.kill()
        killed.start()
        await killed.wait_until_ready()
    await asyncio.gather(*callers)

    async def all_changes_ended() -> bool:
        sql = "SELECT 1 FROM product_changes WHERE product_id = $1 AND status IN ('waiting', 'active')"
        return not await shop.system.rows("ingest-api", sql, shop.id)

    await eventually(all_changes_ended, within_seconds=180, why="every change ends")
    stored = await shop.in_bucket()
    await shop.assert_agreement(stored)
    weights = {variant["weight"] for variant in (await shop.read())["variants"]}
    assert {key.split("/")[2] for key in stored} <= weights
    sql = "SELECT status, error_status, error_detail FROM product_changes WHERE product_id = $1"
    changes = await shop.system.rows("ingest-api", sql, shop.id)
    assert not [change for change in changes if change["error_status"] is not None and change["error_status"] >= 500]
    # Some beyond those that were made before the first death.
    assert sum(change["status"] == "completed" for change in changes) > 9
    for path in shop.staged():
        path.unlink(missing_ok=True)  # what uploads have left whose process died: the others look for none


async def asks_for_changes(shop: Shop, variants: list[str], chance: random.Random) -> None:
    """Ten changes; a caller that is cut off goes on with the next, whatever became of the one before."""
    for number in range(10):
        try:
            images = (await shop.read())["images"]
            variant_id = chance.choice(variants)
            kind = chance.choice(["upload", "upload", "replace", "delete", "weight", "weight", "variant"])
            if kind == "upload" or not images:
                await shop.send(picture(number % 4), variantId=variant_id, imageType="hero-card")
            elif kind == "replace":
                await shop.replace(chance.choice(images)["id"], picture(number % 4))
            elif kind == "delete":
                await shop.http.delete(f"{shop.url}/images/{chance.choice(images)['id']}")
            elif kind == "weight":
                weight = f"{chance.randrange(10)}00g"
                await shop.http.patch(f"{shop.url}/variants/{variant_id}", json={"weight": weight})
            elif number == 7:
                await shop.http.delete(f"{shop.url}/variants/{variant_id}")
        except httpx.TransportError:
            await asyncio.sleep(0.3)  # as a client does before it calls again
