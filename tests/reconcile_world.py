"""A small world for reconciler: records as their owner tells of them, objects as an outsider puts them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from deploy.local.object_store import ObjectStoreServer
from shared.events import ProductChangedV1, ProductImageChangedV1, ProductImageType, ProductVariant
from shared.identifiers import new_id
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.system import System

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

BUCKET = "mediabus"
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
        await self._known("product_images", "image_id", image.image_id, image.version)

    async def _known(self, table: str, column: str, record_id: UUID, version: int) -> None:
        async def known() -> bool:
            sql = f"SELECT 1 FROM {table} WHERE {column} = $1 AND version >= $2"
            return bool(await self.system.rows("reconciler", sql, record_id, version))

        await eventually(known, within_seconds=30, why=f"reconciler knows {record_id}")

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

    async def empty(self) -> None:
        """Leave nothing of a test where others look."""
        for key in await self.stored("products/") | await self.stored("quarantine/"):
            await self.remove(key)

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
    system: System, bus: Bus, server: ObjectStoreServer, base_url: str, api_key: str
) -> AsyncIterator[ReconcileWorld]:
    async with (
        server.client() as client,
        httpx.AsyncClient(base_url=base_url, timeout=60, headers={"Authorization": f"Bearer {api_key}"}) as http,
    ):
        yield ReconcileWorld(system, bus, client, http)
