"""What callers may ask of storage sync: pure checks that name each field as the caller wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ingest_api import media_filters
from ingest_api.json_values import TrueOrFalse
from ingest_api.problem_details import FieldError, InvalidFields
from ingest_api.selections import (
    MatchingBody,
    SelectionBody,
    matching_filter,
    media_filter,
    selection_errors,
)
from ingest_api.sync_jobs import Profile
from shared.events import MediaFilter, SyncOperation
from shared.storage.errors import InvalidKey
from shared.storage.keys import STAGING_PREFIX, validated_prefix

COPIES: Final = frozenset({SyncOperation.UPLOAD_TO_S3, SyncOperation.DOWNLOAD_FROM_S3})
NEEDS_S3: Final = COPIES | {SyncOperation.DELETE_S3, SyncOperation.DELETE_LOCAL}
"""`delete_local` too: a file goes from the disk only when the bucket holds the same."""


class RenameBody(BaseModel):
    """Keys that begin with `from` begin with `to` instead."""

    model_config = ConfigDict(extra="forbid")

    from_: str = Field(alias="from")
    to: str


class SyncBody(BaseModel):
    """Either `mediaIds` (at most 10000), or `filter`, or `matching`.

    `deleteSource` removes what was copied once the copy is verified; `profile` says how large jobs are split.
    """

    model_config = ConfigDict(extra="forbid")

    operation: SyncOperation
    mediaIds: list[UUID] | None = None
    filter: SelectionBody | None = None
    matching: MatchingBody | None = None
    deleteSource: TrueOrFalse = False
    profile: Profile = "default"
    renamePrefix: RenameBody | None = None


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A call that makes sense by itself; of `media_ids`, `filter` and `matching` exactly one is given."""

    operation: SyncOperation
    media_ids: tuple[UUID, ...] | None
    filter: MediaFilter | None
    matching: media_filters.MediaFilter | None
    delete_source: bool
    rename_prefix: tuple[str, str] | None
    profile: Profile


def request_of(body: SyncBody) -> SyncRequest:
    """Raises InvalidFields naming everything that is wrong."""
    errors = [*selection_errors(body.mediaIds, body.filter, body.matching), *_argument_errors(body)]
    if errors:
        raise InvalidFields(*errors)
    return SyncRequest(
        operation=body.operation,
        media_ids=None if body.mediaIds is None else tuple(dict.fromkeys(body.mediaIds)),
        filter=None if body.filter is None else media_filter(body.filter),
        matching=matching_filter(body.matching, of_deleted=False),
        delete_source=body.deleteSource,
        rename_prefix=None if body.renamePrefix is None else (body.renamePrefix.from_, body.renamePrefix.to),
        profile=body.profile,
    )


def _argument_errors(body: SyncBody) -> Iterator[FieldError]:
    if body.deleteSource and body.operation not in COPIES:
        yield FieldError("deleteSource", f"has no meaning for {body.operation}: only copies have a source")
    if body.operation is not SyncOperation.RENAME:
        if body.renamePrefix is not None:
            yield FieldError("renamePrefix", f"has no meaning for {body.operation}")
    elif body.renamePrefix is None:
        yield FieldError("renamePrefix", "is missing: rename needs {from, to}, the old and the new beginning of keys")
    else:
        yield from _prefix_errors(body.renamePrefix)


def _prefix_errors(rename: RenameBody) -> Iterator[FieldError]:
    for field, prefix in (("renamePrefix.from", rename.from_), ("renamePrefix.to", rename.to)):
        try:
            validated_prefix(prefix)
        except InvalidKey as error:
            yield FieldError(field, str(error))
        if not prefix:
            yield FieldError(field, "is empty: keys begin with something, such as media/")
    if rename.to == rename.from_:
        yield FieldError("renamePrefix.to", "is the same as renamePrefix.from: nothing would change")
    if rename.to.startswith(STAGING_PREFIX):
        yield FieldError("renamePrefix.to", f"must not begin with {STAGING_PREFIX}: what lies there is swept")
