"""From a Kafka record to a delivery and its event."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from shared.events import Envelope, Event
from shared.messaging import headers as names
from shared.messaging.delivery import Delivery
from shared.messaging.errors import PermanentError
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


def read_delivery(record: Record, consumer: str) -> tuple[Delivery, PermanentError | None]:
    """The delivery, and why its envelope can't be trusted, if so.

    A record that is no CloudEvent gets an id derived from its place in the log, so that it becomes one dead letter
    however often it is delivered.
    """
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
