"""Which files a deleted photo takes with it: those that lay there when somebody asked for it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from shared.storage.object_store import ObjectInfo

NOTHING: Final = ""
"""In place of an ETag, where no file lay under the key."""


@dataclass(frozen=True, slots=True)
class PhotoFiles:
    """Where a photo lies, and the tags of its contents as far as face-embedder has told them."""

    s3_key: str
    image_key: str | None
    preview_etag: str | None
    image_etag: str | None


@dataclass(frozen=True, slots=True)
class AskedFile:
    """A file that is to go; `etag` is of what lay there, NOTHING, or None where nobody knew."""

    key: str
    etag: str | None

    def is_it(self, found: ObjectInfo) -> bool:
        """Whether what lies there now is what was asked for. The same bytes put there again are."""
        if self.etag is None:
            return True
        if self.etag == NOTHING:
            # A preview was on its way: those that are made here have a checksum recorded with them.
            return "/previews/" in self.key and found.sha256 is not None
        return found.etag == self.etag


@dataclass(frozen=True, slots=True)
class Removal:
    """The files of a deleted photo, in the order in which they go; the event is None where it was forgotten before.

    `removed_at`, once it is recorded, tells it from another removal of the same photo, which may come back.
    """

    photo_id: UUID
    event_id: UUID | None
    files: tuple[AskedFile, ...]
    removed_at: datetime | None = None

    @classmethod
    def of(cls, photo_id: UUID, event_id: UUID, folder: str, known: PhotoFiles, seen: Mapping[str, str | None]) -> Self:
        """`seen` has the tags that the bucket itself told just now, None where nothing lies.

        Keys outside of the event's folder are left alone. The original goes first: of it a sync would make the preview
        anew.
        """
        told = ((known.image_key, known.image_etag), (known.s3_key, known.preview_etag))
        files = [
            AskedFile(key, (seen[key] or NOTHING) if key in seen else etag)
            for key, etag in told
            if key is not None and key.startswith(folder)
        ]
        return cls(photo_id, event_id, tuple(files))

    @property
    def keys(self) -> list[str]:
        return [file.key for file in self.files]


@dataclass(frozen=True, slots=True)
class RemovalState:
    """How far a removal is; `kept_keys` are those under which newer files lay, which stay."""

    removed_at: datetime
    completed_at: datetime | None
    kept_keys: tuple[str, ...]
