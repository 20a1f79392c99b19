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


class Publisher:
    """Publishes through the service's one idempotent producer (acks=all)."""

    def __init__(self, broker: KafkaBroker, source: str) -> None:
        self._broker = broker
        self._source = source

    async def send(self, *, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        """Return when every in-sync replica has the message; any error means that it may or may not be there."""
        await self._broker.publish(value, topic, key=key, headers=dict(headers))

    async def tell(self, event: Event) -> bool:
        """Publish a fact that may be lost: False if Kafka did not take it within a second.

        Only for progress; outcomes go through the outbox.
        """
        headers = {**Envelope.new(event, self._source).headers(), **trace_headers()}
        try:
            async with asyncio.timeout(FACT_SECONDS):
                await self.send(
                    topic=event.topic.name, key=event.key().encode(), value=event.payload(), headers=headers
                )
        except Exception as error:
            # Losing it is the agreed price; the counter tells how often it is paid.
            metrics.facts_lost_total.labels(event.event_type).inc()
            log.debug("fact lost", extra={"type": event.event_type, "detail": repr(error)})
            return False
        return True
