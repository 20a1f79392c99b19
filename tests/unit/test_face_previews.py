"""Previews that are made of originals."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from face_embedder.face_worker import made_preview
from shared.messaging.errors import PermanentError
from shared.testing import pictures

LIMIT_PX = 100_000_000


def opened(preview: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(preview))
    image.load()
    return image


def test_a_preview_is_a_small_upright_jpeg_without_metadata() -> None:
    made = opened(made_preview(pictures.turned_by_exif(6, width_px=1600, height_px=1000), LIMIT_PX))
    assert (made.format, made.size) == ("JPEG", (640, 400))
    private = made_preview(pictures.jpeg_with_private_metadata(), LIMIT_PX)
    assert not opened(private).getexif()
    assert "comment" not in opened(private).info


def test_a_small_original_is_not_enlarged_and_the_same_one_gives_the_same_bytes() -> None:
    original = pictures.photo_jpeg(300, 200)
    assert opened(made_preview(original, LIMIT_PX)).size == (300, 200)
    # Or a preview that was stored right before a crash would be taken for somebody else's.
    assert made_preview(original, LIMIT_PX) == made_preview(original, LIMIT_PX)


def test_what_has_transparency_or_many_bits_gets_one_too() -> None:
    for original in (pictures.png_with_alpha(900, 700), pictures.grey_16_bit(), pictures.cmyk_jpeg()):
        assert opened(made_preview(original, LIMIT_PX)).mode == "RGB"


@pytest.mark.parametrize(
    ("original", "code"),
    [
        (b"", "image_empty"),
        (b"no picture", "image_unsupported"),
        (pictures.truncated_jpeg(), "image_truncated"),
        (pictures.decompression_bomb_png(), "image_too_many_pixels"),
    ],
)
def test_a_bad_original_is_refused_with_its_reason(original: bytes, code: str) -> None:
    with pytest.raises(PermanentError) as caught:
        made_preview(original, LIMIT_PX)
    assert caught.value.code == code
