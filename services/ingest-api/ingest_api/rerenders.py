"""Which stored pictures can be rendered anew, and how: pure decisions without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from ingest_api import media_filters
from ingest_api.catalogue import Media
from ingest_api.problem_details import InvalidFields
from ingest_api.selections import MatchingBody, SelectionBody, matching_filter, media_filter, selection_errors
from ingest_api.zip_stream import EntryRefusal
from shared.events import MediaFilter, RerenderImageV1, StorageStrategy


class WatermarkBody(BaseModel):
    """Either `mediaIds` (at most 10000), or `filter`, or `matching`."""

    model_config = ConfigDict(extra="forbid")

    mediaIds: list[UUID] | None = None
    filter: SelectionBody | None = None
    matching: MatchingBody | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Media by their ids, by what they are, or by the filters of a list; exactly one is given."""

    media_ids: tuple[UUID, ...] | None
    filter: MediaFilter | None
    matching: media_filters.MediaFilter | None


@dataclass(frozen=True, slots=True)
class Rerender:
    """One medium of a selection: the command that renders it, or why there is none."""

    media: Media
    command: RerenderImageV1 | None
    refusal: EntryRefusal | None


def selection_of(body: WatermarkBody) -> Selection:
    """Raises InvalidFields naming everything that is wrong."""
    if errors := [*selection_errors(body.mediaIds, body.filter, body.matching)]:
        raise InvalidFields(*errors)
    return Selection(
        media_ids=None if body.mediaIds is None else tuple(dict.fromkeys(body.mediaIds)),
        filter=None if body.filter is None else media_filter(body.filter),
        matching=matching_filter(body.matching, of_deleted=False),
    )


def refusal_of(media: Media) -> EntryRefusal | None:
    """Why a medium can't be rendered anew; None if it can."""
    if media.deleted_at is not None:
        return EntryRefusal("medium_deleted", "The medium is deleted: restore it first.")
    if media.status == "processing":
        return EntryRefusal("medium_processing", "The upload is still being processed: ask again when it is done.")
    if media.is_being_replaced:
        return EntryRefusal("medium_processing", "Another file is taking its place: ask again when that is done.")
    if media.status == "failed":
        return EntryRefusal(
            "medium_not_rendered", "The upload could not be processed: retry its job, or upload it anew."
        )
    if media.original is None:
        return EntryRefusal("original_not_kept", "The original of this medium was not kept: upload it anew.")
    if not media.on_disk and not media.in_bucket:
        return EntryRefusal("original_missing", "The files of this medium are missing: restore them first.")
    return None


def places(media: Media, *, copies_by_itself: bool) -> StorageStrategy:
    """Where the files of the next revision go: where those of the present one are.

    `copies_by_itself` tells whether pictures that are stored locally first get their copy in the bucket.
    """
    comes_later = media.storage_strategy is StorageStrategy.LOCAL_FIRST
    if media.in_bucket:
        if not media.on_disk:
            return StorageStrategy.S3_ONLY
        return StorageStrategy.LOCAL_FIRST if comes_later and copies_by_itself else StorageStrategy.BOTH
    return StorageStrategy.LOCAL_FIRST if comes_later else StorageStrategy.LOCAL_ONLY


def command_of(
    media: Media,
    *,
    job_id: UUID,
    revision: int,
    settings_version: int,
    copies_by_itself: bool,
    now: datetime,
    parent_job_id: UUID | None,
) -> RerenderImageV1:
    """For a medium that nothing is refused of; with its parent it is cancelled, without one it is wanted by itself."""
    assert media.original is not None
    return RerenderImageV1(
        job_id=job_id,
        media_id=media.id,
        revision=revision,
        original=media.original,
        entity_type=media.entity_type,
        settings_version=settings_version,
        storage_strategy=places(media, copies_by_itself=copies_by_itself),
        requested_at=now,
        parent_job_id=parent_job_id,
    )


def commands_of(page: Sequence[Rerender]) -> list[RerenderImageV1]:
    return [one.command for one in page if one.command is not None]
