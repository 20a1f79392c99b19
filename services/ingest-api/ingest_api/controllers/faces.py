"""Finding photos by faces: syncs of what lies in the bucket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.face_sync import FaceSync
from ingest_api.photo_desk import PhotoDesk
from ingest_api.problem_details import Problem
from shared.events import FaceSyncStatus


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


def event_uuid_of(text: str) -> UUID:
    """Raises Problem 400 for what is no UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise Problem(400, "bad_request", "Invalid UUID format") from None
