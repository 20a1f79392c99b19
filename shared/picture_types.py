"""The picture types that are accepted, told from a file's first bytes and never from its name."""

from __future__ import annotations

from enum import StrEnum

SNIFF_BYTES = 64
"""How many of a file's first bytes `sniff` wants; fewer are fine where the file is shorter."""

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_GENERIC_BRANDS = frozenset({b"mif1", b"msf1"})


class PictureType(StrEnum):
    """A picture type by its MIME type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    AVIF = "image/avif"
    GIF = "image/gif"
    TIFF = "image/tiff"
    BMP = "image/bmp"
    HEIC = "image/heic"

    @property
    def extension(self) -> str:
        return {PictureType.JPEG: "jpg", PictureType.TIFF: "tif"}.get(self, self.value.removeprefix("image/"))


def sniff(head: bytes) -> PictureType | None:
    """The picture type that these first bytes begin, or None for anything else."""
    if head.startswith(b"\xff\xd8\xff"):
        return PictureType.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PictureType.PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return PictureType.WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return PictureType.GIF
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return PictureType.TIFF
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return PictureType.BMP
    return _sniff_boxes(head) if head[4:8] == b"ftyp" else None


def _sniff_boxes(head: bytes) -> PictureType | None:
    """AVIF and HEIC share a container; the generic brands leave it to the compatible ones behind them."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = [major] if major not in _GENERIC_BRANDS else [head[at : at + 4] for at in range(16, end - 3, 4)]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return PictureType.AVIF
    if any(brand in _HEIC_BRANDS for brand in brands):
        return PictureType.HEIC
    return None


def webp_canvas_px(head: bytes) -> tuple[int, int]:
    """Width and height of a WebP by its first bytes; (0, 0) where they make no sense, which the decoder will say."""
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0
