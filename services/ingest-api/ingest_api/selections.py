"""Selections of media as callers write them: pure checks that name each field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from ingest_api.problem_details import FieldError, InvalidFields
from shared.events import MediaFilter, StorageStatus
from shared.events.sync import MAX_MEDIA_IDS

IDS_NAMED: Final = 20
"""How many ids a refusal names."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class SelectionBody(BaseModel):
    """Media by what they are; all the given fields have to hold. `everything`: true stands for all media."""

    model_config = ConfigDict(extra="forbid")

    entityType: Word | None = None
    entityId: Word | None = None
    storageStatus: StorageStatus | None = None
    everything: Literal[True] | None = None


def selection_errors(media_ids: Sequence[UUID] | None, selection: SelectionBody | None) -> Iterator[FieldError]:
    """What is wrong with a selection that makes sense only if exactly one of both is given."""
    if media_ids is not None and selection is not None:
        yield FieldError("filter", "can't be given together with mediaIds: select by one of them")
    if media_ids is None and selection is None:
        yield FieldError("mediaIds", "is missing, and so is filter: select media by one of them")
    if media_ids is not None:
        if not media_ids:
            yield FieldError("mediaIds", "is empty: name at least one medium, or select by filter")
        if len(media_ids) > MAX_MEDIA_IDS:
            detail = f"names {len(media_ids)} media, {MAX_MEDIA_IDS} are allowed: select by filter, or in parts"
            yield FieldError("mediaIds", detail)
    if selection is not None and not selection.model_dump(exclude_none=True):
        yield FieldError("filter", "is empty and selects nothing: send everything: true to mean all media")


def unknown_ids(ids: Sequence[UUID]) -> InvalidFields:
    named = ", ".join(map(str, ids[:IDS_NAMED]))
    more = f" and {len(ids) - IDS_NAMED} more" if len(ids) > IDS_NAMED else ""
    return InvalidFields(FieldError("mediaIds", f"{len(ids)} of the ids belong to no medium: {named}{more}"))


def media_filter(body: SelectionBody) -> MediaFilter:
    return MediaFilter(
        entity_type=body.entityType,
        entity_id=body.entityId,
        storage_status=body.storageStatus,
        everything=body.everything,
    )
