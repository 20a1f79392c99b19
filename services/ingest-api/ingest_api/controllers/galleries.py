"""Links for guests: made and revoked by who owns the event."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.photo_events import EVENTS
from ingest_api.controllers.products import Name
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.galleries import GalleryWish
from ingest_api.gallery import Gallery
from ingest_api.json_values import TrueOrFalse
from ingest_api.photo_desk import PhotoDesk

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Pin = Annotated[str, StringConstraints(min_length=4, max_length=64)]


class NewGalleryBody(BaseModel):
    """What holders of the link may: `may_list` see every photo, `may_search` find their own by a selfie, `may_download`
    get the originals of what they see. `pin` has to be told to them by another way."""

    model_config = ConfigDict(extra="forbid")

    name: Name = "Gallery"
    pin: Pin | None = None
    may_list: TrueOrFalse = True
    may_search: TrueOrFalse = True
    may_download: TrueOrFalse = True
    expires_at: AwareDatetime | None = None


class GalleryAnswer(msgspec.Struct):
    id: UUID
    name: str
    has_pin: bool
    may_list: bool
    may_search: bool
    may_download: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    created_by: UUID
    created_at: datetime

    @classmethod
    def of(cls, gallery: Gallery) -> Self:
        return cls(
            id=gallery.id,
            name=gallery.name,
            has_pin=gallery.pin_hash is not None,
            may_list=gallery.may_list,
            may_search=gallery.may_search,
            may_download=gallery.may_download,
            expires_at=gallery.expires_at,
            revoked_at=gallery.revoked_at,
            created_by=gallery.created_by,
            created_at=gallery.created_at,
        )


class NewGalleryAnswer(msgspec.Struct):
    """`token` is shown this once; `path` has it and is what guests are sent."""

    token: str
    path: str
    gallery: GalleryAnswer


class GalleryList(msgspec.Struct):
    galleries: list[GalleryAnswer]
    next_cursor: str | None


class GalleriesController(Controller):
    path = f"{EVENTS}/{{event_uuid:uuid}}/galleries"
    tags = ("Galleries",)
    guards = (require(Role.PHOTOGRAPHER),)

    @post(summary="Make a link for guests", status_code=201)
    async def add(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        data: JSONBody[NewGalleryBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[NewGalleryAnswer]:
        """Whoever has the link may what it allows, until it expires or is revoked. Searching by guests needs a consent
        text of the event."""
        event = await photo_desk.events.read(event_uuid, request.user)
        gallery, token = await photo_desk.galleries.add(event, GalleryWish(**data.model_dump()), request.user.user_id)
        answer = NewGalleryAnswer(token, f"/gallery/{token}", GalleryAnswer.of(gallery))
        return Response(answer, headers={"Cache-Control": "no-store"})

    @get(summary="List the links of an event")
    async def list_galleries(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> GalleryList:
        """Newest first, revoked ones too; `next_cursor` is null on the last page."""
        event = await photo_desk.events.read(event_uuid, request.user)
        found = await photo_desk.galleries.of_event(event, id_of(cursor), limit + 1)
        page = found[:limit]
        next_cursor = cursor_behind(found, limit)
        return GalleryList([GalleryAnswer.of(gallery) for gallery in page], next_cursor)

    @delete("/{gallery_id:uuid}", summary="Revoke a link", status_code=204)
    async def revoke(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        gallery_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> None:
        """From the next request on. Addresses of files that were given out before end by themselves."""
        event = await photo_desk.events.read(event_uuid, request.user)
        await photo_desk.galleries.revoke(event, gallery_id)
