"""The keys that the outside world writes to: `products/{productId}/{weight}/{imageType}/{file}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from shared.events import ProductImageType

PRODUCTS_PREFIX: Final = "products/"
QUARANTINE_PREFIX: Final = "quarantine/"
_TYPES: Final = {kind.value: kind for kind in ProductImageType}


@dataclass(frozen=True, slots=True)
class ProductKey:
    """A key of the layout, read."""

    product_id: UUID
    weight: str
    image_type: ProductImageType
    file: str


def product_prefix(product_id: UUID) -> str:
    return f"{PRODUCTS_PREFIX}{product_id}/"


def product_of(key: str) -> UUID | None:
    """The product whose folder the key lies in; None where that is no product's."""
    parts = key.split("/", 2)
    if len(parts) < 3 or parts[0] != "products":
        return None
    try:
        product_id = UUID(parts[1])
    except ValueError:
        return None
    return product_id if str(product_id) == parts[1] else None


def parse(key: str) -> ProductKey | None:
    """Read a key of the layout; None for any other."""
    product_id = product_of(key)
    parts = key.split("/")
    if product_id is None or len(parts) != 5 or not all(parts) or parts[3] not in _TYPES:
        return None
    return ProductKey(product_id, parts[2], _TYPES[parts[3]], parts[4])
