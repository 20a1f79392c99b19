"""The pictures of the demonstration and what must become of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.testing import pictures


@dataclass(frozen=True, slots=True)
class Entry:
    """One upload. `refused_with` is None for a good picture, else the code of the reason it must be refused with."""

    filename: str
    content: bytes
    about: str
    refused_with: str | None = None


def album() -> Iterator[Entry]:
    """Real photographs, every awkward kind of picture, and some that must be refused."""
    photos = pictures.real_photos()
    for photo in photos:
        yield Entry(photo.name, photo.read_bytes(), "a photograph")
    yield Entry("12-megapixel.jpg", pictures.twelve_megapixel_jpeg(photos[0]), "4000 × 3000")
    for orientation in (3, 6, 8):
        content = pictures.turned_by_exif(orientation, width_px=1600, height_px=1000)
        yield Entry(f"turned-{orientation}.jpg", content, f"rotated by EXIF orientation {orientation}")
    yield Entry("alpha.png", pictures.png_with_alpha(1400, 900), "a PNG with alpha")
    yield Entry("palette.png", pictures.png_with_palette_transparency(900, 600), "a palette with transparency")
    yield Entry("grey-16-bit.png", pictures.grey_16_bit(width_px=1024, height_px=256), "16 bits of grey")
    yield Entry("cmyk.jpg", pictures.cmyk_jpeg(), "CMYK")
    yield Entry("wide-gamut.jpg", pictures.wide_gamut_jpeg(), "Adobe RGB")
    yield Entry("animated.gif", pictures.animated_gif(), "an animation, first frame")
    image = pictures.photo(1800, 1200)
    for name, picture_format in (
        ("photo.webp", "WEBP"),
        ("photo.avif", "AVIF"),
        ("photo.tif", "TIFF"),
        ("p.bmp", "BMP"),
    ):
        yield Entry(name, pictures.encoded(image, picture_format), picture_format)
    yield Entry("truncated.jpg", pictures.truncated_jpeg(), "cut off in the middle", "image_truncated")
    yield Entry("bomb.png", pictures.decompression_bomb_png(), "a decompression bomb", "image_too_many_pixels")
    yield Entry("corrupt.jpg", pictures.corrupt_jpeg(), "damaged", "image_corrupt")
    yield Entry(
        "notes.jpg", b"this is a text, whatever its name says\n" * 40, "a text named .jpg", "unsupported_media_type"
    )
