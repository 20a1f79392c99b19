"""Questions to other services and their answers, matched by id; nothing of it is durable."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from shared.events import AnswerV1, Envelope, Event
from shared.identifiers import new_id
from shared.messaging.client_start import start
from shared.messaging.errors import InfrastructureUnavailable
from shared.messaging.incoming import Record, read_headers
from shared.messaging.publisher import Publisher
from shared.messaging.topics import ANSWERS
from shared.telemetry.tracing import trace_headers

log = logging.getLogger(__name__)

FIRST_RECONNECT_SECONDS = 0.2
LONGEST_RECONNECT_SECONDS = 2.0
REQUEST_TIMEOUT_MS = 10_000
POLL_MS = 500
SEND_SECONDS = 2.0
STOP_SECONDS = 2.0


class Question(Protocol):
    """Makes the event that asks, once its id and deadline are known."""

    def __call__(self, *, question_id: UUID, answer_by: datetime) -> Event: ...


class Answers:
    """Asks, and reads the topic of answers from its end.

    Every replica reads all of it without a group, so an answer finds the request that waits wherever that is. Questions
    are asked only while answers can be heard.
    """

    def __init__(self, bootstrap_servers: str, publisher: Publisher, source: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._publisher = publisher
        self._source = source
        self._waiting: dict[UUID, asyncio.Future[AnswerV1]] = {}
        self._hearing = False

    async def ask(self, question: Question, within_seconds: float, question_id: UUID | None = None) -> AnswerV1 | None:
        """The answer; None at the deadline. Raises InfrastructureUnavailable when nothing can be asked now.

        `question_id` is given by who needs to know it before; it is asked with once.
        """
        if not self._hearing:
            raise InfrastructureUnavailable("kafka", "answers can't be heard yet")
        question_id = question_id or new_id()
        answered: asyncio.Future[AnswerV1] = asyncio.get_running_loop().create_future()
        self._waiting[question_id] = answered
        try:
            async with asyncio.timeout(within_seconds):
                answer_by = datetime.now(UTC) + timedelta(seconds=within_seconds)
                await self._send(question(question_id=question_id, answer_by=answer_by))
                return await answered
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(question_id, None)

    async def _send(self, event: Event) -> None:
        headers = {**Envelope.new(event, self._source).headers(), **trace_headers()}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._publisher.send(
                    topic=event.topic.name, key=event.key().encode(), value=event.payload(), headers=headers
                )
        except (KafkaError, OSError, TimeoutError) as error:
            raise InfrastructureUnavailable("kafka", f"the question could not be asked: {error!r}") from error

    def take(self, answer: AnswerV1) -> None:
        """Hand an answer to who waits for it; others' answers and late ones are nobody's here."""
        waiting = self._waiting.get(answer.question_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def state(self) -> dict[str, Any]:
        """For the details of readiness."""
        return {"hearing": self._hearing, "waiting": len(self._waiting)}

    async def run(self) -> None:
        """Read answers; ends only by cancellation. What was said while the connection was lost is lost."""
        delay_seconds = FIRST_RECONNECT_SECONDS
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap_servers,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            try:
                await start(consumer)
                await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("answers wait for Kafka", extra={"detail": repr(error)})
            finally:
                self._hearing = False
                with suppress(KafkaError, OSError, TimeoutError):
                    async with asyncio.timeout(STOP_SECONDS):
                        await consumer.stop()
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, LONGEST_RECONNECT_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        partitions = [TopicPartition(ANSWERS.name, number) for number in range(ANSWERS.partitions)]
        consumer.assign(partitions)
        async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
            await consumer.seek_to_end(*partitions)
            # Where the end is gets settled here: an answer to the first question lies behind it.
            for partition in partitions:
                await consumer.position(partition)
        self._hearing = True
        while True:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._read(record)

    def _read(self, record: Record) -> None:
        if read_headers(record).get("ce_type") != AnswerV1.event_type or record.value is None:
            return
        try:
            self.take(AnswerV1.model_validate_json(record.value))
        except ValidationError as error:
            # Whoever waits for it learns at the deadline that there was no answer.
            log.error("an answer can't be read", extra={"detail": str(error)})
