"""People on the photos of an event: who they are, which photos they are on, and what somebody decides about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.photo_events import EVENTS
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, decode_cursor, encode_cursor, id_of
from ingest_api.event_people import Outcome
from ingest_api.photo_desk import PhotoDesk
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_urls import PhotoUrls
from ingest_api.repositories.people import PeopleChange, Person, PersonPhoto, PhotoFaces
from ingest_api.settings_document import etag

MOST_FACES = 1000
"""That are split off at once."""
MOST_PEOPLE = 100
"""That are merged at once."""

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
PersonName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class PersonBody(BaseModel):
    """`name`: null takes it away."""

    model_config = ConfigDict(extra="forbid")

    name: PersonName | None


class MergeBody(BaseModel):
    """All faces of the people in `from` become those of `into`, who stays, with a name if one of them has one."""

    model_config = ConfigDict(extra="forbid")

    into: UUID
    from_: Annotated[list[UUID], Field(alias="from", min_length=1, max_length=MOST_PEOPLE)]


class SplitBody(BaseModel):
    """`faces`: those that are somebody else's, some of the person's."""

    model_config = ConfigDict(extra="forbid")

    faces: Annotated[list[UUID], Field(min_length=1, max_length=MOST_FACES)]


class CoverAnswer(msgspec.Struct):
    """The face that shows somebody best; `box` is left, top, right, bottom in pixels of the preview."""

    photo_id: UUID
    preview_url: str | None
    box: list[float]


class PersonAnswer(msgspec.Struct):
    """`version` goes into `If-Match`; `cover` is null while its photo is not shown."""

    id: UUID
    version: int
    name: str | None
    faces: int
    photos: int
    cover: CoverAnswer | None
    changed_at: datetime

    @classmethod
    def of(cls, event: PhotoEvent, person: Person, urls: PhotoUrls) -> Self:
        cover = None
        if person.cover_photo_id is not None and person.cover_box is not None:
            cover = CoverAnswer(person.cover_photo_id, urls.of(event, person.cover_key), list(person.cover_box))
        return cls(
            person.id, person.version, person.name, person.faces, person.photos, cover, changed_at=person.changed_at
        )


class PeopleList(msgspec.Struct):
    people: list[PersonAnswer]
    next_cursor: str | None


class FaceAnswer(msgspec.Struct):
    face_id: UUID
    box: list[float]


class PersonPhotoAnswer(msgspec.Struct):
    """`faces` are this person's on the photo."""

    photo_id: UUID
    s3_key: str
    image_url: str | None
    preview_url: str | None
    faces: list[FaceAnswer]

    @classmethod
    def of(cls, event: PhotoEvent, photo: PersonPhoto, urls: PhotoUrls) -> Self:
        return cls(
            photo_id=photo.id,
            s3_key=photo.s3_key,
            image_url=urls.of(event, photo.image_key),
            preview_url=urls.of(event, photo.s3_key),
            faces=[FaceAnswer(face.face_id, list(face.box)) for face in photo.faces],
        )


class PersonWithPhotos(msgspec.Struct):
    person: PersonAnswer
    photos: list[PersonPhotoAnswer]
    next_cursor: str | None


class FaceOnPhotoAnswer(msgspec.Struct):
    """`person_id` is null while nobody knows whose face it is."""

    face_id: UUID
    box: list[float]
    person_id: UUID | None
    name: str | None


class PhotoFacesAnswer(msgspec.Struct):
    """Boxes are in pixels of a preview of that size; null until faces were looked for."""

    photo_id: UUID
    width_px: int | None
    height_px: int | None
    faces: list[FaceOnPhotoAnswer]

    @classmethod
    def of(cls, photo_id: UUID, found: PhotoFaces) -> Self:
        faces = [FaceOnPhotoAnswer(face.face_id, list(face.box), face.person_id, face.name) for face in found.faces]
        return cls(photo_id, found.width_px, found.height_px, faces)


class PeopleChangeAnswer(msgspec.Struct):
    """What was decided: `kind` is name, merge, split or undo, `status` waiting, done or refused.

    `people` are those it is about, the one who stays first; `person_id` is who came of it. `undone` is the change that
    an undo took back, `undone_by` the undo of this one.
    """

    id: UUID
    kind: str
    status: str
    people: list[UUID]
    person_id: UUID | None
    code: str | None
    detail: str | None
    undone: UUID | None
    undone_by: UUID | None
    requested_by: UUID
    requested_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, change: PeopleChange) -> Self:
        return cls(
            id=change.id,
            kind=change.kind,
            status=change.status,
            people=list(change.people),
            person_id=change.person_id,
            code=change.code,
            detail=change.detail,
            undone=change.undone,
            undone_by=change.undone_by,
            requested_by=change.requested_by,
            requested_at=change.requested_at,
            ended_at=change.ended_at,
        )


class OutcomeAnswer(msgspec.Struct):
    """`person` is who came of the change; null where nobody is left, and while it is under way (202)."""

    change: PeopleChangeAnswer
    person: PersonAnswer | None


class PeopleChangeList(msgspec.Struct):
    changes: list[PeopleChangeAnswer]
    next_cursor: str | None


class PeopleController(Controller):
    """Nobody is shown, and nothing is decided, while faces may not be looked for (409)."""

    path = f"{EVENTS}/{{event_uuid:uuid}}/people"
    tags = ("People",)
    guards = (require(Role.PHOTOGRAPHER),)

    @get(summary="List the people of an event")
    async def list_people(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> PeopleList:
        """Who has most faces first; `next_cursor` is null on the last page. URLs end after a time."""
        event = await photo_desk.people.event(event_uuid, request.user)
        after = None if cursor is None else decode_cursor(cursor, _position)
        found = await photo_desk.people.page(event, after, limit + 1)
        page = found[:limit]
        next_cursor = encode_cursor(f"{page[-1].faces} {page[-1].id}") if len(found) > limit else None
        return PeopleList([PersonAnswer.of(event, person, photo_desk.urls) for person in page], next_cursor)

    @get("/{person_id:uuid}", summary="Read a person with the photos")
    async def read(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        person_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> Response[PersonWithPhotos]:
        """Photos in the order in which they were found, without those that are deleted. The ETag is the version."""
        event = await photo_desk.people.event(event_uuid, request.user)
        person = await photo_desk.people.read(event, person_id)
        found = await photo_desk.people.photos(event, person_id, id_of(cursor), limit + 1)
        page = found[:limit]
        answer = PersonWithPhotos(
            PersonAnswer.of(event, person, photo_desk.urls),
            [PersonPhotoAnswer.of(event, photo, photo_desk.urls) for photo in page],
            cursor_behind(found, limit),
        )
        return Response(answer, headers={"ETag": etag(person.version), "Cache-Control": "no-cache"})

    @patch("/{person_id:uuid}", summary="Name a person")
    async def name(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        person_id: FromPath[UUID],
        data: JSONBody[PersonBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[OutcomeAnswer]:
        """Whoever has a name is never put together with another named person by likeness.

        412 when `If-Match` names another version than the present one. 202 where it takes longer: read the change.
        """
        event = await photo_desk.people.event(event_uuid, request.user)
        if_match = request.headers.get("if-match")
        outcome = await photo_desk.people.name(event, person_id, data.name, if_match, request.user)
        return _answer(event, outcome, photo_desk.urls)

    @post("/merge", summary="Merge people", status_code=200)
    async def merge(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        data: JSONBody[MergeBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[OutcomeAnswer]:
        """Faces that look like any of them join who stays. 202 where it takes longer: read the change."""
        event = await photo_desk.people.event(event_uuid, request.user)
        outcome = await photo_desk.people.merge(event, data.into, data.from_, request.user)
        return _answer(event, outcome, photo_desk.urls)

    @post("/{person_id:uuid}/split", summary="Split faces off a person", status_code=200)
    async def split(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        person_id: FromPath[UUID],
        data: JSONBody[SplitBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[OutcomeAnswer]:
        """They become a new person, `person`, and are not joined again by likeness. 202 where it takes longer."""
        event = await photo_desk.people.event(event_uuid, request.user)
        outcome = await photo_desk.people.split(event, person_id, data.faces, request.user)
        return _answer(event, outcome, photo_desk.urls)

    @get("/changes", summary="Read what was decided about people")
    async def changes(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> PeopleChangeList:
        """Newest first."""
        event = await photo_desk.people.event(event_uuid, request.user)
        found = await photo_desk.people.changes(event, id_of(cursor), limit + 1)
        page = found[:limit]
        next_cursor = cursor_behind(found, limit)
        return PeopleChangeList([PeopleChangeAnswer.of(change) for change in page], next_cursor)

    @get("/changes/{change_id:uuid}", summary="Read one decision about people")
    async def change(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        change_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> PeopleChangeAnswer:
        """For those that were answered with 202."""
        event = await photo_desk.people.event(event_uuid, request.user)
        return PeopleChangeAnswer.of(await photo_desk.people.change(event, change_id))

    @post("/changes/{change_id:uuid}/undo", summary="Undo a decision about people", status_code=200)
    async def undo(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        change_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[OutcomeAnswer]:
        """As far as its faces are still there. 409 where it was undone, or something was decided about these people
        later, which has to be undone first. 202 where it takes longer: read the change."""
        event = await photo_desk.people.event(event_uuid, request.user)
        outcome = await photo_desk.people.undo(event, change_id, request.user)
        return _answer(event, outcome, photo_desk.urls)


class PhotoFacesController(Controller):
    path = f"{EVENTS}/{{event_uuid:uuid}}/photos/{{photo_id:uuid}}/faces"
    tags = ("People",)
    guards = (require(Role.PHOTOGRAPHER),)

    @get(summary="Read the faces on a photo")
    async def read(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> PhotoFacesAnswer:
        """From left to right, and whose they are. 409 while faces may not be looked for."""
        event = await photo_desk.people.event(event_uuid, request.user)
        return PhotoFacesAnswer.of(photo_id, await photo_desk.people.faces(event, photo_id))


def _answer(event: PhotoEvent, outcome: Outcome, urls: PhotoUrls) -> Response[OutcomeAnswer]:
    change, person = outcome.change, outcome.person
    answer = OutcomeAnswer(
        PeopleChangeAnswer.of(change), None if person is None else PersonAnswer.of(event, person, urls)
    )
    location = f"{EVENTS}/{event.id}/people/changes/{change.id}"
    if change.status == "waiting":
        return Response(answer, status_code=202, headers={"Location": location})
    headers = {} if person is None else {"ETag": etag(person.version)}
    return Response(answer, headers={**headers, "Content-Location": location})


def _position(text: str) -> tuple[int, UUID]:
    faces, _, person_id = text.partition(" ")
    return int(faces), UUID(person_id)
