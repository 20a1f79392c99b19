"""One interface over the places where bytes are kept, so that moving between them is the same code everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from shared.picture_types import PictureType

OCTET_STREAM: Final = "application/octet-stream"
_CONTENT_TYPES: Final = {picture.extension: picture.value for picture in PictureType} | {
    "jpeg": PictureType.JPEG.value,
    "tiff": PictureType.TIFF.value,
    "zip": "application/zip",
}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says about one object.

    `sha256` (hex) is what was recorded when the bytes were written; only `digest` proves that they still are. It is
    None where nothing was recorded, and may be None in a listing. `etag` changes when the bytes do and is comparable
    only within one store. `is_nobodys` is the mark that a copy was given.
    """

    key: str
    size_bytes: int
    etag: str
    modified_at: datetime
    sha256: str | None = None
    content_type: str | None = None
    is_nobodys: bool = False


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object being read: `info` of the whole object, `chunks` of the part that was asked for, readable once."""

    info: ObjectInfo
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Digest:
    """What the stored bytes are, found by reading them."""

    size_bytes: int
    sha256: str


class ObjectStore(Protocol):
    """Bytes under keys.

    Writes are atomic: an object is wholly there under its key, durable and with the checksum that was asked for, or
    what was there before still is. Writing a key again replaces it; writing the same bytes twice changes nothing.
    A cancelled write has ended, one way or the other, when the cancellation comes out of it.

    Every method raises StoreUnavailable when the store is away, StoreRefused when it answers no, and InvalidKey for
    a string that is no key. Writes raise InsufficientSpace when the store is full and ChecksumMismatch when the
    bytes are not those of the given `sha256` (hex).
    """

    @property
    def name(self) -> str:
        """Short name for logs, metrics and errors: `disk` or `s3`."""
        ...

    async def put_bytes(
        self, key: str, data: bytes, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """Store bytes that are in memory anyway."""
        ...

    async def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """Store a copy of a local file in bounded memory. The file must not change meanwhile.

        Raises ObjectNotFound when it is missing.
        """
        ...

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        sha256: str | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        """Store chunks as they come, in bounded memory. What an error of the iterator leaves behind is removed."""
        ...

    def open(
        self, key: str, *, start_byte: int = 0, end_byte: int | None = None
    ) -> AbstractAsyncContextManager[OpenObject]:
        """Read the bytes `start_byte <= n < end_byte`; like a slice, what lies outside the object gives nothing.

        Raises ObjectNotFound on entering; StoreUnavailable when the bytes end before they should.
        """
        ...

    async def stat(self, key: str) -> ObjectInfo | None:
        """Describe one object; None when there is none."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object. Removing what is not there is no error."""
        ...

    def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """Give every object whose key begins with `prefix` and is greater than `start_after`.

        The order is that of the keys' UTF-8 bytes in every store, so two listings can be merged in bounded memory.
        A listing that can't be completed raises; it never just ends. Objects that come or go meanwhile may be
        missed or told of.
        """
        ...

    async def copy(self, source_key: str, target_key: str, *, is_nobodys: bool = False) -> ObjectInfo:
        """Copy within the store, checksum and content type included. Raises ObjectNotFound.

        `is_nobodys` marks the copy as a file that no record is to be made of, in stores that tell of what comes.
        """
        ...

    async def check(self) -> None:
        """Return when the store answers and may be used; raise otherwise. For readiness."""
        ...


async def digest(store: ObjectStore, key: str) -> Digest:
    """Read the stored bytes and hash them: the proof that a copy is good. Raises ObjectNotFound."""
    hashed = hashlib.sha256()
    size_bytes = 0
    async with store.open(key) as opened:
        async for chunk in opened.chunks:
            hashed.update(chunk)
            size_bytes += len(chunk)
    return Digest(size_bytes, hashed.hexdigest())


def content_type_of(key: str) -> str:
    """Content type that the key's extension tells."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2].lower(), OCTET_STREAM)


async def batched_bytes(chunks: AsyncIterator[bytes], batch_bytes: int) -> AsyncIterator[bytes]:
    """Join small chunks into batches of at least `batch_bytes` (the last may be smaller)."""
    waiting: list[bytes] = []
    waiting_bytes = 0
    async for chunk in chunks:
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes >= batch_bytes:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
    if waiting_bytes:
        yield b"".join(waiting)
