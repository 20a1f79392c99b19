"""What every reader of strangers' pictures shares: which decoder reads which type, and what is wrong with a file."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from shared.messaging.errors import PermanentError
from shared.picture_types import PictureType

DECODERS: Final = {
    PictureType.JPEG: "JPEG",
    PictureType.PNG: "PNG",
    PictureType.WEBP: "WEBP",
    PictureType.AVIF: "AVIF",
    PictureType.GIF: "GIF",
    PictureType.TIFF: "TIFF",
    PictureType.BMP: "BMP",
    PictureType.HEIC: "HEIF",
}
"""Pillow's names: a file is handed to the decoder of its type and to no other."""

DECODER_FAILURES: Final = (
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders were seen to raise over damaged files."""

_TYPES: Final = "JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP and HEIC"


def empty() -> PermanentError:
    return PermanentError("image_empty", "This file has no bytes in it. Upload the picture again.")


def unsupported() -> PermanentError:
    return PermanentError(
        "image_unsupported", f"This file is not a picture of a type that can be read. Upload one of {_TYPES}."
    )


def truncated() -> PermanentError:
    return PermanentError(
        "image_truncated",
        "The end of this picture is missing, as after a broken transfer. Upload the whole file again.",
    )


def corrupt(reason: str) -> PermanentError:
    return PermanentError(
        "image_corrupt",
        f"This picture is damaged and cannot be read ({reason}). Open it in an editor, save it anew and upload that.",
    )
