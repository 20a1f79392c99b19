"""Photographed events: for photographers their own, for admins all."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.products import Name
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, decode_cursor, encode_cursor, id_of
from ingest_api.json_values import TrueOrFalse
from ingest_api.photo_desk import PhotoDesk
from ingest_api.photo_event import PhotoEvent
from ingest_api.problem_details import FieldError, InvalidFields
from ingest_api.repositories.event_removals import EventRemoval
from ingest_api.settings_document import etag

EVENTS = "/api/v1/events"

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Photos = Literal["keep", "remove"]
ConsentText = Annotated[str, StringConstraints(min_length=1, max_length=10_000, strip_whitespace=True)]


class NewPhotoEventBody(BaseModel):
    """`auto_index`: photos are indexed as they appear in the bucket. `consent_text`: what who searches agrees to;
    without one nothing is asked, and guests can't search. `expires_at`: when its faces are removed at the latest."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    auto_index: TrueOrFalse = False
    face_search_enabled: TrueOrFalse = True
    consent_text: ConsentText | None = None
    expires_at: AwareDatetime | None = None


class PhotoEventBody(BaseModel):
    """What is absent stays as it is; null takes a text or a time away."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    auto_index: TrueOrFalse | None = None
    face_search_enabled: TrueOrFalse | None = None
    consent_text: ConsentText | None = None
    expires_at: AwareDatetime | None = None


class PhotoEventAnswer(msgspec.Struct):
    """`id` names the event's folder in the bucket: previews lie below `s3_prefix`.

    `consent_version` goes with a search where `consent_required` is true.
    """

    uuid: UUID
    id: int
    name: str
    version: int
    s3_prefix: str
    auto_index: bool
    face_search_enabled: bool
    consent_text: str | None
    consent_version: int
    consent_required: bool
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, event: PhotoEvent) -> Self:
        return cls(
            uuid=event.id,
            id=event.number,
            name=event.name,
            version=event.version,
            s3_prefix=event.previews_prefix,
            auto_index=event.auto_index,
            face_search_enabled=event.face_search_enabled,
            consent_text=event.consent_text,
            consent_version=event.consent_version,
            consent_required=event.consent_text is not None,
            expires_at=event.expires_at,
            created_at=event.created_at,
            updated_at=event.updated_at,
        )


class PhotoEventList(msgspec.Struct):
    events: list[PhotoEventAnswer]
    next_cursor: str | None


class ConsentDecisionAnswer(msgspec.Struct):
    """`event_version` is the version of the event that the decision made."""

    event_version: int
    face_search_enabled: bool
    consent_text: str | None
    consent_version: int
    expires_at: datetime | None
    decided_by: UUID
    decided_at: datetime


class ConsentDecisionList(msgspec.Struct):
    decisions: list[ConsentDecisionAnswer]
    next_cursor: str | None


class EventRemovalAnswer(msgspec.Struct):
    """`problem` is why it does not go on for now; it is tried again. `files_kept`: how many came into the folder after
    the event was deleted, which stay; counted at the end."""

    event_uuid: UUID
    photos: Photos
    status: Literal["removing", "completed"]
    asked_at: datetime
    completed_at: datetime | None
    files_removed: int
    files_kept: int
    problem: str | None

    @classmethod
    def of(cls, removal: EventRemoval) -> Self:
        return cls(
            event_uuid=removal.event_id,
            photos="remove" if removal.removes_files else "keep",
            status="removing" if removal.completed_at is None else "completed",
            asked_at=removal.asked_at,
            completed_at=removal.completed_at,
            files_removed=removal.files_removed,
            files_kept=removal.files_kept,
            problem=removal.problem,
        )


class SearchRecordAnswer(msgspec.Struct):
    """`gallery_id` in place of `asked_by`: a guest with that link. `consent_version`: of the text that was agreed to.

    `outcome` is answered, the code with which it was refused, or asked where no end was recorded.
    """

    id: UUID
    asked_by: UUID | None
    gallery_id: UUID | None
    asked_at: datetime
    consent_version: int | None
    outcome: str
    matches: int | None


class SearchRecordList(msgspec.Struct):
    searches: list[SearchRecordAnswer]
    next_cursor: str | None


class PhotoEventController(Controller):
    """Events whose photos are found by face. Admins see and change all, photographers those that they made."""

    path = EVENTS
    tags = ("Event photos",)
    guards = (require(Role.PHOTOGRAPHER),)

    @get(summary="List events")
    async def list_events(
        self,
        request: SignedInRequest,
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> PhotoEventList:
        """Newest first; `next_cursor` is null on the last page."""
        found = await photo_desk.events.newest(request.user, id_of(cursor), limit + 1)
        page = found[:limit]
        next_cursor = cursor_behind(found, limit)
        return PhotoEventList([PhotoEventAnswer.of(event) for event in page], next_cursor)

    @post(summary="Add an event", status_code=201)
    async def add(
        self,
        request: SignedInRequest,
        data: JSONBody[NewPhotoEventBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[PhotoEventAnswer]:
        """Upload its photos to `…/photos`; or put previews below `s3_prefix` and originals beside them into
        `originals/`, under the same names, and sync."""
        event = await photo_desk.events.add(data.model_dump(), request.user)
        return _answer(event, 201)

    @get("/{event_uuid:uuid}", summary="Read an event")
    async def read(
        self, request: SignedInRequest, event_uuid: FromPath[UUID], photo_desk: NamedDependency[PhotoDesk]
    ) -> Response[PhotoEventAnswer]:
        """The ETag is the version that `If-Match` is compared with."""
        return _answer(await photo_desk.events.read(event_uuid, request.user))

    @patch("/{event_uuid:uuid}", summary="Change an event")
    async def change(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        data: JSONBody[PhotoEventBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[PhotoEventAnswer]:
        """Switching the search off, another consent text and an end in the past hold from the next search on.

        412 when `If-Match` names another version than the present one; without it the last writer wins.
        """
        changes = data.model_dump(exclude_unset=True)
        if wrong := [name for name in ("name", "auto_index", "face_search_enabled") if changes.get(name, "") is None]:
            raise InvalidFields(*(FieldError(name, "must not be null") for name in wrong))
        if_match = request.headers.get("if-match")
        return _answer(await photo_desk.events.change(event_uuid, changes, if_match, request.user))

    @delete("/{event_uuid:uuid}", summary="Delete an event", status_code=204)
    async def remove(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        photos: FromQuery[Photos] = "keep",
    ) -> None:
        """Its faces are removed, and nobody sees its photos any more. With `photos=keep` their files stay in the
        bucket: they may be the only ones there are. With `photos=remove` all that lies in the event's folder goes for
        good, but for what is put there a minute later or more; `GET …/removal` says how far that is."""
        if_match = request.headers.get("if-match")
        await photo_desk.events.delete(event_uuid, if_match, request.user, removes_files=photos == "remove")

    @get("/{event_uuid:uuid}/removal", summary="Read how far the removal of a deleted event is")
    async def removal(
        self, request: SignedInRequest, event_uuid: FromPath[UUID], photo_desk: NamedDependency[PhotoDesk]
    ) -> EventRemovalAnswer:
        return EventRemovalAnswer.of(await photo_desk.removals.read(event_uuid, request.user))

    @get("/{event_uuid:uuid}/consents", summary="Read who decided what about the search for faces")
    async def consents(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> ConsentDecisionList:
        """Newest first, beginning with what holds now."""
        before = None if cursor is None else decode_cursor(cursor, int)
        found = await photo_desk.events.decisions(event_uuid, request.user, before, limit + 1)
        page = [ConsentDecisionAnswer(**asdict(decision)) for decision in found[:limit]]
        next_cursor = encode_cursor(str(page[-1].event_version)) if len(found) > limit else None
        return ConsentDecisionList(page, next_cursor)

    @get("/{event_uuid:uuid}/searches", summary="Read who searched for faces")
    async def searches(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> SearchRecordList:
        """Newest first; refused searches too. What was searched with is recorded nowhere."""
        event = await photo_desk.events.read(event_uuid, request.user)
        found = await photo_desk.search.records(event.id, id_of(cursor), limit + 1)
        page = [
            SearchRecordAnswer(
                one.id, one.asked_by, one.gallery_id, one.asked_at, one.consent_version, one.outcome, one.matches
            )
            for one in found[:limit]
        ]
        return SearchRecordList(page, cursor_behind(found, limit))


def _answer(event: PhotoEvent, status: int = 200) -> Response[PhotoEventAnswer]:
    headers = {"ETag": etag(event.version), "Cache-Control": "no-cache"}
    if status == 201:
        headers["Location"] = f"{EVENTS}/{event.id}"
    return Response(PhotoEventAnswer.of(event), status_code=status, headers=headers)
