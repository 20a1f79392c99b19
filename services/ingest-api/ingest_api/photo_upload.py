"""A photo that is uploaded to an event: the names that it may get, and what is recorded of it; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from ingest_api.multipart_upload import display_name
from ingest_api.photo_event import PhotoEvent
from shared.events import AddEventPhotoV1
from shared.picture_types import PictureType

STEM_MAX_BYTES: Final = 200
"""Leaves room for what is added to make a name another one, and for its ending."""
MOST_NUMBERED: Final = 20
_DISTINCT_DIGITS: Final = 16
_PICTURE_ENDINGS: Final = frozenset({"jpeg", "tiff", "heif"} | {kind.extension for kind in PictureType})


@dataclass(frozen=True, slots=True)
class PhotoName:
    """The name of an original; its preview has the same stem."""

    stem: str
    ending: str

    def __str__(self) -> str:
        return f"{self.stem}.{self.ending}"


@dataclass(frozen=True, slots=True)
class PhotoUpload:
    """While it is `storing`, its original may lie in the bucket or not; nobody was told that it does."""

    id: UUID
    event_id: UUID
    image_key: str
    stem: str
    sha256: str | None
    mime_type: str
    size_bytes: int
    uploader: UUID
    status: Literal["storing", "stored"]
    created_at: datetime

    def added(self, event: PhotoEvent) -> AddEventPhotoV1:
        """The command that makes a photo of the event of it."""
        return AddEventPhotoV1(
            event_id=event.id,
            number=event.number,
            image_key=self.image_key,
            uploaded_by=self.uploader,
            uploaded_at=self.created_at,
        )


def names(filename: str, picture_type: PictureType, sha256: str) -> Iterator[PhotoName]:
    """The client's name without what can't be part of a key, then others for when it is taken; the last is by content.

    A name whose ending is none of a picture's gets one.
    """
    shown = display_name(filename)
    stem, _, ending = shown.rpartition(".")
    if not stem or ending.lower() not in _PICTURE_ENDINGS:
        stem, ending = shown, picture_type.extension
    stem = stem.encode()[:STEM_MAX_BYTES].decode(errors="ignore").strip(" .") or "unnamed"
    yield PhotoName(stem, ending)
    for number in range(2, MOST_NUMBERED + 1):
        yield PhotoName(f"{stem}-{number}", ending)
    yield PhotoName(f"{stem}-{sha256[:_DISTINCT_DIGITS]}", ending)


def stem_of(key: str) -> str:
    """The file name of a key without its ending."""
    name = key.rpartition("/")[2]
    return name.rpartition(".")[0] or name
