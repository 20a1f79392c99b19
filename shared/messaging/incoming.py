"""From a Kafka record to its deliveries and their events."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from shared.events import Envelope, Event
from shared.messaging import headers as names
from shared.messaging.delivery import Delivery
from shared.messaging.errors import PermanentError
from shared.messaging.foreign import FOREIGN_READERS, ForeignMessage
from shared.messaging.plain_text import read_text

UNKNOWN_TYPE = "unknown"

LONGEST_ATTRIBUTE_CHARACTERS = 400
"""Source and type are parts of an index entry of the inbox, which is bounded."""

MOST_DIGITS = 9


class Record(Protocol):
    """What this module reads of aiokafka's ConsumerRecord."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def read_headers(record: Record) -> dict[str, str]:
    """Headers as text; what is no UTF-8 is replaced, so only the payload is kept byte by byte."""
    return {read_text(name.encode()): read_text(value) for name, value in record.headers}


def _number(headers: Mapping[str, str], name: str, default: int) -> int:
    text = headers.get(name, "")
    # isdigit alone takes digits for numbers that int refuses, e.g. a superscript two
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else default


def read_deliveries(record: Record, consumer: str) -> list[tuple[Delivery, PermanentError | None]]:
    """The deliveries of a record, each with why it can't be trusted, if so.

    A CloudEvent is one. A foreign record (see `foreign.py`) is as many as it holds messages, none included. What is
    neither gets an id derived from its place in the log, so that it becomes one dead letter however often it is
    delivered.
    """
    delivery, problem = _read(record, consumer)
    read_foreign = FOREIGN_READERS.get(delivery.topic)
    if problem is None or read_foreign is None or any(name.startswith("ce_") for name in delivery.headers):
        return [(delivery, problem)]
    foreign = read_foreign(delivery.payload)
    deliveries: list[tuple[Delivery, PermanentError | None]] = [
        (_translated(delivery, message), None) for message in foreign.messages
    ]
    if foreign.problem is not None:
        deliveries.append((delivery, PermanentError("notification_invalid", foreign.problem)))
    return deliveries


def _translated(delivery: Delivery, message: ForeignMessage) -> Delivery:
    """As if we had sent the message ourselves: so it is retried, and so its dead letter is kept.

    The mark of a replay is left out: of a record that is sent again, what took effect already must not do so twice.
    """
    headers = {**delivery.headers, **message.envelope.headers()}
    headers.pop(names.REPLAY, None)
    return replace(delivery, envelope=message.envelope, key=message.key, payload=message.payload, headers=headers)


def _read(record: Record, consumer: str) -> tuple[Delivery, PermanentError | None]:
    headers = read_headers(record)
    topic = headers.get(names.ORIGIN_TOPIC, record.topic)
    partition = _number(headers, names.ORIGIN_PARTITION, record.partition)
    offset = _number(headers, names.ORIGIN_OFFSET, record.offset)
    problem = None
    try:
        envelope = _envelope(headers)
    except ValueError as error:
        problem = PermanentError("envelope_invalid", str(error))
        place = uuid.uuid5(uuid.NAMESPACE_URL, f"kafka:{topic}/{partition}/{offset}")
        envelope = Envelope(id=place, type=UNKNOWN_TYPE, source=UNKNOWN_TYPE, time=datetime.now(UTC))
    delivery = Delivery(
        consumer=consumer,
        envelope=envelope,
        topic=topic,
        partition=partition,
        offset=offset,
        key=record.key,
        headers=headers,
        payload=record.value or b"",
        attempt=max(_number(headers, names.ATTEMPT, 1), 1),
        postponed=_number(headers, names.POSTPONED, 0),
    )
    return delivery, problem


def _envelope(headers: Mapping[str, str]) -> Envelope:
    envelope = Envelope.from_headers(headers)
    for name, text in (("ce_type", envelope.type), ("ce_source", envelope.source)):
        if len(text) > LONGEST_ATTRIBUTE_CHARACTERS:
            raise ValueError(f"{name} has {len(text)} characters, at most {LONGEST_ATTRIBUTE_CHARACTERS} are accepted")
    return envelope


def read_event(delivery: Delivery, event_type: type[Event]) -> Event:
    """Raises PermanentError naming each field that does not fit."""
    try:
        return event_type.model_validate_json(delivery.payload)
    except ValidationError as error:
        fields = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'payload'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise PermanentError("payload_invalid", f"{delivery.envelope.type} does not validate: {fields}") from error
