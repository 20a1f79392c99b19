"""CloudEvents 1.0 in Kafka binary mode: attributes in headers, the payload as the value.

The binding is the CloudEvents "Kafka Protocol Binding" §3.2: header names carry the prefix `ce_`, the payload's media
type travels as `content-type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.identifiers import new_id
from shared.messaging.topics import Topic

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"


class Event(BaseModel):
    """A fact in the past tense, or a command: a frozen payload with its type, topic and key.

    Subclasses name `type` (with a version) and `topic` in the class line and implement `key()`. A version only ever
    gains optional fields, so unknown fields of a newer producer are ignored here.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: ClassVar[str]
    topic: ClassVar[Topic]

    def __init_subclass__(cls, *, type: str = "", topic: Topic | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not type or topic is None:
            return
        cls.event_type = type
        cls.topic = topic
        if type in EVENT_TYPES:
            raise TypeError(f"event type {type} is declared twice: {EVENT_TYPES[type].__name__}, {cls.__name__}")
        EVENT_TYPES[type] = cls

    def key(self) -> str:
        """The aggregate's id: events with the same key stay in order."""
        raise NotImplementedError

    def payload(self) -> bytes:
        """The event as JSON."""
        return self.model_dump_json().encode()


EVENT_TYPES: dict[str, type[Event]] = {}
"""Every declared event by its type name; filled as the modules of `shared.events` are imported."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The CloudEvents attributes of one message."""

    id: UUID
    type: str
    source: str
    time: datetime

    @classmethod
    def new(cls, event: Event, source: str) -> Envelope:
        return cls(id=new_id(), type=event.event_type, source=source, time=datetime.now(UTC))

    def headers(self) -> dict[str, str]:
        return {
            "ce_id": str(self.id),
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_time": self.time.isoformat(),
            "ce_specversion": SPEC_VERSION,
            "content-type": CONTENT_TYPE,
        }

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Envelope:
        """Raises ValueError naming the header that is missing or malformed."""
        missing = [name for name in ("ce_id", "ce_type", "ce_source", "ce_specversion") if not headers.get(name)]
        if missing:
            raise ValueError(f"not a CloudEvent in binary mode: header {', '.join(missing)} is missing")
        if headers["ce_specversion"] != SPEC_VERSION:
            raise ValueError(f"ce_specversion is {headers['ce_specversion']!r}, expected {SPEC_VERSION!r}")
        try:
            event_id = UUID(headers["ce_id"])
        except ValueError:
            raise ValueError(f"ce_id is {headers['ce_id']!r}, expected a UUID") from None
        time_text = headers.get("ce_time")
        try:
            time = datetime.fromisoformat(time_text) if time_text else datetime.now(UTC)
        except ValueError:
            raise ValueError(f"ce_time is {time_text!r}, expected an RFC 3339 time") from None
        return cls(id=event_id, type=headers["ce_type"], source=headers["ce_source"], time=time)
