"""Products and variants without their files: every call is one transaction with the fact that tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ingest_api.problem_details import Conflict
from ingest_api.product_changes import no_such_product
from ingest_api.product_plans import require_free_weight, seen_variant
from ingest_api.products import Product, ProductImage, Variant
from ingest_api.repositories.products import ProductRepository
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id

MOST_VARIANTS = 200


class ProductCatalogue:
    """Reads products, and changes what touches no file."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def read(self, product_id: UUID) -> tuple[Product, list[ProductImage]]:
        """Raises Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            products = ProductRepository(connection)
            product = _seen(await products.get(product_id))
            return product, await products.images([product_id])

    async def newest(
        self, after: UUID | None, limit: int, name_part: str | None = None
    ) -> list[tuple[Product, list[ProductImage]]]:
        """With their images; those whose name has the part in it, whatever its case."""
        async with self._unit_of_work.database.connection() as connection:
            products = ProductRepository(connection)
            page = await products.newest(after, limit, name_part)
            return _with_images(page, await products.images([product.id for product in page]))

    async def add(self, name: str) -> Product:
        product_id = new_id()
        async with self._unit_of_work.begin() as transaction:
            products = ProductRepository(transaction.connection)
            await products.add(product_id, name)
            product = _seen(await products.get(product_id))
            transaction.publish(product.changed())
        return product

    async def rename(self, product_id: UUID, name: str) -> tuple[Product, list[ProductImage]]:
        """Raises Problem 404."""
        async with self._unit_of_work.begin() as transaction:
            products = ProductRepository(transaction.connection)
            product = _seen(await products.locked(product_id))
            if product.name != name:
                product = await products.touch(product_id, name=name)
                transaction.publish(product.changed())
            return product, await products.images([product_id])

    async def add_variant(self, product_id: UUID, weight: str, *, is_active: bool) -> Variant:
        """Raises Problem 404, and 409 for a weight that the product has."""
        variant_id = new_id()
        async with self._unit_of_work.begin() as transaction:
            products = ProductRepository(transaction.connection)
            product = _seen(await products.locked(product_id))
            require_free_weight(product, weight)
            if len(product.variants) >= MOST_VARIANTS:
                raise Conflict("too_many_variants", f"A product has {MOST_VARIANTS} variants at most.")
            await products.add_variant(variant_id, product_id, weight, is_active=is_active)
            product = await products.touch(product_id)
            transaction.publish(product.changed())
            return seen_variant(product, variant_id)

    async def set_active(self, product_id: UUID, variant_id: UUID, is_active: bool | None) -> Variant:
        """Enabling and disabling touches no file; None only reads. Raises Problem 404."""
        async with self._unit_of_work.begin() as transaction:
            products = ProductRepository(transaction.connection)
            variant = seen_variant(_seen(await products.locked(product_id)), variant_id)
            if is_active is None or is_active == variant.is_active:
                return variant
            await products.set_variant(variant_id, is_active=is_active, other_weight=variant.other_weight)
            product = await products.touch(product_id)
            transaction.publish(product.changed())
            return seen_variant(product, variant_id)


def _seen(product: Product | None) -> Product:
    if product is None or product.is_hidden:
        raise no_such_product()
    return product


def _with_images(
    products: Sequence[Product], images: Sequence[ProductImage]
) -> list[tuple[Product, list[ProductImage]]]:
    of_product: dict[UUID, list[ProductImage]] = {product.id: [] for product in products}
    for image in images:
        of_product[image.product_id].append(image)
    return [(product, of_product[product.id]) for product in products]
