"""A small world for reconciler: records as their owner tells of them, objects as an outsider puts them."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from deploy.local.object_store import ObjectStoreServer
from shared.events import (
    DecideOnPlanV1,
    ImageProcessedV1,
    ProductChangedV1,
    ProductImageChangedV1,
    ProductImageType,
    ProductVariant,
    ReconcileRunChangedV1,
    ReconcileScope,
    RecordRepair,
    RecordRepairResult,
    RecordsRepairedV1,
    RepairRecordsV1,
    StartReconcileRunV1,
    StorageStatus,
    StoredFile,
)
from shared.identifiers import new_id
from shared.storage.keys import MediaKey
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.files_on_disk import contents_below
from tests.system import System

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

BUCKET = "mediabus"
USER = UUID(int=7)
BYTES = b"a picture"


@dataclass
class Image:
    """A record as it was told last."""

    product: Product
    image_id: UUID
    key: str
    content: bytes
    version: int = 1
    on_disk: bool = False
    is_removed: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    def event(self) -> ProductImageChangedV1:
        parts = self.key.split("/")
        values: dict[str, Any] = {
            "product_id": self.product.product_id,
            "image_id": self.image_id,
            "version": self.version,
            "variant_id": self.product.variant_id,
            "weight": parts[2] if len(parts) == 5 else "250g",
            "image_type": ProductImageType.HERO_CARD,
            "object_key": self.key,
            "mime_type": "image/png",
            "size_bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "on_disk": self.on_disk,
            "is_settled": True,
            "is_removed": self.is_removed,
            "changed_at": datetime.now(UTC),
        }
        return ProductImageChangedV1(**{**values, **self.changes})


@dataclass
class Product:
    product_id: UUID
    variant_id: UUID
    version: int = 1
    is_deleted: bool = False

    def key(self, name: str, weight: str = "250g", image_type: str = "hero-card") -> str:
        return f"products/{self.product_id}/{weight}/{image_type}/{name}"

    def event(self) -> ProductChangedV1:
        return ProductChangedV1(
            product_id=self.product_id,
            version=self.version,
            name="Coffee",
            is_deleted=self.is_deleted,
            variants=(ProductVariant(variant_id=self.variant_id, weight="250g", is_active=True),),
            changed_at=datetime.now(UTC),
        )


@dataclass
class ReconcileWorld:
    """Tells of records, and looks at the bucket with a client of its own."""

    system: System
    bus: Bus
    client: S3Client
    http: httpx.AsyncClient
    images: dict[UUID, Image] = field(default_factory=dict)
    owner: asyncio.Task[None] | None = None

    # --- the owner of the records -----------------------------------------------------------------------------------

    async def own_records(self) -> None:
        """Carry repairs of records out as their owner does: facts first, then the answer. Never ends."""
        answered: set[tuple[Any, ...]] = set()
        while True:
            for event in self.bus.told(RepairRecordsV1.event_type):
                repairs = RepairRecordsV1.model_validate(event)
                identity = tuple(repair.item_id for repair in repairs.repairs)
                if identity not in answered:
                    answered.add(identity)
                    await self._repair(repairs)
            await asyncio.sleep(0.01)

    async def _repair(self, wanted: RepairRecordsV1) -> None:
        results = []
        for repair in wanted.repairs:
            image = await self._repaired(wanted.product_id, repair)
            results.append(
                RecordRepairResult(
                    item_id=repair.item_id,
                    done=True,
                    image_id=image.image_id,
                    sha256=hashlib.sha256(image.content).hexdigest(),
                )
                if image
                else RecordRepairResult(item_id=repair.item_id, done=False, code="refused", detail="no such weight")
            )
        await self.bus.send(
            RecordsRepairedV1(
                plan_id=wanted.plan_id,
                product_id=wanted.product_id,
                results=tuple(results),
                repaired_at=datetime.now(UTC),
            )
        )

    async def _repaired(self, product_id: UUID, repair: RecordRepair) -> Image | None:
        if repair.weight == "refused":
            return None
        if repair.action == "make":
            content = (await self.stored(repair.object_key))[repair.object_key]
            image = Image(Product(product_id, new_id()), new_id(), repair.object_key, content)
            image.version = 0
            self.images[image.image_id] = image
        else:
            assert repair.image_id is not None
            image = self.images[repair.image_id]
            if repair.expected_sha256 not in (None, hashlib.sha256(image.content).hexdigest()):
                return None
            image.is_removed = repair.action == "remove"
            if repair.action == "refresh" and repair.size_bytes is not None:
                stored = await self.stored(repair.object_key)
                image.content = stored.get(repair.object_key, image.content)
        image.version += 1
        await self.bus.send(image.event())
        return image

    # --- records --------------------------------------------------------------------------------------------------

    async def product(self) -> Product:
        made = Product(new_id(), new_id())
        await self.bus.send(made.event())
        await self._known("products", "product_id", made.product_id, 1)
        return made

    async def image(
        self, product: Product, name: str, *, content: bytes = BYTES, is_stored: bool = True, **options: Any
    ) -> Image:
        """A record, and its object unless `is_stored` is False."""
        made = Image(product, new_id(), product.key(name), content, **options)
        if is_stored:
            await self.put(made.key, content)
        if made.on_disk:
            self.put_on_disk(made.key, content)
        await self.tell(made)
        return made

    async def tell(self, image: Image) -> None:
        await self.bus.send(image.event())
        self.images[image.image_id] = image
        await self._known("product_images", "image_id", image.image_id, image.version)

    async def _known(self, table: str, column: str, record_id: UUID, version: int) -> None:
        async def known() -> bool:
            counts = "revision" if table == "media" else "version"
            sql = f"SELECT 1 FROM {table} WHERE {column} = $1 AND {counts} >= $2"
            return bool(await self.system.rows("reconciler", sql, record_id, version))

        await eventually(known, within_seconds=60, why=f"reconciler knows {record_id}")

    async def medium(self, name: str, content: bytes = BYTES, *, in_bucket: bool = True) -> str:
        """A file of a medium on the disk, and in the bucket unless it is told otherwise; returns its key."""
        media_id = new_id()
        key = str(MediaKey(media_id, 1, name, "webp"))
        self.put_on_disk(key, content)
        if in_bucket:
            await self.put(key, content)
        file = StoredFile(
            name=name,
            key=key,
            mime_type="image/webp",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            width_px=1,
            height_px=1,
        )
        await self.bus.send(
            ImageProcessedV1(
                job_id=new_id(),
                media_id=media_id,
                revision=1,
                width_px=1,
                height_px=1,
                mime_type="image/webp",
                sha256=file.sha256,
                original=None,
                variants=(file,),
                placeholder="",
                storage_status=StorageStatus.SYNCED if in_bucket else StorageStatus.LOCAL_ONLY,
                on_disk=True,
                in_bucket=in_bucket,
                render_seconds=0.1,
                processed_at=datetime.now(UTC),
            )
        )
        await self._known("media", "media_id", media_id, 1)
        return key

    # --- objects --------------------------------------------------------------------------------------------------

    async def put(self, key: str, content: bytes = BYTES) -> None:
        await self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    async def remove(self, key: str) -> None:
        await self.client.delete_object(Bucket=BUCKET, Key=key)

    def put_on_disk(self, key: str, content: bytes = BYTES) -> None:
        path = self.system.media_root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    async def stored(self, prefix: str = "") -> dict[str, bytes]:
        """Every object below a prefix with its bytes."""
        found: dict[str, bytes] = {}
        async for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for listed in page.get("Contents", []):
                answer = await self.client.get_object(Bucket=BUCKET, Key=listed["Key"])
                found[listed["Key"]] = await answer["Body"].read()
        return found

    async def metadata(self, key: str) -> dict[str, str]:
        return dict((await self.client.head_object(Bucket=BUCKET, Key=key))["Metadata"])

    def on_disk(self, prefix: str) -> dict[str, bytes]:
        """Every file below a prefix with its bytes."""
        root = self.system.media_root
        return {str(path.relative_to(root)): content for path, content in contents_below(root / prefix).items()}

    async def empty(self) -> None:
        """Leave nothing of a test where others look."""
        for key in await self.stored("products/") | await self.stored("quarantine/") | await self.stored("media/"):
            await self.remove(key)
        for folder in ("products", "media"):
            await asyncio.to_thread(shutil.rmtree, self.system.media_root / folder, ignore_errors=True)
        for image in list(self.images.values()):
            image.version, image.is_removed = image.version + 1, True
            await self.tell(image)

    # --- runs -----------------------------------------------------------------------------------------------------

    async def start(self, scope: ReconcileScope | Product, *flags: str, approves: bool = True) -> UUID:
        """Begin a run; `flags` are those of remove_orphaned and recreate_missing that are wanted."""
        command = StartReconcileRunV1(
            run_id=new_id(),
            scope=scope_of(scope) if isinstance(scope, Product) else scope,
            remove_orphaned="remove_orphaned" in flags,
            recreate_missing="recreate_missing" in flags,
            approves=approves,
            requested_by=USER,
            requested_at=datetime.now(UTC),
        )
        await self.bus.send(command)
        return command.run_id

    async def decide(self, run_id: UUID, scope: ReconcileScope | Product, decision: Any) -> None:
        await self.bus.send(
            DecideOnPlanV1(
                plan_id=run_id,
                scope=scope_of(scope) if isinstance(scope, Product) else scope,
                decision=decision,
                decided_by=USER,
                decided_at=datetime.now(UTC),
            )
        )

    async def reached(self, run_id: UUID, *statuses: str, within_seconds: float = 60) -> dict[str, Any]:
        """The run's newest fact, once its status is one of these."""

        def newest() -> dict[str, Any] | None:
            facts = [fact for fact in self.bus.told(ReconcileRunChangedV1.event_type) if fact["run_id"] == str(run_id)]
            last = max(facts, key=lambda fact: fact["version"], default=None)
            assert last is None or last["status"] in {*statuses, "comparing", "executing", "undoing"}, last
            return last if last and last["status"] in statuses else None

        found: dict[str, Any] = await eventually(
            newest, within_seconds=within_seconds, why=f"run {run_id} is {' or '.join(statuses)}"
        )
        return found

    async def fixed(self, scope: ReconcileScope | Product, *flags: str) -> dict[str, Any]:
        """How things stand after a fix, in the contract's words."""
        run = await self.reached(await self.start(scope, *flags), "completed")
        result: dict[str, Any] = run["result"]
        return result

    async def items(self, run_id: UUID) -> list[dict[str, Any]]:
        sql = "SELECT * FROM plan_items WHERE plan_id = $1 ORDER BY position"
        return [dict(row) for row in await self.system.rows("reconciler", sql, run_id)]

    # --- asking ---------------------------------------------------------------------------------------------------

    async def check(self, product: Product | UUID) -> httpx.Response:
        product_id = product if isinstance(product, UUID) else product.product_id
        return await self.http.get(f"/admin/products/{product_id}/images/sync/check")

    async def checked(self, product: Product) -> dict[str, Any]:
        answer = await self.check(product)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@asynccontextmanager
async def opened_world(
    system: System, bus: Bus, server: ObjectStoreServer, base_url: str = "http://127.0.0.1:9", api_key: str = ""
) -> AsyncIterator[ReconcileWorld]:
    async with (
        server.client() as client,
        httpx.AsyncClient(base_url=base_url, timeout=60, headers={"Authorization": f"Bearer {api_key}"}) as http,
    ):
        world = ReconcileWorld(system, bus, client, http)
        world.owner = asyncio.create_task(world.own_records())
        try:
            yield world
        finally:
            world.owner.cancel()
            (outcome,) = await asyncio.gather(world.owner, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError), outcome


def scope_of(product: Product) -> ReconcileScope:
    return ReconcileScope(kind="product", product_id=product.product_id)
