"""What marks do to pixels: where they stand, how much shows through, and what never changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from image_processor.rendering import RenderJob, Rendition, render
from image_processor.variants import PictureFormat, VariantSpec
from image_processor.watermark_layout import MarkRules, lay_out
from image_processor.watermarking import MarkPicture, Watermark, prepare, watermarked
from shared.events import WatermarkPosition
from shared.messaging.errors import PermanentError
from shared.testing import pictures


def mark_file(tmp_path: Path, image: Image.Image) -> MarkPicture:
    content = pictures.encoded(image, "PNG")
    path = tmp_path / "mark.png"
    path.write_bytes(content)
    return MarkPicture(path, hashlib.sha256(content).hexdigest())


def rules(**changes: Any) -> MarkRules:
    wanted: dict[str, Any] = {"position": WatermarkPosition.CENTER, "scale": 0.5, "margin": 0.0, "tiled": False}
    return MarkRules(**(wanted | changes))


def marked(image: Image.Image, watermark: Watermark) -> Image.Image:
    return watermarked(image, prepare(watermark), watermark)


def changed_box(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    return ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()


@pytest.mark.parametrize(("opacity", "red"), [(1.0, 255), (0.5, 128), (0.2, 51), (0.01, 3)])
def test_opacity(tmp_path: Path, opacity: float, red: int) -> None:
    mark = mark_file(tmp_path, Image.new("RGB", (40, 20), "white"))
    result = marked(Image.new("RGB", (100, 100)), Watermark(mark, rules(), opacity))
    assert result.getpixel((50, 50)) == pytest.approx((red, red, red), abs=1)
    assert result.getpixel((50, 20)) == (0, 0, 0)


@pytest.mark.parametrize("position", WatermarkPosition)
@pytest.mark.parametrize("as_text", [True, False])
def test_the_mark_stands_where_the_layout_says_and_nowhere_else(
    tmp_path: Path, position: WatermarkPosition, as_text: bool
) -> None:
    content = "Example" if as_text else mark_file(tmp_path, Image.new("RGB", (80, 40), "white"))
    watermark = Watermark(content, rules(position=position, scale=0.3, margin=0.04), 1.0)
    ground = Image.new("RGB", (600, 400), "teal")
    mark = prepare(watermark)
    layout = lay_out(watermark.rules, mark.aspect, 600, 400)
    box = changed_box(ground, watermarked(ground, mark, watermark))
    assert box is not None
    ((x_px, y_px),) = layout.corners
    wanted = (x_px, y_px, x_px + layout.width_px, y_px + layout.height_px)
    assert all(abs(found - edge) <= 3 for found, edge in zip(box, wanted, strict=True))
    assert box[0] >= wanted[0]
    assert box[2] <= wanted[2]


def test_the_picture_that_was_given_stays_clean() -> None:
    ground = Image.new("RGB", (300, 200), "teal")
    assert changed_box(ground, marked(ground, Watermark("Example", rules(), 1.0))) is not None
    assert ground.getextrema() == Image.new("RGB", (1, 1), "teal").getextrema()


def test_tiles_reach_every_part_of_the_picture() -> None:
    ground = Image.new("RGB", (1200, 900), "teal")
    result = marked(ground, Watermark("Example", rules(scale=0.1, margin=0.02, tiled=True), 0.5))
    for x_px in range(0, 1200, 150):
        for y_px in range(0, 900, 150):
            part = (x_px, y_px, x_px + 150, y_px + 150)
            assert changed_box(ground.crop(part), result.crop(part)) is not None


def test_holes_in_the_mark_stay_open(tmp_path: Path) -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 50, 100))
    result = marked(Image.new("RGB", (100, 100), "white"), Watermark(mark_file(tmp_path, image), rules(scale=1.0), 1.0))
    assert result.getpixel((20, 50)) == (255, 255, 255)
    assert result.getpixel((80, 50)) == (255, 0, 0)


@pytest.mark.parametrize("tiled", [False, True])
def test_transparent_pictures_carry_the_mark_too(tiled: bool) -> None:
    ground = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    result = marked(ground, Watermark("Example", rules(tiled=tiled), 0.5))
    assert result.mode == "RGBA"
    highest = result.getchannel("A").getextrema()[1]
    assert highest == pytest.approx(128, abs=1)
    assert result.getchannel("A").getextrema()[0] == 0


def test_grey_pictures_stay_grey_under_text_and_take_the_colour_of_a_picture(tmp_path: Path) -> None:
    ground = Image.new("L", (300, 200), 90)
    text = marked(ground, Watermark("Example", rules(), 1.0))
    assert text.mode == "L"
    assert text.getextrema() == (0, 255)
    red = mark_file(tmp_path, Image.new("RGB", (30, 20), "red"))
    assert marked(ground, Watermark(red, rules(), 1.0)).getpixel((150, 100)) == (255, 0, 0)


@pytest.mark.parametrize("size_px", [(1, 1), (1, 3000), (3000, 1), (7, 5), (40, 2)])
@pytest.mark.parametrize("tiled", [False, True])
def test_pictures_smaller_than_the_mark(tmp_path: Path, size_px: tuple[int, int], tiled: bool) -> None:
    large = mark_file(tmp_path, Image.new("RGB", (800, 300), "white"))
    for content in (large, "A long text that nobody can read there"):
        ground = Image.new("RGB", size_px, "teal")
        result = marked(ground, Watermark(content, rules(scale=0.25, margin=0.03, tiled=tiled), 1.0))
        assert result.size == size_px
        assert changed_box(ground, result) is not None


def test_a_broken_mark_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    for content in (b"no picture", b"", pictures.truncated_jpeg()):
        path.write_bytes(content)
        with pytest.raises(PermanentError) as refused:
            prepare(Watermark(MarkPicture(path, hashlib.sha256(content).hexdigest()), rules(), 1.0))
        assert refused.value.code == "watermark_broken"


@pytest.mark.parametrize("text", ["中", "A\U0001f600B", "   "])
def test_text_without_shapes_is_refused(text: str) -> None:
    with pytest.raises(PermanentError) as refused:
        prepare(Watermark(text, rules(), 1.0))
    assert refused.value.code == "watermark_text_undrawable"


VARIANTS = tuple(
    VariantSpec(name, width_px, PictureFormat.JPEG, 95) for name, width_px in (("large", 900), ("small", 300))
)


def rendered(tmp_path: Path, content: bytes, watermark: Watermark | None) -> tuple[Path, Rendition]:
    folder = tmp_path / f"output-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    source = folder / "source"
    source.write_bytes(content)
    return folder, render(RenderJob(source, folder, VARIANTS, watermark=watermark))


def test_every_variant_carries_the_mark_and_the_source_does_not(tmp_path: Path) -> None:
    content = pictures.photo_jpeg(1200, 800)
    watermark = Watermark("Example", rules(), 1.0)
    plain, _ = rendered(tmp_path, content, None)
    folder, rendition = rendered(tmp_path, content, watermark)
    for variant in rendition.variants:
        with Image.open(plain / variant.file_name) as before, Image.open(folder / variant.file_name) as after:
            difference = ImageChops.difference(before, after).convert("L")
        assert ImageStat.Stat(difference.crop((0, 0, difference.width // 5, difference.height))).mean[0] < 1
        assert ImageStat.Stat(difference).extrema[0][1] > 60
    assert (folder / "source").read_bytes() == content
    assert {"watermark large", "watermark small"} <= {step.name for step in rendition.spans}
    assert rendered(tmp_path, content, watermark)[1].variants == rendition.variants


def test_only_chosen_variants_are_marked_also_where_a_small_picture_shares_files(tmp_path: Path) -> None:
    content = pictures.photo_jpeg(200, 150)
    _, plain = rendered(tmp_path, content, None)
    assert {variant.file_name for variant in plain.variants} == {"large.jpg"}
    _, chosen = rendered(tmp_path, content, Watermark("Example", rules(), 1.0, frozenset({"large"})))
    by_name = {variant.name: variant for variant in chosen.variants}
    assert by_name["small"].sha256 == plain.variants[0].sha256
    assert by_name["large"].sha256 != by_name["small"].sha256


def test_a_broken_mark_leaves_no_file(tmp_path: Path) -> None:
    broken = tmp_path / "mark"
    broken.write_bytes(b"no picture")
    watermark = Watermark(MarkPicture(broken, "0" * 64), rules(), 1.0)
    with pytest.raises(PermanentError):
        rendered(tmp_path, pictures.photo_jpeg(900, 600), watermark)
    assert [path.name for path in tmp_path.glob("output-*/*")] == ["source"]
