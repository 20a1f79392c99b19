"""From a delivery to its handler, and from the handler's outcome to what follows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opentelemetry.trace import SpanKind

from shared.db.unit_of_work import UnitOfWork, claim, is_claimed
from shared.events import EVENT_TYPES, Event
from shared.messaging.delivery import Delivery
from shared.messaging.errors import (
    AlreadyHandled,
    InfrastructureUnavailable,
    MessageError,
    PermanentError,
    TransientError,
    decisive,
)
from shared.messaging.failures import claim_suffix, follow_up
from shared.messaging.incoming import UNKNOWN_TYPE, Record, read_deliveries, read_event
from shared.messaging.plain_text import read_text
from shared.messaging.retry import DeadLetter, Decision, Postpone, Retry, RetryPolicy, next_attempt
from shared.messaging.topics import Topic
from shared.outbox.outgoing import OutgoingMessage, append
from shared.telemetry import metrics
from shared.telemetry.tracing import span

log = logging.getLogger(__name__)

Outcome = Literal["done", "duplicate", "skipped", "retried", "postponed", "dead_lettered"]
HandlerFunction = Callable[[Any, Delivery], Awaitable[None]]
FailureEvents = Callable[[Any, Decision], Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Handler:
    """What a service does with one type of message.

    `on_failure` is a pure function from the event and the decision to the events that tell of it; they are published in
    the transaction that schedules the retry or writes the dead letter. `observe_failure` is called once when that has
    committed, to count it.
    """

    event_type: type[Event]
    function: HandlerFunction
    retry: RetryPolicy
    on_failure: FailureEvents | None
    observe_failure: Callable[[Any, Decision], None] | None
    concurrency: int
    deadline_seconds: float
    batched: bool = False

    @property
    def topic(self) -> Topic:
        return self.event_type.topic


class Dispatcher:
    """Handles one record at a time; nothing is acknowledged here, the caller does that when `dispatch` has returned.

    Raises only InfrastructureUnavailable: then nothing took effect, and the caller tries the same record again.
    """

    def __init__(self, service: str, unit_of_work: UnitOfWork, handlers: Mapping[str, Handler]) -> None:
        self._service = service
        self._unit_of_work = unit_of_work
        self._handlers = handlers

    def is_batched(self, record: Record) -> bool:
        """Whether the record's handler takes it with others that wait; anything strange is not."""
        named = next((value for name, value in record.headers if name == "ce_type"), None)
        handler = self._handlers.get(read_text(named))
        return handler is not None and handler.batched

    async def dispatch(self, record: Record, topic: Topic) -> list[Outcome]:
        """What became of each message of the record.

        A foreign record may hold several: where one of them can't be handled now, all are tried again, and the inbox
        stops those that took effect.
        """
        deliveries = read_deliveries(record, self._service)
        if not deliveries:
            metrics.messages_handled_total.labels(record.topic, UNKNOWN_TYPE, "skipped").inc()
        return [await self._dispatch_one(delivery, problem, record, topic) for delivery, problem in deliveries]

    async def _dispatch_one(
        self, delivery: Delivery, problem: PermanentError | None, record: Record, topic: Topic
    ) -> Outcome:
        started_at = time.perf_counter()
        with span(
            f"process {delivery.envelope.type}",
            SpanKind.CONSUMER,
            {
                "messaging.system": "kafka",
                "messaging.destination.name": record.topic,
                "messaging.kafka.offset": record.offset,
                "messaging.message.id": str(delivery.envelope.id),
                "mediabus.attempt": delivery.attempt,
            },
            parent_headers=delivery.headers,
        ):
            outcome = await self._handle(delivery, problem, topic)
        # A type that nobody declared is a sender's word, of which there is no end: it may not name a time series.
        known_type = delivery.envelope.type if delivery.envelope.type in EVENT_TYPES else UNKNOWN_TYPE
        metrics.messages_handled_total.labels(record.topic, known_type, outcome).inc()
        if outcome != "skipped":
            metrics.message_handling_seconds.labels(record.topic, known_type).observe(time.perf_counter() - started_at)
        return outcome

    async def _handle(self, delivery: Delivery, problem: PermanentError | None, topic: Topic) -> Outcome:
        if problem is not None:
            return await self._fail(delivery, None, None, problem)
        handler = self._handlers.get(delivery.envelope.type)
        if handler is None:
            if topic.kind == "events":
                return "skipped"
            unknown = PermanentError(
                "type_unknown",
                f"{self._service} has no handler for {delivery.envelope.type} on {delivery.topic}; "
                f"it knows {', '.join(sorted(self._handlers))}",
            )
            return await self._fail(delivery, None, None, unknown)
        event: Event | None = None
        try:
            event = read_event(delivery, handler.event_type)
            await self._call(handler, event, delivery)
        except Exception as error:
            reason = decisive(error)
            if isinstance(reason, AlreadyHandled):
                return "duplicate"
            if isinstance(reason, InfrastructureUnavailable):
                raise reason from error
            return await self._fail(delivery, handler, event, reason)
        return "done"

    async def _call(self, handler: Handler, event: Event, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(handler.deadline_seconds) as deadline:
                await handler.function(event, delivery)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise TransientError("handler_deadline", f"not done within {handler.deadline_seconds:g} seconds") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this task: the handler awaited something that was. Passed on, it would end the lane.
            raise TransientError("handler_cancelled", "something that the handler waited for was cancelled") from error

    async def _fail(
        self, delivery: Delivery, handler: Handler | None, event: Event | None, error: Exception
    ) -> Outcome:
        policy = handler.retry if handler else RetryPolicy()
        decision = next_attempt(error, delivery.attempt, policy, postponed=delivery.postponed)
        told: Sequence[OutgoingMessage] = ()
        if handler is not None and event is not None:
            told = _told(handler, event, decision, self._unit_of_work.source)
        outcome = await self._record(delivery, decision, told)
        if handler is not None and event is not None and outcome != "duplicate":
            _observe(handler, event, decision)
        log.log(
            logging.ERROR if isinstance(decision, DeadLetter) else logging.WARNING,
            "message failed",
            extra={
                "outcome": outcome,
                "type": delivery.envelope.type,
                "event_id": str(delivery.envelope.id),
                "topic": delivery.topic,
                "offset": delivery.offset,
                "attempt": delivery.attempt,
                "code": decision.failure.code,
                "detail": decision.failure.detail,
                "delay_seconds": getattr(decision, "delay_seconds", None),
            },
            exc_info=None if isinstance(error, MessageError) else error,
        )
        return outcome

    async def _record(self, delivery: Delivery, decision: Decision, told: Sequence[OutgoingMessage]) -> Outcome:
        """Write the follow-up and what tells of it in one transaction, once however often the message is delivered.

        A message that took effect is done, whatever failed after its commit.
        """
        work = self._unit_of_work
        async with work.database.connection() as connection, connection.transaction():
            if await is_claimed(connection, delivery) or not await claim(connection, delivery, claim_suffix(decision)):
                return "duplicate"
            await append(connection, [follow_up(delivery, decision, self._service), *told], work.schema)
        match decision:
            case Retry():
                return "retried"
            case Postpone():
                return "postponed"
            case DeadLetter():
                return "dead_lettered"


def _told(handler: Handler, event: Event, decision: Decision, source: str) -> Sequence[OutgoingMessage]:
    """What tells of a failure. A bug in there costs the telling: it must not bring the message back for ever."""
    if handler.on_failure is None:
        return ()
    try:
        return [OutgoingMessage.of(told, source) for told in handler.on_failure(event, decision)]
    except Exception:
        log.exception("a failure could not be told of", extra={"type": event.event_type})
        return ()


def _observe(handler: Handler, event: Event, decision: Decision) -> None:
    if handler.observe_failure is None:
        return
    try:
        handler.observe_failure(event, decision)
    except Exception:
        log.exception("a failure could not be counted", extra={"type": event.event_type})
