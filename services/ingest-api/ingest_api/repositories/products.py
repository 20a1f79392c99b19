"""Products, their variants and images, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.products import ImageFile, Product, ProductImage, Variant
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import ProductImageType

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "products.sql")


class ProductRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    # --- products and variants ------------------------------------------------------------------------------------

    async def locked(self, product_id: UUID) -> Product | None:
        """The product, which nobody else changes until the transaction ends."""
        await self._connection.execute(QUERIES["lock"], product_id)
        return await self.get(product_id)

    async def get(self, product_id: UUID) -> Product | None:
        rows = await self._connection.fetch(QUERIES["product"], product_id)
        products = await self._with_variants(rows)
        return products[0] if products else None

    async def newest(self, after: UUID | None, limit: int, name_part: str | None = None) -> list[Product]:
        """Those whose name has the part in it, whatever its case; None: all."""
        return await self._with_variants(await self._connection.fetch(QUERIES["newest"], after, limit, name_part))

    async def names(self, product_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The names of those that there are."""
        rows = await self._connection.fetch(QUERIES["names"], list(product_ids))
        return {row["id"]: row["name"] for row in rows}

    async def add(self, product_id: UUID, name: str) -> None:
        await self._connection.execute(QUERIES["add_product"], product_id, name)

    async def touch(self, product_id: UUID, *, name: str | None = None, is_hidden: bool | None = None) -> Product:
        """Change what is given and count a version, also for what was changed of its variants."""
        await self._connection.execute(QUERIES["touch_product"], product_id, name, is_hidden)
        product = await self.get(product_id)
        assert product is not None, "the product is gone while its row is locked"
        return product

    async def remove(self, product_id: UUID) -> None:
        """With its variants and the records of its images."""
        await self._connection.execute(QUERIES["remove_product"], product_id)

    async def add_variant(
        self, variant_id: UUID, product_id: UUID, weight: str, *, is_active: bool, made_by_plan: UUID | None = None
    ) -> None:
        await self._connection.execute(QUERIES["add_variant"], variant_id, product_id, weight, is_active, made_by_plan)

    async def remove_made_variant(self, variant_id: UUID, plan_id: UUID) -> bool:
        """Whether this plan made the variant and nobody has changed or used it since: then it is gone."""
        return await self._connection.fetchval(QUERIES["remove_made_variant"], variant_id, plan_id) is not None

    async def set_variant(
        self,
        variant_id: UUID,
        *,
        is_active: bool | None = None,
        is_hidden: bool | None = None,
        other_weight: str | None = None,
    ) -> None:
        """None leaves the two flags as they are, and no other weight."""
        await self._connection.execute(QUERIES["set_variant"], variant_id, is_active, is_hidden, other_weight)

    async def swap_weight(self, variant_id: UUID) -> None:
        await self._connection.execute(QUERIES["swap_weight"], variant_id)

    async def remove_variant(self, variant_id: UUID) -> None:
        await self._connection.execute(QUERIES["remove_variant"], variant_id)

    # --- images ---------------------------------------------------------------------------------------------------

    async def images(self, product_ids: Sequence[UUID]) -> list[ProductImage]:
        """Every image of these products, hidden ones included, in the order of their making."""
        return [_image(row) for row in await self._connection.fetch(QUERIES["images"], list(product_ids))]

    async def image(self, image_id: UUID) -> ProductImage | None:
        row = await self._connection.fetchrow(QUERIES["image"], image_id)
        return None if row is None else _image(row)

    async def image_of_key(self, object_key: str) -> ProductImage | None:
        row = await self._connection.fetchrow(QUERIES["image_of_key"], object_key)
        return None if row is None else _image(row)

    async def images_in_change(self, change_id: UUID) -> list[ProductImage]:
        return [_image(row) for row in await self._connection.fetch(QUERIES["images_in_change"], change_id)]

    async def add_image(self, image: ProductImage) -> None:
        file = image.file
        await self._connection.execute(
            QUERIES["add_image"],
            image.id,
            image.product_id,
            file.variant_id,
            file.image_type.value,
            file.object_key,
            file.mime_type,
            file.size_bytes,
            file.sha256,
            file.on_disk,
            image.version,
            image.change_id,
            image.is_hidden,
        )

    async def take_images(
        self, change_id: UUID, images: Mapping[UUID, ImageFile | None], *, is_hidden: bool
    ) -> list[ProductImage]:
        """Have a change work on settled records, and tell how they are now.

        The values are the files to which the records will switch.
        """
        taken = [
            {"id": str(image_id), "other_file": None if other is None else _file_json(other)}
            for image_id, other in images.items()
        ]
        rows = await self._connection.fetch(QUERIES["take_images"], change_id, is_hidden, taken)
        assert len(rows) == len(images), "another change works on some of these records"
        return await self.images_in_change(change_id)

    async def swap_files(self, change_id: UUID) -> list[ProductImage]:
        """Switch the records of a change that have another file; it is what they named before from then on."""
        swapped = {row["id"] for row in await self._connection.fetch(QUERIES["swap_files"], change_id)}
        return [image for image in await self.images_in_change(change_id) if image.id in swapped]

    async def settle_images(self, images: Sequence[ProductImage]) -> list[ProductImage]:
        """End a change for records; they are seen again."""
        settled: list[ProductImage] = []
        await self._connection.execute(QUERIES["settle_images"], [image.id for image in images])
        if images:
            ids = {image.id for image in images}
            settled = [one for one in await self.images([images[0].product_id]) if one.id in ids]
        return settled

    async def refresh_image(
        self, image_id: UUID, *, size_bytes: int, sha256: str | None, mime_type: str | None, on_disk: bool | None
    ) -> None:
        await self._connection.execute(QUERIES["refresh_image"], image_id, size_bytes, sha256, mime_type, on_disk)

    async def mark_image(self, image_id: UUID, *, is_missing: bool) -> None:
        """Note whether the bucket holds the image's file."""
        await self._connection.execute(QUERIES["mark_image"], image_id, is_missing)

    async def remove_images(self, images: Sequence[ProductImage]) -> None:
        await self._connection.execute(QUERIES["remove_images"], [image.id for image in images])

    async def keep_removed(self, image: ProductImage) -> None:
        """Keep what a repair removes, so that it can bring it back."""
        record = _file_json(image.file) | {"version": image.version + 1}
        await self._connection.execute(QUERIES["keep_removed_image"], image.id, image.product_id, record)

    async def removed(self, image_id: UUID, product_id: UUID) -> Mapping[str, Any] | None:
        """What was kept of a removed record, with the `version` under which its removal was told."""
        record: Mapping[str, Any] | None = await self._connection.fetchval(
            QUERIES["removed_image"], image_id, product_id
        )
        return record

    async def forget_removed(self, image_id: UUID) -> None:
        await self._connection.execute(QUERIES["forget_removed_image"], image_id)

    async def is_awaited(self, product_id: UUID, object_key: str) -> bool:
        """Whether a change moves an image from or to this key, without its record naming it now."""
        return bool(await self._connection.fetchval(QUERIES["is_awaited"], product_id, object_key))

    async def prune_removed(self, older_than_seconds: float, limit: int) -> None:
        await self._connection.execute(QUERIES["prune_removed_images"], older_than_seconds, limit)

    async def _with_variants(self, rows: Sequence[Mapping[str, Any]]) -> list[Product]:
        variants: dict[UUID, list[Variant]] = {row["id"]: [] for row in rows}
        for row in await self._connection.fetch(QUERIES["variants"], list(variants)):
            values = dict(row)
            variants[values.pop("product_id")].append(Variant(**values))
        return [Product(**row, variants=tuple(variants[row["id"]])) for row in rows]


def _image(row: Mapping[str, Any]) -> ProductImage:
    return ProductImage(
        id=row["id"],
        product_id=row["product_id"],
        file=ImageFile(
            variant_id=row["variant_id"],
            weight=row["weight"],
            image_type=ProductImageType(row["image_type"]),
            object_key=row["object_key"],
            mime_type=row["mime_type"],
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
            on_disk=row["on_disk"],
        ),
        version=row["version"],
        change_id=row["change_id"],
        is_hidden=row["is_hidden"],
        is_missing=row["is_missing"],
    )


def _file_json(file: ImageFile) -> dict[str, Any]:
    return {
        "variant_id": str(file.variant_id),
        "image_type": file.image_type.value,
        "object_key": file.object_key,
        "mime_type": file.mime_type,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "on_disk": file.on_disk,
    }
