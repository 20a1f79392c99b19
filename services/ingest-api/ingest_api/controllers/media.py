"""The catalogue: lists, records, descriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from pydantic import BaseModel

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.catalogue import Media, Records
from ingest_api.controllers.uploads import UploadHandlers
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.media_deletions import MediaDeletions
from ingest_api.media_filters import MediaFilter, read_filter
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.matching import NEVER, MatchingRepository
from ingest_api.repositories.media import MediaRepository
from ingest_api.selections import MOST_MATCHING
from ingest_api.upload_fields import ALT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS, plain_text
from shared.db.pool import Database

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
StatusFilter = Literal["waiting", "active", "processing", "completed", "failed"]
StorageFilter = Literal["local_only", "s3_only", "synced", "pending", "missing"]


class MediaList(msgspec.Struct, rename="camel"):
    media: list[dict[str, Any]]
    next_cursor: str | None


class MediaCount(msgspec.Struct, rename="camel"):
    count: int
    is_more: bool


class DeletedAnswer(msgspec.Struct, rename="camel"):
    """`deletedAt` is of a soft deletion, `deletionId` of one for good, which goes on after the answer."""

    success: bool
    media_id: UUID
    mode: Literal["soft", "hard"]
    status: Literal["deleted", "processing"]
    deleted_at: datetime | None
    deletion_id: UUID | None


class DescriptionBody(BaseModel):
    """What is absent stays as it is; null removes it."""

    alt: str | None = None
    title: str | None = None


class MediaController(UploadHandlers):
    """Uploads and the catalogue; for admins and API keys of their role."""

    path = "/api/admin/media"
    tags = ("Media",)
    guards = (require(Role.ADMIN),)

    @get(summary="List media")
    async def list_media(
        self,
        database: NamedDependency[Database],
        records: NamedDependency[Records],
        entityType: FromQuery[str | None] = None,
        entityId: FromQuery[str | None] = None,
        status: FromQuery[StatusFilter | None] = None,
        storageStatus: FromQuery[StorageFilter | None] = None,
        deleted: FromQuery[bool] = False,
        q: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> MediaList:
        """Newest first; `nextCursor` is null on the last page. `q` is looked for in file name, alt and title; `before`
        is a day (UTC) like 2026-05-31, before which media were uploaded."""
        wanted = _wanted(entityType, entityId, status, storageStatus, deleted, q, before)
        async with database.connection() as connection:
            media = await MediaRepository(connection).newest(wanted, id_of(cursor), limit + 1)
        page = media[:limit]
        next_cursor = cursor_behind(media, limit)
        return MediaList([records.media(medium) for medium in page], next_cursor)

    @get("/count", summary="Count media")
    async def count_media(
        self,
        database: NamedDependency[Database],
        entityType: FromQuery[str | None] = None,
        entityId: FromQuery[str | None] = None,
        status: FromQuery[StatusFilter | None] = None,
        storageStatus: FromQuery[StorageFilter | None] = None,
        deleted: FromQuery[bool] = False,
        q: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
    ) -> MediaCount:
        """How many media the list has under the same filters. More than 1000000 are not counted: then `isMore`."""
        wanted = _wanted(entityType, entityId, status, storageStatus, deleted, q, before)
        async with database.connection() as connection:
            counted = await MatchingRepository(connection).count(wanted, (), NEVER, MOST_MATCHING + 1)
        return MediaCount(min(counted.media, MOST_MATCHING), counted.media > MOST_MATCHING)

    @get("/{media_id:uuid}", summary="Read a medium")
    async def read(
        self,
        media_id: FromPath[UUID],
        database: NamedDependency[Database],
        records: NamedDependency[Records],
        deleted: FromQuery[bool] = False,
    ) -> dict[str, Any]:
        """One that is deleted is read with `deleted=true` alone, until it is restored or gone for good."""
        async with database.connection() as connection:
            media = _found(await MediaRepository(connection).get(media_id))
        if (media.deleted_at is not None) != deleted:
            raise no_such_medium()
        return records.media(media)

    @patch("/{media_id:uuid}", summary="Describe a medium")
    async def describe(
        self,
        media_id: FromPath[UUID],
        data: JSONBody[DescriptionBody],
        database: NamedDependency[Database],
        records: NamedDependency[Records],
    ) -> dict[str, Any]:
        """Change `alt` and `title`; what is absent stays, null removes."""
        texts = _texts(data)
        async with database.connection() as connection:
            media = await MediaRepository(connection).describe(media_id, texts)
        return records.media(_found(media))

    @delete("/{media_id:uuid}", summary="Delete a medium", status_code=200)
    async def delete_medium(
        self,
        request: SignedInRequest,
        media_id: FromPath[UUID],
        deletions: NamedDependency[MediaDeletions],
        hard: FromQuery[bool | None] = None,
    ) -> Response[DeletedAnswer]:
        """Softly or for good, as `hard` says, else as the setting `deleteMode` does.

        Softly: hidden from every read, restorable, 200. For good: 202, hidden at once and for ever, and files and
        records go in all services; `GET …/deletions/{deletionId}` tells how far that is, and what was removed. What
        lies in the bucket stays where the setting `s3DeleteWithLocal` is off.
        """
        if deletions.is_hard(hard):
            begun = await deletions.delete_for_good(media_id, request.user.user_id)
            answer = DeletedAnswer(True, media_id, "hard", "processing", None, begun.deletion_id)
            headers = {"Location": f"/api/admin/media/deletions/{begun.deletion_id}"}
            return Response(answer, status_code=202, headers=headers)
        media = await deletions.delete_softly(media_id, request.user.user_id)
        return Response(DeletedAnswer(True, media_id, "soft", "deleted", media.deleted_at, None), status_code=200)


def _wanted(
    entity_type: str | None,
    entity_id: str | None,
    status: str | None,
    storage_status: str | None,
    deleted: bool,
    text: str | None,
    before: str | None,
) -> MediaFilter:
    """Raises InvalidFields naming every wrong filter."""
    asked = {
        "entityType": entity_type,
        "entityId": entity_id,
        "status": status,
        "storageStatus": storage_status,
        "deleted": str(deleted).lower(),
        "q": text,
        "before": before,
    }
    return read_filter(asked)


def _texts(data: DescriptionBody) -> dict[str, str | None]:
    limits = {"alt": ALT_MAX_CHARACTERS, "title": TITLE_MAX_CHARACTERS}
    texts: dict[str, str | None] = {}
    errors: list[FieldError] = []
    for name in sorted(data.model_fields_set):
        value: str | None = getattr(data, name)
        try:
            texts[name] = None if value is None else plain_text(value, limits[name])
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if not texts and not errors:
        errors.append(FieldError("body", "must have at least one of alt and title"))
    if errors:
        raise InvalidFields(*errors)
    return texts


def _found(media: Media | None) -> Media:
    if media is None:
        raise no_such_medium()
    return media


def no_such_medium() -> Problem:
    return Problem(404, "not_found", "There is no medium with this id.")
