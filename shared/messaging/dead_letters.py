"""Dead letters for operators: list, show, replay, drop.

A service's dead-letter topic holds what it gave up, each under its own id; a tombstone under the same id takes it away.
`python -m shared.messaging.dead_letters list image-processor` and so on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.messaging import headers as names
from shared.messaging.broker import LARGEST_REQUEST_BYTES, REQUEST_TIMEOUT_MS
from shared.messaging.plain_text import read_text
from shared.messaging.topics import SERVICES, dead_letter_topic, retry_topic

READ_SECONDS = 30.0


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
            "traceId": self.headers.get(names.TRACE_ID),
        }


class LetterNotFound(Exception):
    """There is no such dead letter, or it was replayed or dropped already."""


class DeadLetters:
    """The dead letters of one service, read from its topic as it stands."""

    def __init__(self, bootstrap_servers: str, service: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._service = service
        self._topic = dead_letter_topic(service).name

    async def list(self) -> list[Letter]:
        """Every letter that was neither replayed nor dropped, oldest first."""
        letters: dict[str, Letter] = {}
        async with asyncio.timeout(READ_SECONDS):
            await self._read(lambda record: _apply(letters, record))
        return list(letters.values())

    async def get(self, letter_id: str) -> Letter:
        """Raises LetterNotFound."""
        for letter in await self.list():
            if letter.id == letter_id:
                return letter
        raise LetterNotFound(f"{self._service} has no dead letter {letter_id}; list shows those it has")

    async def replay(self, letter_id: str) -> Letter:
        """Send the original message to the service again, as a first attempt, and take the letter away.

        It goes to the service's own retry topic: other readers of the original topic do not see it twice. The replay
        has a claim of its own in the inbox, derived from the letter: sent twice, by two people or after a crash that
        left the letter, it takes effect once.
        """
        letter = await self.get(letter_id)
        kept = {name: value for name, value in letter.headers.items() if name not in names.KERNEL_HEADERS}
        origin = {
            name: letter.headers[name]
            for name in (names.ORIGIN_TOPIC, names.ORIGIN_PARTITION, names.ORIGIN_OFFSET)
            if name in letter.headers
        }
        headers = {**kept, **origin, names.REPLAY: uuid.uuid5(uuid.NAMESPACE_URL, letter.id).hex}
        await self._send(
            (retry_topic(self._service).name, letter.key.encode(), letter.payload, headers),
            (self._topic, letter.id.encode(), None, {}),
        )
        return letter

    async def drop(self, letter_id: str) -> Letter:
        """Take a letter away for good."""
        letter = await self.get(letter_id)
        await self._send((self._topic, letter.id.encode(), None, {}))
        return letter

    async def _send(self, *messages: tuple[str, bytes, bytes | None, dict[str, str]]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_request_size=LARGEST_REQUEST_BYTES,
        )
        await producer.start()
        try:
            for topic, key, value, headers in messages:
                encoded = [(name, text.encode()) for name, text in headers.items()]
                await producer.send_and_wait(topic, value, key=key, headers=encoded)
        finally:
            await producer.stop()

    async def _read(self, apply: Callable[[Any], None]) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(self._topic, n) for n in range(dead_letter_topic(self._service).partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    for records in (await consumer.getmany(partition, timeout_ms=500)).values():
                        for record in records:
                            apply(record)
        finally:
            await consumer.stop()


def _apply(letters: dict[str, Letter], record: Any) -> None:
    letter_id = read_text(record.key)
    if record.value is None:
        letters.pop(letter_id, None)
        return
    headers = {name: read_text(value) for name, value in record.headers}
    letters[letter_id] = Letter(letter_id, headers, record.value)


class DeadLetterSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MEDIABUS_")

    kafka_bootstrap: str


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.messaging.dead_letters", description=__doc__)
    parser.add_argument("action", choices=["list", "show", "replay", "drop"])
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("ids", nargs="*", help="ids of letters; for replay and drop also: all")
    arguments = parser.parse_args()
    letters = DeadLetters(DeadLetterSettings().kafka_bootstrap, arguments.service)
    if arguments.action == "list":
        for letter in await letters.list():
            print(json.dumps(letter.summary(), ensure_ascii=False))
        return
    if not arguments.ids:
        parser.error(f"{arguments.action} needs the ids of letters; list shows them")
    ids = [letter.id for letter in await letters.list()] if arguments.ids == ["all"] else arguments.ids
    for letter_id in ids:
        try:
            match arguments.action:
                case "show":
                    letter = await letters.get(letter_id)
                    shown = {**letter.summary(), "headers": letter.headers}
                    shown["payload"] = letter.payload.decode("utf-8", "backslashreplace")
                    print(json.dumps(shown, indent=2, ensure_ascii=False))
                case "replay":
                    print(f"replayed {(await letters.replay(letter_id)).id}")
                case "drop":
                    print(f"dropped {(await letters.drop(letter_id)).id}")
        except LetterNotFound as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    asyncio.run(_main())
