"""Products as their pages show them: images in the slots of their variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

from ingest_api.products import Product, ProductImage, ProductRecords, Variant, image_values
from shared.events import ProductImageType

SLOTS: Final = (ProductImageType.HERO_CARD, ProductImageType.INFO_CARD, ProductImageType.OTHER_IMAGES)
"""In the order in which customers meet them."""


def image_address(image: ProductImage, records: ProductRecords) -> str:
    """Another one for another file: what a browser keeps of a replaced image is not shown for it."""
    address: str = records.image(image_values(image))["imageUrl"]
    return f"{address}?v={image.version}" if address.startswith("/") else address


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image that can be seen; `address` is None while the bucket has told that its file is gone."""

    image: ProductImage
    address: str | None

    @property
    def name(self) -> str:
        return PurePosixPath(self.image.file.object_key).name


@dataclass(frozen=True, slots=True)
class SlotView:
    """The images of one type; a slot for one image that has it wants no other, but may have got more."""

    image_type: ProductImageType
    images: tuple[ImageView, ...]

    @property
    def takes_more(self) -> bool:
        return self.image_type is ProductImageType.OTHER_IMAGES or not self.images


@dataclass(frozen=True, slots=True)
class VariantView:
    variant: Variant
    slots: tuple[SlotView, ...]

    @property
    def images(self) -> int:
        return sum(len(slot.images) for slot in self.slots)


def variant_views(product: Product, images: Sequence[ProductImage], addresses: Mapping[UUID, str]) -> list[VariantView]:
    """The variants that can be seen, each with all its slots."""
    seen = [_image_view(image, addresses) for image in images if not image.is_hidden]
    return [
        VariantView(
            variant,
            tuple(
                SlotView(
                    slot,
                    tuple(
                        view
                        for view in seen
                        if view.image.file.variant_id == variant.id and view.image.file.image_type is slot
                    ),
                )
                for slot in SLOTS
            ),
        )
        for variant in product.variants
        if not variant.is_hidden
    ]


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One product in the list; `picture` is its first hero image, or any, or None."""

    product: Product
    variants: tuple[Variant, ...]
    images: int
    missing: int
    picture: str | None

    @classmethod
    def of(cls, product: Product, images: Sequence[ProductImage], addresses: Mapping[UUID, str]) -> ProductRow:
        seen = [image for image in images if not image.is_hidden]
        there = sorted(
            (image for image in seen if not image.is_missing), key=lambda image: SLOTS.index(image.file.image_type)
        )
        return cls(
            product,
            tuple(variant for variant in product.variants if not variant.is_hidden),
            len(seen),
            len(seen) - len(there),
            addresses[there[0].id] if there else None,
        )


def _image_view(image: ProductImage, addresses: Mapping[UUID, str]) -> ImageView:
    return ImageView(image, None if image.is_missing else addresses[image.id])
