"""Settings: reading, changing, their history, and the trial of a bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.bucket_trial import BucketStatus, BucketTrials, TrialCode, TrialOutcome
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.settings_document import (
    entity_type_record,
    entity_type_settings,
    etag,
    media_record,
    patched_media,
    replaced_media,
)
from ingest_api.settings_store import SettingsStore, Versioned
from ingest_api.upload_fields import entity_type_of
from shared.events import EntityTypeSettings, MediaSettings
from shared.storage.settings import S3Settings

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Document = dict[str, Any]

TRIAL_FIELDS = frozenset({"s3Endpoint", "s3Bucket", "s3Region"})
NO_BUCKET = "S3 is not configured: set MEDIABUS_S3_ENDPOINT and its keys in the environment of the services."


@dataclass(frozen=True, slots=True)
class SettingsDesk:
    """What the settings need, as one dependency. `s3` is the bucket of the environment, None where none is set."""

    store: SettingsStore
    status: BucketStatus
    trials: BucketTrials
    s3: S3Settings | None


class BucketTrialAnswer(msgspec.Struct, rename="camel"):
    success: bool
    code: TrialCode
    message: str
    bucket: str
    object_count: int | None


class SettingsChangeAnswer(msgspec.Struct, rename="camel"):
    id: UUID
    settings: str
    """`media`, or `entity-type:<name>`."""
    version: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    changed_by: UUID
    changed_by_email: str
    changed_at: datetime


class SettingsChangeList(msgspec.Struct, rename="camel"):
    changes: list[SettingsChangeAnswer]
    next_cursor: str | None


class SettingsController(Controller):
    """What can be changed while the system runs; for admins. What concerns S3 is changed by superadmins alone."""

    path = "/api/admin/media/settings"
    tags = ("Settings",)
    guards = (require(Role.ADMIN),)

    @get(summary="Read the settings")
    async def read(self, settings_desk: NamedDependency[SettingsDesk]) -> Response[Document]:
        """`s3Status` is read only: connected, disconnected (off, or no answer) or error (the store refuses).

        The ETag is the version that `If-Match` is compared with.
        """
        return await _media_answer(settings_desk, await settings_desk.store.media())

    @put(summary="Replace the settings")
    async def replace(
        self, request: SignedInRequest, data: JSONBody[Document], settings_desk: NamedDependency[SettingsDesk]
    ) -> Response[Document]:
        """The whole document; read-only fields may come along. 412 when `If-Match` names another version than the
        present one; without it the last writer wins. Running services apply the change without a restart."""
        wanted = replaced_media(data, s3_reachable=settings_desk.s3 is not None)
        return await _changed(request, settings_desk, lambda _: wanted)

    @patch(summary="Change some settings")
    async def change(
        self, request: SignedInRequest, data: JSONBody[Document], settings_desk: NamedDependency[SettingsDesk]
    ) -> Response[Document]:
        """The named fields alone; `If-Match` as with PUT."""
        s3_reachable = settings_desk.s3 is not None
        return await _changed(request, settings_desk, lambda now: patched_media(now, data, s3_reachable=s3_reachable))

    @get("/audit", summary="Read who changed what")
    async def audit(
        self,
        settings_desk: NamedDependency[SettingsDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> SettingsChangeList:
        """Newest first; `before` and `after` hold the changed fields. `nextCursor` is null on the last page."""
        changes = await settings_desk.store.changes(id_of(cursor), limit + 1)
        page = changes[:limit]
        next_cursor = cursor_behind(changes, limit)
        answers = [
            SettingsChangeAnswer(
                change.id,
                change.name,
                change.version,
                change.before,
                change.after,
                change.changed_by,
                change.changed_by_email,
                change.changed_at,
            )
            for change in page
        ]
        return SettingsChangeList(answers, next_cursor)

    @post("/test-s3", summary="Try the bucket", status_code=200)
    async def try_bucket(
        self, request: SignedInRequest, settings_desk: NamedDependency[SettingsDesk]
    ) -> BucketTrialAnswer:
        """List the bucket, write into it and remove that again, all within 5 seconds.

        A failure says which of these it is: endpoint unreachable, wrong credentials, no such bucket, not writable. A
        superadmin may name `s3Endpoint`, `s3Bucket` or `s3Region` in a JSON body, to try them before they are set.
        """
        outcome = await _tried(settings_desk, await _trial_body(request))
        return BucketTrialAnswer(outcome.success, outcome.code, outcome.message, outcome.bucket, outcome.object_count)

    @get("/entity-types/{entity_type:str}", summary="Read the settings of an entity type")
    async def read_entity_type(
        self, entity_type: FromPath[str], settings_desk: NamedDependency[SettingsDesk]
    ) -> Response[Document]:
        """The defaults, as version 0, for a type that has no settings of its own."""
        name = _entity_type(entity_type)
        return _entity_type_answer(name, await settings_desk.store.entity_type(name))

    @put("/entity-types/{entity_type:str}", summary="Replace the settings of an entity type")
    async def replace_entity_type(
        self,
        request: SignedInRequest,
        entity_type: FromPath[str],
        data: JSONBody[Document],
        settings_desk: NamedDependency[SettingsDesk],
    ) -> Response[Document]:
        """`variants` (name, width, format, quality), optional `strategy` and `watermark`; `If-Match` as above.

        They hold for pictures that are rendered from then on; POST /api/admin/media/watermark renders stored ones anew.
        """
        name = _entity_type(entity_type)
        media = await settings_desk.store.media()
        wanted = entity_type_settings(data, s3_enabled=media.settings.s3_enabled)
        changed = await settings_desk.store.change_entity_type(
            name, wanted, request.headers.get("if-match"), request.user
        )
        return _entity_type_answer(name, changed)


async def _changed(
    request: SignedInRequest, desk: SettingsDesk, change: Callable[[MediaSettings], MediaSettings]
) -> Response[Document]:
    changed = await desk.store.change_media(change, request.headers.get("if-match"), request.user)
    return await _media_answer(desk, changed)


async def _media_answer(desk: SettingsDesk, media: Versioned[MediaSettings]) -> Response[Document]:
    status = await desk.status.get(enabled=media.settings.s3_enabled)
    body = {**media_record(media.settings), "s3Status": status, **_versioning(media)}
    return Response(body, headers=_headers(media.version))


def _entity_type_answer(name: str, settings: Versioned[EntityTypeSettings]) -> Response[Document]:
    body = {"entityType": name, **entity_type_record(settings.settings), **_versioning(settings)}
    return Response(body, headers=_headers(settings.version))


def _versioning(settings: Versioned[Any]) -> Document:
    return {"version": settings.version, "updatedAt": settings.updated_at, "updatedBy": settings.updated_by}


def _headers(version: int) -> dict[str, str]:
    return {"ETag": etag(version), "Cache-Control": "no-cache"}


def _entity_type(text: str) -> str:
    try:
        return entity_type_of(text)
    except ValueError as error:
        raise InvalidFields(FieldError("entityType", str(error))) from None


async def _trial_body(request: SignedInRequest) -> Document:
    """The addresses to try; Problem 403 where an admin names some, for that would let admins explore the network."""
    raw = await request.body()
    if not raw.strip():
        return {}
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Problem(400, "bad_request", f"The body is no JSON: {error}.") from error
    if not isinstance(body, dict):
        raise Problem(400, "bad_request", "The body must be a JSON object, or absent.")
    if body and not request.user.may(Role.SUPERADMIN):
        raise Problem(403, "forbidden", f"Trying other addresses needs the role {Role.SUPERADMIN}: send no body.")
    if unknown := sorted(set(body) - TRIAL_FIELDS):
        errors = (FieldError(name, f"is not among {', '.join(sorted(TRIAL_FIELDS))}") for name in unknown)
        raise InvalidFields(*errors)
    return body


async def _tried(desk: SettingsDesk, body: Document) -> TrialOutcome:
    media = (await desk.store.media()).settings
    if desk.s3 is None:
        return TrialOutcome("not_configured", NO_BUCKET, media.s3_bucket)
    wanted = patched_media(media, body, s3_reachable=True)
    return await desk.trials.run(desk.s3.at(wanted.s3_endpoint, wanted.s3_bucket, wanted.s3_region))
