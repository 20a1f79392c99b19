"""Drawing a mark on the pixels of a variant: the work of one worker process.

The mark is drawn on each variant at that variant's own size: its edges are as sharp in the smallest as in the largest,
the cascade goes on from clean pixels, and variants may go without it. Only the stamp's own pixels are touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from PIL import Image, ImageDraw, ImageFont

from image_processor import errors
from image_processor.decoding import open_picture
from image_processor.resizing import resized
from image_processor.watermark_layout import TILT_DEGREES, Layout, MarkRules, lay_out
from shared.mark_font import font_path, undrawable
from shared.messaging.errors import PermanentError

MARK_PIXEL_LIMIT_PX: Final = 25_000_000
_MARK_SIDE_PX: Final = 2048
_KEPT_STAMP_PX: Final = 1_000_000
_MEASURED_AT_PX: Final = 100.0
_SMALLEST_FONT_PX: Final = 16.0
_STROKE_SHARE: Final = 0.04


@dataclass(frozen=True, slots=True)
class MarkPicture:
    """A file of any type that can be uploaded. Known by its bytes: the path may differ from job to job."""

    path: Path = field(compare=False)
    sha256: str


@dataclass(frozen=True, slots=True)
class Watermark:
    """A text or a picture to be drawn on the variants named here (None: all), `opacity` from above 0 to 1."""

    content: str | MarkPicture
    rules: MarkRules
    opacity: float
    variants: frozenset[str] | None = None

    def is_on(self, variant: str) -> bool:
        return self.variants is None or variant in self.variants


class Mark(Protocol):
    """What is drawn: `aspect` is width by height; a grey one leaves a grey picture grey."""

    @property
    def aspect(self) -> float: ...

    @property
    def is_grey(self) -> bool: ...

    def __hash__(self) -> int: ...

    def drawn(self, width_px: int, height_px: int) -> Image.Image:
        """The mark in RGBA at exactly this size."""
        ...


class TextMark:
    """White letters with a dark edge, so that they are read on any ground."""

    is_grey = True

    def __init__(self, text: str) -> None:
        self._text = text
        if missing := undrawable(text):
            raise errors.watermark_text(missing)
        if (letters := _letters(text, _MEASURED_AT_PX)) is None:
            raise errors.watermark_text(text)
        self._measured_width_px = letters.width
        self.aspect = letters.width / letters.height

    def drawn(self, width_px: int, height_px: int) -> Image.Image:
        wanted_px = _MEASURED_AT_PX * width_px / self._measured_width_px
        # Letters of a few pixels come out better when they are made smaller than when the font is.
        letters = _letters(self._text, max(wanted_px, _SMALLEST_FONT_PX))
        if letters is None:
            raise errors.watermark_text(self._text)
        if wanted_px < _SMALLEST_FONT_PX:
            return resized(letters, width_px, height_px)
        # The font's own pixels are sharper than any resizing of them; a pixel of the edge may be cut.
        room = Image.new("RGBA", (width_px, height_px))
        room.paste(letters, ((width_px - letters.width) // 2, (height_px - letters.height) // 2))
        return room


class PictureMark:
    """The upright picture in sRGB, no larger than any variant needs it."""

    def __init__(self, pixels: Image.Image) -> None:
        self._pixels = pixels.convert("RGBA")
        self.is_grey = pixels.mode == "L"
        self.aspect = pixels.width / pixels.height

    def drawn(self, width_px: int, height_px: int) -> Image.Image:
        return resized(self._pixels, width_px, height_px)


def prepare(watermark: Watermark) -> Mark:
    """Make ready what is drawn. Raises PermanentError for an unreadable picture and letters without a glyph."""
    if isinstance(watermark.content, str):
        return _text_mark(watermark.content)
    return _picture_mark(watermark.content)


def watermarked(image: Image.Image, mark: Mark, watermark: Watermark) -> Image.Image:
    """A copy of the picture (mode L, RGB or RGBA) that carries the mark, also where the picture is transparent."""
    layout = lay_out(watermark.rules, mark.aspect, *image.size)
    is_kept = layout.stamp_width_px * layout.stamp_height_px <= _KEPT_STAMP_PX
    stamp = (_kept_stamp if is_kept else _stamp)(mark, watermark.opacity, replace(layout, corners=()))
    keeps_mode = image.mode != "L" or mark.is_grey
    marked = image.copy() if keeps_mode else image.convert("RGB")
    if marked.mode == "RGBA":
        for corner in layout.corners:
            _composite(marked, stamp, *corner)
        return marked
    ink, alpha = stamp.convert(marked.mode), stamp.getchannel("A")
    for corner in layout.corners:
        marked.paste(ink, corner, alpha)
    return marked


def _stamp(mark: Mark, opacity: float, layout: Layout) -> Image.Image:
    """What is laid on the picture; nobody changes it after."""
    stamp = mark.drawn(layout.width_px, layout.height_px)
    if stamp.size != (layout.stamp_width_px, layout.stamp_height_px):
        stamp = _tilted(stamp, layout)
    # One that is drawn in its own size is the mark's own picture.
    faded = stamp.copy()
    faded.putalpha(stamp.getchannel("A").point(lambda alpha: alpha * opacity + 0.5))
    return faded


# Pictures with one mark mostly have variants of the same sizes: their stamps are made once per worker.
_kept_stamp = lru_cache(maxsize=12)(_stamp)


def _composite(image: Image.Image, stamp: Image.Image, x_px: int, y_px: int) -> None:
    """Lay the stamp on a picture with alpha; what reaches over its edges is cut off."""
    left_px, top_px = max(0, -x_px), max(0, -y_px)
    right_px, bottom_px = min(stamp.width, image.width - x_px), min(stamp.height, image.height - y_px)
    image.alpha_composite(stamp, (x_px + left_px, y_px + top_px), (left_px, top_px, right_px, bottom_px))


def _tilted(mark: Image.Image, layout: Layout) -> Image.Image:
    width_px, height_px = layout.stamp_width_px, layout.stamp_height_px
    room = Image.new("RGBA", (max(width_px, mark.width), max(height_px, mark.height)))
    room.paste(mark, ((room.width - mark.width) // 2, (room.height - mark.height) // 2))
    turned = room.rotate(TILT_DEGREES, Image.Resampling.BICUBIC)
    left_px, top_px = (room.width - width_px) // 2, (room.height - height_px) // 2
    return turned.crop((left_px, top_px, left_px + width_px, top_px + height_px))


@lru_cache(maxsize=4)
def _text_mark(text: str) -> TextMark:
    return TextMark(text)


@lru_cache(maxsize=1)
def _picture_mark(picture: MarkPicture) -> PictureMark:
    """Decoded once for all pictures that a worker renders with the same mark."""
    try:
        with open_picture(picture.path, MARK_PIXEL_LIMIT_PX) as opened:
            scale = min(1.0, _MARK_SIDE_PX / max(opened.width_px, opened.height_px))
            size_px = (max(1, round(opened.width_px * scale)), max(1, round(opened.height_px * scale)))
            return PictureMark(opened.pixels(*size_px))
    except PermanentError as error:
        raise errors.watermark_broken(error.detail) from error


@lru_cache(maxsize=1)
def _base_font() -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(font_path(), _MEASURED_AT_PX)
    except ImportError as error:
        raise RuntimeError("this Pillow is built without FreeType: install one with it, as its wheels are") from error


def _font(size_px: float) -> ImageFont.FreeTypeFont:
    return _base_font().font_variant(size=size_px)


def _stroke(font_px: float) -> int:
    return max(1, round(font_px * _STROKE_SHARE))


def _letters(text: str, font_px: float) -> Image.Image | None:
    """The text in RGBA, cut close; None where it leaves nothing to see."""
    font, stroke_px = _font(font_px), _stroke(font_px)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke_px)
    size_px = (max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top)))
    ink, alpha = Image.new("L", size_px), Image.new("L", size_px)
    ImageDraw.Draw(ink).text((-left, -top), text, fill=255, font=font)
    ImageDraw.Draw(alpha).text((-left, -top), text, fill=255, font=font, stroke_width=stroke_px)
    box = alpha.getbbox()
    return Image.merge("RGBA", (ink, ink, ink, alpha)).crop(box) if box else None
