"""A message on its way out: what the outbox stores and the relay publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import Envelope, Event
from shared.messaging.errors import PermanentError
from shared.telemetry.tracing import current_traceparent, current_tracestate

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

CHANNEL = "outbox"
"""NOTIFY channels are per database, so the schema's name is appended."""

LARGEST_EVENT_BYTES = 1_040_000
"""Key, headers and payload. A broker takes batches of 1 048 588 bytes unless told otherwise, and the relay adds a trace
and the protocol its framing. Retries and dead letters hold an event and what happened to it, and have larger topics."""


class EventTooLarge(PermanentError):
    """The broker would refuse the event for ever, and with it everything behind it under its key."""

    def __init__(self, event_type: str, size_bytes: int) -> None:
        detail = (
            f"{event_type} has {size_bytes} bytes and may have {LARGEST_EVENT_BYTES}: "
            "split what it tells over several events, or store it and tell where it is"
        )
        super().__init__("event_too_large", detail)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One row of the outbox. `delay_seconds` None means at once."""

    topic: str
    key: str
    headers: Mapping[str, str]
    payload: bytes
    delay_seconds: float | None = None

    @classmethod
    def of(cls, event: Event, source: str, trace: Mapping[str, str] | None = None) -> OutgoingMessage:
        """Raises EventTooLarge, so that the event is refused where it is made and not by the broker."""
        headers = Envelope.new(event, source).headers() | dict(trace or {})
        message = cls(event.topic.name, event.key(), headers, event.payload())
        if (size_bytes := message.size_bytes) > LARGEST_EVENT_BYTES:
            raise EventTooLarge(event.event_type, size_bytes)
        return message

    @property
    def size_bytes(self) -> int:
        headers = sum(len(name.encode()) + len(value.encode()) for name, value in self.headers.items())
        return len(self.key.encode()) + headers + len(self.payload)


def channel_of(schema: str) -> str:
    return f"{CHANNEL}_{schema}"


async def append(
    connection: PooledConnection[Any], messages: Sequence[OutgoingMessage], schema: str, *, notifies: bool = True
) -> None:
    """Write messages into the outbox of the open transaction, in order, and wake the relay when it commits.

    Without `notifies` the caller wakes it.
    """
    traceparent, tracestate = current_traceparent(), current_tracestate()
    await connection.execute(
        QUERIES["append"],
        [message.topic for message in messages],
        [message.key for message in messages],
        [json.dumps(dict(message.headers)) for message in messages],
        [message.payload for message in messages],
        [message.headers.get("traceparent", traceparent) for message in messages],
        [message.headers.get("tracestate", tracestate) for message in messages],
        [message.delay_seconds for message in messages],
        channel_of(schema) if notifies else None,
    )
