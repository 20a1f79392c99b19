"""Who looked for faces, and what was found, as PostgreSQL holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "face_searches.sql")


@dataclass(frozen=True, slots=True)
class Seeker:
    """Who searches: an account, or a guest with a gallery link."""

    user_id: UUID | None = None
    gallery_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """One search, without what it was made with."""

    id: UUID
    event_id: UUID
    asked_by: UUID | None
    gallery_id: UUID | None
    asked_at: datetime
    consent_version: int | None
    outcome: str
    matches: int | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundMatch:
    """A photo of the event, with the face on it that is most like the one searched for."""

    photo_id: UUID
    s3_key: str
    similarity: float
    box: tuple[float, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, best first. `chosen` of the `faces_in_selfie` was searched for."""

    search_id: UUID
    event_id: UUID
    faces_in_selfie: int
    chosen: int
    pack: str
    threshold: float
    matches: tuple[FoundMatch, ...]


class FaceSearchRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def begin(
        self, search_id: UUID, event_id: UUID, seeker: Seeker, consent_version: int | None, outcome: str
    ) -> None:
        """Record a search before anything of it is done, or one that is refused."""
        await self._connection.execute(
            QUERIES["begin"], search_id, event_id, seeker.user_id, seeker.gallery_id, consent_version, outcome
        )

    async def end(self, search_id: UUID, outcome: str, matches: int | None) -> None:
        await self._connection.execute(QUERIES["end"], search_id, outcome, matches)

    async def keep(self, result: SearchResult, seeker: Seeker) -> None:
        """Keep what was found, so that its pages can be read by who searched."""
        matches = [
            {
                "photo_id": str(match.photo_id),
                "s3_key": match.s3_key,
                "similarity": match.similarity,
                "box": list(match.box),
                "confidence": match.confidence,
            }
            for match in result.matches
        ]
        await self._connection.execute(
            QUERIES["keep"],
            result.search_id,
            result.event_id,
            seeker.user_id,
            seeker.gallery_id,
            result.faces_in_selfie,
            result.chosen,
            result.pack,
            result.threshold,
            matches,
        )

    async def result(self, search_id: UUID, seeker: Seeker, kept_seconds: float) -> SearchResult | None:
        """What this seeker found; None when it is over."""
        row = await self._connection.fetchrow(
            QUERIES["result"], search_id, seeker.user_id, seeker.gallery_id, kept_seconds
        )
        if row is None:
            return None
        values = dict(row)
        return SearchResult(**values | {"matches": found_matches(values["matches"])})

    async def of_event(self, event_id: UUID, after: UUID | None, limit: int) -> list[SearchRecord]:
        """Newest first."""
        rows = await self._connection.fetch(QUERIES["of_event"], event_id, after, limit)
        return [SearchRecord(**row) for row in rows]

    async def remove_results(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["remove_results"], older_than_seconds, limit))

    async def remove_records(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit`, and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_records"], older_than_seconds, limit))


def found_matches(values: Sequence[Mapping[str, Any]]) -> tuple[FoundMatch, ...]:
    """What was found, out of JSON. Raises KeyError, TypeError or ValueError for what is none."""
    return tuple(
        FoundMatch(
            photo_id=UUID(value["photo_id"]),
            s3_key=str(value["s3_key"]),
            similarity=float(value["similarity"]),
            box=tuple(float(edge) for edge in value["box"]),
            confidence=float(value["confidence"]),
        )
        for value in values
    )
