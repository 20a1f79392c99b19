"""From a file's bytes to upright sRGB pixels of a wanted size; what is wrong with the file ends in a named error."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

import pi_heif
from PIL import AvifImagePlugin, Image, ImageChops, ImageCms, UnidentifiedImageError

from image_processor import errors
from image_processor.resizing import resized
from shared import picture_decoding
from shared.picture_types import SNIFF_BYTES, PictureType, sniff, webp_canvas_px

# One picture uses one core: the pool has as many workers as there are cores, and threads inside a codec would only
# compete with the other workers.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow's own limit is one for all and only warns at first; ours comes with the job and is checked from the header.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_DECODER_BYTES_PER_PIXEL: Final = 12


@dataclass(frozen=True, slots=True)
class OpenPicture:
    """A picture whose header was read and found acceptable; no pixel is decoded yet.

    `width_px` and `height_px` are those of the upright picture.
    """

    image: Image.Image
    file: io.BufferedReader
    type: PictureType
    width_px: int
    height_px: int
    orientation: int

    def pixels(self, width_px: int, height_px: int) -> Image.Image:
        """Decode to exactly this size: upright, sRGB, mode L, RGB or RGBA, without any metadata.

        Raises PermanentError where the bytes behind the header are damaged or missing.
        """
        stored_size = (height_px, width_px) if self.orientation in _SIDEWAYS else (width_px, height_px)
        with _decoder_failures(self.type, self.file, self.width_px * self.height_px):
            if self.type is PictureType.JPEG:
                # A box of the picture's own aspect lets the decoder skip the detail that the largest variant would
                # throw away; a square box would make it decode a landscape picture at full size.
                self.image.draft(None, stored_size)
            self.image.load()
        icc_profile = self.image.info.get("icc_profile")
        if self.type is PictureType.JPEG and self.image.mode == "CMYK" and "adobe" not in self.image.info:
            # Pillow takes every CMYK JPEG for Adobe's inverted kind, also one without Adobe's mark.
            image = ImageChops.invert(self.image)
        else:
            image = _eight_bit(self.image)
        image = _without_idle_alpha(_to_srgb(resized(image, *stored_size), icc_profile))
        if (step := _TRANSPOSE.get(self.orientation)) is not None:
            image = image.transpose(step)
        image.info = {}
        return image


@contextmanager
def open_picture(path: Path, pixel_limit_px: int) -> Iterator[OpenPicture]:
    """Read a picture's header: type by its bytes, dimensions, orientation.

    Raises PermanentError for what is no picture, is damaged, or has more than `pixel_limit_px` pixels (animations: in
    one frame). Nothing is decoded and no memory for pixels is taken before that limit is checked.
    """
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
        if not head:
            raise picture_decoding.empty()
        picture_type = sniff(head)
        if picture_type is None:
            raise picture_decoding.unsupported()
        file.seek(0)
        # Pillow takes the memory of a whole WebP canvas before it tells its size, so we read that size ourselves.
        canvas_px = webp_canvas_px(head) if picture_type is PictureType.WEBP else (0, 0)
        _check_limit(canvas_px, pixel_limit_px)
        with _decoder_failures(picture_type, file, math.prod(canvas_px)):
            image = Image.open(file, formats=[picture_decoding.DECODERS[picture_type]])
        with image:
            _check_limit(image.size, pixel_limit_px)
            width_px, height_px = image.size
            # Pillow's TIFF reader turns the picture upright by itself and reports the turned size.
            orientation = 1 if picture_type is PictureType.TIFF else _orientation(image)
            if orientation in _SIDEWAYS:
                width_px, height_px = height_px, width_px
            yield OpenPicture(image, file, picture_type, width_px, height_px, orientation)


def _check_limit(size_px: tuple[int, int], limit_px: int) -> None:
    width_px, height_px = size_px
    if width_px * height_px > limit_px:
        raise errors.too_many_pixels(f"{width_px} x {height_px} pixels", limit_px)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except picture_decoding.DECODER_FAILURES:
        return 1  # a picture with broken EXIF is shown as it is stored, by browsers too
    return value if value in _TRANSPOSE else 1


@contextmanager
def _decoder_failures(picture_type: PictureType, file: io.BufferedReader, size_px: int) -> Iterator[None]:
    """Turn what decoders raise about bad bytes into PermanentError; real I/O errors and MemoryError pass.

    `size_px` is the number of pixels that were to be decoded, 0 for none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what decoders warn about is either an error below or harmless
            yield
    except picture_decoding.DECODER_FAILURES as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "memory" in str(error).lower() or not _can_allocate(size_px * _DECODER_BYTES_PER_PIXEL):
            raise MemoryError(str(error)) from error
        if _ends_early(picture_type, file) or "truncated" in str(error):
            raise picture_decoding.truncated() from error
        raise picture_decoding.corrupt(_reason(error)) from error


def _can_allocate(wanted_bytes: int) -> bool:
    """Some decoders say "damaged" where memory was refused to them; asking for it again tells the two apart."""
    try:
        bytearray(wanted_bytes)
    except MemoryError:
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header makes no sense"
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _ends_early(picture_type: PictureType, file: io.BufferedReader) -> bool:
    """Whether the container itself says that bytes are missing at the end."""
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    match picture_type:
        case PictureType.WEBP:
            return size_bytes < int.from_bytes(file.read(8)[4:], "little") + 8
        case PictureType.AVIF | PictureType.HEIC:
            return not _boxes_complete(file, size_bytes)
        case PictureType.JPEG:
            file.seek(max(0, size_bytes - 64))
            return b"\xff\xd9" not in file.read()
        case _:
            return size_bytes < SNIFF_BYTES


def _boxes_complete(file: io.BufferedReader, size_bytes: int) -> bool:
    at = 0
    while at < size_bytes:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # the real length follows in eight bytes
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # 0 means up to the end of the file, anything else is nonsense and no missing end
            return len(header) >= 8
        at += length
    return at == size_bytes


def _eight_bit(image: Image.Image) -> Image.Image:
    """The same picture as L, RGB, RGBA or CMYK with 8 bits per channel."""
    if image.mode in ("RGB", "L") and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "RGBA", "CMYK"):
        return image
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_to_eight_bit(image)
    return image.convert("RGBA" if image.mode in ("LA", "La", "PA", "RGBa") else "RGB")


def _scaled_to_eight_bit(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit and floating-point greys to 0–255 by the range of their type, or of the picture itself."""
    deep = image.convert("F")
    lowest, highest = cast(tuple[float, float], deep.getextrema())
    usual_highest = next((top for top in _usual_ranges(image.mode) if lowest >= 0 and highest <= top), None)
    if usual_highest is not None:
        lowest, highest = 0.0, usual_highest
    factor = 255.0 / ((highest - lowest) or 1.0)
    return deep.point(lambda value: value * factor + (0.5 - lowest * factor)).convert("L")


def _usual_ranges(mode: str) -> tuple[float, ...]:
    if mode.startswith("I;16"):
        return (65_535.0,)
    return (1.0, 255.0, 65_535.0) if mode == "F" else (255.0, 65_535.0)


def _without_idle_alpha(image: Image.Image) -> Image.Image:
    """Drop an alpha channel that hides nothing; it would cost bytes and time in every variant."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    return image


def _to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """Convert by the embedded profile; a profile that is broken or of another kind of colour is ignored."""
    if isinstance(icc_profile, bytes) and icc_profile:
        transform = _transform(icc_profile, image.mode)
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
    return image.convert("RGB") if image.mode == "CMYK" else image


_PROFILE_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}


@lru_cache(maxsize=32)
def _transform(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from this profile to sRGB; None where there is nothing to do or the profile cannot be used."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        if profile.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGBA" if mode == "RGBA" else "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a sample of all colours comes back as it was: most profiles are sRGB under one of its many names."""
    steps = (0, 32, 64, 96, 128, 160, 192, 224, 255)
    if mode == "L":
        sample = Image.new("L", (256, 1))
        sample.putdata(range(256))
        expected = sample.convert("RGB")
    else:
        sample = Image.new("RGB", (81, 9))
        sample.putdata([(r, g, b) for r in steps for g in steps for b in steps])
        expected = sample
    converted = ImageCms.applyTransform(sample.convert(mode), transform)
    if converted is None:
        return False
    difference = ImageChops.difference(converted.convert("RGB"), expected)
    return max(value % 256 for value, count in enumerate(difference.histogram()) if count) <= 2
