"""What a render job leaves: files as planned, nothing of the original's metadata, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from image_processor.rendering import RenderJob, Rendition, encode, render
from image_processor.variants import DEFAULT_VARIANTS, PictureFormat, VariantSpec
from shared.messaging.errors import PermanentError
from shared.testing import pictures


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def rendered(
    content: bytes,
    output_dir: Path,
    variants: tuple[VariantSpec, ...] = DEFAULT_VARIANTS,
    sync_files: bool = False,
    encoders: Executor | None = None,
) -> Rendition:
    source = output_dir.parent / "source"
    source.write_bytes(content)
    return render(RenderJob(source, output_dir, variants, sync_files=sync_files), encoders)


@pytest.mark.parametrize("sync_files", [True, False])
def test_every_variant_is_what_it_says(output_dir: Path, sync_files: bool) -> None:
    content = pictures.photo_jpeg(2400, 1800)
    rendition = rendered(content, output_dir, sync_files=sync_files)
    assert [(v.name, v.width_px, v.height_px) for v in rendition.variants] == [
        ("large", 2000, 1500),
        ("medium", 1200, 900),
        ("small", 640, 480),
        ("thumb", 200, 150),
    ]
    for variant in rendition.variants:
        stored = (output_dir / variant.file_name).read_bytes()
        assert variant.size_bytes == len(stored)
        assert variant.sha256 == hashlib.sha256(stored).hexdigest()
        assert variant.mime_type == "image/webp"
        with Image.open(output_dir / variant.file_name) as picture:
            assert picture.format == "WEBP"
            assert picture.size == (variant.width_px, variant.height_px)
    assert {path.name for path in output_dir.iterdir()} == {v.file_name for v in rendition.variants}


def test_the_source_is_described(output_dir: Path) -> None:
    content = pictures.turned_by_exif(6, width_px=200, height_px=320)
    source = rendered(content, output_dir).source
    assert (source.mime_type, source.width_px, source.height_px) == ("image/jpeg", 200, 320)
    assert (source.size_bytes, source.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_same_picture_gives_the_same_bytes(output_dir: Path) -> None:
    content = pictures.photo_jpeg(800, 600)
    once, again = rendered(content, output_dir), rendered(content, output_dir)
    assert once.variants == again.variants
    assert once.placeholder == again.placeholder


def test_encoding_side_by_side_gives_the_same_files(output_dir: Path) -> None:
    content = pictures.photo_jpeg(1600, 1200)
    variants = (*DEFAULT_VARIANTS, *ALL_FORMATS)  # three of them of one size, so made of one picture
    in_turn = rendered(content, output_dir, variants)
    with ThreadPoolExecutor(4) as encoders:
        for _ in range(5):
            assert rendered(content, output_dir, variants, encoders=encoders).variants == in_turn.variants


def test_a_failing_encoder_fails_the_job(output_dir: Path) -> None:
    (output_dir / ".medium.webp.part").mkdir()
    with ThreadPoolExecutor(2) as encoders, pytest.raises(IsADirectoryError):
        rendered(pictures.photo_jpeg(1600, 1200), output_dir, encoders=encoders)


def test_a_small_picture_shares_its_files(output_dir: Path) -> None:
    rendition = rendered(pictures.photo_jpeg(300, 200), output_dir)
    assert [v.file_name for v in rendition.variants] == ["large.webp", "large.webp", "large.webp", "thumb.webp"]
    assert {(v.width_px, v.height_px) for v in rendition.variants} == {(300, 200), (200, 133)}
    assert len(list(output_dir.iterdir())) == 2


ALL_FORMATS = tuple(VariantSpec(f.value, 160, f) for f in PictureFormat)


def test_no_metadata_survives(output_dir: Path) -> None:
    content = pictures.jpeg_with_private_metadata()
    assert all(secret in content for secret in (b"Secret Camera Works", b"secret-xmp", b"secret-comment"))
    for variant in rendered(content, output_dir, ALL_FORMATS).variants:
        stored = (output_dir / variant.file_name).read_bytes()
        assert not any(
            trace in stored
            for trace in (b"Secret", b"secret", b"Exif", b"EXIF", b"xmp", b"XMP", b"ICCP", b"ICC_PROFILE", b"Wide test")
        )
        with Image.open(output_dir / variant.file_name) as picture:
            picture.load()
            assert not picture.getexif()
            assert not {"exif", "xmp", "icc_profile", "comment", "photoshop"} & set(picture.info)


def test_alpha_survives_where_the_format_has_it_and_lies_on_white_in_jpeg(output_dir: Path) -> None:
    for variant in rendered(pictures.png_with_alpha(), output_dir, ALL_FORMATS).variants:
        with Image.open(output_dir / variant.file_name) as picture:
            right, left = (picture.convert("RGBA").getpixel((x, 50)) for x in (140, 20))
        assert isinstance(right, tuple)
        assert isinstance(left, tuple)
        assert right[3] == 255 if variant.name == "jpeg" else right[3] <= 2
        if variant.name == "jpeg":
            assert min(right[:3]) >= 250
        assert all(abs(a - b) <= 8 for a, b in zip(left, (220, 30, 30, 255), strict=True))


@pytest.mark.parametrize("icc_profile", [None, pictures.strange_inks_profile()], ids=["without", "with"])
def test_cmyk_with_or_without_a_profile_becomes_rgb(output_dir: Path, icc_profile: bytes | None) -> None:
    content = pictures.cmyk_jpeg(icc_profile=icc_profile)
    for variant in rendered(content, output_dir, ALL_FORMATS).variants:
        with Image.open(output_dir / variant.file_name) as picture:
            assert picture.mode == "RGB", variant.name
            colour = picture.getpixel((80, 50))
            assert "icc_profile" not in picture.info
        assert isinstance(colour, tuple)
        red, green, _ = colour
        assert red - green > 100 if icc_profile else green - red > 200, (variant.name, colour)


def test_the_cascade_is_as_good_as_resizing_the_original(output_dir: Path) -> None:
    original = pictures.photo(2400, 1800)
    rendered(pictures.encoded(original, "PNG"), output_dir)
    direct = encode(original.resize((200, 150), Image.Resampling.LANCZOS), PictureFormat.WEBP, 80)
    (output_dir / "direct.webp").write_bytes(direct)
    with Image.open(output_dir / "thumb.webp") as cascaded, Image.open(output_dir / "direct.webp") as reference:
        difference = ImageStat.Stat(ImageChops.difference(cascaded.convert("RGB"), reference.convert("RGB")))
    assert max(difference.mean) < 2.5


def test_the_placeholder_is_a_tiny_picture_of_the_same_shape(output_dir: Path) -> None:
    placeholder = rendered(pictures.photo_jpeg(1200, 600), output_dir).placeholder
    head, _, data = placeholder.partition(",")
    assert head == "data:image/webp;base64"
    assert len(placeholder) < 500
    (output_dir / "placeholder.webp").write_bytes(base64.b64decode(data))
    with Image.open(output_dir / "placeholder.webp") as picture:
        assert picture.size == (20, 10)


@pytest.mark.parametrize(("width_px", "height_px"), [(1, 1), (1, 3000), (3000, 1), (7, 5)])
def test_extreme_shapes(width_px: int, height_px: int, output_dir: Path) -> None:
    content = pictures.encoded(Image.new("RGB", (width_px, height_px), "teal"), "PNG")
    rendition = rendered(content, output_dir)
    assert rendition.variants[0].height_px == height_px
    assert rendition.variants[0].width_px == min(2000, width_px)


def test_a_picture_taller_than_webp_can_store_is_scaled_down(output_dir: Path) -> None:
    content = pictures.encoded(Image.new("L", (100, 20_000), 90), "PNG")
    rendition = rendered(content, output_dir)
    assert rendition.variants[0].height_px == 16_383


def test_every_step_is_timed_in_order(output_dir: Path) -> None:
    rendition = rendered(pictures.photo_jpeg(1000, 750), output_dir)
    names = [span.name for span in rendition.spans]
    assert names[:2] == ["hash", "decode"]
    assert names[-1] == "placeholder"
    assert {"resize small", "encode small", "encode large", "encode thumb"} <= set(names)
    assert all(a.start_ns <= a.end_ns <= b.start_ns for a, b in zip(rendition.spans, rendition.spans[1:], strict=False))
    assert 0 < rendition.render_seconds < 60
    assert rendition.cpu_seconds > 0
    assert rendition.peak_memory_bytes > 2**20


def test_a_refused_picture_leaves_nothing(output_dir: Path) -> None:
    for content in (pictures.truncated_jpeg(), pictures.corrupt_jpeg(), pictures.decompression_bomb_png()):
        with pytest.raises(PermanentError):
            rendered(content, output_dir)
    assert list(output_dir.iterdir()) == []
