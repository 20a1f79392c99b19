"""One message as a handler sees it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from shared.events import Envelope
from shared.messaging import headers as names


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a message came from, which attempt this is, and what names it in the inbox.

    `topic`, `partition` and `offset` are those of the first delivery, also on a retry or a replay.
    """

    consumer: str
    envelope: Envelope
    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: Mapping[str, str]
    payload: bytes
    attempt: int
    postponed: int = 0

    @property
    def claim(self) -> str:
        """The event's id; a replay by a person is a claim of its own."""
        replay = self.headers.get(names.REPLAY)
        return f"{self.envelope.id}#{replay}" if replay else str(self.envelope.id)

    @property
    def is_replay(self) -> bool:
        """Whether a person sent it back after it had been given up."""
        return names.REPLAY in self.headers

    @property
    def letter_id(self) -> str:
        """What its dead letter is called: who gave up which event, in one name."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.consumer}\n{self.envelope.source}\n{self.claim}"))
