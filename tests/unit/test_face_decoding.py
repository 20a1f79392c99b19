"""Photos come out upright and in bounded memory; what is no photo is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from face_embedder.engine.decoding import decode
from shared.messaging.errors import PermanentError
from shared.testing import pictures


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("image_empty", lambda: b""),
        ("image_unsupported", lambda: b"%PDF-1.7 no picture at all"),
        ("image_truncated", pictures.truncated_jpeg),
        ("image_corrupt", pictures.corrupt_jpeg),
        ("image_too_many_pixels", pictures.decompression_bomb_png),
    ],
)
def test_bad_pictures_are_refused_for_good(code: str, content: Callable[[], bytes]) -> None:
    with pytest.raises(PermanentError) as refused:
        decode(content())
    assert refused.value.code == code


def test_the_canvas_of_a_webp_is_refused_before_its_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pictures.encoded(Image.new("RGB", (400, 300)), "WEBP")
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(PermanentError) as refused:
        decode(content, pixel_limit_px=100_000)
    assert refused.value.code == "image_too_many_pixels"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_photos_are_turned_upright(orientation: int) -> None:
    pixels = decode(pictures.turned_by_exif(orientation)).pixels
    assert pixels.shape == (200, 320, 3)
    assert np.abs(pixels[5, 5].astype(int) - pictures.CORNERS["top_left"]).max() < 12
    assert np.abs(pixels[5, -5].astype(int) - pictures.CORNERS["top_right"]).max() < 12


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("TIFF", "CMYK")])
def test_every_kind_of_colour_becomes_rgb(kind: str, mode: str) -> None:
    content = pictures.encoded(Image.new("RGB", (64, 48), (200, 30, 40)).convert(mode), kind)
    assert decode(content).pixels.shape == (48, 64, 3)


def test_deep_greys_keep_their_shades() -> None:
    pixels = decode(pictures.grey_16_bit()).pixels
    assert pixels[0, 0, 0] == 0
    assert 110 < pixels[0, 128, 0] < 145
    assert pixels[0, -1, 0] == 255


def test_fifty_megapixels_are_halved_by_the_decoder_and_count_as_before() -> None:
    large = Image.new("L", (8688, 5792), 120)
    decoded = decode(pictures.encoded(large, "JPEG", quality=30))
    assert decoded.reduction == 2
    assert decoded.pixels.shape == (2896, 4344, 3)


def test_other_kinds_are_made_smaller_too() -> None:
    content = pictures.encoded(Image.new("RGB", (400, 300), (30, 180, 30)), "PNG")
    decoded = decode(content, analysed_px=10_000)
    assert decoded.reduction == 4
    assert decoded.pixels.shape == (75, 100, 3)
