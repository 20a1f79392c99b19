"""Deleting media, restoring them, and what became of deletions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.bulk_deletions import (
    BulkDeletions,
    DeleteBody,
    RestoreBody,
    selection_of_deletion,
    selection_to_restore,
)
from ingest_api.catalogue import Records
from ingest_api.controllers.dry_run import DryAnswer, DryRun, dry_answer
from ingest_api.controllers.media import no_such_medium
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.media_deletion import deletion_record
from ingest_api.media_deletions import MediaDeletions
from ingest_api.problem_details import Problem
from ingest_api.repositories.media import MediaRepository
from ingest_api.repositories.media_deletions import MediaDeletionRepository
from shared.db.pool import Database

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class DeletionList(msgspec.Struct, rename="camel"):
    deletions: list[dict[str, Any]]
    next_cursor: str | None


class BulkDeletionAnswer(msgspec.Struct, rename="camel"):
    success: bool
    status: str
    job_id: UUID
    total: int
    message: str


class TimelineItem(msgspec.Struct, rename="camel"):
    """`by` did it; `jobId` and `code` are of a rendering."""

    at: datetime
    what: str
    by: UUID | None
    job_id: UUID | None
    code: str | None


class Timeline(msgspec.Struct, rename="camel"):
    entries: list[TimelineItem]


class DeletionController(Controller):
    path = "/api/admin/media"
    tags = ("Media",)
    guards = (require(Role.ADMIN),)

    @post("/{media_id:uuid}/restore", summary="Restore a medium", status_code=200)
    async def restore(
        self,
        request: SignedInRequest,
        media_id: FromPath[UUID],
        deletions: NamedDependency[MediaDeletions],
        records: NamedDependency[Records],
    ) -> dict[str, Any]:
        """Bring a softly deleted medium back.

        409 `not_deleted`; `deletion_begun` with `deletionId` where it goes for good; `files_gone` where no store has
        its files any more.
        """
        return records.media(await deletions.restore(media_id, request.user.user_id))

    @get("/{media_id:uuid}/timeline", summary="Read what happened to a medium")
    async def timeline(
        self, media_id: FromPath[UUID], database: NamedDependency[Database], deleted: FromQuery[bool] = False
    ) -> Timeline:
        """The newest of at most 200 first: uploaded, rendered, rendering_failed, deleted, restored.

        Renderings are known for as long as their jobs are kept. Of a deleted medium it is read with `deleted=true`.
        """
        async with database.connection() as connection:
            media = await MediaRepository(connection).get(media_id)
            if media is None or (media.deleted_at is not None) != deleted:
                raise no_such_medium()
            entries = await MediaDeletionRepository(connection).timeline(media_id, MAX_LIMIT)
        return Timeline([TimelineItem(one.happened_at, one.what, one.done_by, one.job_id, one.code) for one in entries])

    @post("/delete", summary="Delete many media", status_code=202)
    async def delete_many(
        self,
        request: SignedInRequest,
        data: JSONBody[DeleteBody],
        deletions: NamedDependency[MediaDeletions],
        bulk_deletions: NamedDependency[BulkDeletions],
        dryRun: DryRun = False,
    ) -> Response[BulkDeletionAnswer | DryAnswer]:
        """Select by `mediaIds` (at most 10000), by `filter`, whose `deleted` selects among the deleted ones, or by
        `matching`: all that the list of media shows under these filters at the moment of the call, up to 1000000.

        `jobId` is a parent, read like that of a bulk upload; of a deletion for good a child's `jobId` is its
        `deletionId`. More than a few at once have to be confirmed: 409 `confirmation_needed` says how many `count` it
        would be, and `confirm` repeats that number. With `dryRun=true` the answer is 200 with how many media it would
        be, and nothing is done.
        """
        is_hard = deletions.is_hard(data.hard)
        selection = selection_of_deletion(data, is_hard)
        if dryRun:
            return dry_answer(await bulk_deletions.count(selection))
        started = await bulk_deletions.start(selection, request.user.user_id)
        how = "deleted for good" if is_hard else "deleted"
        return _accepted(started.id, started.total, how)

    @post("/restore", summary="Restore many media", status_code=202)
    async def restore_many(
        self,
        request: SignedInRequest,
        data: JSONBody[RestoreBody],
        bulk_deletions: NamedDependency[BulkDeletions],
        dryRun: DryRun = False,
    ) -> Response[BulkDeletionAnswer | DryAnswer]:
        """Select by `mediaIds` (at most 10000), or by `filter` or `matching` among the deleted ones.

        `jobId` is a parent. What can't be restored fails alone, with the code that restoring it alone would give. With
        `dryRun=true` the answer is 200 with how many media it would be, and nothing is done.
        """
        selection = selection_to_restore(data)
        if dryRun:
            return dry_answer(await bulk_deletions.count(selection))
        started = await bulk_deletions.start(selection, request.user.user_id)
        return _accepted(started.id, started.total, "restored")

    @get("/deletions", summary="List deletions for good")
    async def list_deletions(
        self,
        database: NamedDependency[Database],
        status: FromQuery[Literal["processing", "completed"] | None] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> DeletionList:
        """Newest first; those in `processing` tell in `waitsFor` who has not answered, and why."""
        is_open = None if status is None else status == "processing"
        async with database.connection() as connection:
            deletions = MediaDeletionRepository(connection)
            found = await deletions.newest(id_of(cursor), is_open, limit + 1)
            page = found[:limit]
            renderings = await deletions.renderings([deletion.media_id for deletion in page])
        next_cursor = cursor_behind(found, limit)
        return DeletionList(
            [deletion_record(deletion, renderings.get(deletion.media_id, 0)) for deletion in page], next_cursor
        )

    @get("/deletions/{deletion_id:uuid}", summary="Read a deletion for good")
    async def read_deletion(self, deletion_id: FromPath[UUID], database: NamedDependency[Database]) -> dict[str, Any]:
        """How far it is; completed, it is the receipt: what was removed where, and what was kept and why."""
        async with database.connection() as connection:
            deletions = MediaDeletionRepository(connection)
            deletion = await deletions.get(deletion_id)
            if deletion is None:
                raise Problem(
                    404, "not_found", "There is no deletion with this id; receipts are removed after their time."
                )
            renderings = await deletions.renderings([deletion.media_id])
            return deletion_record(deletion, renderings.get(deletion.media_id, 0))


def _accepted(parent_id: UUID, total: int, how: str) -> Response[Any]:
    message = f"{total} media are {how}; follow the job."
    headers = {"Location": f"/api/admin/media/jobs/{parent_id}"}
    return Response(BulkDeletionAnswer(True, "processing", parent_id, total, message), status_code=202, headers=headers)
