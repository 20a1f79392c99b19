"""Selections of media as callers write them: pure checks that name each field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from ingest_api import media_filters
from ingest_api.json_values import TrueOrFalse
from ingest_api.problem_details import FieldError, InvalidFields
from shared.events import MediaFilter, StorageStatus
from shared.events.sync import MAX_MEDIA_IDS

IDS_NAMED: Final = 20
"""How many ids a refusal names."""
MOST_MATCHING: Final = 1_000_000
"""Media that one call may mean by `matching`."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class SelectionBody(BaseModel):
    """Media by what they are; all the given fields have to hold. `everything`: true stands for all media."""

    model_config = ConfigDict(extra="forbid")

    entityType: Word | None = None
    entityId: Word | None = None
    storageStatus: StorageStatus | None = None
    everything: Literal[True] | None = None


class MatchingBody(BaseModel):
    """What a list shows under these filters, which are its own; `everything`: true stands for none of them.

    A call acts on what matches at its moment, however much that is up to 1000000: what is uploaded later, or has
    changed since so that nobody can tell whether it matched, is left out.
    """

    model_config = ConfigDict(extra="forbid")

    q: str | None = None
    entityType: str | None = None
    entityId: str | None = None
    status: str | None = None
    storageStatus: str | None = None
    before: str | None = None
    deleted: TrueOrFalse | None = None
    everything: Literal[True] | None = None


def selection_errors(
    media_ids: Sequence[UUID] | None, selection: SelectionBody | None, matching: MatchingBody | None
) -> Iterator[FieldError]:
    """What is wrong with a selection that makes sense only if exactly one of the three is given."""
    ways = {"mediaIds": media_ids, "filter": selection, "matching": matching}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        yield FieldError(given[1], f"can't be given together with {given[0]}: select by one of them")
    if not given:
        yield FieldError("mediaIds", "is missing, and so are filter and matching: select media by one of them")
    if media_ids is not None:
        if not media_ids:
            yield FieldError("mediaIds", "is empty: name at least one medium, or select by filter")
        if len(media_ids) > MAX_MEDIA_IDS:
            detail = f"names {len(media_ids)} media, {MAX_MEDIA_IDS} are allowed: select by filter, or in parts"
            yield FieldError("mediaIds", detail)
    if selection is not None and not selection.model_dump(exclude_none=True):
        yield FieldError("filter", "is empty and selects nothing: send everything: true to mean all media")


def matching_filter(body: MatchingBody | None, *, of_deleted: bool | None) -> media_filters.MediaFilter | None:
    """The filters of a call; `of_deleted` tells which media it can be about, None that both make sense.

    Raises InvalidFields naming every wrong field.
    """
    if body is None:
        return None
    is_of_deleted = bool(of_deleted) if body.deleted is None else body.deleted
    asked = {**body.model_dump(exclude={"everything"}), "deleted": str(is_of_deleted).lower()}
    wanted = media_filters.read_filter(asked, within="matching.")
    narrowing = wanted.asked().keys() - {"deleted"}
    if not narrowing and not body.deleted and body.everything is None:
        raise InvalidFields(
            FieldError("matching", "is empty and means nothing: send everything: true to mean all media")
        )
    if narrowing and body.everything:
        raise InvalidFields(FieldError("matching.everything", "has no meaning beside filters: leave it out"))
    if of_deleted is not None and is_of_deleted != of_deleted:
        meant = "deleted media alone: leave it out" if of_deleted else "media that are not deleted: restore them first"
        raise InvalidFields(FieldError("matching.deleted", f"makes no sense, for this is about {meant}"))
    return wanted


def nothing_matches(why: str = "") -> InvalidFields:
    return InvalidFields(FieldError("matching", f"means no medium{why}"))


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
