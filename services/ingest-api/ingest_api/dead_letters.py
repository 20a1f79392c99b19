"""What services gave up: known from their dead-letter topics, and replayed or dropped by their own way back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from ingest_api.dead_letter_retention import TYPES_OF_ITS_END, DeadLetterRetention
from ingest_api.problem_details import Conflict, Problem
from ingest_api.repositories.dead_letters import DeadLetterRepository, DeadLetterRow
from shared.db.unit_of_work import UnitOfWork
from shared.messaging import headers as names
from shared.messaging.consumer import Consumer
from shared.messaging.errors import InfrastructureUnavailable
from shared.messaging.incoming import Record
from shared.messaging.letters import Letter, Settled, Settlement, read_letter, replay_of, settlement_of
from shared.messaging.topics import SERVICES, Topic, dead_letter_topic
from shared.outbox.outgoing import append
from shared.telemetry import metrics

log = logging.getLogger(__name__)

NOTE_SECONDS = 10.0
INTEGER_DIGITS = 9
BIGINT_DIGITS = 18


class DeadLetterDesk:
    """Keeps what the dead-letter topics tell, and settles letters.

    A decision, its record and the messages that carry it out commit together. A replay goes to the retry topic of the
    service that gave the message up, with the claim that the letter gives it: sent twice it takes effect once.
    """

    def __init__(
        self, unit_of_work: UnitOfWork, retention: DeadLetterRetention, services: Sequence[str] = SERVICES
    ) -> None:
        self._unit_of_work = unit_of_work
        self._retention = retention
        self._services = {dead_letter_topic(service).name: service for service in services}

    @property
    def topics(self) -> list[Topic]:
        return [dead_letter_topic(service) for service in self._services.values()]

    def register(self, consumer: Consumer) -> None:
        consumer.on_records("dead-letters", self.topics, self.take)

    async def take(self, record: Record) -> None:
        """Note what a record says; harmless on redelivery. What can't be read is passed over."""
        found = read_letter(record)
        try:
            letter_id = UUID(found.id)
        except ValueError:
            log.error("a dead letter without an id is passed over", extra={"topic": record.topic, "at": record.offset})
            return
        try:
            async with asyncio.timeout(NOTE_SECONDS):
                if isinstance(found, Settled):
                    async with self._unit_of_work.database.connection() as connection:
                        await DeadLetterRepository(connection).note_settled(letter_id, found.how, datetime.now(UTC))
                else:
                    row = row_of(letter_id, found, self._services[record.topic])
                    await self._retention.added(await self._record(row, found))
        except TimeoutError as error:
            # Held and tried again, as while PostgreSQL is away: a slow view must not end the process.
            raise InfrastructureUnavailable("postgresql", f"no answer within {NOTE_SECONDS:g} seconds") from error

    async def _record(self, row: DeadLetterRow, letter: Letter) -> int:
        """How many bytes were added. A letter of a medium that is gone is dropped, as if it had come before that."""
        media_id = None if row.type in TYPES_OF_ITS_END else _id(row.key)
        async with self._unit_of_work.begin() as transaction:
            letters = DeadLetterRepository(transaction.connection)
            if media_id is None or not await letters.is_of_gone_medium(media_id):
                return await letters.record(row, letter.headers, letter.payload)
            transaction.outgoing.append(settlement_of(letter.id, row.service, Settlement.DROPPED))
        metrics.dead_letters_forgotten_total.labels("medium_gone").inc()
        return 0

    async def settle(self, letter_id: UUID, how: Settlement, user_id: UUID) -> DeadLetterRow:
        """Replay or drop a letter, once; Problem 404, or 409 where the other was decided."""
        async with self._unit_of_work.begin() as transaction:
            letters = DeadLetterRepository(transaction.connection)
            state = await letters.lock(letter_id)
            row, letter = await letters.get(letter_id), await letters.message(letter_id)
            if row is None or letter is None:
                raise no_such_letter()
            if state == how.value:
                return row
            if state != "open":
                raise Conflict("letter_settled", f"The letter was {state} already.")
            await letters.settle(row, how, user_id, datetime.now(UTC))
            messages = [settlement_of(letter.id, row.service, how)]
            if how is Settlement.REPLAYED:
                messages.insert(0, replay_of(letter, row.service))
            await append(transaction.connection, messages, self._unit_of_work.schema)
            settled = await letters.get(letter_id)
        assert settled is not None, "the letter's row is gone while it is locked"
        return settled


def row_of(letter_id: UUID, letter: Letter, service: str) -> DeadLetterRow:
    """What a letter's headers tell; what is missing or malformed in them has a value that says so."""
    headers = letter.headers
    return DeadLetterRow(
        id=letter_id,
        service=service,
        state="open",
        topic=headers.get(names.ORIGIN_TOPIC, ""),
        partition=_number(headers.get(names.ORIGIN_PARTITION), -1),
        offset=_number(headers.get(names.ORIGIN_OFFSET), -1, BIGINT_DIGITS),
        key=letter.key,
        type=headers.get("ce_type"),
        event_id=headers.get("ce_id"),
        code=headers.get(names.ERROR_CODE, ""),
        detail=headers.get(names.ERROR_DETAIL, ""),
        attempts=_number(headers.get(names.ATTEMPT), 1),
        trace_id=headers.get(names.TRACE_ID),
        replay_of=_id(headers.get(names.REPLAY_OF)),
        replayed_as=None,
        dead_lettered_at=_time(headers.get(names.DEAD_LETTERED_AT)),
        settled_at=None,
        settled_by=None,
    )


def _number(text: str | None, default: int, digits: int = INTEGER_DIGITS) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= digits else default


def _id(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def _time(text: str | None) -> datetime:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.now(UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def no_such_letter() -> Problem:
    return Problem(404, "not_found", "There is no dead letter with this id; they are forgotten after their time.")
