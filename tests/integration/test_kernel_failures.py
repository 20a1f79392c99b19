"""Failures on real Kafka and PostgreSQL: retries, dead letters, held partitions, what makes a process not live."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiokafka import AIOKafkaProducer

from shared.events import Envelope, Event
from shared.messaging.dead_letters import DeadLetters, LetterNotFound
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, PermanentError, Postponed, TransientError
from shared.messaging.letters import Letter
from shared.messaging.retry import DeadLetter, Retry, RetryPolicy
from shared.messaging.topics import dead_letter_topic
from shared.testing.waiting import eventually
from tests.integration.kernel_world import (
    FACTS,
    ORDERS,
    OrderFailedV1,
    OrderPlacedV1,
    PlaceOrderV1,
    World,
    headers_of,
    place_orders,
    placed,
)

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{not json", "payload_invalid"),
        (b'{"customer": "ann"}', "payload_invalid"),
        (b"", "payload_invalid"),
    ],
)
async def test_poison_payload_becomes_a_dead_letter_and_blocks_nobody(world: World, payload: bytes, code: str) -> None:
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1), raw=payload)
    await world.send(PlaceOrderV1(customer="ann", number=2))

    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    headers = headers_of(letter)
    assert (letter.value or b"") == payload
    assert headers["mb_origin_key"] == "ann"
    assert headers["mb_error_code"] == code
    assert headers["mb_origin_topic"] == ORDERS.name
    assert headers["mb_origin_offset"] == "0"
    assert headers["mb_attempt"] == "1"
    assert len(headers["mb_trace_id"]) == 32
    await eventually(lambda: world.rows("SELECT 1 FROM effects WHERE number = 2"), why="the next order is placed")


async def test_dead_letters_are_listed_replayed_and_dropped(world: World) -> None:
    process = world.process()
    shop_open = False

    def shop(command: PlaceOrderV1, delivery: Delivery) -> None:
        if not shop_open:
            raise PermanentError("shop_closed", "the shop is closed for good")

    place_orders(process, shop)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1), PlaceOrderV1(customer="bob", number=2))
    letters = DeadLetters(world.bootstrap, world.service)
    await eventually(lambda: _letters(letters, 2), why="two dead letters")
    found = {letter.key: letter for letter in await letters.list()}
    assert found["ann"].summary()["code"] == "shop_closed"
    assert json.loads(found["ann"].payload) == {"customer": "ann", "number": 1}

    # while nothing has changed, a replay ends as a dead letter again and is not taken for a duplicate
    await letters.replay(found["ann"].id)
    again = await eventually(lambda: _replaced(letters, found["ann"].id), why="the letter is back under a new id")

    shop_open = True
    assert again.summary()["replayOf"] == found["ann"].id
    await letters.replay(again.id)
    await letters.drop(found["bob"].id)
    await eventually(lambda: _letters(letters, 0), why="no dead letter is left")
    await eventually(lambda: world.rows("SELECT 1 FROM effects"), why="the replayed order is placed")
    assert [row["customer"] for row in await world.rows("SELECT customer FROM effects")] == ["ann"]
    with pytest.raises(LetterNotFound, match="has no dead letter"):
        await letters.replay(again.id)


async def _letters(letters: DeadLetters, expected: int) -> bool:
    return len(await letters.list()) == expected


async def _replaced(letters: DeadLetters, old_id: str) -> Letter | None:
    found = [letter for letter in await letters.list() if letter.key == "ann"]
    return found[0] if len(found) == 1 and found[0].id != old_id else None


async def test_message_that_is_no_cloud_event_becomes_one_dead_letter(world: World) -> None:
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap)
    await producer.start()
    await producer.send_and_wait(ORDERS.name, b"hello", key=b"ann")
    await producer.stop()
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert letter.value == b"hello"
    assert headers_of(letter)["mb_error_code"] == "envelope_invalid"
    assert "ce_id" in headers_of(letter)["mb_error_detail"]


async def test_transient_failure_is_retried_with_growing_delays_without_blocking(world: World) -> None:
    process = world.process()
    seen: list[tuple[int, float]] = []

    def fail_twice(command: PlaceOrderV1, delivery: Delivery) -> None:
        if command.number == 1:
            seen.append((delivery.attempt, asyncio.get_running_loop().time()))
            if delivery.attempt < 3:
                raise TransientError("shop_closed", "the shop is closed")

    place_orders(process, fail_twice)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1), PlaceOrderV1(customer="ann", number=2))

    await eventually(lambda: world.rows("SELECT 1 FROM effects WHERE number = 1"), why="the third attempt succeeded")
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    first_gap = seen[1][1] - seen[0][1]
    second_gap = seen[2][1] - seen[1][1]
    assert first_gap >= 0.2
    assert second_gap >= 0.4
    # the message behind it did not wait for the retries
    order = [row["number"] for row in await world.rows("SELECT number FROM effects ORDER BY position")]
    assert order == [2, 1]


async def test_exhausted_attempts_end_as_a_dead_letter_with_the_story_told(world: World) -> None:
    process = world.process()

    def on_failure(command: PlaceOrderV1, decision: Retry | DeadLetter) -> list[Event]:
        return [
            OrderFailedV1(
                customer=command.customer,
                code=decision.failure.code,
                attempts=decision.failure.attempt,
                final=isinstance(decision, DeadLetter),
            )
        ]

    def always_fail(command: PlaceOrderV1, delivery: Delivery) -> None:
        raise ValueError("a bug")

    place_orders(process, always_fail, on_failure=on_failure)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1))

    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert headers_of(letter)["mb_attempt"] == "3"
    assert headers_of(letter)["mb_error_code"] == "unexpected_error"
    facts = [json.loads(record.value) for record in await world.read(FACTS.name, 3)]
    assert [(fact["attempts"], fact["final"]) for fact in facts] == [(1, False), (2, False), (3, True)]


async def test_postponed_message_uses_up_no_attempt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.messaging.retry.POSTPONEMENT", RetryPolicy(first_delay_seconds=0.05, jitter=0))
    process = world.process()
    attempts: list[int] = []

    def bucket_away(command: PlaceOrderV1, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) < 6:
            raise Postponed("bucket_away", "the bucket does not answer")

    place_orders(process, bucket_away)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1))
    await eventually(lambda: world.rows("SELECT 1 FROM effects"), why="placed once the bucket is back")
    assert attempts == [1] * 6


async def test_absent_infrastructure_holds_the_partition_and_uses_up_no_attempt(world: World) -> None:
    process = world.process()
    refusals = 0

    def database_away(command: PlaceOrderV1, delivery: Delivery) -> None:
        nonlocal refusals
        assert delivery.attempt == 1
        if refusals < 5:
            refusals += 1
            raise InfrastructureUnavailable("postgresql", "gone")

    place_orders(process, database_away, concurrency=1)
    await process.start(world.relay(process))
    await world.send(*[PlaceOrderV1(customer="ann", number=number) for number in range(3)])
    await eventually(lambda: placed(world, 3), why="all orders are placed")
    assert [row["number"] for row in await world.rows("SELECT number FROM effects ORDER BY position")] == [0, 1, 2]
    assert refusals == 5


async def test_a_hanging_handler_makes_the_process_not_live(world: World) -> None:
    """Kafka answers pings all the while: only progress tells."""
    process = world.process(stuck_margin_seconds=-29.0)
    hang = asyncio.Event()

    @process.consumer.on(PlaceOrderV1, concurrency=1, deadline_seconds=30)
    async def hanging(command: PlaceOrderV1, delivery: Delivery) -> None:
        await hang.wait()

    await process.start(None)
    assert process.consumer.stuck() == []
    await world.send(PlaceOrderV1(customer="ann", number=1))
    (reason,) = await eventually(process.consumer.stuck, why="it is found out")
    assert ORDERS.name in reason
    hang.set()
    await eventually(lambda: process.consumer.stuck() == [], why="it is live again")


async def test_a_handler_beyond_its_deadline_uses_up_an_attempt(world: World) -> None:
    process = world.process()

    @process.consumer.on(PlaceOrderV1, retry=RetryPolicy(attempts=1), deadline_seconds=0.2)
    async def endless(command: PlaceOrderV1, delivery: Delivery) -> None:
        await asyncio.Event().wait()

    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1))
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert headers_of(letter)["mb_error_code"] == "handler_deadline"


async def test_unknown_types_are_dead_letters_on_command_topics_and_passed_over_on_event_topics(world: World) -> None:
    process = world.process()
    seen: list[int] = []

    @process.consumer.on(OrderPlacedV1)
    async def placed(event: OrderPlacedV1, delivery: Delivery) -> None:
        seen.append(event.number)

    place_orders(process)
    await process.start(world.relay(process))
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap)
    await producer.start()
    headers = Envelope.new(PlaceOrderV1(customer="ann", number=1), "/test").headers() | {
        "ce_type": "test.unheard-of.v9"
    }
    encoded = [(name, value.encode()) for name, value in headers.items()]
    await producer.send_and_wait(ORDERS.name, b"{}", key=b"ann", headers=encoded)
    await producer.send_and_wait(FACTS.name, b"{}", key=b"ann", headers=encoded)
    await producer.stop()
    await world.send(OrderPlacedV1(customer="ann", number=7))
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert headers_of(letter)["mb_error_code"] == "type_unknown"
    assert headers_of(letter)["mb_origin_topic"] == ORDERS.name
    await eventually(lambda: seen == [7], why="the fact behind it is handled")
