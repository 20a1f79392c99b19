"""What guests ask to have erased: shown to who reaches the event, and its state to the guest who has its secret."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import OWN_TOKEN, SignedInRequest, require
from ingest_api.controllers.face_erasures import ErasureAnswer
from ingest_api.controllers.photo_events import EVENTS
from ingest_api.cursors import cursor_behind, id_of
from ingest_api.photo_desk import PhotoDesk

SECRET_HEADER: Final = "X-Erasure-Secret"
MOST_REQUESTS: Final = 20
"""At once: each has up to 1000 faces."""

Secret = Annotated[str, HeaderParameter(name=SECRET_HEADER, max_length=64)]


class RequestedFace(msgspec.Struct):
    """`box` is where on the photo, as in the matches of a search."""

    photo_id: UUID
    preview_url: str | None
    box: tuple[float, ...]


class ErasureRequest(msgspec.Struct):
    """Compare the faces with the person who asks, then confirm the photos, or refuse. `consent_version`: of the text
    that was agreed to, null where the event has none."""

    id: UUID
    gallery_id: UUID | None
    asked_at: datetime
    expires_at: datetime
    consent_version: int | None
    faces: list[RequestedFace]


class ErasureRequestList(msgspec.Struct):
    requests: list[ErasureRequest]
    next_cursor: str | None


class EventErasureRequestsController(Controller):
    path = f"{EVENTS}/{{event_uuid:uuid}}/erasure-requests"
    tags = ("Event photos",)
    guards = (require(Role.PHOTOGRAPHER),)

    @get(summary="List what guests ask to have erased")
    async def list_requests(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Annotated[int, QueryParameter(ge=1, le=MOST_REQUESTS)] = MOST_REQUESTS,
        cursor: FromQuery[str | None] = None,
    ) -> ErasureRequestList:
        """Those that wait for a decision, oldest first; `next_cursor` is null on the last page.

        Confirm or refuse one under `/api/v1/faces/erasures/{id}`. Its guest knows the id.
        """
        event = await photo_desk.events.read(event_uuid, request.user)
        found = await photo_desk.erasures.requested(event, id_of(cursor), limit + 1)
        page = found[:limit]
        photo_ids = list({face.photo_id for erasure in page for face in erasure.faces})
        photos = {photo.id: photo for photo in await photo_desk.photos.by_ids(event, photo_ids)}
        requests = [
            ErasureRequest(
                id=erasure.id,
                gallery_id=erasure.gallery_id,
                asked_at=erasure.asked_at,
                expires_at=erasure.expires_at,
                consent_version=erasure.consent_version,
                faces=[
                    RequestedFace(
                        face.photo_id,
                        photo_desk.urls.of(event, photos[face.photo_id].s3_key) if face.photo_id in photos else None,
                        face.box,
                    )
                    for face in erasure.faces
                ],
            )
            for erasure in page
        ]
        return ErasureRequestList(requests, cursor_behind(found, limit))


class ErasureRequestController(Controller):
    """For the guest who asked, also when the link is over."""

    path = "/api/v1/faces/erasure-requests"
    tags = ("Galleries",)
    security = ({},)
    opt = {OWN_TOKEN: True}  # noqa: RUF012
    response_headers = {"Cache-Control": "private, no-store"}  # noqa: RUF012

    @get("/{erasure_id:uuid}", summary="Read how one's request to be erased stands")
    async def read(
        self, erasure_id: FromPath[UUID], secret: Secret, photo_desk: NamedDependency[PhotoDesk]
    ) -> ErasureAnswer:
        """With the signed receipt once it is `completed`. 404 for another secret, and once it is over."""
        return ErasureAnswer.of(await photo_desk.erasures.of_guest(erasure_id, secret))
