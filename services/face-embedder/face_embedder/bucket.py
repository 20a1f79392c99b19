"""What the service needs of the bucket beside the object store itself."""

from __future__ import annotations

from dataclasses import dataclass

from face_embedder import failures
from face_embedder.photos import Photo
from shared.storage.errors import ObjectNotFound
from shared.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class Content:
    """An object's bytes, and the tag of the content that was read."""

    content: bytes
    etag: str


async def is_ours(bucket: ObjectStore, photo: Photo, etag: str) -> bool:
    """Whether the preview with this tag is the one that was made here."""
    found = await bucket.stat(photo.s3_key)
    return found is not None and found.etag == etag and found.sha256 == photo.made_sha256


async def read(bucket: ObjectStore, key: str, limit_bytes: int) -> Content:
    """A photo's file. Raises PermanentError for one that is gone or too large."""
    received = bytearray()
    try:
        async with bucket.open(key) as opened:
            if opened.info.size_bytes > limit_bytes:
                raise failures.too_large(limit_bytes)
            async for chunk in opened.chunks:
                received += chunk
    except ObjectNotFound as error:
        raise failures.gone(key) from error
    return Content(bytes(received), opened.info.etag)
