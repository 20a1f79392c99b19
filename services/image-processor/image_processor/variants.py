"""Which sizes of a picture are made: pure planning, no pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.events import DEFAULT_VARIANTS as DEFAULT_VARIANT_SETTINGS
from shared.events import EntityTypeSettings, VariantSettings


class PictureFormat(StrEnum):
    """What a variant can be encoded as."""

    WEBP = "webp"
    AVIF = "avif"
    JPEG = "jpeg"

    @property
    def mime_type(self) -> str:
        return f"image/{self.value}"

    @property
    def extension(self) -> str:
        return "jpg" if self is PictureFormat.JPEG else self.value

    @property
    def longest_side_px(self) -> int:
        """The longest side the format can store."""
        return {PictureFormat.WEBP: 16_383, PictureFormat.AVIF: 65_535, PictureFormat.JPEG: 65_500}[self]


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One wanted size of a picture; `quality` is 1–100 on the encoder's own scale."""

    name: str
    width_px: int
    format: PictureFormat = PictureFormat.WEBP
    quality: int = 80

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in self.name):
            raise ValueError(f"variant name {self.name!r} must be letters, digits, '-' or '_': it becomes a file name")
        if self.width_px < 1:
            raise ValueError(f"variant {self.name!r} is {self.width_px} px wide; give at least 1 px")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"variant {self.name!r} has quality {self.quality}; give 1 to 100")


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """One variant as it will be: its final size and the file that holds it.

    A picture smaller than several variants would give the same file several times; then every name is kept, and all
    of them share the file of the first (`shares_file` is true for the others, which are not encoded again). One with a
    watermark never shares with one without.
    """

    name: str
    width_px: int
    height_px: int
    format: PictureFormat
    quality: int
    file_name: str
    shares_file: bool
    is_watermarked: bool


def _spec(variant: VariantSettings) -> VariantSpec:
    return VariantSpec(variant.name, variant.width_px, PictureFormat(variant.format), variant.quality)


DEFAULT_VARIANTS = tuple(map(_spec, DEFAULT_VARIANT_SETTINGS))


def variants_of(
    entity_type: str, configured: Mapping[str, Sequence[VariantSpec]], changed: EntityTypeSettings | None = None
) -> tuple[VariantSpec, ...]:
    """The variants of an entity type: as people changed it, else as configured for this process, else the defaults."""
    if changed is not None:
        return tuple(map(_spec, changed.variants))
    return tuple(configured.get(entity_type) or DEFAULT_VARIANTS)


def plan(
    specs: Sequence[VariantSpec],
    width_px: int,
    height_px: int,
    is_watermarked: Callable[[str], bool] = lambda name: False,
) -> tuple[PlannedVariant, ...]:
    """Size every variant of a picture, largest first, so that each can be made from the one before.

    Nothing is enlarged: a variant wider than the picture takes the picture's own size. A side longer than the format
    can store is scaled down to what it can.
    """
    if width_px < 1 or height_px < 1:
        raise ValueError(f"a picture of {width_px} x {height_px} px has no variants; both sides must be at least 1 px")
    if not specs:
        raise ValueError("no variants are configured; give at least one")
    if len({spec.name for spec in specs}) != len(specs):
        raise ValueError(f"variant names must differ: {[spec.name for spec in specs]}")
    first_file: dict[tuple[int, int, PictureFormat, int, bool], str] = {}
    planned = []
    for spec in sorted(specs, key=lambda spec: -spec.width_px):
        width, height = _fit(spec, width_px, height_px)
        own_file = f"{spec.name}.{spec.format.extension}"
        marked = is_watermarked(spec.name)
        file_name = first_file.setdefault((width, height, spec.format, spec.quality, marked), own_file)
        planned.append(
            PlannedVariant(
                name=spec.name,
                width_px=width,
                height_px=height,
                format=spec.format,
                quality=spec.quality,
                file_name=file_name,
                shares_file=file_name != own_file,
                is_watermarked=marked,
            )
        )
    return tuple(sorted(planned, key=lambda variant: (-variant.width_px, -variant.height_px)))


def _fit(spec: VariantSpec, width_px: int, height_px: int) -> tuple[int, int]:
    limit_px = spec.format.longest_side_px
    scale = min(1.0, spec.width_px / width_px, limit_px / width_px, limit_px / height_px)
    if scale == 1.0:
        return width_px, height_px
    return _scaled(width_px, scale), _scaled(height_px, scale)


def _scaled(side_px: int, scale: float) -> int:
    return max(1, int(side_px * scale + 0.5))
