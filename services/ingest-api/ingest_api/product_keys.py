"""Where files of products lie: `products/{productId}/{weight}/{imageType}/{file}`, in the bucket and on the disk."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from shared.events import ProductImageType
from shared.picture_types import PictureType
from shared.storage.errors import InvalidKey
from shared.storage.keys import validated

PRODUCTS_PREFIX: Final = "products/"
SLUG_MAX_CHARACTERS: Final = 60
WEIGHT_MAX_CHARACTERS: Final = 64
_IMAGE_TYPES: Final = {kind.value: kind for kind in ProductImageType}


@dataclass(frozen=True, slots=True)
class ProductKey:
    """A key of the layout; `weight` and `file` are single path components, which people outside may have named."""

    product_id: UUID
    weight: str
    image_type: ProductImageType
    file: str

    def __str__(self) -> str:
        return f"{PRODUCTS_PREFIX}{self.product_id}/{self.weight}/{self.image_type}/{self.file}"

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Read a key of this layout; None for any other."""
        parts = key.split("/")
        if len(parts) != 5 or parts[3] not in _IMAGE_TYPES:
            return None
        try:
            found = cls(UUID(parts[1]), parts[2], _IMAGE_TYPES[parts[3]], parts[4])
            return found if str(found) == validated(key) else None
        except (ValueError, InvalidKey):
            return None

    def with_weight(self, weight: str) -> Self:
        return type(self)(self.product_id, weight, self.image_type, self.file)


def file_name(client_filename: str, file_id: UUID, picture_type: PictureType) -> str:
    """The name of a stored file: readable, free of what a client could mean by it, and never another file's.

    The end of the id is its random part.
    """
    return f"{slug(client_filename)}-{file_id.hex[-8:]}.{picture_type.extension}"


def slug(client_filename: str) -> str:
    """The stem of a file name in at most 60 of a-z, 0-9 and '-'; `image` where nothing of it is left."""
    last = re.split(r"[/\\]", client_filename)[-1]
    stem = last.rpartition(".")[0] or last
    ascii_stem = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_stem).strip("-")[:SLUG_MAX_CHARACTERS].rstrip("-") or "image"


def weight_of(value: object) -> str:
    """A weight as it names a folder, such as `250g`; whole numbers are taken too. Raises ValueError."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ValueError("must be a text such as 250g, or a whole number")
    weight = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(weight) <= WEIGHT_MAX_CHARACTERS:
        raise ValueError(f"must have 1 to {WEIGHT_MAX_CHARACTERS} characters")
    if "/" in weight or weight.startswith("."):
        raise ValueError("names a folder: it must not have a slash nor begin with a dot")
    try:
        return validated(weight)
    except InvalidKey as error:
        raise ValueError(f"names a folder, and can't be one: {error.detail}") from error
