"""How much a call is about that means all media that match the filters of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ingest_api.catalogue import MediaStatus
from ingest_api.media_filters import MediaFilter
from ingest_api.problem_details import FieldError, InvalidFields
from ingest_api.repositories.matching import Counted, MatchingRepository
from ingest_api.selections import MOST_MATCHING
from shared.db.pool import PooledConnection


async def count_matching(
    connection: PooledConnection[Any], wanted: MediaFilter, without: Sequence[MediaStatus], below: UUID
) -> Counted:
    """What matches now without these statuses and was made before the id `below`.

    Raises InvalidFields for more than one call may mean.
    """
    counted = await MatchingRepository(connection).count(wanted, without, below, MOST_MATCHING + 1)
    if counted.media > MOST_MATCHING:
        raise InvalidFields(
            FieldError(
                "matching", f"means more than {MOST_MATCHING} media: narrow it, and do the others in further calls"
            )
        )
    return counted
