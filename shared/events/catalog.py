"""Facts about products and their images, told by ingest-api; all of one product in order."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.events.envelope import Event
from shared.messaging.topics import CATALOG_EVENTS


class ProductImageType(StrEnum):
    """Which slot of a variant an image fills; the name of its folder in the bucket."""

    HERO_CARD = "hero-card"
    INFO_CARD = "info-card"
    OTHER_IMAGES = "other-images"


class ProductVariant(BaseModel):
    """One weight of a product, such as `250g`; the name of its folder in the bucket."""

    model_config = ConfigDict(frozen=True)

    variant_id: UUID
    weight: str
    is_active: bool


class ProductChangedV1(Event, type="catalog.product-changed.v1", topic=CATALOG_EVENTS):
    """A product as it is now, with all its variants. A lower `version` that comes later is passed over."""

    product_id: UUID
    version: int
    name: str
    is_deleted: bool
    variants: tuple[ProductVariant, ...]
    changed_at: datetime

    def key(self) -> str:
        return str(self.product_id)


class ProductImageChangedV1(Event, type="catalog.product-image-changed.v1", topic=CATALOG_EVENTS):
    """The record of one image as it is now; `is_removed` when there is none any more.

    `version` counts per image. `object_key` is the key in the bucket, and on the disk where a copy is kept there.
    `is_settled` is false while a change of the files is under way: then bucket and record may differ rightly.
    """

    product_id: UUID
    image_id: UUID
    version: int
    variant_id: UUID
    weight: str
    image_type: ProductImageType
    object_key: str
    mime_type: str
    size_bytes: int
    sha256: str | None
    on_disk: bool
    is_settled: bool
    is_removed: bool
    changed_at: datetime

    def key(self) -> str:
        return str(self.product_id)


class RecordRepairResult(BaseModel):
    """What became of one wanted change of a record: `code` and `detail` tell why it was refused.

    `sha256` is of the bytes that a made or refreshed record tells of.
    """

    model_config = ConfigDict(frozen=True)

    item_id: UUID
    done: bool
    image_id: UUID | None = None
    sha256: str | None = None
    code: str | None = None
    detail: str | None = None


class RecordsRepairedV1(Event, type="catalog.records-repaired.v1", topic=CATALOG_EVENTS):
    """The answer to `reconcile.repair-records.v1`, one result per item."""

    plan_id: UUID
    product_id: UUID
    results: tuple[RecordRepairResult, ...]
    repaired_at: datetime

    def key(self) -> str:
        return str(self.product_id)
