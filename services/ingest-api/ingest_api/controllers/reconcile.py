"""How bucket, disk and records of products compare."""

from __future__ import annotations

from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from ingest_api.accounts import Role
from ingest_api.authentication import require
from ingest_api.reconciling import Reconciling
from shared.events import ReconcileScope


class ProductSyncAnswer(msgspec.Struct, rename="camel"):
    """Keys in the bucket. Orphaned: no record names it; missing: a record does, and it is not there.

    `productId` is null for keys of no product. `truncated` says that the lists were too long for one answer.
    """

    product_id: UUID | None
    orphaned_files: list[str]
    missing_files: list[str]
    synced_files: list[str]
    errors: list[str]
    truncated: bool | msgspec.UnsetType = msgspec.UNSET


class ProductsSyncAnswer(msgspec.Struct, rename="camel"):
    """Counts over all products, and the files of each; of those that are well only while there is room."""

    total_products: int
    total_images: int
    orphaned_files: int
    missing_files: int
    synced_files: int
    errors: int
    results: list[ProductSyncAnswer]
    truncated: bool | msgspec.UnsetType = msgspec.UNSET


class ProductSyncController(Controller):
    """Compares the bucket with the records of product images, and repairs what differs."""

    path = "/admin/products"
    tags = ("Product consistency",)
    guards = (require(Role.ADMIN),)

    @get("/{product_id:uuid}/images/sync/check", summary="Check one product")
    async def check_product(
        self, product_id: FromPath[UUID], reconciling: NamedDependency[Reconciling]
    ) -> ProductSyncAnswer:
        """Changes nothing. What is being changed right now is in no list."""
        scope = ReconcileScope(kind="product", product_id=product_id)
        return msgspec.convert(await reconciling.check(scope), ProductSyncAnswer)

    @get("/sync/check-all", summary="Check all products")
    async def check_all(self, reconciling: NamedDependency[Reconciling]) -> ProductsSyncAnswer:
        """Changes nothing. `results` has an entry per product, and one for each folder that belongs to none."""
        return msgspec.convert(await reconciling.check(ReconcileScope(kind="products")), ProductsSyncAnswer)
