"""The way into Kafka: for the relay with acknowledgement, for progress facts without a promise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from faststream.kafka import KafkaBroker

from shared.events import Envelope, Event
from shared.telemetry import metrics
from shared.telemetry.tracing import trace_headers

log = logging.getLogger(__name__)

FACT_SECONDS = 1.0
MOST_FACTS = 256
"""How many facts may be on their way to Kafka at once."""


class Publisher:
    """Publishes through the service's one producer (acks=all)."""

    def __init__(self, broker: KafkaBroker, source: str) -> None:
        self._broker = broker
        self._source = source
        self._facts: set[asyncio.Task[None]] = set()

    async def send(self, *, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        """Return when every in-sync replica has the message; any error means that it may or may not be there."""
        await self._broker.publish(value, topic, key=key, headers=dict(headers))

    def tell(self, event: Event) -> None:
        """Publish a fact that may be lost, without waiting: it is lost if Kafka does not take it within a second.

        Only for progress; outcomes go through the outbox.
        """
        if len(self._facts) >= MOST_FACTS:
            self._lose(event, "too many are on their way")
            return
        headers = {**Envelope.new(event, self._source).headers(), **trace_headers()}
        # Tasks begin in the order in which they were made, so the facts of one key keep theirs.
        task = asyncio.create_task(self._tell(event, headers))
        self._facts.add(task)
        task.add_done_callback(self._facts.discard)

    async def _tell(self, event: Event, headers: Mapping[str, str]) -> None:
        try:
            async with asyncio.timeout(FACT_SECONDS):
                await self.send(
                    topic=event.topic.name, key=event.key().encode(), value=event.payload(), headers=headers
                )
        except Exception as error:
            self._lose(event, repr(error))

    def _lose(self, event: Event, why: str) -> None:
        # Losing it is the agreed price; the counter tells how often it is paid.
        metrics.facts_lost_total.labels(event.event_type).inc()
        log.debug("fact lost", extra={"type": event.event_type, "detail": why})
