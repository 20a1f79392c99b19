"""Kafka as a test sees it: what it sends, and what everybody says since."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.events import Envelope, Event
from shared.messaging.topics import Topic
from shared.testing.waiting import eventually


class Bus:
    """Sends messages and reads what follows on some topics, from now on."""

    def __init__(self, bootstrap: str, *topics: Topic) -> None:
        self._bootstrap = bootstrap
        self._topics = [topic.name for topic in topics]
        self._records: list[Any] = []
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bus:
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(*self._topics, bootstrap_servers=self._bootstrap, auto_offset_reset="latest")
        await self._consumer.start()
        await self._consumer.seek_to_end()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def _read(self) -> None:
        async for record in self._consumer:
            self._records.append(record)

    async def send(
        self, event: Event, event_id: UUID | None = None, more_headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        headers = Envelope.new(event, "/test").headers() | dict(more_headers)
        if event_id:
            headers["ce_id"] = str(event_id)
        await self._producer.send_and_wait(
            event.topic.name,
            event.payload(),
            key=event.key().encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )

    def seen(self, key: UUID, event_type: str) -> list[dict[str, Any]]:
        return [
            json.loads(record.value)
            for record in self._records
            if record.key == str(key).encode() and dict(record.headers)["ce_type"].decode() == event_type
        ]

    def told(self, event_type: str) -> list[dict[str, Any]]:
        """Everything of one type, whatever its key."""
        return [
            json.loads(record.value)
            for record in self._records
            if record.value and dict(record.headers).get("ce_type", b"").decode() == event_type
        ]

    def all_dead_letters(self) -> list[Any]:
        return [record.value for record in self._records if record.topic.endswith(".dead-letter")]

    def dead_letters(self, key: UUID) -> list[dict[str, str]]:
        return [
            {name: value.decode() for name, value in record.headers}
            for record in self._records
            if record.topic.endswith(".dead-letter") and dict(record.headers)["mb_origin_key"] == str(key).encode()
        ]

    async def one(self, key: UUID, event_type: str, within_seconds: float = 60) -> dict[str, Any]:
        found = await eventually(
            lambda: self.seen(key, event_type), within_seconds=within_seconds, why=f"{event_type} of {key}"
        )
        assert len(found) == 1
        first: dict[str, Any] = found[0]
        return first
