"""One topic of one service: takes messages, keeps order per key, commits what is done, holds when it must."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from shared.messaging.errors import InfrastructureUnavailable
from shared.messaging.incoming import Record
from shared.messaging.lanes import KeyedLanes
from shared.messaging.offsets import OffsetLedger
from shared.messaging.topics import Topic
from shared.telemetry import metrics

log = logging.getLogger(__name__)

COMMIT_EVERY_SECONDS = 0.1
COMMIT_SECONDS = 5.0
CANCEL_SECONDS = 5.0
"""How long cancelled work may take to end; the group's rebalance deadline allows for it."""
LONGEST_HOLD_SECONDS = 5.0
QUEUED_PER_SLOT = 4
"""How many messages wait per running one: enough to keep the slots busy, few enough to hand back at a rebalance."""


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]
    """Feeds records to `handle` and owns the commit position of every assigned partition.

    `handle` may raise only InfrastructureUnavailable; the record is then tried again after a growing pause while its
    partition is held. On revoke and at shutdown running work is finished within `drain_seconds` and committed; what was
    only queued is handed back uncommitted. Anything else that `handle` raises ends all work here: going on would
    overtake the message that nobody handled. It comes again after the restart that failing liveness asks for.
    """

    def __init__(
        self,
        topic: Topic,
        handle: Callable[[Record, Topic], Awaitable[object]],
        *,
        concurrency: int,
        drain_seconds: float,
        stuck_after_seconds: float,
        is_batched: Callable[[Record], bool] = lambda _: False,
        most_batched: int = 0,
    ) -> None:
        """`most_batched` more messages are taken where some are batched: those wait for a batch, beside what runs."""
        self.topic = topic
        self._handle = handle
        self._is_batched = is_batched
        self._most_pending = concurrency * (1 + QUEUED_PER_SLOT) + most_batched
        self._few_pending = concurrency + 1 + most_batched // 2
        self._drain_seconds = drain_seconds
        self._stuck_after_seconds = stuck_after_seconds
        self._find_consumer: Callable[[], AIOKafkaConsumer | None] = lambda: None
        self._lanes = KeyedLanes(concurrency, self._crashed)
        self._ledgers: dict[TopicPartition, OffsetLedger] = {}
        self._generation = 0
        self._to_commit = asyncio.Event()
        self._draining = False
        self._holding = 0
        self._progress_at = time.monotonic()
        self._waiting_since: float | None = None
        self._crash: str | None = None
        self._committing = asyncio.Lock()

    # --- taking --------------------------------------------------------------------------------------------------

    def bind(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        """Tell where the Kafka client is found; it exists only while the broker is started."""
        self._find_consumer = consumer

    @property
    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._find_consumer()

    def take(self, record: Record) -> None:
        """Queue one record; returns at once so that the poll loop, and with it the group membership, stays alive.

        Never raises: FastStream would log the exception and read on, past a message that nobody has.
        """
        try:
            self._take(record)
        except Exception as error:
            self._crashed(error)

    def _take(self, record: Record) -> None:
        partition = TopicPartition(record.topic, record.partition)
        ledger = self._ledgers.get(partition)
        if ledger is None or self._draining or self._crash:
            return
        ledger.take(record.offset)
        generation = self._generation
        key = record.key if record.key is not None else (record.partition, record.offset)
        if self._lanes.pending == 0:
            self._progress_at = time.monotonic()
        # What waits for a batch to begin keeps nobody from running.
        self._lanes.add(key, lambda: self._work(record, ledger, generation), needs_slot=not self._is_batched(record))
        metrics.messages_in_flight.labels(self.topic.name).set(self._lanes.pending)
        if self._lanes.pending >= self._most_pending:
            self._pause()

    async def _work(self, record: Record, ledger: OffsetLedger, generation: int) -> None:
        delay_seconds = 0.1
        held = False
        with ExitStack() as holding:
            while generation == self._generation and not self._draining and not self._crash:
                try:
                    await self._handle(record, self.topic)
                except InfrastructureUnavailable as error:
                    if not held:
                        holding.enter_context(self._held())
                        held = True
                    log.warning("holding the partition", extra={"topic": self.topic.name, "detail": str(error)})
                    await asyncio.sleep(delay_seconds)
                    delay_seconds = min(delay_seconds * 2, LONGEST_HOLD_SECONDS)
                    continue
                ledger.finish(record.offset)
                self._progress_at = time.monotonic()
                self._to_commit.set()
                break
        if self._lanes.pending <= self._few_pending:
            self._resume()
        metrics.messages_in_flight.labels(self.topic.name).set(self._lanes.pending - 1)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """From the first refusal of a dependency until it is over: a try in between is still waiting for it."""
        self._holding += 1
        metrics.consumer_held.labels(self.topic.name).set(1)
        try:
            yield
        finally:
            self._holding -= 1
            self._progress_at = time.monotonic()
            if not self._holding:
                metrics.consumer_held.labels(self.topic.name).set(0)

    def _crashed(self, error: BaseException) -> None:
        # The offset stays uncommitted, so the message comes again after the restart that failing liveness asks for.
        self._crash = f"{self.topic.name}: the consumer kernel failed with {error!r}"
        log.critical("the consumer kernel failed", extra={"topic": self.topic.name}, exc_info=error)

    def _pause(self) -> None:
        consumer = self._consumer
        if consumer is not None and self._ledgers:
            consumer.pause(*(set(self._ledgers) & consumer.assignment()))

    def _resume(self) -> None:
        consumer = self._consumer
        if consumer is not None and not self._draining:
            paused = set(self._ledgers) & set(consumer.paused())
            if paused:
                consumer.resume(*paused)

    # --- committing ----------------------------------------------------------------------------------------------

    async def commit_loop(self) -> None:
        """Commit what is done and contiguous, coalesced; ends only by cancellation."""
        while True:
            await self._to_commit.wait()
            await asyncio.sleep(COMMIT_EVERY_SECONDS)
            self._to_commit.clear()
            await self._commit()

    async def _commit(self, of: Mapping[TopicPartition, OffsetLedger] | None = None) -> None:
        """Commit what moved, `of` the partitions held now or of those given."""
        async with self._committing:
            ledgers = dict(self._ledgers if of is None else of)
            offsets = {
                partition: position
                for partition, ledger in ledgers.items()
                if (position := ledger.to_commit()) is not None
            }
            consumer = self._consumer
            if not offsets or consumer is None:
                return
            try:
                # aiokafka looks for the group's coordinator for as long as there is none.
                async with asyncio.timeout(COMMIT_SECONDS):
                    await consumer.commit(offsets)
            except (KafkaError, IllegalStateError, TimeoutError) as error:
                # Not lost: the position stays to be committed, and after a rebalance the inbox knows what was done.
                log.warning("could not commit", extra={"topic": self.topic.name, "detail": repr(error)})
                self._to_commit.set()
                await asyncio.sleep(COMMIT_EVERY_SECONDS)
                return
            for partition, position in offsets.items():
                ledgers[partition].committed(position)

    # --- rebalance and shutdown ----------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what runs, hand back what waits, commit: the next owner starts where this one ended."""
        await self._let_go()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._ledgers = {partition: OffsetLedger() for partition in assigned}
        self._progress_at = time.monotonic()

    async def drain(self) -> None:
        """Take no more, finish what runs, commit. The consumer may be stopped afterwards."""
        self._draining = True
        self._pause()
        await self._let_go()

    async def _let_go(self) -> None:
        # Queued work sees that its generation is over and ends without being done, so its offset stays uncommitted.
        self._generation += 1
        # A record that the poll loop has in hand meanwhile finds no ledger and is left to the next owner.
        ledgers, self._ledgers = self._ledgers, {}
        if not await self._lanes.drained(self._drain_seconds):
            log.warning("work was still running at the drain deadline", extra={"topic": self.topic.name})
            if not await self._lanes.cancel(CANCEL_SECONDS):
                # It can change nothing that is not guarded by the inbox; it costs its slot until it ends.
                log.error("cancelled work goes on", extra={"topic": self.topic.name, "after_seconds": CANCEL_SECONDS})
        metrics.messages_in_flight.labels(self.topic.name).set(self._lanes.pending)
        await self._commit(ledgers)

    # --- being watched -------------------------------------------------------------------------------------------

    def lag_messages(self) -> int:
        """Messages of the assigned partitions that are not done, as far as fetch answers tell."""
        consumer = self._consumer
        if consumer is None:
            return 0
        lag = 0
        for partition in set(self._ledgers) & consumer.assignment():
            ledger = self._ledgers[partition]
            end = consumer.highwater(partition)
            position = ledger.position
            if end is not None and position is not None:
                lag += max(end - position, 0)
        return lag

    def stuck(self) -> str | None:
        """Why this subscription makes no progress, or None. Waiting for a dependency is not being stuck."""
        if self._crash:
            return self._crash
        now = time.monotonic()
        if self._holding or not (self._lanes.pending or self.lag_messages()):
            self._waiting_since = None
            return None
        if self._waiting_since is None:
            self._waiting_since = now
        idle_seconds = now - max(self._progress_at, self._waiting_since)
        if idle_seconds <= self._stuck_after_seconds:
            return None
        return (
            f"{self.topic.name}: {self._lanes.pending} messages taken, lag {self.lag_messages()}, "
            f"none finished for {idle_seconds:.0f} s"
        )

    @property
    def assigned(self) -> bool:
        return bool(self._ledgers)

    def state(self) -> dict[str, Any]:
        """For the readiness page."""
        return {
            "topic": self.topic.name,
            "partitions": sorted(partition.partition for partition in self._ledgers),
            "pending": self._lanes.pending,
            "held": self._holding > 0,
            "lag": self.lag_messages(),
        }
