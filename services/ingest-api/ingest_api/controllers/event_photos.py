"""Photos of an event: what is known of each, where it is read, and its deletion."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import msgspec
from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.photo_events import EVENTS
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.photo_desk import PhotoDesk
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_urls import PhotoUrls
from ingest_api.repositories.event_photos import EventPhoto
from shared.events import PhotoStatus

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
ShownStatus = Literal["pending", "indexed", "no_face_detected", "failed"]


class PhotoAnswer(msgspec.Struct):
    """`s3_key` is the preview, `image_key` the original, null where there is none. `confidence` is that of the best
    face, 0.0 without one; `code` and `detail` say why a photo failed."""

    id: UUID
    s3_key: str
    image_key: str | None
    image_url: str | None
    preview_url: str | None
    status: str
    faces: int
    confidence: float
    code: str | None
    detail: str | None
    changed_at: datetime

    @classmethod
    def of(cls, event: PhotoEvent, photo: EventPhoto, urls: PhotoUrls) -> Self:
        return cls(
            id=photo.id,
            s3_key=photo.s3_key,
            image_key=photo.image_key,
            image_url=urls.of(event, photo.image_key),
            preview_url=urls.of(event, photo.s3_key),
            status=photo.status.value,
            faces=photo.faces,
            confidence=photo.confidence,
            code=photo.code,
            detail=photo.detail,
            changed_at=photo.changed_at,
        )


class PhotoList(msgspec.Struct):
    photos: list[PhotoAnswer]
    next_cursor: str | None


class EventPhotoController(Controller):
    path = f"{EVENTS}/{{event_uuid:uuid}}/photos"
    tags = ("Event photos",)
    guards = (require(Role.PHOTOGRAPHER),)

    @get(summary="List the photos of an event")
    async def list_photos(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        status: FromQuery[ShownStatus | None] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> PhotoList:
        """In the order in which they were found; `next_cursor` is null on the last page. URLs end after a time."""
        event = await photo_desk.events.read(event_uuid, request.user)
        wanted = None if status is None else PhotoStatus(status)
        found = await photo_desk.photos.page(event, wanted, id_of(cursor), limit + 1)
        page = found[:limit]
        next_cursor = cursor_behind(found, limit)
        return PhotoList([PhotoAnswer.of(event, photo, photo_desk.urls) for photo in page], next_cursor)

    @delete("/{photo_id:uuid}", summary="Delete a photo", status_code=204)
    async def remove(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> None:
        """Hidden at once; its files leave the bucket, its faces go with them. While the bucket is away that waits."""
        event = await photo_desk.events.read(event_uuid, request.user)
        await photo_desk.photos.delete(event, photo_id, request.user.user_id)
