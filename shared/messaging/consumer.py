"""Handlers by topic, and the FastStream broker that feeds them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER

from shared.db.unit_of_work import UnitOfWork
from shared.events import Event
from shared.messaging.batching import MOST_MESSAGES
from shared.messaging.client_start import start
from shared.messaging.delivery import Delivery
from shared.messaging.dispatcher import Dispatcher, FailureEvents, Handler, HandlerFunction
from shared.messaging.incoming import Record
from shared.messaging.retry import PROCESSING_RETRIES, Decision, RetryPolicy
from shared.messaging.subscription import Subscription
from shared.messaging.topics import Topic, retry_topic
from shared.telemetry import metrics

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)
RecordFunction = Callable[[Record], Awaitable[None]]

LONGEST_RECONNECT_SECONDS = 5.0
RECORD_SECONDS = 30.0
BATCHED_SECONDS = 200.0
"""A batched message is in a batch after 120 seconds, or comes again later; and a batch is over in 60."""
REBALANCE_MARGIN_SECONDS = 10.0


class Consumer:
    """What one service consumes: one subscription per topic, and one for its own delayed retries.

    Every subscriber takes raw bytes with manual acknowledgement; validation, retries and commits are the kernel's, so a
    malformed message becomes a dead letter and nothing is committed before it took effect.
    """

    def __init__(
        self,
        service: str,
        unit_of_work: UnitOfWork,
        broker: KafkaBroker,
        *,
        drain_seconds: float,
        session_timeout_seconds: float,
        max_poll_interval_seconds: float = 300.0,
        stuck_margin_seconds: float = 30.0,
    ) -> None:
        """`stuck_margin_seconds` beyond its longest deadline a handler counts as stuck, and the process as not live."""
        self._service = service
        self._unit_of_work = unit_of_work
        self._broker = broker
        self._drain_seconds = drain_seconds
        self._session_timeout_seconds = session_timeout_seconds
        self._max_poll_interval_seconds = max_poll_interval_seconds
        self._stuck_margin_seconds = stuck_margin_seconds
        self._handlers: dict[str, Handler] = {}
        self._record_functions: dict[str, tuple[Sequence[Topic], RecordFunction, int]] = {}
        self._subscriptions: list[Subscription] = []
        self._committers: list[asyncio.Task[None]] = []
        self.connected = False

    def on(
        self,
        event_type: type[E],
        *,
        retry: RetryPolicy = PROCESSING_RETRIES,
        on_failure: FailureEvents | None = None,
        observe_failure: Callable[[E, Decision], None] | None = None,
        concurrency: int = 8,
        deadline_seconds: float = 30.0,
        batched: bool = False,
    ) -> Callable[[Callable[[E, Delivery], Awaitable[None]]], Callable[[E, Delivery], Awaitable[None]]]:
        """Register the decorated function for one type of message.

        `concurrency` bounds how many messages of the topic run at once (the largest of its handlers counts); messages
        of one key never run at once. After `deadline_seconds` an attempt is cancelled and counts as failed. A `batched`
        handler hands its message to a `Batching` and waits there with others, beyond `concurrency`, and for at least
        BATCHED_SECONDS.
        """

        def register(function: Callable[[E, Delivery], Awaitable[None]]) -> Callable[[E, Delivery], Awaitable[None]]:
            name = event_type.event_type
            if name in self._handlers:
                raise ValueError(f"{self._service} handles {name} twice; one type has one handler")
            handler_function: HandlerFunction = function
            self._handlers[name] = Handler(
                event_type,
                handler_function,
                retry,
                on_failure,
                observe_failure,
                concurrency,
                max(deadline_seconds, BATCHED_SECONDS) if batched else deadline_seconds,
                batched,
            )
            return function

        return register

    def on_records(self, name: str, topics: Sequence[Topic], function: RecordFunction, *, concurrency: int = 4) -> None:
        """Have a function take records as they are, in one group called `name` for all the topics.

        There is no envelope to read, no inbox, no retry and no dead letter: the function is harmless when it is called
        again with the same record, and raises InfrastructureUnavailable alone.
        """
        if name in self._record_functions:
            raise ValueError(f"{self._service} takes the records of {name} twice")
        self._record_functions[name] = (topics, function, concurrency)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return self._handlers

    def subscribe(self) -> None:
        """Declare the subscribers on the broker; called once, when all handlers are registered."""
        dispatcher = Dispatcher(self._service, self._unit_of_work, self._handlers)
        topics = {handler.topic.name: handler.topic for handler in self._handlers.values()}
        if topics:
            own_retries = retry_topic(self._service)
            topics[own_retries.name] = own_retries
        for topic in topics.values():
            handlers = [h for h in self._handlers.values() if h.topic == topic or topic.kind == "retry"]
            self._subscribe_one(
                [topic],
                Subscription(
                    topic,
                    dispatcher.dispatch,
                    concurrency=max(handler.concurrency for handler in handlers),
                    drain_seconds=self._drain_seconds,
                    stuck_after_seconds=max(h.deadline_seconds for h in handlers) + self._stuck_margin_seconds,
                    is_batched=dispatcher.is_batched,
                    most_batched=MOST_MESSAGES if any(handler.batched for handler in handlers) else 0,
                ),
                ", ".join(sorted(handler.event_type.event_type for handler in handlers)),
            )
        for name, (of, function, concurrency) in self._record_functions.items():
            self._subscribe_one(of, self._subscription_of_records(name, function, concurrency), "records as they are")

    def _subscription_of_records(self, name: str, function: RecordFunction, concurrency: int) -> Subscription:
        async def take(record: Record, topic: Topic) -> None:
            await function(record)

        return Subscription(
            Topic(name, "events"),
            take,
            concurrency=concurrency,
            drain_seconds=self._drain_seconds,
            stuck_after_seconds=RECORD_SECONDS + self._stuck_margin_seconds,
        )

    def _subscribe_one(self, topics: Sequence[Topic], subscription: Subscription, what: str) -> None:
        name = subscription.topic.name
        session_ms = int(self._session_timeout_seconds * 1000)
        subscriber = self._broker.subscriber(
            *(topic.name for topic in topics),
            group_id=f"{self._service}.{name}",
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=_leave_unparsed,
            decoder=_leave_undecoded,
            listener=subscription,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=max(session_ms // 6, 100),
            max_poll_interval_ms=int(self._max_poll_interval_seconds * 1000),
            # Revoking waits for running work, so the group must wait longer than the drain takes.
            rebalance_timeout_ms=int((self._drain_seconds + REBALANCE_MARGIN_SECONDS) * 1000),
            fetch_max_wait_ms=500,
            title=name,
            description=f"{self._service}: {what}",
        )

        # Any: FastStream makes a pydantic model of the signature for its document, and a protocol fits none.
        async def take(record: Any) -> None:
            subscription.take(record)

        take.__name__ = f"take_{name.replace('.', '_').replace('-', '_')}"
        subscriber(take)
        self._subscriptions.append(subscription)
        subscription.bind(lambda: subscriber.consumer)

    async def start(self) -> None:
        """Connect and begin to consume; keeps trying while Kafka is away."""
        delay_seconds = 0.2
        while True:
            try:
                await start(self._broker)
            except (KafkaError, OSError) as error:
                log.warning("waiting for Kafka", extra={"detail": repr(error)})
                with suppress(KafkaError, OSError):
                    await self._broker.stop()
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 2, LONGEST_RECONNECT_SECONDS)
            else:
                break
        self._committers = [asyncio.create_task(s.commit_loop()) for s in self._subscriptions]
        self.connected = True
        log.info("consuming", extra={"topics": [s.topic.name for s in self._subscriptions]})

    async def drain(self) -> None:
        """Take no more messages, finish and commit what runs."""
        await asyncio.gather(*(subscription.drain() for subscription in self._subscriptions))
        for committer in self._committers:
            committer.cancel()
        await asyncio.gather(*self._committers, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Connected; which partitions are assigned is the group's affair, a spare replica has none and is ready too."""
        return self.connected

    def stuck(self) -> list[str]:
        reasons = [reason for subscription in self._subscriptions if (reason := subscription.stuck())]
        for subscription, committer in zip(self._subscriptions, self._committers, strict=False):
            if committer.done() and not committer.cancelled():
                reasons.append(f"{subscription.topic.name}: commits have ended with {committer.exception()!r}")
        return reasons

    def state(self) -> list[dict[str, Any]]:
        for subscription in self._subscriptions:
            metrics.consumer_lag_messages.labels(subscription.topic.name).set(subscription.lag_messages())
        return [subscription.state() for subscription in self._subscriptions]


def _leave_unparsed(record: Any) -> KafkaMessage:
    """FastStream's own parser fails on a header without a value or that is no UTF-8, logs that, and reads on."""
    return KafkaMessage(raw_message=record, body=b"", consumer=FAKE_CONSUMER)


async def _leave_undecoded(message: KafkaMessage) -> Record:
    # Never a batch: the subscribers are declared without one.
    return cast(Record, message.raw_message)
