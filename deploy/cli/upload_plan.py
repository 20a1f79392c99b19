"""What an upload is to send: files in an order, and the key under which each is sent once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp"}
)
"""What is taken out of folders. The server looks at the bytes."""
_KEY_VERSION: Final = "mediabus-upload-1"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """`size_bytes` and `changed_ns` are those of the moment when it was found."""

    path: Path
    size_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FoundFile:
        """Raises OSError."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    def is_unchanged(self) -> bool:
        return FoundFile.of(self.path) == self


def found_files(paths: Iterable[Path], *, every_type: bool) -> Iterator[FoundFile | tuple[Path, OSError]]:
    """Files that are named, whatever their type, and those of folders, each once; or why one can't be looked at.

    Folders are walked in the order of names. Hidden files in them are passed over, and links to folders not followed.
    """
    seen: set[Path] = set()
    for named in paths:
        if named.is_dir():
            found: Iterable[Path | tuple[Path, OSError]] = _walked(named, every_type)
        else:
            found = [named]
        for one in found:
            if isinstance(one, tuple):
                yield one
            elif (real := Path(os.path.realpath(one))) not in seen:
                seen.add(real)
                try:
                    yield FoundFile.of(one)
                except OSError as error:
                    yield one, error


def _walked(folder: Path, every_type: bool) -> Iterator[Path | tuple[Path, OSError]]:
    unreadable: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            wanted = every_type or path.suffix.lower() in PICTURE_SUFFIXES
            if wanted and not name.startswith(".") and path.is_file():
                yield path
    for error in unreadable:
        yield Path(error.filename or folder), error


def content_sha256(path: Path) -> str:
    """Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def idempotency_key(sha256: str, filename: str, fields: Mapping[str, str], *, instead_of: str | None = None) -> str:
    """The same for the same content, name and fields, on every machine and in every run.

    `instead_of` is a medium that was made of it and is gone: then it is to become another one.
    """
    said = "\0".join([_KEY_VERSION, sha256, filename, *(f"{name}={fields[name]}" for name in sorted(fields))])
    digest = hashlib.sha256(f"{said}\0{instead_of or ''}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"mediabus-cli-{digest}"
