"""A dead letter as it lies in its topic, and the messages that replay it or settle it. Without I/O."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from shared.messaging import headers as names
from shared.messaging.incoming import Record, read_headers
from shared.messaging.plain_text import read_text
from shared.messaging.topics import dead_letter_topic, retry_topic
from shared.outbox.outgoing import OutgoingMessage


class Settlement(StrEnum):
    """What a person decided about a letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `payload` are the original bytes."""

    id: str
    headers: dict[str, str]
    payload: bytes

    @property
    def key(self) -> str:
        return self.headers.get(names.ORIGIN_KEY, "")

    def summary(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.headers.get("ce_type"),
            "key": self.key,
            "deadLetteredAt": self.headers.get(names.DEAD_LETTERED_AT),
            "attempts": int(self.headers.get(names.ATTEMPT, "1")),
            "code": self.headers.get(names.ERROR_CODE),
            "detail": self.headers.get(names.ERROR_DETAIL),
            "origin": f"{self.headers.get(names.ORIGIN_TOPIC)}/{self.headers.get(names.ORIGIN_PARTITION)}"
            f"/{self.headers.get(names.ORIGIN_OFFSET)}",
            "replayOf": self.headers.get(names.REPLAY_OF),
            "traceId": self.headers.get(names.TRACE_ID),
        }


@dataclass(frozen=True, slots=True)
class Settled:
    """The mark under a letter's id that takes it away; `how` is None where only a tombstone says so."""

    id: str
    how: Settlement | None


def read_letter(record: Record) -> Letter | Settled:
    """What a record of a dead-letter topic says."""
    letter_id, headers = read_text(record.key), read_headers(record)
    settled = headers.get(names.SETTLED)
    if settled is not None:
        return Settled(letter_id, Settlement(settled) if settled in set(Settlement) else None)
    if record.value is None:
        return Settled(letter_id, None)
    return Letter(letter_id, headers, record.value)


def replay_of(letter: Letter, service: str) -> OutgoingMessage:
    """The original message once more, as a first attempt, to the service that gave it up.

    It goes to the service's own retry topic: other readers of the original topic do not see it twice. The replay has a
    claim of its own in the inbox, derived from the letter: sent twice, by two people or after a crash that left the
    letter, it takes effect once. Given up again, it is a letter of its own that names this one.
    """
    kept = {name: value for name, value in letter.headers.items() if name not in names.KERNEL_HEADERS}
    origin = {
        name: letter.headers[name]
        for name in (names.ORIGIN_TOPIC, names.ORIGIN_PARTITION, names.ORIGIN_OFFSET)
        if name in letter.headers
    }
    replay = {names.REPLAY: uuid.uuid5(uuid.NAMESPACE_URL, letter.id).hex, names.REPLAY_OF: letter.id}
    return OutgoingMessage(retry_topic(service).name, letter.key, {**kept, **origin, **replay}, letter.payload)


def settlement_of(letter_id: str, service: str, how: Settlement) -> OutgoingMessage:
    """The mark that takes the letter's place in the compacted topic."""
    headers = {names.SETTLED: how.value, names.SETTLED_AT: datetime.now(UTC).isoformat()}
    return OutgoingMessage(dead_letter_topic(service).name, letter_id, headers, b"")
