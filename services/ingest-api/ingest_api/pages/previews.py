"""Addresses of pictures in the bucket, for pages of admins."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlencode

OBJECTS_PATH: Final = "/admin/consistency/objects"
SHOWN_PREFIXES: Final = ("products/", "media/", "quarantine/")
"""Where files lie of which a comparison can tell."""
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif"})


class Previews:
    """Where pages read an object as a picture; nowhere while there is no bucket, or where its name is no picture's."""

    def __init__(self, *, has_bucket: bool) -> None:
        self._has_bucket = has_bucket

    def of_object(self, key: str) -> str | None:
        """Stable for a key, so that what a browser has it keeps; it is looked up where it is asked for."""
        is_picture = PurePosixPath(key).suffix.lower() in _SUFFIXES and key.startswith(SHOWN_PREFIXES)
        return f"{OBJECTS_PATH}?{urlencode({'key': key})}" if self._has_bucket and is_picture else None
