"""Dead letters: what services gave up, and what is done about it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, decode_cursor, encode_cursor
from ingest_api.dead_letters import DeadLetterDesk, no_such_letter
from ingest_api.payload_preview import preview
from ingest_api.repositories.dead_letters import (
    DeadLetterRepository,
    DeadLetterRow,
    LetterFilter,
    LetterPosition,
    LetterState,
)
from shared.db.pool import Database
from shared.messaging.letters import Settlement

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class DeadLetterAnswer(msgspec.Struct, rename="camel"):
    """A message that a service gave up, where it came from and why.

    `state`: `open`, `replayed` or `dropped`; `settledBy` is null where that was not done here. A replay that failed
    again is the letter `replayedAs`, whose `replayOf` is this one.
    """

    id: UUID
    service: str
    state: str
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
    dead_lettered_at: datetime
    replay_of: UUID | None
    replayed_as: UUID | None
    settled_at: datetime | None
    settled_by: UUID | None


class PayloadAnswer(msgspec.Struct, rename="camel"):
    """`content` is the message's value as it came, in base64 where it is no text; of more than 64 KiB the first."""

    format: Literal["json", "text", "base64"]
    content: str
    size_bytes: int
    is_cut: bool


class WholeDeadLetterAnswer(DeadLetterAnswer, rename="camel"):
    """With the original message; what the kernel added to its headers is told by the other fields."""

    headers: dict[str, str]
    payload: PayloadAnswer


class DeadLetterList(msgspec.Struct, rename="camel"):
    dead_letters: list[DeadLetterAnswer]
    next_cursor: str | None


class DeadLetterController(Controller):
    """What services will not try again by themselves."""

    path = "/api/admin/ops/dead-letters"
    tags = ("Operations",)
    guards = (require(Role.SUPERADMIN),)

    @get(summary="List dead letters")
    async def list_letters(
        self,
        database: NamedDependency[Database],
        service: FromQuery[str | None] = None,
        topic: FromQuery[str | None] = None,
        wanted_state: Annotated[LetterState | None, QueryParameter(name="state")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> DeadLetterList:
        """Newest first; `service` gave the message up, `topic` is where it came from. `nextCursor` is null on the last
        page."""
        after = None if cursor is None else decode_cursor(cursor, position_of)
        async with database.connection() as connection:
            rows = await DeadLetterRepository(connection).newest(
                LetterFilter(service, topic, wanted_state), after, limit + 1
            )
        page = rows[:limit]
        next_cursor = cursor_of(page[-1]) if len(rows) > limit else None
        return DeadLetterList([DeadLetterAnswer(**asdict(row)) for row in page], next_cursor)

    @get("/{letter_id:uuid}", summary="Read a dead letter")
    async def read(self, letter_id: FromPath[UUID], database: NamedDependency[Database]) -> WholeDeadLetterAnswer:
        """With headers and payload."""
        async with database.connection() as connection:
            letters = DeadLetterRepository(connection)
            row, letter = await letters.get(letter_id), await letters.message(letter_id)
        if row is None or letter is None:
            raise no_such_letter()
        payload = PayloadAnswer(**asdict(preview(letter.payload)))
        return WholeDeadLetterAnswer(**asdict(row), headers=letter.headers, payload=payload)

    @post("/{letter_id:uuid}/replay", summary="Replay a dead letter", status_code=200)
    async def replay(
        self, request: SignedInRequest, letter_id: FromPath[UUID], dead_letters: NamedDependency[DeadLetterDesk]
    ) -> DeadLetterAnswer:
        """The message goes to the service that gave it up, and to no other, as it was and as a first attempt. Asked
        twice it goes once; 409 where it was dropped."""
        row = await dead_letters.settle(letter_id, Settlement.REPLAYED, request.user.user_id)
        return DeadLetterAnswer(**asdict(row))

    @post("/{letter_id:uuid}/drop", summary="Drop a dead letter", status_code=200)
    async def drop(
        self, request: SignedInRequest, letter_id: FromPath[UUID], dead_letters: NamedDependency[DeadLetterDesk]
    ) -> DeadLetterAnswer:
        """Nothing will be done about the message; 409 where it was replayed."""
        row = await dead_letters.settle(letter_id, Settlement.DROPPED, request.user.user_id)
        return DeadLetterAnswer(**asdict(row))


def cursor_of(row: DeadLetterRow) -> str:
    """Where a list goes on behind this letter."""
    return encode_cursor(f"{row.dead_lettered_at.isoformat()} {row.id}")


def position_of(text: str) -> LetterPosition:
    """Raises ValueError where it is none."""
    time, letter_id = text.rsplit(" ", 1)
    return LetterPosition(_aware(datetime.fromisoformat(time)), UUID(letter_id))


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("without a time zone")
    return time
