"""Finding photos by faces: syncs of what lies in the bucket, and searches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.uploads import client_gone, upload_call
from ingest_api.cursors import decode_cursor, encode_cursor
from ingest_api.face_search import SearchPage, ShownMatch
from ingest_api.face_sync import FaceSync
from ingest_api.photo_desk import PhotoDesk
from ingest_api.repositories.face_searches import Seeker
from ingest_api.selfie_form import DEFAULT_MATCHES, MOST_MATCHES, SearchOperation, event_uuid_of, search_wish
from shared.events import FaceSyncStatus

MatchLimit = Annotated[int, QueryParameter(ge=1, le=MOST_MATCHES)]


class FaceSyncBody(msgspec.Struct):
    event_uuid: str
    s3_prefix: str


class FaceSyncStarted(msgspec.Struct):
    """`event_id` is the event's number."""

    task_id: UUID
    event_id: int
    s3_prefix: str
    message: str


class FaceSyncAnswer(msgspec.Struct):
    """`total_found` = `new_photos` + `skipped`; `no_face` are among `processed`. `eta`: seconds that the rest takes,
    null while nobody can tell."""

    task_id: UUID
    event_id: int
    event_uuid: UUID
    s3_prefix: str
    total_found: int
    new_photos: int
    skipped: int
    processed: int
    failed: int
    no_face: int
    originals_missing: int
    previews_made: int
    status: FaceSyncStatus
    message: str
    eta: int | None
    requested_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, sync: FaceSync) -> Self:
        return cls(
            task_id=sync.id,
            event_id=sync.number,
            event_uuid=sync.event_id,
            s3_prefix=sync.s3_prefix,
            total_found=sync.total_found,
            new_photos=sync.new_photos,
            skipped=sync.skipped,
            processed=sync.processed,
            failed=sync.failed,
            no_face=sync.no_face,
            originals_missing=sync.originals_missing,
            previews_made=sync.previews_made,
            status=sync.status,
            message=sync.message,
            eta=sync.eta_seconds(datetime.now(UTC)),
            requested_at=sync.requested_at,
            finished_at=sync.finished_at,
        )


class MatchAnswer(msgspec.Struct):
    """`s3_key` is the preview, `image_url` the original, null where there is none. `box` is where on the preview the
    face is: left, top, right, bottom."""

    photo_id: UUID
    s3_key: str
    image_url: str | None
    preview_url: str | None
    similarity: float
    box: list[float]
    confidence: float

    @classmethod
    def of(cls, match: ShownMatch, *, with_original: bool = True) -> Self:
        return cls(
            match.photo_id,
            match.s3_key,
            match.image_url if with_original else None,
            match.preview_url,
            match.similarity,
            list(match.box),
            match.confidence,
        )


class SearchAnswer(msgspec.Struct):
    """Matches best first, one per photo. `chosen` of the `faces_in_selfie` was searched for, counted from 0 by size.

    `next_cursor` goes to GET /api/v1/faces/searches/{search_id}; null behind the last match.
    """

    matches: list[MatchAnswer]
    search_id: UUID
    faces_in_selfie: int
    chosen: int
    pack: str
    threshold: float
    next_cursor: str | None

    @classmethod
    def of(cls, page: SearchPage, *, with_originals: bool = True) -> Self:
        found = page.result
        return cls(
            matches=[MatchAnswer.of(match, with_original=with_originals) for match in page.matches],
            search_id=found.search_id,
            faces_in_selfie=found.faces_in_selfie,
            chosen=found.chosen,
            pack=found.pack,
            threshold=found.threshold,
            next_cursor=None if page.next_position is None else encode_cursor(str(page.next_position)),
        )


class FaceController(Controller):
    """Photos of events by the faces on them."""

    path = "/api/v1/faces"
    tags = ("Event photos",)
    guards = (require(Role.PHOTOGRAPHER),)

    @post("/sync-s3", summary="Index the photos of an event", status_code=200)
    async def start_sync(
        self, request: SignedInRequest, data: JSONBody[FaceSyncBody], photo_desk: NamedDependency[PhotoDesk]
    ) -> FaceSyncStarted:
        """What is new or was changed below `s3_prefix`, which is the event's or the beginning of names in it.

        While a sync of the event runs, its task is the answer.
        """
        event, sync = await photo_desk.syncs.start(event_uuid_of(data.event_uuid), data.s3_prefix, request.user)
        return FaceSyncStarted(sync.id, event.number, sync.s3_prefix, f"Sync task started for event {event.name}")

    @get("/tasks/{task_id:uuid}", summary="Read a sync of photos")
    async def read_task(
        self, request: SignedInRequest, task_id: FromPath[UUID], photo_desk: NamedDependency[PhotoDesk]
    ) -> FaceSyncAnswer:
        """`status` is listing, indexing, completed or failed; `message` says what came of it."""
        return FaceSyncAnswer.of(await photo_desk.syncs.read(task_id, request.user))

    @post(
        "/search",
        summary="Find the photos of a person",
        status_code=200,
        request_max_body_size=None,
        operation_class=SearchOperation,
    )
    async def search(self, request: SignedInRequest, photo_desk: NamedDependency[PhotoDesk]) -> SearchAnswer:
        """multipart/form-data: `file`, `event_uuid`, optional `threshold`, `limit`, `choose`, `consent_version`.

        The picture is kept nowhere. 422 when no face is on it, 409 while faces can't be looked for, 403 with
        `consent_text` when the event asks for a consent that is missing. Who searched is recorded.
        """
        with client_gone():
            selfie = await photo_desk.selfies.receive(upload_call(request), {"event_uuid": "say which event to search"})
        event_id, wish = event_uuid_of(selfie.texts["event_uuid"]), search_wish(selfie.texts)
        event = await photo_desk.events.read(event_id, request.user)
        return SearchAnswer.of(await photo_desk.search.search(event, selfie, wish, Seeker(request.user.user_id)))

    @get("/searches/{search_id:uuid}", summary="Read further matches of a search")
    async def read_search(
        self,
        request: SignedInRequest,
        search_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: MatchLimit = DEFAULT_MATCHES,
        cursor: FromQuery[str | None] = None,
    ) -> SearchAnswer:
        """For whoever made the search, for a while. What was removed since is not among them."""
        position = position_of(cursor)
        page = await photo_desk.search.page(search_id, Seeker(request.user.user_id), position, limit)
        return SearchAnswer.of(page)


def position_of(cursor: str | None) -> int:
    """How many matches the pages before had."""
    return 0 if cursor is None else decode_cursor(cursor, _position)


def _position(text: str) -> int:
    position = int(text)
    if not 0 <= position <= MOST_MATCHES:
        raise ValueError("out of range")
    return position
