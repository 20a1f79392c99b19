"""Messages that nobody meant to send: each becomes one dead letter, none stops the messages behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from secrets import token_hex

import pytest
from aiokafka import AIOKafkaProducer

from shared.events import Envelope, Event
from shared.identifiers import new_id
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, PermanentError, Postponed, TransientError
from shared.messaging.retry import Decision
from shared.messaging.topics import dead_letter_topic
from shared.outbox.outgoing import LARGEST_EVENT_BYTES
from shared.testing.waiting import eventually
from tests.integration.kernel_world import (
    FACTS,
    ORDERS,
    OrderFailedV1,
    PlaceOrderV1,
    World,
    headers_of,
    place_orders,
    placed,
)

pytestmark = pytest.mark.stack

GOOD = PlaceOrderV1(customer="ann", number=2)


def envelope(**changed: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of a good order, some of them replaced."""
    good: dict[str, bytes | None] = {
        name: value.encode() for name, value in Envelope.new(GOOD, "/test/sender").headers().items()
    }
    return list((good | changed).items())


async def send_raw(world: World, value: bytes, headers: list[tuple[str, bytes | None]], key: bytes = b"ann") -> None:
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(ORDERS.name, value, key=key, headers=headers)
    finally:
        await producer.stop()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param(envelope(strange=b"\xff\xfe", ce_id=b"x"), b"ann", id="header that is no UTF-8"),
        pytest.param(envelope(strange=None, ce_id=b"x"), b"ann", id="header without a value"),
        pytest.param(envelope(strange=b"a\x00b", ce_id=b"x"), b"ann", id="NUL in a header"),
        pytest.param(envelope(ce_source=b"a\x00b"), b"ann", id="NUL in the source"),
        pytest.param(envelope(ce_id=b"x"), b"an\x00n", id="NUL in the key"),
        pytest.param(envelope(ce_id=b"x"), b"\xff\x00\xfe", id="key that is no UTF-8"),
        pytest.param(envelope(mb_attempt="²".encode()), b"ann", id="attempt that is no number"),
        pytest.param(envelope(mb_attempt=b"9" * 5000), b"ann", id="attempt of 5000 digits"),
        pytest.param(envelope(ce_source=token_hex(3000).encode()), b"ann", id="source too long for the inbox"),
        pytest.param(envelope(ce_type=b"t\x00" * 3000), b"ann", id="type of 6000 characters"),
    ],
)
async def test_a_strange_envelope_becomes_a_dead_letter_and_blocks_nobody(
    world: World, headers: list[tuple[str, bytes | None]], key: bytes
) -> None:
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    await send_raw(world, b"{}", headers, key)
    await world.send(GOOD)
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert letter.value == b"{}"
    await eventually(lambda: placed(world, 1), why="the order behind it is placed")
    assert process.consumer.stuck() == []


async def test_the_largest_message_a_topic_takes_can_become_a_dead_letter(world: World) -> None:
    """What happened is added to the headers, so a dead letter is larger than its message."""
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    await send_raw(world, b"x" * 1_048_200, envelope())
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert len(letter.value) == 1_048_200


async def test_letters_of_two_sources_with_one_id_are_two(world: World) -> None:
    """CloudEvents names a message by source and id together."""
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    one_id = str(new_id()).encode()
    for source in (b"/one", b"/two"):
        await send_raw(world, b"{}", envelope(ce_id=one_id, ce_source=source))
    await world.read(dead_letter_topic(world.service).name, 2)
    letters = await DeadLetters(world.bootstrap, world.service).list()
    assert {letter.headers["ce_source"] for letter in letters} == {"/one", "/two"}


async def test_replaying_one_letter_twice_takes_effect_once(world: World) -> None:
    """Two operators at once, or a crash between sending the replay and taking the letter away."""
    process = world.process()
    closed = True

    def shop(command: PlaceOrderV1, delivery: Delivery) -> None:
        if closed and command.number == 1:
            raise PermanentError("shop_closed", "the shop is closed")

    place_orders(process, shop)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1))
    await world.read(dead_letter_topic(world.service).name, 1)
    letters = DeadLetters(world.bootstrap, world.service)
    (letter,) = await letters.list()
    closed = False

    async def the_letter_as_it_was(letter_id: str) -> object:
        return letter

    letters.get = the_letter_as_it_was  # type: ignore[assignment, method-assign]
    await letters.replay(letter.id)
    await letters.replay(letter.id)
    await world.send(GOOD)
    await eventually(lambda: world.rows("SELECT 1 FROM effects WHERE number = 2"), why="the order behind it is placed")
    await eventually(lambda: world.rows("SELECT 1 FROM effects WHERE number = 1"), why="the replay is placed")
    await eventually(lambda: all(state["lag"] == 0 for state in process.consumer.state()), why="all is handled")
    await asyncio.sleep(0.5)
    assert len(await world.rows("SELECT 1 FROM effects WHERE number = 1")) == 1


async def test_a_failure_after_the_commit_neither_repeats_nor_reports_the_message(world: World) -> None:
    """What was committed is done, whatever its handler does afterwards."""
    process = world.process()
    told: list[Decision] = []

    @process.consumer.on(PlaceOrderV1, observe_failure=lambda _, decision: told.append(decision))
    async def place_and_stumble(command: PlaceOrderV1, delivery: Delivery) -> None:
        async with process.unit_of_work.begin(delivery) as transaction:
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ($1, $2, 1)", command.customer, command.number
            )
        raise RuntimeError("after the commit")

    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1), GOOD)
    await eventually(lambda: placed(world, 2), why="both are placed")
    await eventually(lambda: all(state["pending"] == 0 for state in process.consumer.state()), why="all is handled")
    assert await world.rows("SELECT topic, key FROM outbox") == []
    assert told == []


async def test_a_handler_that_is_cancelled_from_within_uses_up_an_attempt(world: World) -> None:
    """Awaiting something that somebody cancelled looks like being cancelled; the messages behind it must not vanish."""
    process = world.process()

    def cancelled(command: PlaceOrderV1, delivery: Delivery) -> None:
        if command.number == 1 and delivery.attempt == 1:
            raise asyncio.CancelledError

    place_orders(process, cancelled)
    await process.start(world.relay(process))
    await world.send(*[PlaceOrderV1(customer="ann", number=number) for number in range(5)])
    await eventually(lambda: placed(world, 5), why="all are placed")
    (row,) = await world.rows("SELECT attempt FROM effects WHERE number = 1")
    assert row["attempt"] == 2


@pytest.mark.parametrize(
    ("error", "attempt"),
    [
        (InfrastructureUnavailable("disk", "full"), 1),
        (Postponed("bucket_away", "the bucket does not answer"), 1),
        (TransientError("shop_closed", "the shop is closed"), 2),
    ],
)
async def test_errors_of_parallel_steps_count_as_what_they_are(
    world: World, error: Exception, attempt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task group wraps what its tasks raise."""
    process = world.process()
    failed = False

    async def step() -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise error

    @process.consumer.on(PlaceOrderV1)
    async def in_steps(command: PlaceOrderV1, delivery: Delivery) -> None:
        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
            inner.create_task(step())
            outer.create_task(asyncio.sleep(0))
        async with process.unit_of_work.begin(delivery) as transaction:
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ('ann', 1, $1)", delivery.attempt
            )

    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1))
    await eventually(lambda: placed(world, 1), why="it is placed")
    (row,) = await world.rows("SELECT attempt FROM effects")
    assert row["attempt"] == attempt


def broken(command: PlaceOrderV1, decision: Decision) -> list[Event]:
    raise KeyError("a bug")


def too_long(command: PlaceOrderV1, decision: Decision) -> list[Event]:
    return [OrderFailedV1(customer="ann", code="x" * LARGEST_EVENT_BYTES, attempts=1, final=True)]


@pytest.mark.parametrize("telling", [broken, too_long])
async def test_telling_of_a_failure_may_fail_itself(
    world: World, telling: Callable[[PlaceOrderV1, Decision], list[Event]]
) -> None:
    """A bug in what only tells of a failure must not bring the message back for ever."""
    process = world.process()

    def refuse(command: PlaceOrderV1, delivery: Delivery) -> None:
        if command.number == 1:
            raise PermanentError("refused", "no: \udcff\x00")

    place_orders(process, refuse, on_failure=telling, observe_failure=broken)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1), GOOD)
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert headers_of(letter)["mb_error_code"] == "refused"
    await eventually(lambda: placed(world, 1), why="the order behind it is placed")
    assert process.consumer.stuck() == []


async def test_an_event_that_kafka_would_refuse_fails_the_message_that_makes_it(world: World) -> None:
    process = world.process()

    @process.consumer.on(PlaceOrderV1)
    async def tell_all(command: PlaceOrderV1, delivery: Delivery) -> None:
        async with process.unit_of_work.begin(delivery) as transaction:
            length = LARGEST_EVENT_BYTES if command.number == 1 else 1
            transaction.publish(OrderFailedV1(customer="ann", code="x" * length, attempts=1, final=True))

    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1), GOOD)
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert headers_of(letter)["mb_error_code"] == "event_too_large"
    (record,) = await world.read(FACTS.name, 1)
    assert b'"code":"x"' in record.value
