"""Bytes under their checksum: what two backups have in common is kept once."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Set
from pathlib import Path
from typing import BinaryIO

from deploy.backup.errors import BackupError
from shared.storage.atomic_file import sync_directory

_CHUNK_BYTES = 1024 * 1024


class Contents:
    """A folder of files that are named by the SHA-256 of what they hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str, size_bytes: int) -> bool:
        path = self.path(sha256)
        return path.exists() and path.stat().st_size == size_bytes

    async def add(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Keep what comes, and return its SHA-256 and size; a file appears whole or not at all.

        Its bytes are durable, its name only with `sync`.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self._folder / f".tmp-{secrets.token_hex(8)}"
        digest, size_bytes = hashlib.sha256(), 0
        try:
            with unfinished.open("xb") as file:
                async for chunk in chunks:
                    digest.update(chunk)
                    size_bytes += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            path = self.path(digest.hexdigest())
            path.parent.mkdir(exist_ok=True, mode=0o700)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return digest.hexdigest(), size_bytes

    def sync(self) -> None:
        """Make durable what was kept: whatever names it comes behind this."""
        for folder in (*self._folder.glob("??"), self._folder):
            sync_directory(folder)

    def keep_only(self, wanted: Set[str]) -> int:
        """Remove what nobody names any more, and what was cut short; returns the bytes that became free."""
        freed_bytes = 0
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.name not in wanted:
                freed_bytes += path.stat().st_size
                path.unlink()
        return freed_bytes

    def proven(self, sha256: str) -> Path:
        """The file, read whole and found right; raises BackupError for one that is missing or rotten."""
        path = self.path(sha256)
        try:
            found = sha256_of_file(path)
        except FileNotFoundError:
            raise BackupError(f"the backup lacks {path}") from None
        if found != sha256:
            raise BackupError(f"{path} is damaged: its bytes are not those that were kept")
        return path


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def chunks_of_file(file: BinaryIO) -> AsyncIterator[bytes]:
    """What is left of an open file, which is closed then."""
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


async def counted(chunks: AsyncIterator[bytes]) -> tuple[str, int]:
    """SHA-256 and size of what comes, which is kept nowhere."""
    digest, size_bytes = hashlib.sha256(), 0
    async for chunk in chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
    return digest.hexdigest(), size_bytes
