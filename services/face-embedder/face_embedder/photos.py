"""A photo as it is known, and what follows from what lies in the bucket; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from face_embedder.layout import PhotoKey
from shared.events import EventPhotoChangedV1, IndexPhotoV1, PhotoStatus
from shared.storage.object_store import ObjectInfo


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of an event; `stem` is the file name of its preview, `s3_key`, without the ending.

    `preview_etag` and `original_etag` are of the contents that were seen last, the latter as far as it is known. Where
    `makes_preview`, the preview is made of the original, and `made_sha256` is that of our own.
    """

    photo_id: UUID
    event_id: UUID
    s3_key: str
    stem: str
    image_key: str | None
    preview_etag: str | None
    original_etag: str | None
    makes_preview: bool
    made_sha256: str | None
    generation: int
    version: int
    status: PhotoStatus
    faces: int
    confidence: float
    code: str | None
    detail: str | None
    changed_at: datetime

    def told(self) -> EventPhotoChangedV1:
        """What others hear of it."""
        return EventPhotoChangedV1(
            photo_id=self.photo_id,
            event_id=self.event_id,
            version=self.version,
            s3_key=self.s3_key,
            image_key=self.image_key,
            status=self.status,
            faces=self.faces,
            confidence=self.confidence,
            code=self.code,
            detail=self.detail,
            changed_at=self.changed_at,
            preview_etag=self.preview_etag,
            image_etag=None if self.image_key is None else self.original_etag,
        )

    def order(self, task_id: UUID | None) -> IndexPhotoV1:
        """The command to find the faces of its content as it is now."""
        return IndexPhotoV1(photo_id=self.photo_id, event_id=self.event_id, generation=self.generation, task_id=task_id)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way for it."""
        return self.status is not PhotoStatus.PENDING

    def is_left_over(self, preview: ObjectInfo | None, original: ObjectInfo | None) -> bool:
        """Whether the preview was made here, of an original that is not there any more; `original` is what is there."""
        if preview is None or preview.sha256 is None or preview.sha256 != self.made_sha256:
            return False
        return original is None or (original.key, original.etag) != (self.image_key, self.original_etag)


class Seen(Enum):
    """What an object in the previews means for the photo of its key."""

    NEW = auto()
    CHANGED = auto()
    KNOWN = auto()
    PERHAPS_OURS = auto()
    """Known if it is the preview that was made here, changed if it is not."""


def seen_preview(photo: Photo | None, etag: str) -> Seen:
    """What follows from a preview with this tag. A photo that failed is tried again."""
    if photo is None:
        return Seen.NEW
    if photo.status in (PhotoStatus.FAILED, PhotoStatus.REMOVED):
        return Seen.CHANGED
    if photo.preview_etag == etag:
        return Seen.KNOWN
    return Seen.PERHAPS_OURS if photo.made_sha256 is not None else Seen.CHANGED


class SeenOriginal(Enum):
    """What an object in the originals means."""

    LINK = auto()
    """It is the original of a photo whose preview is there."""
    MAKE = auto()
    """There is no preview of it, or one that was made of another content: one has to be made."""
    PASS = auto()
    """Its preview has another original, whose name fits better."""


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo and whether its preview was found in this listing."""

    photo: Photo
    is_found: bool

    def linked_to(self, photo: Photo, image_key: str) -> FoundPhoto:
        """With this original, if it is that photo."""
        is_it = self.photo.photo_id == photo.photo_id
        return replace(self, photo=replace(self.photo, image_key=image_key)) if is_it else self


def seen_original(original: PhotoKey, etag: str, same_stem: Sequence[FoundPhoto]) -> tuple[SeenOriginal, Photo | None]:
    """What follows from an original with this tag, and for which photo; `same_stem` are the photos of its stem.

    Where several fit, the one with the very same file name is its photo, then one that has no other original.
    """
    live = [found for found in same_stem if found.photo.status is not PhotoStatus.REMOVED]
    exact = [found for found in live if found.photo.s3_key.endswith(f"/{original.name}")]
    fitting = exact or [found for found in live if found.photo.image_key in (None, str(original))]
    if not fitting:
        if live:
            return SeenOriginal.PASS, None
        removed = [found.photo for found in same_stem if found.photo.s3_key == original.made_preview]
        return SeenOriginal.MAKE, removed[0] if removed else None
    found = fitting[0]
    is_outdated = found.photo.makes_preview and found.photo.original_etag != etag
    is_missing = not found.is_found and found.photo.is_settled
    return SeenOriginal.MAKE if is_outdated or is_missing else SeenOriginal.LINK, found.photo
