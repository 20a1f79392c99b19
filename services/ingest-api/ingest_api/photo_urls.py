"""Addresses of event photos: in the bucket, for a while, for whoever was given them."""

from __future__ import annotations

from dataclasses import dataclass

from ingest_api.photo_event import PhotoEvent
from shared.storage.s3 import S3Store


@dataclass(frozen=True, slots=True)
class PhotoUrls:
    """`bucket` is None where there is none; then there are no addresses either."""

    bucket: S3Store | None
    valid_seconds: int

    def saved_from(self, event: PhotoEvent, key: str | None) -> str | None:
        """As `of`; browsers save the file instead of showing it."""
        if self.bucket is None or key is None or not key.startswith(event.folder):
            return None
        return self.bucket.presigned_get(key, expires_in_seconds=self.valid_seconds, save_as=key.rpartition("/")[2])

    def of(self, event: PhotoEvent, key: str | None) -> str | None:
        """The address of a file of this event; None for a key outside its folder, whoever told of it."""
        if self.bucket is None or key is None or not key.startswith(event.folder):
            return None
        return self.bucket.presigned_get(key, expires_in_seconds=self.valid_seconds)
