"""Media that match the filters of a list, counted and gone through by calls that act on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ingest_api.catalogue import MediaStatus
from ingest_api.media_filters import MediaFilter
from ingest_api.repositories.media import pattern_of
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "matching.sql")

WINDOW_MEDIA: Final = 5000
"""Among so many media a page looks for a text."""
FIRST: Final = UUID(int=0)
NEVER: Final = UUID(int=2**128 - 1)
"""All ids are below it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many media matched, and when that was."""

    media: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Matched:
    """What a call acts on: media that matched the filters `at` its moment, made before the id `below`.

    Those of the statuses `without` make no sense for it.
    """

    filter: MediaFilter
    without: Sequence[MediaStatus]
    below: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class MatchedPage:
    """Ids in their order, and behind which id the next page begins: None at the end. There may be no ids on a page."""

    media_ids: Sequence[UUID]
    cursor: UUID | None


class MatchingRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def count(self, wanted: MediaFilter, without: Sequence[MediaStatus], below: UUID, most: int) -> Counted:
        """Those that match now and were made before the id `below`, counted up to `most`."""
        row = await self._connection.fetchrow(
            QUERIES["count"],
            _below(wanted, below),
            *_fields(wanted, without),
            pattern_of(wanted.text),
            wanted.text,
            most,
        )
        assert row is not None, "counting gives one row"
        return Counted(row["count"], row["counted_at"])

    async def page(self, matched: Matched, cursor: UUID | None, limit: int) -> MatchedPage:
        """The next media that match, at most `limit` of them; it takes a bounded time, however rare they are."""
        wanted, start = matched.filter, cursor or FIRST
        below = _below(wanted, matched.below)
        fields = _fields(wanted, matched.without)
        window_end: UUID | None = None
        if wanted.text is not None:
            window_end = await self._connection.fetchval(QUERIES["window_end"], start, below, *fields, WINDOW_MEDIA - 1)
        rows = await self._connection.fetch(
            QUERIES["page"],
            start,
            below,
            window_end or below,
            *fields,
            pattern_of(wanted.text),
            matched.at,
            wanted.may_change,
            limit,
        )
        ids = [row["id"] for row in rows]
        return MatchedPage(ids, ids[-1] if len(ids) == limit else window_end)


def _below(wanted: MediaFilter, bound: UUID) -> UUID:
    return bound if wanted.below is None else min(bound, wanted.below)


def _fields(wanted: MediaFilter, without: Sequence[MediaStatus]) -> tuple[Any, ...]:
    return (
        wanted.entity_type,
        wanted.entity_id,
        wanted.status,
        list(without),
        wanted.storage_status,
        wanted.deleted,
    )
