"""Style sheets, scripts and icons as browsers get them: read once, packed once, kept by browsers for ever."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

MEDIA_TYPES: Final = MappingProxyType(
    {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
)
PREFIX: Final = "/static"
_VERSION_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    packed: bytes
    """The content by gzip."""
    media_type: str

    @classmethod
    def of(cls, path: str, content: bytes) -> Asset:
        # Without a time in the header every replica packs the same bytes.
        return cls(content, gzip.compress(content, mtime=0), MEDIA_TYPES[Path(path).suffix])


class Assets:
    """All files below one address, whose version is a hash of all of them.

    One version for all lets a script import its neighbours by relative paths and get them of the same state.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        digest = hashlib.sha256()
        for path, content in sorted(contents.items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        self.version: Final = digest.hexdigest()[:_VERSION_CHARACTERS]
        self._assets: Final = {path: Asset.of(path, content) for path, content in contents.items()}

    def find(self, version: str, path: str) -> Asset | None:
        """None for a path that there is not, and for another version: its answer would be kept under a wrong name."""
        return self._assets.get(path) if version == self.version else None

    def address(self, path: str) -> str:
        """Raises KeyError for what is not there, so that a page with a wrong name is never shown."""
        if path not in self._assets:
            raise KeyError(f"there is no asset {path!r}: those below static/ and texts/<language>.js are")
        return f"{PREFIX}/{self.version}/{path}"

    def below(self, folder: str) -> list[str]:
        """The addresses of all assets of a folder, sorted."""
        return [self.address(path) for path in sorted(self._assets) if path.startswith(f"{folder}/")]


def files_below(folder: Path) -> dict[str, bytes]:
    """The files of a folder that browsers may get, by their paths below it."""
    found = (path for path in folder.rglob("*") if path.suffix in MEDIA_TYPES)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
