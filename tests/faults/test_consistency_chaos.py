"""Others change the bucket at random while the shop goes on; one sweep and one fix later everything agrees.

MEDIABUS_CHAOS_SEEDS says how many rounds, MEDIABUS_CHAOS_FIRST_SEED where they begin, MEDIABUS_CHAOS_PRODUCTS how large
they are; `make chaos` runs the whole of it. Rounds go on in one system: what one leaves the next finds. A seed decides
what is done; how it interleaves is the machine's, so a seed that passed can fail.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.consistency_world import QUARANTINE, SERVICES, ConsistencyWorld, State, consistency_world, sha256_of
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = [pytest.mark.stack, pytest.mark.fault]

SEEDS: Final = int(os.environ.get("MEDIABUS_CHAOS_SEEDS", "1"))
FIRST_SEED: Final = int(os.environ.get("MEDIABUS_CHAOS_FIRST_SEED", "1"))
PRODUCTS: Final = int(os.environ.get("MEDIABUS_CHAOS_PRODUCTS", "5"))
TOKEN: Final = "a-token-of-the-store"
IMAGE_TYPES: Final = ("hero-card", "info-card", "other-images")
STRANGE_NAMES: Final = ("a b.jpg", "a+b.jpg", "Bär ñ 图.jpg", "100%.jpg", "q?x=1&y=2.jpg", "no-extension")
OUTSIDE_LAYOUT: Final = ("products/readme.txt", "products/no-uuid/250g/hero-card/a.jpg")
OBJECT_GRACE_SECONDS: Final = 1.0
UNTIL_OLD_SECONDS: Final = OBJECT_GRACE_SECONDS + 1.5
"""What is younger than the grace is nobody's orphan; stores tell the time in whole seconds, so ages may be one off."""
ACTIONS: Final = frozenset({"remove", "copy", "make_record", "remove_record", "refresh_record"})
CALLERS: Final = 4
ACTS_PER_LISTING: Final = 10
READY_SECONDS: Final = 90
UNDERSTOOD: Final = frozenset({200, 201, 202, 204, 404, 409, 503})


def is_for_a_deleted_variant(answer: httpx.Response) -> bool:
    """An image of a variant that another caller deleted meanwhile is refused by its field."""
    return answer.status_code == 422 and [error["field"] for error in answer.json()["errors"]] == ["variantId"]


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    bucket = f"chaos-{new_id()}"
    await object_store_server.create_bucket(bucket)
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_S3_BUCKET": bucket,
        "MEDIABUS_WEBHOOK_TOKEN": TOKEN,
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "3",
        "MEDIABUS_SCOPE_HOLD_SECONDS": "3",
        "MEDIABUS_RUN_HOLD_SECONDS": "3",
        "MEDIABUS_FILE_RETRY_SECONDS": "0.05",
        "MEDIABUS_OBJECT_GRACE_SECONDS": str(OBJECT_GRACE_SECONDS),
        "MEDIABUS_RECORD_GRACE_SECONDS": "0.5",
        # When the sweep goes round is the test's to say.
        "MEDIABUS_SWEEP_EVERY_SECONDS": "86400",
        "MEDIABUS_SWEEP_GRACE_SECONDS": "0",
        "MEDIABUS_SCRUB_ENABLED": "false",
    }
    folder = tmp_path_factory.mktemp("chaos")
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        await made.make_superadmin()
        services = [made.service(name) for name in SERVICES]
        for service in services:
            service.start()
        await asyncio.gather(*(service.wait_until_ready(READY_SECONDS) for service in services))
        yield made


@pytest.fixture(scope="module")
def of_tomorrow() -> set[str]:
    """Files on the disk that a machine stamped whose clock is ahead: too young to be judged, for an hour."""
    return set()


class Outsider:
    """Works on the bucket and the disk with no regard for the system, and posts some of what it did, in no order."""

    def __init__(self, world: ConsistencyWorld, chance: Random, product_ids: list[str], of_tomorrow: set[str]) -> None:
        self.world = world
        self.chance = chance
        self.product_ids = product_ids
        self.touched: set[str] = set()
        """Names of files that are not any more what the shop made them."""
        self.of_tomorrow = of_tomorrow
        self.untold: list[bytes] = []
        self._listed: list[str] = []
        self._acts = count()
        self._sequence = count(1)
        self._contents = count(1)

    def content(self) -> bytes:
        return f"{next(self._contents)} ".encode() * self.chance.randint(1, 200)

    async def put(self, key: str, content: bytes) -> None:
        self.touched.add(name_of(key))
        answer: Any = await eventually(lambda: self._stored(key, content), why=f"the store takes {key}")
        self._tell(key, "s3:ObjectCreated:Put", size=len(content), eTag=answer["ETag"].strip('"'))

    async def _stored(self, key: str, content: bytes) -> Any:
        """None when the system was removing the last other file of the key's folder, of which the gateway complains."""
        try:
            return await self.world.client.put_object(Bucket=self.world.bucket, Key=key, Body=content)
        except self.world.client.exceptions.NoSuchKey:
            return None

    async def delete(self, key: str) -> None:
        self.touched.add(name_of(key))
        await self.world.client.delete_object(Bucket=self.world.bucket, Key=key)
        self._tell(key, "s3:ObjectRemoved:Delete")

    def _tell(self, key: str, event_name: str, **members: Any) -> None:
        stored = {"key": quote_plus(key), **members}
        if self.chance.random() < 0.8:
            stored["sequencer"] = f"{next(self._sequence):016X}"
        # Stores have their own clocks, and some are wrong.
        told_at = datetime.now(UTC) + timedelta(seconds=self.chance.choice((-86400, -5, 0, 0, 5, 86400)))
        record = {
            "eventName": event_name,
            "eventTime": told_at.isoformat(),
            "s3": {"bucket": {"name": self.world.bucket}, "object": stored},
        }
        body = json.dumps({"EventName": event_name, "Key": f"{self.world.bucket}/{key}", "Records": [record]}).encode()
        # Dropped, told, told twice.
        self.untold += [body] * self.chance.choice((0, 0, 1, 1, 2))

    async def post(self, most: int | None = None) -> None:
        """Post some of what was held back, the newest perhaps first; what does not get through is lost."""
        self.chance.shuffle(self.untold)
        bodies, self.untold = self.untold[:most], self.untold[len(self.untold) if most is None else most :]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for body in bodies:
            try:
                answer = await self.world.http.post("/webhooks/minio", content=body, headers=headers)
            except httpx.TransportError:
                continue
            assert answer.status_code in {200, 503}, answer.text

    async def act(self) -> None:
        """Do one thing to one object, which may be gone: what lies there is looked up now and then."""
        if next(self._acts) % ACTS_PER_LISTING == 0:
            # The gateway lists a folder whose last file has just gone, under a name that no object can have.
            self._listed = sorted(key for key in await self.world.keys("products/") if not key.endswith("/"))
        key = self.chance.choice(self._listed) if self._listed else self.new_key()
        action = self.chance.choice(
            ("delete", "overwrite", "corrupt", "move", "add", "add", "stray", "disk_delete", "disk_stray", "nobodys")
        )
        match action:
            case "delete":
                await self.delete(key)
            case "overwrite":
                await self.put(key, self.content())
            case "corrupt":
                await self.corrupt(key)
            case "move":
                await self.move(key, self.new_key())
            case "add":
                await self.put(self.new_key(), self.content())
            case "stray":
                await self.put(f"products/{self.chance.choice(self.product_ids)}/{self.new_name()}", self.content())
            case "disk_delete":
                self.touched.add(name_of(key))
                (self.world.system.media_root / key).unlink(missing_ok=True)
            case "disk_stray":
                self.put_on_disk(self.new_key(), self.content(), hours_ahead=self.chance.choice((-1, 0, 0, 1)))
            case "nobodys":
                await self.put(f"products/{new_id()}/250g/hero-card/{self.new_name()}", self.content())

    async def corrupt(self, key: str) -> None:
        """Other bytes of the same length."""
        try:
            content = await self.world.content(key)
        except self.world.client.exceptions.NoSuchKey:
            return
        await self.put(key, corrupted(content))

    async def move(self, source: str, target: str) -> None:
        try:
            content = await self.world.content(source)
        except self.world.client.exceptions.NoSuchKey:
            return
        await self.put(target, content)
        await self.delete(source)

    def put_on_disk(self, key: str, content: bytes, *, hours_ahead: int = 0) -> None:
        """Write a file, stamped by the clock of a machine that may be wrong."""
        path = self.world.system.media_root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if hours_ahead:
            stamp = path.stat().st_mtime + 3600 * hours_ahead
            os.utime(path, (stamp, stamp))
        if hours_ahead > 0:
            self.of_tomorrow.add(key)

    def new_name(self) -> str:
        return f"{self.chance.getrandbits(32):08x}-{self.chance.choice(STRANGE_NAMES)}"

    def new_key(self) -> str:
        product_id = self.chance.choice(self.product_ids)
        weight = self.chance.choice(("250g", "500g", "300g", "a new weight"))
        return f"products/{product_id}/{weight}/{self.chance.choice(IMAGE_TYPES)}/{self.new_name()}"


class Shop:
    """Callers of the API, and what they may count on."""

    def __init__(self, world: ConsistencyWorld) -> None:
        self.world = world
        self.product_ids: list[str] = []
        self.kept: dict[str, str] = {}
        """The SHA-256 of images that were stored, by id."""
        self.name_of: dict[str, str] = {}
        self.product_of: dict[str, str] = {}
        self.given_up: set[str] = set()
        """Images and products that callers changed so that nobody can say what became of what was under way then."""
        self.replaced: set[str] = set()
        self.surprises: list[str] = []
        self._pictures = count()

    async def open(self, products: int) -> None:
        places = asyncio.Semaphore(CALLERS)

        async def open_one(number: int) -> None:
            async with places:
                answer = await self.world.http.post("/admin/products", json={"name": f"Coffee {number}"})
                assert answer.status_code == 201, answer.text
                product_id = answer.json()["id"]
                for weight in ("250g", "500g"):
                    url = f"/admin/products/{product_id}/variants"
                    variant = await self.world.http.post(url, json={"weight": weight})
                    for image_type in IMAGE_TYPES[: 1 + number % 3]:
                        await self.upload(product_id, variant.json()["id"], image_type)
                self.product_ids.append(product_id)

        await asyncio.gather(*(open_one(number) for number in range(products)))
        self.product_ids.sort()

    async def upload(self, product_id: str, variant_id: str, image_type: str) -> None:
        content = self.picture()
        fields = {"variantId": variant_id, "imageType": image_type}
        answer = await self.call("POST", f"{product_id}/images", data=fields, files={"file": ("p.jpg", content)})
        if answer is not None and answer.status_code == 201:
            self._keep(product_id, answer.json(), content)

    def picture(self) -> bytes:
        number = next(self._pictures)
        return photo_jpeg(40 + number % 40, 40 + number // 40 % 40, seed=number)

    def _keep(self, product_id: str, image: Mapping[str, Any], content: bytes) -> None:
        self.kept[image["id"]] = sha256_of(content)
        self.product_of[image["id"]] = product_id
        self.name_of[image["id"]] = name_of(image["fileName"])

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """None when nobody answered: a process was killed."""
        try:
            answer = await self.world.http.request(method, f"/admin/products/{path}", **options)
        except httpx.TransportError:
            return None
        if answer.status_code not in UNDERSTOOD and not is_for_a_deleted_variant(answer):
            self.surprises.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    async def act(self, chance: Random) -> None:
        """One call of one caller."""
        product_id = chance.choice(self.product_ids)
        read = await self.call("GET", product_id)
        if read is None or read.status_code != 200:
            return
        product = read.json()
        if not product["variants"]:
            await self.call("POST", f"{product_id}/variants", json={"weight": chance.choice(("1kg", "2kg"))})
            return
        variant = chance.choice(product["variants"])["id"]
        image = chance.choice(product["images"])["id"] if product["images"] else None
        kinds = ("upload",) * 5 + ("weigh",) * 5 + ("replace",) * 3 + ("drop", "drop", "drop_variant", "fix", "check")
        match chance.choice((*kinds, "drop_product") if chance.random() < 0.3 else kinds):
            case "upload":
                await self.upload(product_id, variant, chance.choice(IMAGE_TYPES))
            case "weigh":
                weight = chance.choice(("250g", "300g", "500g", "750g", "1kg"))
                await self.call("PATCH", f"{product_id}/variants/{variant}", json={"weight": weight})
            case "replace" if image:
                await self._replace(product_id, image)
            case "drop" if image:
                self.given_up.add(image)
                await self.call("DELETE", f"{product_id}/images/{image}")
            case "drop_variant":
                self.given_up.add(product_id)
                await self.call("DELETE", f"{product_id}/variants/{variant}")
            case "drop_product":
                self.given_up.add(product_id)
                await self.call("DELETE", product_id)
            case "fix":
                wishes = {"removeOrphaned": chance.random() < 0.5, "recreateMissing": chance.random() < 0.5}
                await self.call("POST", f"{product_id}/images/sync", json=wishes)
            case "check":
                await self.call("GET", f"{product_id}/images/sync/check")

    async def _replace(self, product_id: str, image_id: str) -> None:
        # Of two at once nobody can say which is the later one.
        if image_id in self.replaced:
            self.given_up.add(image_id)
        self.replaced.add(image_id)
        content = self.picture()
        path = f"{product_id}/images/{image_id}"
        answer = await self.call("PUT", path, data={}, files={"file": ("q.jpg", content)})
        if answer is not None and answer.status_code == 200:
            self._keep(product_id, answer.json(), content)
        else:
            self.given_up.add(image_id)

    def counted_on(self, touched: set[str]) -> dict[str, str]:
        """The SHA-256 of what was stored and neither changed by callers nor touched from outside, by image id."""
        return {
            image: sha256
            for image, sha256 in self.kept.items()
            if not {image, self.product_of[image]} & self.given_up and self.name_of[image] not in touched
        }


def name_of(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def corrupted(content: bytes) -> bytes:
    """Other bytes, as many."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


async def all_at_once(shop: Shop, outsider: Outsider, seed: int, victim: RunningService | None) -> None:
    """Callers, the outsider and a death, at the same time."""
    turns = 4 + PRODUCTS

    async def caller(number: int) -> None:
        chance = Random(f"{seed} caller {number}")
        for _ in range(turns):
            await shop.act(chance)

    async def outside() -> None:
        for number in range(2 * turns):
            await outsider.act()
            if number % 4 == 0:
                await outsider.post(4)

    async def death() -> None:
        if victim is None:
            return
        await outsider.world.keys()
        victim.kill()
        victim.start()
        await victim.wait_until_ready(READY_SECONDS)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)), outside(), death())
    await outsider.post()


async def untold_changes(outsider: Outsider) -> None:
    """What nobody tells of and no sweep saw: the fix alone has to find it."""
    recorded = sorted((await outsider.world.state()).records.values(), key=lambda record: str(record["object_key"]))
    outsider.chance.shuffle(recorded)
    keys = [record["object_key"] for record in recorded if record["on_disk"]]
    disk = outsider.world.system.media_root
    gone, gone_everywhere, other, moved, gone_from_disk, other_on_disk, corrupt, gone_and_corrupt, *_ = keys
    # Of a file that is nowhere as it was, first where a listing tells nothing: as many other bytes.
    await outsider.corrupt(corrupt)
    (disk / corrupt).unlink(missing_ok=True)
    if (disk / gone_and_corrupt).exists():
        outsider.put_on_disk(gone_and_corrupt, corrupted((disk / gone_and_corrupt).read_bytes()))
    await outsider.delete(gone_and_corrupt)
    await outsider.delete(gone)
    await outsider.delete(gone_everywhere)
    (disk / gone_everywhere).unlink(missing_ok=True)
    await outsider.put(other, outsider.content() + b"longer than it was" * 100)
    await outsider.move(moved, outsider.new_key())
    (disk / gone_from_disk).unlink(missing_ok=True)
    outsider.touched.add(name_of(other_on_disk))
    outsider.put_on_disk(other_on_disk, b"short")
    for _ in range(3):
        await outsider.put(outsider.new_key(), outsider.content())
    await outsider.put(f"products/{outsider.product_ids[0]}/{outsider.new_name()}", outsider.content())
    outsider.put_on_disk(outsider.new_key(), outsider.content())
    outsider.untold.clear()


async def missed_events(reconciler: RunningService) -> float:
    """What the sweep found and counted since the process began."""
    async with httpx.AsyncClient(base_url=reconciler.base_url, timeout=30) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("bucket_events_missed_total{"))


# --- what has to hold -------------------------------------------------------------------------------------------------


async def assert_agreed(world: ConsistencyWorld, left_alone: set[str]) -> State:
    """Records, bucket and disk say the same, read without the system; and the system says so too."""
    state = await world.state()
    stored = {key: sha256 for key, sha256 in state.of_products.items() if key not in OUTSIDE_LAYOUT}
    assert all(record["change_id"] is None and not record["is_hidden"] for record in state.records.values())
    assert {record["object_key"]: record["sha256"] for record in state.records.values()} == stored
    on_disk = {record["object_key"]: record["sha256"] for record in state.records.values() if record["on_disk"]}
    assert {key: sha256 for key, sha256 in state.disk.items() if key not in left_alone} == on_disk
    assert left_alone <= state.disk.keys()
    leftovers = {key for key in state.bucket if not key.startswith(("products/", QUARANTINE))}
    assert leftovers == set()

    found = await world.check_all()
    for result in found["results"]:
        if result["productId"] is not None:
            assert (result["orphanedFiles"], result["missingFiles"], result["errors"]) == ([], [], []), result
    assert found["totalImages"] == found["syncedFiles"] == len(state.records) == len(stored)
    synced = [key for result in found["results"] for key in result["syncedFiles"]]
    assert sorted(synced) == sorted(stored)
    return state


def assert_nothing_destroyed(before: State, after: State, plan_id: str) -> None:
    """What lay somewhere before the fix and does not any more lies in the plan's quarantine."""
    kept = after.quarantined
    for key, sha256 in before.of_products.items():
        if after.bucket.get(key) != sha256:
            assert kept.get(f"{QUARANTINE}{plan_id}/{key}") == sha256, key
    for key, sha256 in before.disk.items():
        if after.disk.get(key) != sha256:
            assert kept.get(f"{QUARANTINE}{plan_id}/disk/{key}") == sha256, key


def assert_counted_on(shop: Shop, outsider: Outsider, state: State) -> None:
    """What callers stored and nobody touched is what it was, whatever went on around it."""
    untouched = shop.counted_on(outsider.touched)
    assert untouched, "the chaos spared nothing: the test says less than it should"
    records = {image: record["sha256"] for image, record in state.records.items() if image in untouched}
    assert records == untouched


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
async def test_one_sweep_and_one_fix_bring_everything_back_to_one_truth(
    system: System, object_store_server: ObjectStoreServer, of_tomorrow: set[str], seed: int
) -> None:
    chance = Random(seed)
    async with consistency_world(system, object_store_server) as world:
        shop = Shop(world)
        await shop.open(PRODUCTS)
        outsider = Outsider(world, Random(f"{seed} outsider"), list(shop.product_ids), of_tomorrow)
        for key in OUTSIDE_LAYOUT:
            await outsider.put(key, b"nobody's business")
        victim = chance.choice((*system.services, None))
        await all_at_once(shop, outsider, seed, victim)
        assert shop.surprises == []

        await world.come_to_rest()
        missed_before = await missed_events(system.services[2])
        await world.sweep()
        assert await missed_events(system.services[2]) > missed_before
        await untold_changes(outsider)
        await asyncio.sleep(UNTIL_OLD_SECONDS)

        before = await world.state()
        plan_id, result = await world.fix_all()
        after = await assert_agreed(world, of_tomorrow)
        assert result["totalImages"] == result["syncedFiles"] == len(after.records)
        assert {key: after.bucket.get(key) for key in OUTSIDE_LAYOUT} == {
            key: before.bucket.get(key) for key in OUTSIDE_LAYOUT
        }
        assert {item["action"] for item in await world.items(plan_id)} == ACTIONS
        assert_nothing_destroyed(before, after, plan_id)
        assert_counted_on(shop, outsider, after)

        await world.undo(plan_id)
        undone = await world.state()
        assert undone.of_products == before.of_products
        assert undone.disk == before.disk
        assert undone.records == before.records
        assert undone.quarantined == before.quarantined

        await asyncio.sleep(UNTIL_OLD_SECONDS)
        await world.fix_all()
        await assert_agreed(world, of_tomorrow)
