"""Kafka clients that do not get to start, or are cut off while they do, leave nothing open."""

from __future__ import annotations

import asyncio
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from reconciler.errors import NotComparable
from reconciler.freshness import Freshness
from shared.messaging import client_start
from shared.messaging.broker import kafka_broker
from shared.messaging.client_start import start
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.topics import IMAGE_EVENTS

NOBODY = "127.0.0.1:9"


class Client:
    """Starts when it is let go on."""

    def __init__(self) -> None:
        self.is_asking = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = ""

    async def start(self) -> None:
        self.is_asking.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ended = "cut off"
            raise
        self.ended = "started"


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> list[AIOKafkaConsumer]:
    """Those that were made, kept so that nothing but a stop closes them."""
    made: list[AIOKafkaConsumer] = []
    make = AIOKafkaConsumer.__init__

    def remember(consumer: AIOKafkaConsumer, *arguments: Any, **named: Any) -> None:
        made.append(consumer)
        make(consumer, *arguments, **named)

    monkeypatch.setattr(AIOKafkaConsumer, "__init__", remember)
    return made


async def test_who_is_cancelled_waits_until_the_client_has_started() -> None:
    client = Client()
    starting = asyncio.create_task(start(client))
    await client.is_asking.wait()
    starting.cancel()
    asyncio.get_running_loop().call_soon(client.go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert client.ended == "started"


async def test_who_is_cancelled_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_start, "CUT_OFF_SECONDS", 0.01)
    client = Client()
    starting = asyncio.create_task(start(client))
    await client.is_asking.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert client.ended == "cut off"


async def test_a_start_that_fails_says_so() -> None:
    class Refused:
        async def start(self) -> None:
            raise KafkaConnectionError("nobody is there")

    with pytest.raises(KafkaConnectionError):
        await start(Refused())


async def test_a_broker_that_cannot_be_reached_closes_its_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[AIOKafkaProducer] = []

    def remembered(**named: Any) -> AIOKafkaProducer:
        made.append(AIOKafkaProducer(**named))
        return made[-1]

    monkeypatch.setattr(aiokafka, "AIOKafkaProducer", remembered)
    broker = kafka_broker(NOBODY, client_id="tests", drain_seconds=1.0, logger=None)
    with pytest.raises(KafkaConnectionError):
        await broker.start()
    assert [producer._closed for producer in made] == [True]


async def test_dead_letters_that_cannot_be_read_close_their_consumer(consumers: list[AIOKafkaConsumer]) -> None:
    with pytest.raises(KafkaConnectionError):
        await DeadLetters(NOBODY, "image-processor").list()
    assert [consumer._closed for consumer in consumers] == [True]


async def test_freshness_that_nobody_can_tell_closes_its_consumer(consumers: list[AIOKafkaConsumer]) -> None:
    with pytest.raises(NotComparable):
        await Freshness(NOBODY, "reconciler").wait([IMAGE_EVENTS], 30.0)
    assert [consumer._closed for consumer in consumers] == [True]


async def test_freshness_that_is_not_told_in_time_closes_its_consumer(
    consumers: list[AIOKafkaConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: AIOKafkaConsumer) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(client_start, "CUT_OFF_SECONDS", 0.01)
    monkeypatch.setattr(AIOKafkaConsumer, "start", never)
    with pytest.raises(NotComparable):
        await Freshness(NOBODY, "reconciler").wait([IMAGE_EVENTS], 0.01)
    assert [consumer._closed for consumer in consumers] == [True]
