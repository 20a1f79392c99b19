"""Photos of an event: what is known of each, where it is read, and its deletion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, PathParameter, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.photo_events import EVENTS
from ingest_api.controllers.uploads import client_gone, upload_call
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.photo_desk import PhotoDesk
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_removal import RemovalState
from ingest_api.photo_uploads import SHA256_PATTERN, KnownUpload, ReceivedPhoto
from ingest_api.photo_urls import PhotoUrls
from ingest_api.repositories.event_photos import EventPhoto
from ingest_api.upload_operation import PhotoOperation
from shared.events import PhotoStatus

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Sha256 = Annotated[str, PathParameter(pattern=SHA256_PATTERN, max_length=64, description="64 hexadecimal digits")]
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


class PhotoUploadAnswer(msgspec.Struct):
    """`image_key` is the original in the bucket, under the name that it got; the photo is listed with it once it was
    looked at. `status` is duplicate where the event had the same bytes before."""

    upload_id: UUID
    event_uuid: UUID
    status: Literal["stored", "duplicate"]
    filename: str
    image_key: str
    size_bytes: int
    sha256: str
    message: str

    @classmethod
    def of(cls, received: ReceivedPhoto) -> Self:
        upload = received.upload
        assert upload.sha256 is not None, "its content was just received"
        return cls(
            upload_id=upload.id,
            event_uuid=upload.event_id,
            status="duplicate" if received.is_repeat else "stored",
            filename=upload.image_key.rpartition("/")[2],
            image_key=upload.image_key,
            size_bytes=upload.size_bytes,
            sha256=upload.sha256,
            message="The event has this photo already."
            if received.is_repeat
            else "The photo is safe; it is looked at.",
        )


class KnownUploadAnswer(msgspec.Struct):
    """`photo` is null while nobody has looked at it; `is_overdue` once that takes so long that the file should be sent
    again, by which it is looked at once more."""

    upload: PhotoUploadAnswer
    photo: PhotoAnswer | None
    is_overdue: bool

    @classmethod
    def of(cls, known: KnownUpload, urls: PhotoUrls) -> Self:
        upload = PhotoUploadAnswer.of(ReceivedPhoto(known.upload, is_repeat=True))
        photo = None if known.photo is None else PhotoAnswer.of(known.event, known.photo, urls)
        return cls(upload, photo, known.is_overdue(datetime.now(UTC)))


class PhotoRemovalAnswer(msgspec.Struct):
    """`kept_keys`: a newer file lay there, which nobody has asked to remove; it stays, as another photo."""

    photo_id: UUID
    status: Literal["removing", "completed"]
    asked_at: datetime
    completed_at: datetime | None
    kept_keys: list[str]

    @classmethod
    def of(cls, photo_id: UUID, state: RemovalState) -> Self:
        return cls(
            photo_id=photo_id,
            status="removing" if state.completed_at is None else "completed",
            asked_at=state.removed_at,
            completed_at=state.completed_at,
            kept_keys=list(state.kept_keys),
        )


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

    @post(
        summary="Upload a photo",
        status_code=201,
        request_max_body_size=None,
        operation_class=PhotoOperation,
        responses={
            200: ResponseSpec(
                PhotoUploadAnswer, generate_examples=False, description="The event had the same bytes before"
            ),
            201: ResponseSpec(
                PhotoUploadAnswer, generate_examples=False, description="The photo is safe and will be looked at"
            ),
        },
    )
    async def upload(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[PhotoUploadAnswer]:
        """multipart/form-data: `file`, optional `sha256`.

        The photo becomes an original of the event under its name, or under a similar one where that is taken: nothing
        is ever overwritten. Its preview is made and its faces are found without a sync, and whether or not the event
        has `auto_index`.

        The same bytes are one photo of an event, however often they are sent and whatever they are called, until it is
        deleted. 409 where the event is over or S3 is switched off.
        """
        with client_gone():
            received = await photo_desk.uploads.receive(event_uuid, upload_call(request), request.user)
        return Response(PhotoUploadAnswer.of(received), status_code=200 if received.is_repeat else 201)

    @get("/by-sha256/{sha256:str}", summary="Read what became of an uploaded photo")
    async def uploaded(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        sha256: Sha256,
        photo_desk: NamedDependency[PhotoDesk],
    ) -> KnownUploadAnswer:
        """By the SHA-256 of its file, so that nobody sends again what the event has. 404 where it has to be sent."""
        known = await photo_desk.uploads.known(event_uuid, sha256, request.user)
        return KnownUploadAnswer.of(known, photo_desk.urls)

    @delete("/{photo_id:uuid}", summary="Delete a photo", status_code=204)
    async def remove(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> None:
        """Hidden at once; its files leave the bucket, its faces go with them. While the bucket is away that waits.

        A file that somebody puts under its key meanwhile stays, and `GET …/removal` says so."""
        event = await photo_desk.events.read(event_uuid, request.user)
        await photo_desk.photos.delete(event, photo_id, request.user.user_id)

    @get("/{photo_id:uuid}/removal", summary="Read how far the removal of a deleted photo's files is")
    async def removal(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> PhotoRemovalAnswer:
        """404 once all its files are gone. Where newer files lay under their keys it is completed, and names them."""
        event = await photo_desk.events.read(event_uuid, request.user)
        return PhotoRemovalAnswer.of(photo_id, await photo_desk.photos.removal(event, photo_id))
