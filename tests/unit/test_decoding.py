"""Every kind of picture comes out upright, in sRGB and 8 bits; every bad one is refused by name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from image_processor.decoding import open_picture
from shared.messaging.errors import PermanentError
from shared.picture_types import PictureType, sniff
from shared.testing import pictures
from shared.testing.heic import heic

LIMIT_PX = 100_000_000


def decoded(content: bytes, tmp_path: Path, width_px: int | None = None, height_px: int | None = None) -> Image.Image:
    path = tmp_path / "source"
    path.write_bytes(content)
    with open_picture(path, LIMIT_PX) as picture:
        return picture.pixels(width_px or picture.width_px, height_px or picture.height_px)


def refused(content: bytes, tmp_path: Path, limit_px: int = LIMIT_PX) -> PermanentError:
    path = tmp_path / "source"
    path.write_bytes(content)
    with pytest.raises(PermanentError) as caught, open_picture(path, limit_px) as picture:
        picture.pixels(picture.width_px, picture.height_px)
    return caught.value


def at(image: Image.Image, x_px: int, y_px: int) -> tuple[int, ...]:
    value = image.convert("RGB" if image.mode == "L" else image.mode).getpixel((x_px, y_px))
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


def is_close(found: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 6) -> bool:
    return len(found) == len(expected) and all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True))


KINDS: dict[str, tuple[PictureType, Callable[[], bytes]]] = {
    "jpeg": (PictureType.JPEG, lambda: pictures.encoded(pictures.marked(), "JPEG", quality=95)),
    "progressive jpeg": (
        PictureType.JPEG,
        lambda: pictures.encoded(pictures.marked(), "JPEG", quality=95, progressive=True),
    ),
    "multi-picture jpeg": (
        PictureType.JPEG,
        lambda: pictures.encoded(
            pictures.marked(), "MPO", quality=95, save_all=True, append_images=[pictures.marked()]
        ),
    ),
    "png": (PictureType.PNG, lambda: pictures.encoded(pictures.marked(), "PNG")),
    "webp": (PictureType.WEBP, lambda: pictures.encoded(pictures.marked(), "WEBP", quality=95)),
    "lossless webp": (PictureType.WEBP, lambda: pictures.encoded(pictures.marked(), "WEBP", lossless=True)),
    "avif": (PictureType.AVIF, lambda: pictures.encoded(pictures.marked(), "AVIF", quality=90)),
    "gif": (PictureType.GIF, lambda: pictures.encoded(pictures.marked(), "GIF")),
    "tiff": (PictureType.TIFF, lambda: pictures.encoded(pictures.marked(), "TIFF", compression="tiff_lzw")),
    "bmp": (PictureType.BMP, lambda: pictures.encoded(pictures.marked(), "BMP")),
    "heic": (PictureType.HEIC, lambda: heic(pictures.marked(320, 192))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_told_by_its_bytes_and_decoded(kind: str, tmp_path: Path) -> None:
    picture_type, make = KINDS[kind]
    content = make()
    assert sniff(content[:64]) is picture_type
    image = decoded(content, tmp_path)
    assert (image.size, image.mode, image.info) == ((320, 192 if kind == "heic" else 200), "RGB", {})
    assert_upright(image)


@pytest.mark.parametrize("quarter_turns", range(4))
def test_a_turned_heic_comes_out_upright(quarter_turns: int, tmp_path: Path) -> None:
    stored = marked = pictures.marked(320, 192)
    for _ in range(quarter_turns):
        stored = stored.transpose(Image.Transpose.ROTATE_270)
    path = tmp_path / "source"
    path.write_bytes(heic(stored, quarter_turns))
    with open_picture(path, LIMIT_PX) as picture:
        assert (picture.width_px, picture.height_px) == marked.size
        assert_upright(picture.pixels(*marked.size))


def assert_upright(image: Image.Image) -> None:
    right, bottom = image.width - 10, image.height - 10
    assert is_close(at(image, 9, 9), pictures.CORNERS["top_left"], 12)
    assert is_close(at(image, right, 9), pictures.CORNERS["top_right"], 12)
    assert is_close(at(image, 9, bottom), pictures.CORNERS["bottom_left"], 12)
    assert is_close(at(image, right, bottom), (128, 128, 128))


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(picture_format: str, orientation: int, tmp_path: Path) -> None:
    content = pictures.turned_by_exif(orientation, picture_format)
    path = tmp_path / "source"
    path.write_bytes(content)
    with open_picture(path, LIMIT_PX) as picture:
        assert (picture.width_px, picture.height_px) == (320, 200)
        image = picture.pixels(320, 200)
    assert_upright(image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_draft_decoding_together(orientation: int, tmp_path: Path) -> None:
    content = pictures.turned_by_exif(orientation, width_px=1600, height_px=1000)
    image = decoded(content, tmp_path, 320, 200)
    assert image.size == (320, 200)
    assert_upright(image)


def test_a_large_jpeg_is_decoded_small(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(pictures.photo_jpeg(1600, 1200))
    with open_picture(path, LIMIT_PX) as picture:
        picture.pixels(400, 300)
        assert picture.image.size == (400, 300)
    path.write_bytes(pictures.turned_by_exif(6, width_px=1200, height_px=1600))
    with open_picture(path, LIMIT_PX) as picture:
        assert picture.pixels(300, 400).size == (300, 400)
        assert picture.image.size == (400, 300)


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    content = pictures.encoded(pictures.marked(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert_upright(decoded(content, tmp_path))


def test_alpha_is_kept_and_hidden_colours_stay_hidden(tmp_path: Path) -> None:
    for content in (pictures.png_with_alpha(), pictures.png_with_palette_transparency()):
        image = decoded(content, tmp_path, 32, 20)
        assert image.mode == "RGBA"
        assert is_close(at(image, 3, 10), (220, 30, 30, 255))
        assert at(image, 28, 10)[3] == 0
        red, green, _, alpha = at(image, 15, 10)
        assert alpha > 0
        assert red > green, "transparent green bled into the opaque half"


def test_alpha_that_hides_nothing_is_dropped(tmp_path: Path) -> None:
    content = pictures.encoded(pictures.marked().convert("RGBA"), "PNG")
    assert decoded(content, tmp_path).mode == "RGB"


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (pictures.encoded(Image.new("LA", (8, 8), (90, 40)), "PNG"), "RGBA", (90, 90, 90, 40)),
        (pictures.encoded(Image.new("1", (8, 8), 1), "PNG"), "L", (255, 255, 255)),
        (pictures.encoded(Image.new("L", (8, 8), 77), "PNG"), "L", (77, 77, 77)),
        (pictures.encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), "RGBA", (1, 2, 3, 0)),
        (pictures.encoded(Image.new("L", (8, 8), 5), "PNG", transparency=5), "RGBA", (5, 5, 5, 0)),
        (pictures.rgb_16_bit_png(), "RGB", (200, 100, 50)),
        (pictures.encoded(Image.new("F", (8, 8), 0.5), "TIFF"), "L", (128, 128, 128)),
        (pictures.encoded(Image.new("I", (8, 8), 32_768), "TIFF"), "L", (128, 128, 128)),
        (pictures.encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF"), "RGB", (0, 255, 255)),
        (pictures.encoded(Image.new("P", (8, 8), 0), "GIF"), "RGB", (0, 0, 0)),
    ],
    ids=["LA", "1-bit", "grey", "RGB key", "grey key", "RGB 16", "float", "int32", "CMYK TIFF", "palette"],
)
def test_awkward_modes(content: bytes, mode: str, expected: tuple[int, ...], tmp_path: Path) -> None:
    image = decoded(content, tmp_path)
    assert image.mode == mode
    assert is_close(at(image, 4, 4), expected, 1)


@pytest.mark.parametrize("picture_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_shades(picture_format: str, tmp_path: Path) -> None:
    image = decoded(pictures.grey_16_bit(picture_format), tmp_path)
    assert [at(image, x, 30)[0] for x in (0, 64, 128, 192, 255)] == [0, 64, 128, 192, 255]


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpeg_with_and_without_adobe_inversion(adobe: bool, tmp_path: Path) -> None:
    image = decoded(pictures.cmyk_jpeg(adobe), tmp_path, 160, 100)
    assert image.mode == "RGB"
    assert is_close(at(image, 80, 50), (0, 255, 127))


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_by_the_profile_of_its_inks(adobe: bool, tmp_path: Path) -> None:
    image = decoded(pictures.cmyk_jpeg(adobe, pictures.strange_inks_profile()), tmp_path, 160, 100)
    assert image.mode == "RGB"
    assert is_close(at(image, 80, 50), lab_in_srgb(50, 60, 30), 4)


@pytest.mark.parametrize("profile", [b"nonsense", pictures.adobe_rgb_profile()], ids=["broken", "of RGB"])
def test_cmyk_with_a_profile_that_does_not_fit_is_taken_as_without(profile: bytes, tmp_path: Path) -> None:
    image = decoded(pictures.cmyk_jpeg(icc_profile=profile), tmp_path, 160, 100)
    assert is_close(at(image, 80, 50), (0, 255, 127))


def test_wide_gamut_colours_become_srgb(tmp_path: Path) -> None:
    colour = (100, 170, 110)
    image = decoded(pictures.wide_gamut_jpeg(colour), tmp_path)
    assert is_close(at(image, 100, 100), adobe_rgb_in_srgb(colour), 2)
    assert not is_close(at(image, 100, 100), colour, 12)


def adobe_rgb_in_srgb(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The textbook way: gamma, matrix to XYZ (D50), matrix to linear sRGB, sRGB curve."""
    to_xyz = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
    linear = [(channel / 255) ** 2.19921875 for channel in colour]
    return xyz_in_srgb([sum(a * b for a, b in zip(row, linear, strict=True)) for row in to_xyz])


def lab_in_srgb(lightness: float, a: float, b: float) -> tuple[int, int, int]:
    """The textbook way: Lab to XYZ (D50), matrix to linear sRGB, sRGB curve."""
    y = (lightness + 16) / 116
    cubes = [
        value**3 if value > 6 / 29 else 3 * (6 / 29) ** 2 * (value - 4 / 29) for value in (y + a / 500, y, y - b / 200)
    ]
    return xyz_in_srgb([white * cube for white, cube in zip((0.9642, 1.0, 0.8249), cubes, strict=True)])


def xyz_in_srgb(xyz: list[float]) -> tuple[int, int, int]:
    """From D50."""
    to_srgb = (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
    srgb = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, xyz, strict=True)))) for row in to_srgb]
    red, green, blue = (
        round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055)) for value in srgb
    )
    return red, green, blue


def test_wide_gamut_with_alpha_keeps_its_alpha(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (64, 64), (150, 160, 110, 90))
    image = decoded(pictures.encoded(picture, "PNG", icc_profile=pictures.adobe_rgb_profile()), tmp_path)
    assert is_close(at(image, 9, 9), (*adobe_rgb_in_srgb((150, 160, 110)), 90), 2)


@pytest.mark.parametrize("profile", [b"not a profile", pictures.adobe_rgb_profile()[:200]], ids=["noise", "cut"])
def test_broken_profiles_are_ignored(profile: bytes, tmp_path: Path) -> None:
    content = pictures.encoded(pictures.marked(), "JPEG", quality=95, icc_profile=profile)
    assert_upright(decoded(content, tmp_path))


def test_a_colour_profile_in_a_grey_picture_is_ignored(tmp_path: Path) -> None:
    content = pictures.encoded(Image.new("L", (8, 8), 77), "PNG", icc_profile=pictures.adobe_rgb_profile())
    assert at(decoded(content, tmp_path), 4, 4) == (77, 77, 77)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    image = decoded(pictures.animated_gif(), tmp_path)
    assert is_close(at(image, 100, 100), pictures.CORNERS["top_left"], 3)


def test_the_real_photographs_decode(tmp_path: Path) -> None:
    photographs = pictures.real_photos()
    assert len(photographs) >= 10
    for path in photographs:
        with open_picture(path, LIMIT_PX) as picture:
            assert picture.pixels(64, 64).size == (64, 64)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    content = pictures.decompression_bomb_png()
    assert len(content) < 100_000
    error = refused(content, tmp_path)
    assert error.code == "image_too_many_pixels"
    assert "20000 x 20000 pixels" in error.detail
    assert "100 megapixels" in error.detail


def test_the_pixel_limit_is_exact(tmp_path: Path) -> None:
    content = pictures.encoded(Image.new("RGB", (101, 7)), "PNG")
    assert refused(content, tmp_path, limit_px=101 * 7 - 1).code == "image_too_many_pixels"
    with open_picture(tmp_path / "source", 101 * 7) as picture:
        assert picture.width_px == 101


def test_a_webp_bomb_is_refused_before_its_canvas_is_made(tmp_path: Path) -> None:
    canvas = struct.pack("<I", 16_382)[:3] * 2
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    content = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    assert "16383 x 16383 pixels" in refused(content, tmp_path).detail


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}, {"exif": Image.Exif().tobytes()}])
def test_the_pixel_limit_of_webp_is_exact(options: dict[str, object], tmp_path: Path) -> None:
    content = pictures.encoded(Image.new("RGB", (103, 57), "teal"), "WEBP", **options)
    assert "103 x 57 pixels" in refused(content, tmp_path, limit_px=103 * 57 - 1).detail
    with open_picture(tmp_path / "source", 103 * 57) as picture:
        assert (picture.width_px, picture.height_px) == (103, 57)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_pictures_are_refused(kind: str, tmp_path: Path) -> None:
    _, make = KINDS[kind]
    content = make()
    kept_share = 0.3 if kind == "multi-picture jpeg" else 0.6  # of the first of its two pictures, too
    error = refused(content[: int(len(content) * kept_share)], tmp_path)
    assert error.code in {"image_truncated", "image_corrupt"}
    if "jpeg" in kind or kind in {"png", "webp", "lossless webp", "avif", "gif", "heic"}:
        assert error.code == "image_truncated"


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    assert refused(b"", tmp_path).code == "image_empty"
    assert refused(b"%PDF-1.7 something", tmp_path).code == "image_unsupported"
    assert refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>", tmp_path).code == "image_unsupported"
    assert refused(pictures.corrupt_jpeg(), tmp_path).code == "image_corrupt"


def test_a_missing_file_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_picture(tmp_path / "nowhere", LIMIT_PX):
        pass


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(sorted(KINDS)), damage=st.binary(min_size=1, max_size=30), where=st.floats(0, 1))
def test_damage_ends_in_a_picture_or_in_a_named_refusal(kind: str, damage: bytes, where: float, tmp_path: Path) -> None:
    content = KINDS[kind][1]()
    start = int(where * (len(content) - 1))
    path = tmp_path / "source"
    path.write_bytes(content[:start] + damage + content[start + len(damage) :])
    refusals = []
    try:
        with open_picture(path, LIMIT_PX) as picture:
            picture.pixels(max(1, picture.width_px // 4), max(1, picture.height_px // 4))
    except PermanentError as error:
        refusals.append(error)
    assert all(error.code.startswith("image_") and error.detail.endswith(".") for error in refusals)


def test_every_decoder_is_installed() -> None:
    assert all(features.check(name) for name in ("webp", "avif", "jpg", "libtiff", "littlecms2"))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", PictureType.AVIF),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", PictureType.HEIC),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", PictureType.HEIC),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"BMW drives", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"\xff\xd8", None),
        (b"", None),
    ],
)
def test_sniffing(head: bytes, expected: PictureType | None) -> None:
    assert sniff(head) is expected
