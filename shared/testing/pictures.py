"""Pictures to test with: real ones from installed packages, and generated ones of every awkward kind."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

CORNERS: Final = {"top_left": (220, 30, 30), "top_right": (30, 180, 30), "bottom_left": (30, 30, 220)}
"""The marks of `marked`; the fourth corner is as grey as the rest of the picture."""

_TO_STORED: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_REAL_PHOTOS: Final = {
    "insightface": ("data/images/t1.jpg",),
    "skimage": (
        "data/astronaut.png",
        "data/camera.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/coins.png",
        "data/grass.png",
        "data/gravel.png",
        "data/hubble_deep_field.jpg",
        "data/ihc.png",
        "data/moon.png",
        "data/motorcycle_left.png",
        "data/motorcycle_right.png",
        "data/retina.jpg",
        "data/rocket.jpg",
    ),
}


def real_photos() -> tuple[Path, ...]:
    """Photographs that come with installed packages, in a fixed order."""
    found = []
    for package, names in _REAL_PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise LookupError(f"{package} is not installed; install the development requirements")
        found += [path for name in names if (path := Path(spec.origin).parent / name).is_file()]
    if len(found) < 10:
        raise LookupError(
            f"only {len(found)} photographs were found in {', '.join(_REAL_PHOTOS)}; at least 10 are meant"
        )
    return tuple(found)


def encoded(image: Image.Image, picture_format: str, **options: Any) -> bytes:
    """The picture as the bytes of a file; `options` are Pillow's own."""
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def photo(width_px: int, height_px: int, seed: int = 0) -> Image.Image:
    """An RGB picture that compresses like a photograph: smooth shades, soft shapes with edges, a little grain."""
    chance = random.Random(seed)
    small = Image.new("RGB", (64, 48))
    small.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(64 * 48)])
    shades = small.filter(ImageFilter.GaussianBlur(4)).resize((width_px, height_px), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(shades)
    for _ in range(40):
        x, y, radius = chance.randrange(width_px), chance.randrange(height_px), chance.randrange(2, 12)
        reach = radius * max(width_px, height_px) // 100 + 1
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    return ImageChops.add(shades, _grain(width_px, height_px, chance), scale=1.0, offset=-128)


def _grain(width_px: int, height_px: int, chance: random.Random) -> Image.Image:
    tile = Image.frombytes("L", (256, 256), chance.randbytes(256 * 256)).point(lambda value: 122 + value // 20)
    grain = Image.new("L", (width_px, height_px))
    for x in range(0, width_px, 256):
        for y in range(0, height_px, 256):
            grain.paste(tile, (x, y))
    return grain.convert("RGB")


def photo_jpeg(width_px: int = 640, height_px: int = 480, quality: int = 88, seed: int = 0) -> bytes:
    """A generated photograph as JPEG."""
    return encoded(photo(width_px, height_px, seed), "JPEG", quality=quality)


def photo_jpeg_of_size(size_bytes: int, seed: int = 0) -> bytes:
    """A JPEG of exactly `size_bytes` (at least 100 kB): a small photograph followed by bytes no decoder looks at."""
    content = photo_jpeg(640, 480, seed=seed)
    if len(content) > size_bytes:
        raise ValueError(f"a photograph takes {len(content)} bytes already; ask for more than that")
    return content + random.Random(seed).randbytes(size_bytes - len(content))


def twelve_megapixel_jpeg(real: Path | None = None, quality: int = 92) -> bytes:
    """A JPEG of 4000 × 3000 pixels and about 4 MB; `real` tiles a real photograph, so that its detail is real too."""
    if real is None:
        return encoded(photo(4000, 3000), "JPEG", quality=quality)
    with Image.open(real) as opened:
        tile = opened.convert("RGB")
    tiles = (tile, *(tile.transpose(step) for step in (_TO_STORED[2], _TO_STORED[3], _TO_STORED[4])))
    picture = Image.new("RGB", (4000, 3000))
    for column, x in enumerate(range(0, 4000, tile.width)):
        for row, y in enumerate(range(0, 3000, tile.height)):
            picture.paste(tiles[column % 2 + 2 * (row % 2)], (x, y))
    return encoded(picture, "JPEG", quality=quality)


def marked(width_px: int = 320, height_px: int = 200) -> Image.Image:
    """A grey picture with three coloured corners, so that every wrong turn of it is seen."""
    picture = Image.new("RGB", (width_px, height_px), (128, 128, 128))
    mark_px = min(width_px, height_px) // 4
    picture.paste(CORNERS["top_left"], (0, 0, mark_px, mark_px))
    picture.paste(CORNERS["top_right"], (width_px - mark_px, 0, width_px, mark_px))
    picture.paste(CORNERS["bottom_left"], (0, height_px - mark_px, mark_px, height_px))
    return picture


def turned_by_exif(orientation: int, picture_format: str = "JPEG", width_px: int = 320, height_px: int = 200) -> bytes:
    """`marked`, stored turned or mirrored with the EXIF orientation (1–8) that makes it upright again.

    `width_px` and `height_px` are those of the upright picture.
    """
    stored = marked(width_px, height_px)
    if (step := _TO_STORED.get(orientation)) is not None:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, picture_format, exif=exif, quality=95)


def jpeg_with_private_metadata() -> bytes:
    """A JPEG whose EXIF tells a camera and a place, with a comment and an XMP packet."""
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera Works"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">secret-xmp</x:xmpmeta>'
    return encoded(
        photo(320, 240), "JPEG", exif=exif, xmp=xmp, comment=b"secret-comment", icc_profile=adobe_rgb_profile()
    )


def png_with_alpha(width_px: int = 320, height_px: int = 200) -> bytes:
    """Left half opaque red, right half fully transparent green, as RGBA."""
    picture = Image.new("RGBA", (width_px, height_px), (220, 30, 30, 255))
    picture.paste((30, 180, 30, 0), (width_px // 2, 0, width_px, height_px))
    return encoded(picture, "PNG")


def png_with_palette_transparency(width_px: int = 320, height_px: int = 200) -> bytes:
    """The picture of `png_with_alpha` with a palette of two colours, one of them transparent."""
    picture = Image.new("P", (width_px, height_px), 0)
    picture.putpalette((220, 30, 30, 30, 180, 30))
    picture.paste(1, (width_px // 2, 0, width_px, height_px))
    return encoded(picture, "PNG", transparency=1)


def grey_16_bit(picture_format: str = "PNG", width_px: int = 256, height_px: int = 64) -> bytes:
    """A ramp from black on the left to white on the right in 16-bit grey, as PNG or TIFF."""
    row = struct.pack(f"<{width_px}H", *(x * 65_535 // (width_px - 1) for x in range(width_px)))
    return encoded(Image.frombytes("I;16", (width_px, height_px), row * height_px), picture_format)


def rgb_16_bit_png(width_px: int = 64, height_px: int = 64) -> bytes:
    """One colour, (200, 100, 50) in 8-bit terms, as RGB with 16 bits per channel."""
    row = b"\0" + struct.pack(">3H", 200 * 257, 100 * 257, 50 * 257) * width_px
    return _png(width_px, height_px, bit_depth=16, colour_type=2, rows=row * height_px)


def cmyk_jpeg(adobe: bool = True, icc_profile: bytes | None = None) -> bytes:
    """Cyan 100 %, yellow 50 % all over; with Adobe's mark (and so inverted, as every editor saves it) or without."""
    picture = Image.new("CMYK", (320, 200), (255, 0, 128, 0))
    if adobe:
        return encoded(picture, "JPEG", quality=95, icc_profile=icc_profile)
    content = encoded(ImageChops.invert(picture), "JPEG", quality=95, icc_profile=icc_profile)
    start = content.index(b"\xff\xee")
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]


def animated_gif() -> bytes:
    """Three frames: red, green, blue."""
    colours = (CORNERS["top_left"], CORNERS["top_right"], CORNERS["bottom_left"])
    first, *others = (Image.new("RGB", (320, 200), colour) for colour in colours)
    return encoded(first, "GIF", save_all=True, append_images=others, duration=100, loop=0)


def truncated_jpeg() -> bytes:
    """The first 60 % of a good JPEG."""
    content = photo_jpeg(1600, 1200)
    return content[: len(content) * 6 // 10]


def corrupt_jpeg() -> bytes:
    """A JPEG whose tables and header are overwritten with noise, its first and last bytes as they should be."""
    content = photo_jpeg()
    return content[:20] + random.Random(1).randbytes(1000) + content[1020:]


def decompression_bomb_png(side_px: int = 20_000) -> bytes:
    """A valid PNG of 400 megapixels in about 50 kB."""
    row = b"\0" + bytes((side_px + 7) // 8)
    return _png(side_px, side_px, bit_depth=1, colour_type=0, rows=row * side_px)


def wide_gamut_jpeg(colour: tuple[int, int, int] = (60, 200, 80)) -> bytes:
    """One colour all over, meant in Adobe RGB as its embedded profile says."""
    picture = Image.new("RGB", (320, 200), colour)
    return encoded(picture, "JPEG", quality=98, subsampling=0, icc_profile=adobe_rgb_profile())


def adobe_rgb_profile() -> bytes:
    """An ICC profile with the primaries (adapted to D50) and the gamma of Adobe RGB (1998)."""
    primaries = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
        b"wtpt": (0.9642, 1.0, 0.8249),
    }
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.19921875 * 256))
    name = b"Wide test colours\0"
    tags = {tag: b"XYZ \0\0\0\0" + b"".join(map(_fixed, xyz)) for tag, xyz in primaries.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0public domain\0"
    return _icc_profile(tags)


def strange_inks_profile() -> bytes:
    """An ICC profile of CMYK inks whose cyan is a dark red and whose yellow is a light one.

    In Lab: L = 100 (1 - C/2) (1 - K), a = 60 C (1 - K), b = 60 Y (1 - K).
    """
    corners = ((c, y, k) for c in (0, 1) for _ in (0, 1) for y in (0, 1) for k in (0, 1))
    colours = b"".join(
        bytes((round(255 * (1 - c / 2) * (1 - k)), 128 + 60 * c * (1 - k), 128 + 60 * y * (1 - k)))
        for c, y, k in corners
    )
    identity = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    straight = bytes(range(256))
    inks, channels, corners_per_ink = 4, 3, 2
    table = b"mft1\0\0\0\0" + bytes((inks, channels, corners_per_ink, 0)) + identity
    name = b"Strange test inks\0"
    tags = {
        b"A2B0": table + straight * inks + colours + straight * channels,
        b"wtpt": b"XYZ \0\0\0\0" + b"".join(map(_fixed, (0.9642, 1.0, 0.8249))),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0public domain\0",
    }
    return _icc_profile(tags, b"prtr", b"CMYK", b"Lab ")


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65_536))


def _icc_profile(
    tags: dict[bytes, bytes], device: bytes = b"mntr", space: bytes = b"RGB ", connection: bytes = b"XYZ "
) -> bytes:
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", tag, at + len(data), len(content))
        data += padded
    size_bytes = at + len(data)
    header = struct.pack(">I4xI4s4s4s12x4s", size_bytes, 0x02400000, device, space, connection, b"acsp")
    header += bytes(28) + b"".join(map(_fixed, (0.9642, 1.0, 0.8249)))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def _png(width_px: int, height_px: int, bit_depth: int, colour_type: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, bit_depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
