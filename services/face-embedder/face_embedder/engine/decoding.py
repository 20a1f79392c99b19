"""From a file's bytes to upright RGB pixels, in bounded memory; what is wrong with the file ends in a named error."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import pi_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from face_embedder import errors
from face_embedder.engine.faces import Pixels
from shared import picture_decoding
from shared.messaging.errors import PermanentError
from shared.picture_types import SNIFF_BYTES, PictureType, sniff, webp_canvas_px

pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
# Ours is checked from the header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# What decoders warn about is either an error below or harmless. Once for all, because switching the filters around
# each picture is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")

PIXEL_LIMIT_PX: Final = 100_000_000
ANALYSED_PX: Final = 25_000_000
"""Larger pictures are halved until they are no larger: faces count in the pixels that are left."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright picture; one of its pixels stands for `reduction` x `reduction` of the file's."""

    pixels: Pixels
    reduction: int

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the file's picture, up to a pixel of ours."""
        height, width = self.pixels.shape[:2]
        return width * self.reduction, height * self.reduction


def decode(content: bytes, pixel_limit_px: int = PIXEL_LIMIT_PX, analysed_px: int = ANALYSED_PX) -> Decoded:
    """Decode a picture, turned upright by its EXIF orientation, and made smaller where it has more than `analysed_px`.

    JPEGs are made smaller by the decoder itself, so their full size takes no memory. Raises PermanentError for what is
    empty, no picture, damaged, cut short, or has more than `pixel_limit_px` pixels; that one before it is decoded.
    """
    if not content:
        raise picture_decoding.empty()
    picture_type = sniff(content[:SNIFF_BYTES])
    if picture_type is None:
        raise picture_decoding.unsupported()
    if picture_type is PictureType.WEBP:
        # Pillow takes the memory of a whole WebP canvas before it tells its size.
        _check_limit(webp_canvas_px(content[:SNIFF_BYTES]), pixel_limit_px)
    try:
        with Image.open(io.BytesIO(content), formats=[picture_decoding.DECODERS[picture_type]]) as image:
            _check_limit(image.size, pixel_limit_px)
            reduction = _reduction(image.width * image.height, analysed_px)
            return Decoded(_upright(image, reduction), reduction)
    except PermanentError:
        raise
    except picture_decoding.DECODER_FAILURES as error:
        raise _named(error, content, picture_type) from error


def _check_limit(size_px: tuple[int, int], limit_px: int) -> None:
    width_px, height_px = size_px
    if width_px * height_px > limit_px:
        raise errors.too_many_pixels(width_px, height_px, limit_px)


def _reduction(found_px: int, wanted_px: int) -> int:
    """How many pixels become one along each side; a power of two, as JPEG decoders can."""
    return 1 if found_px <= wanted_px else 2 ** math.ceil(math.log2(found_px / wanted_px) / 2)


def _upright(image: Image.Image, reduction: int) -> Pixels:
    full_px = image.size
    if reduction > 1:
        image.draft(None, (full_px[0] // reduction, full_px[1] // reduction))
    image.load()
    left = max(1, round(reduction * image.width / full_px[0]))
    reduced = image.reduce(left) if left > 1 else image
    return np.array(ImageOps.exif_transpose(_rgb(reduced)), dtype=np.uint8)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        deep = np.asarray(image)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def _named(error: Exception, content: bytes, picture_type: PictureType) -> PermanentError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:120]
    ends_early = picture_type is PictureType.JPEG and b"\xff\xd9" not in content[-64:]
    if "truncated" in reason or ends_early:
        return picture_decoding.truncated()
    return picture_decoding.corrupt(
        "its header makes no sense" if isinstance(error, UnidentifiedImageError) else reason
    )
