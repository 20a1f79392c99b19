"""Records that others write into our topics in their own form: read as the messages that we would have sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.events import Envelope
from shared.events.bucket_notifications import read_notification
from shared.messaging.topics import BUCKET_EVENTS


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """One message out of a foreign record."""

    envelope: Envelope
    key: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """What a record holds: any number of messages, and why the rest of it could not be read, if so."""

    messages: tuple[ForeignMessage, ...]
    problem: str | None


def read_bucket_record(value: bytes) -> ForeignRecord:
    """MinIO's Kafka target: the body that its webhook target posts, without headers."""
    notification = read_notification(value, "kafka")
    messages = tuple(
        ForeignMessage(notice.envelope, notice.event.key().encode(), notice.event.payload())
        for notice in notification.notices
    )
    return ForeignRecord(messages, notification.problem)


FOREIGN_READERS: Final[Mapping[str, Callable[[bytes], ForeignRecord]]] = MappingProxyType(
    {BUCKET_EVENTS.name: read_bucket_record}
)
"""By topic, who reads what comes without an envelope; elsewhere such a record is an error. A reader never raises."""
