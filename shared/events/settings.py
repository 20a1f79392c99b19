"""Settings that people change while the system runs, told by ingest-api.

Both events carry the whole document with a version that counts from 1, on a compacted topic: whoever reads the topic
from its beginning knows the present settings, and the highest version of a key wins.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from shared.events.envelope import Event
from shared.events.media import StorageStrategy
from shared.messaging.topics import SETTINGS_EVENTS

MEBIBYTE = 1024 * 1024
MAX_VARIANTS = 12
URL_MAX_CHARACTERS = 2000
MEDIA_KEY = "media"
ENTITY_TYPE_PREFIX = "entity-type:"

_VARIANT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RESERVED_VARIANT_NAMES = frozenset({"original"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")


class WrongField(ValueError):
    """What is wrong with one field in the light of others; `field` is its path from the whole that was looked at."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


def _base_url(text: str) -> str:
    refusal = "must be an address such as https://s3.example.org:9000"
    try:
        parts = urlsplit(text)
        has_port = parts.port != 0  # read here, since a port that is none raises no earlier
    except ValueError:
        raise ValueError(refusal) from None
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= URL_MAX_CHARACTERS
    if not is_plain or not has_port or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(refusal)
    if parts.query or parts.fragment:
        raise ValueError(f"{refusal}, without '?' and '#'")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials: those come from the environment of the services")
    return text.rstrip("/")


def _endpoint(text: str) -> str:
    endpoint = _base_url(text)
    if urlsplit(endpoint).path:
        raise ValueError("must have no path, such as https://s3.example.org:9000")
    return endpoint


def _bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text):
        raise ValueError("must have 3 to 63 letters, digits, '.', '_' or '-', with a letter or digit at both ends")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("must have 1 to 64 letters, digits, '_' or '-', such as us-east-1")
    return text


def _variant_name(text: str) -> str:
    if not _VARIANT_NAME.fullmatch(text):
        raise ValueError("must begin with a small letter or digit and have at most 32 of a-z, 0-9, '-' and '_'")
    if text in _RESERVED_VARIANT_NAMES:
        raise ValueError(f"must not be {text!r}: that is the name of the uploaded file")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable characters on one line")
    return text


class _Document(BaseModel):
    """Snake case in events, camel case in the API; unknown fields of a newer producer are ignored in events."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class MediaSettings(_Document):
    """What holds for all media. Credentials are no part of it: they stay in the environment of the services."""

    default_storage_strategy: StorageStrategy = StorageStrategy.LOCAL_FIRST
    delete_mode: Literal["soft", "hard"] = "soft"
    soft_delete_retention_days: int = Field(default=30, ge=1, le=3650)
    auto_cleanup_enabled: bool = True
    s3_enabled: bool = False
    s3_auto_sync: bool = True
    s3_delete_with_local: bool = True
    s3_bucket: Annotated[str, AfterValidator(_bucket)] = "mediabus"
    s3_region: Annotated[str, AfterValidator(_region)] = "us-east-1"
    s3_endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    s3_public_url: Annotated[str, AfterValidator(_base_url)] | None = None
    hybrid_mode_enabled: bool = False
    hybrid_pending_below: int = Field(default=5, ge=1, le=1000)
    hybrid_wait_seconds: float = Field(default=10.0, gt=0, le=300)
    upload_limit_bytes: int = Field(default=50 * MEBIBYTE, ge=1, le=1024 * MEBIBYTE)

    @property
    def copies_by_itself(self) -> bool:
        """Whether what is stored locally first gets its copy in the bucket."""
        return self.s3_enabled and self.s3_auto_sync


class VariantFormat(StrEnum):
    """What a variant is encoded as."""

    WEBP = "webp"
    AVIF = "avif"
    JPEG = "jpeg"


class VariantSettings(BaseModel):
    """One wanted size of a picture; `quality` is on the encoder's own scale."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    name: Annotated[str, AfterValidator(_variant_name)]
    width_px: int = Field(ge=1, le=16_383, alias="width")
    format: VariantFormat = VariantFormat.WEBP
    quality: int = Field(default=80, ge=1, le=100)


class WatermarkPosition(StrEnum):
    """Where a mark that is not tiled stands."""

    TOP_LEFT = "top_left"
    TOP = "top"
    TOP_RIGHT = "top_right"
    LEFT = "left"
    CENTER = "center"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom_left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom_right"


class WatermarkSettings(_Document):
    """A text, or the picture of a medium, laid over the variants that are named here, or over all.

    `scale` is the mark's width as a share of the picture's, `margin` its distance from the edges (between tiles: from
    the next) as a share of the picture's shorter side.
    """

    text: Annotated[str, AfterValidator(_one_line)] | None = Field(default=None, min_length=1, max_length=200)
    picture_media_id: UUID | None = None
    position: WatermarkPosition = WatermarkPosition.BOTTOM_RIGHT
    opacity: float = Field(default=0.5, gt=0, le=1)
    scale: float = Field(default=0.25, gt=0, le=1)
    margin: float = Field(default=0.03, ge=0, lt=0.5)
    tiled: bool = False
    variants: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=MAX_VARIANTS)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> WatermarkSettings:
        if self.text is None and self.picture_media_id is None:
            raise WrongField("text", "is missing, and so is pictureMediaId: a watermark is one of them")
        if self.text is not None and self.picture_media_id is not None:
            raise WrongField("pictureMediaId", "can't be given together with text: a watermark is one of them")
        return self


DEFAULT_VARIANTS = (
    VariantSettings(name="large", width_px=2000),
    VariantSettings(name="medium", width_px=1200),
    VariantSettings(name="small", width_px=640),
    VariantSettings(name="thumb", width_px=200),
)
"""Of entity types that have no settings of their own."""


def _different_names(variants: tuple[VariantSettings, ...]) -> tuple[VariantSettings, ...]:
    names = [variant.name for variant in variants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"must have different names: {', '.join(twice)} stands there more than once")
    return variants


class EntityTypeSettings(_Document):
    """What holds for the media of one entity type; without a strategy the default one holds."""

    variants: Annotated[tuple[VariantSettings, ...], AfterValidator(_different_names)] = Field(
        default=DEFAULT_VARIANTS, min_length=1, max_length=MAX_VARIANTS
    )
    strategy: StorageStrategy | None = None
    watermark: WatermarkSettings | None = None

    @model_validator(mode="after")
    def _marked_variants_exist(self) -> EntityTypeSettings:
        marked = (self.watermark.variants if self.watermark else None) or ()
        if unknown := sorted(set(marked) - {variant.name for variant in self.variants}):
            raise WrongField("watermark.variants", f"{', '.join(unknown)} is no variant of this entity type")
        return self


def entity_type_key(entity_type: str) -> str:
    """The key under which the settings of an entity type are kept."""
    return f"{ENTITY_TYPE_PREFIX}{entity_type}"


class SettingsChangedV1(Event, type="settings.changed.v1", topic=SETTINGS_EVENTS):
    """The settings of all media as they are now."""

    version: int = Field(ge=1)
    settings: MediaSettings
    changed_by: UUID
    changed_at: datetime

    def key(self) -> str:
        return MEDIA_KEY


class EntityTypeSettingsChangedV1(Event, type="settings.entity-type-changed.v1", topic=SETTINGS_EVENTS):
    """The settings of one entity type as they are now; they hold for uploads that are rendered from here on."""

    entity_type: str
    version: int = Field(ge=1)
    settings: EntityTypeSettings
    changed_by: UUID
    changed_at: datetime

    def key(self) -> str:
        return entity_type_key(self.entity_type)
