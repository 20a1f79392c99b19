"""What products, variants and images are, and how callers read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from ingest_api.product_keys import ProductKey
from shared.events import (
    FileAt,
    FilePlace,
    FileStep,
    ProductChangedV1,
    ProductImageChangedV1,
    ProductImageType,
    ProductVariant,
)
from shared.storage.s3 import S3Store


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The file of an image and the slot that it fills; `sha256` is unknown of files that others have put there."""

    variant_id: UUID
    weight: str
    image_type: ProductImageType
    object_key: str
    mime_type: str
    size_bytes: int
    sha256: str | None
    on_disk: bool

    def places(self) -> tuple[FilePlace, ...]:
        return (FilePlace.BUCKET, FilePlace.DISK) if self.on_disk else (FilePlace.BUCKET,)

    def at(self, place: FilePlace) -> FileAt:
        return FileAt(place=place, key=self.object_key)

    def moved_to(self, weight: str) -> ImageFile:
        """The same file under another weight. Raises ValueError for a key outside the layout."""
        key = ProductKey.parse(self.object_key)
        if key is None:
            raise ValueError(f"{self.object_key!r} is no key of a product's image")
        return replace(self, weight=weight, object_key=str(key.with_weight(weight)))

    def removals(self) -> tuple[FileStep, ...]:
        """Steps that remove the file everywhere, as long as it holds the bytes of the record."""
        return tuple(FileStep(kind="remove", target=self.at(place), sha256=self.sha256) for place in self.places())

    def copies_to(self, target: ImageFile) -> tuple[FileStep, ...]:
        """Steps that copy the file within each store; only the bucket's copy has to be there."""
        return tuple(
            FileStep(
                kind="copy",
                source=self.at(place),
                target=target.at(place),
                sha256=self.sha256,
                may_lack_source=place is FilePlace.DISK,
            )
            for place in self.places()
        )

    def copies_aside(self, folder: str) -> tuple[FileStep, ...]:
        """Steps that copy the file into a folder within each store; what is gone already is passed over."""
        return tuple(
            FileStep(
                kind="copy",
                source=self.at(place),
                target=FileAt(place=place, key=f"{folder}{self.object_key}"),
                sha256=self.sha256,
                may_lack_source=True,
            )
            for place in self.places()
        )

    def arrivals_from(self, staging_key: str) -> tuple[FileStep, ...]:
        """Steps that copy a staged file to its places."""
        source = FileAt(place=FilePlace.STAGING, key=staging_key)
        return tuple(
            FileStep(kind="copy", source=source, target=self.at(place), sha256=self.sha256) for place in self.places()
        )


@dataclass(frozen=True, slots=True)
class ProductImage:
    """The record of one image. A record that a change works on is not settled; a hidden one is seen by nobody."""

    id: UUID
    product_id: UUID
    file: ImageFile
    version: int
    change_id: UUID | None
    is_hidden: bool
    is_missing: bool = False
    """The bucket has told that the file is gone."""

    @property
    def is_settled(self) -> bool:
        return self.change_id is None

    def changed(self, changed_at: datetime, *, is_removed: bool = False) -> ProductImageChangedV1:
        """The fact that the record is now like this; a removed one is told under the version after its last."""
        file = self.file
        return ProductImageChangedV1(
            product_id=self.product_id,
            image_id=self.id,
            version=self.version + 1 if is_removed else self.version,
            variant_id=file.variant_id,
            weight=file.weight,
            image_type=file.image_type,
            object_key=file.object_key,
            mime_type=file.mime_type,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            on_disk=file.on_disk,
            is_settled=self.is_settled or is_removed,
            is_removed=is_removed,
            changed_at=changed_at,
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """One weight of a product; `other_weight` is where its files move to, or come from, while they move."""

    id: UUID
    weight: str
    other_weight: str | None
    is_active: bool
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Product:
    """A product with all its variants, hidden ones included."""

    id: UUID
    name: str
    version: int
    is_hidden: bool
    created_at: datetime
    updated_at: datetime
    variants: tuple[Variant, ...]

    def variant(self, variant_id: UUID) -> Variant | None:
        """The variant, unless it is being deleted."""
        return next((one for one in self.variants if one.id == variant_id and not one.is_hidden), None)

    def variant_of_weight(self, weight: str) -> Variant | None:
        return next((one for one in self.variants if one.weight == weight and not one.is_hidden), None)

    def is_taken(self, weight: str, besides: UUID | None = None) -> bool:
        """Whether another variant has this weight, or is on its way from or to it."""
        return any(weight in (one.weight, one.other_weight) for one in self.variants if one.id != besides)

    def changed(self, *, is_deleted: bool = False) -> ProductChangedV1:
        variants = [one for one in self.variants if not one.is_hidden and not is_deleted]
        return ProductChangedV1(
            product_id=self.id,
            version=self.version + 1 if is_deleted else self.version,
            name=self.name,
            is_deleted=is_deleted,
            variants=tuple(
                ProductVariant(variant_id=one.id, weight=one.weight, is_active=one.is_active) for one in variants
            ),
            changed_at=self.updated_at,
        )


def image_values(image: ProductImage) -> dict[str, Any]:
    """What callers learn of an image, besides its address; `fileName` is the key in the bucket."""
    file = image.file
    return {
        "id": str(image.id),
        "fileName": file.object_key,
        "variantWeight": file.weight,
        "imageType": file.image_type.value,
    }


def variant_values(variant: Variant) -> dict[str, Any]:
    return {"id": str(variant.id), "weight": variant.weight, "isActive": variant.is_active}


class ProductRecords:
    """Words products and images as JSON; the addresses are those of a public bucket, or ours."""

    def __init__(self, bucket: S3Store | None) -> None:
        self._bucket = bucket

    def image(self, values: dict[str, Any]) -> dict[str, Any]:
        """The image that `image_values` has told of, with its address as it is now."""
        public = self._bucket.public_url(values["fileName"]) if self._bucket else None
        return {**values, "imageUrl": public or f"/product-images/{values['id']}"}

    def product(self, product: Product, images: Sequence[ProductImage]) -> dict[str, Any]:
        return {
            "id": str(product.id),
            "name": product.name,
            "variants": [variant_values(one) for one in product.variants if not one.is_hidden],
            "images": [self.image(image_values(image)) for image in images if not image.is_hidden],
            "createdAt": product.created_at,
            "updatedAt": product.updated_at,
        }
