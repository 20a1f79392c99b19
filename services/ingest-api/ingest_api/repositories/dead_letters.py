"""What services gave up, as PostgreSQL holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.identifiers import new_id
from shared.messaging.letters import Letter, Settlement

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "dead_letters.sql")

LetterState = Literal["open", "replayed", "dropped"]


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A letter without what it holds. `replayed_as` is the letter that its replay became when it failed again."""

    id: UUID
    service: str
    state: LetterState
    topic: str
    partition: int
    offset: int
    key: str
    type: str | None
    event_id: str | None
    code: str
    detail: str
    attempts: int
    trace_id: str | None
    replay_of: UUID | None
    replayed_as: UUID | None
    dead_lettered_at: datetime
    settled_at: datetime | None
    settled_by: UUID | None


@dataclass(frozen=True, slots=True)
class Removed:
    """How many letters went for one reason (`age`, `number`, `bytes`), and on how many of them nobody had decided."""

    reason: str
    letters: int
    open_letters: int


@dataclass(frozen=True, slots=True)
class RemovedLetter:
    id: UUID
    service: str
    state: LetterState


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """None: any."""

    service: str | None = None
    topic: str | None = None
    state: LetterState | None = None


@dataclass(frozen=True, slots=True)
class LetterPosition:
    """Of a letter in the list, newest first."""

    dead_lettered_at: datetime
    id: UUID


class DeadLetterRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def record(self, row: DeadLetterRow, headers: Mapping[str, str], payload: bytes) -> int:
        """Note a letter, and return how many bytes it is; one that is known stays as it is, and adds none."""
        size_bytes: int | None = await self._connection.fetchval(
            QUERIES["record"],
            row.id,
            row.service,
            row.topic,
            row.partition,
            row.offset,
            row.key,
            row.type,
            row.event_id,
            row.code,
            row.detail,
            row.attempts,
            row.trace_id,
            row.replay_of,
            row.dead_lettered_at,
            dict(headers),
            payload,
        )
        return size_bytes or 0

    async def is_of_gone_medium(self, media_id: UUID) -> bool:
        """Whether the medium went for good.

        **One that is there stays until the transaction ends**: its deletion is completed before, and this says so, or
        behind it, and finds what the transaction has written.
        """
        if await self._connection.fetchval(QUERIES["hold_medium"], media_id):
            return False
        return bool(await self._connection.fetchval(QUERIES["is_gone"], media_id))

    async def note_settled(self, letter_id: UUID, how: Settlement | None, at: datetime) -> None:
        """Take over that an open letter was settled elsewhere; without a word how, it is forgotten."""
        if how is None:
            await self._connection.execute(QUERIES["remove_without_word"], letter_id)
        else:
            await self._connection.execute(QUERIES["note_settled"], letter_id, how.value, at)

    async def newest(self, wanted: LetterFilter, after: LetterPosition | None, limit: int) -> list[DeadLetterRow]:
        rows = await self._connection.fetch(
            QUERIES["newest"],
            wanted.service,
            wanted.topic,
            wanted.state,
            after and after.dead_lettered_at,
            after and after.id,
            limit,
        )
        return [DeadLetterRow(**row) for row in rows]

    async def get(self, letter_id: UUID) -> DeadLetterRow | None:
        row = await self._connection.fetchrow(QUERIES["get"], letter_id)
        return DeadLetterRow(**row) if row else None

    async def message(self, letter_id: UUID) -> Letter | None:
        """The letter as it lies in its topic."""
        row = await self._connection.fetchrow(QUERIES["message"], letter_id)
        return Letter(str(letter_id), row["headers"], row["payload"]) if row else None

    async def lock(self, letter_id: UUID) -> LetterState | None:
        state: LetterState | None = await self._connection.fetchval(QUERIES["lock"], letter_id)
        return state

    async def settle(self, row: DeadLetterRow, how: Settlement, user_id: UUID, at: datetime) -> None:
        """Record what was decided about a letter that is locked, and who decided it."""
        await self._connection.execute(QUERIES["settle"], row.id, how.value, user_id, at)
        await self._connection.execute(
            QUERIES["note_decision"], new_id(), row.id, row.service, row.type, row.code, how.value, user_id, at
        )

    async def open_by_service(self) -> dict[str, int]:
        return {row["service"]: row["letters"] for row in await self._connection.fetch(QUERIES["open_by_service"])}

    async def remove_over(self, kept_seconds: float, kept: int, kept_bytes: int, limit: int) -> list[Removed]:
        """Remove those that are too old, and the oldest beyond `kept` or `kept_bytes`; at most `limit`."""
        rows = await self._connection.fetch(QUERIES["remove_over"], kept_seconds, kept, kept_bytes, limit)
        return [Removed(**row) for row in rows]

    async def remove_of_media(self, media_ids: Sequence[UUID], except_types: Sequence[str]) -> list[RemovedLetter]:
        """Remove those whose key is one of these media, unless they are of these types."""
        keys = [str(media_id) for media_id in media_ids]
        rows = await self._connection.fetch(QUERIES["remove_of_media"], keys, list(except_types))
        return [RemovedLetter(**row) for row in rows]
