"""Dead letters for operators: list, show, replay, drop.

A service's dead-letter topic holds what it gave up, each under its own id; a mark under the same id takes it away.
`python -m shared.messaging.dead_letters list image-processor` and so on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.messaging.broker import LARGEST_REQUEST_BYTES, REQUEST_TIMEOUT_MS
from shared.messaging.client_start import start
from shared.messaging.letters import Letter, Settled, Settlement, read_letter, replay_of, settlement_of
from shared.messaging.topics import SERVICES, dead_letter_topic
from shared.outbox.outgoing import OutgoingMessage

READ_SECONDS = 30.0


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
        """Send the original message to the service again, as a first attempt, and take the letter away."""
        letter = await self.get(letter_id)
        await self._send(replay_of(letter, self._service), settlement_of(letter.id, self._service, Settlement.REPLAYED))
        return letter

    async def drop(self, letter_id: str) -> Letter:
        """Take a letter away for good."""
        letter = await self.get(letter_id)
        await self._send(settlement_of(letter.id, self._service, Settlement.DROPPED))
        return letter

    async def _send(self, *messages: OutgoingMessage) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_request_size=LARGEST_REQUEST_BYTES,
        )
        try:
            await start(producer)
            for message in messages:
                headers = [(name, text.encode()) for name, text in message.headers.items()]
                await producer.send_and_wait(message.topic, message.payload, key=message.key.encode(), headers=headers)
        finally:
            await producer.stop()

    async def _read(self, apply: Callable[[Any], None]) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers, auto_offset_reset="earliest")
        try:
            await start(consumer)
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
    found = read_letter(record)
    if isinstance(found, Settled):
        letters.pop(found.id, None)
    else:
        letters[found.id] = found


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
