"""Deliveries on real Kafka and PostgreSQL: effects once, order per key, commits, back-pressure, rebalance."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiokafka import AIOKafkaConsumer

from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.subscription import QUEUED_PER_SLOT
from shared.testing.waiting import eventually
from tests.integration.kernel_world import (
    FACTS,
    NUMBERS_BY_CUSTOMER,
    ORDERS,
    OrderPlacedV1,
    PlaceOrderV1,
    World,
    headers_of,
    place_orders,
    placed,
)

pytestmark = pytest.mark.stack


async def test_effect_and_event_leave_together(world: World) -> None:
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    await world.send(PlaceOrderV1(customer="ann", number=1))

    (record,) = await world.read(FACTS.name, 1)
    assert json.loads(record.value) == {"customer": "ann", "number": 1}
    assert record.key == b"ann"
    headers = headers_of(record)
    assert headers["ce_type"] == "test.order-placed.v1"
    assert headers["ce_specversion"] == "1.0"
    assert headers["content-type"] == "application/json"
    assert [tuple(row) for row in await world.rows("SELECT customer, number, attempt FROM effects")] == [("ann", 1, 1)]


async def test_duplicate_deliveries_take_effect_once(world: World) -> None:
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    event_id = new_id()
    command = PlaceOrderV1(customer="ann", number=1)
    last = PlaceOrderV1(customer="ann", number=2)
    await world.send(*[command] * 20, last, ids=[event_id] * 20 + [new_id()])

    await eventually(lambda: world.rows("SELECT 1 FROM effects WHERE number = 2"), why="the last order is placed")
    assert len(await world.rows("SELECT 1 FROM effects")) == 2
    assert len(await world.read(FACTS.name, 2)) == 2


async def test_rolled_back_transaction_publishes_nothing(world: World) -> None:
    process = world.process()
    await process.start(world.relay(process))

    async def change_ones_mind() -> None:
        async with process.unit_of_work.begin() as transaction:
            transaction.publish(OrderPlacedV1(customer="ann", number=1))
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await change_ones_mind()
    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="ann", number=2))
    (record,) = await world.read(FACTS.name, 1)
    assert json.loads(record.value)["number"] == 2


async def test_order_per_key_with_parallel_keys(world: World) -> None:
    process = world.process()
    running: set[str] = set()
    most = 0

    @process.consumer.on(PlaceOrderV1, concurrency=6)
    async def place_order(command: PlaceOrderV1, delivery: Delivery) -> None:
        nonlocal most
        assert command.customer not in running, "two messages of one key ran at once"
        running.add(command.customer)
        most = max(most, len(running))
        await asyncio.sleep(0.001 * (command.number % 4))
        async with process.unit_of_work.begin(delivery) as transaction:
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ($1, $2, 1)", command.customer, command.number
            )
        running.discard(command.customer)

    await process.start(None)
    customers = [f"customer-{n}" for n in range(20)]
    await world.send(*[PlaceOrderV1(customer=c, number=number) for number in range(15) for c in customers])
    await eventually(lambda: placed(world, 300), within_seconds=60, why="all orders are placed")
    rows = await world.rows(NUMBERS_BY_CUSTOMER)
    assert {row["customer"]: row["numbers"] for row in rows} == {c: list(range(15)) for c in customers}
    assert 2 <= most <= 6


async def test_only_what_is_done_is_committed(world: World) -> None:
    """A process that vanishes while its slowest message runs has committed nothing past it."""
    first = world.process()
    blocked = asyncio.Event()
    done: set[int] = set()

    @first.consumer.on(PlaceOrderV1, concurrency=8, deadline_seconds=60)
    async def slow_first(command: PlaceOrderV1, delivery: Delivery) -> None:
        if command.number == 0:
            await blocked.wait()
        done.add(command.number)

    await first.start(None)
    await world.send(*[PlaceOrderV1(customer=f"c{n}", number=n) for n in range(40)])
    await eventually(lambda: len(done) == 39, why="all but the blocked one are done")
    await asyncio.sleep(0.3)  # several commit intervals: what would be committed wrongly is committed now

    admin = AIOKafkaConsumer(bootstrap_servers=world.bootstrap, group_id=f"{world.service}.{ORDERS.name}")
    await admin.start()
    try:
        from aiokafka import TopicPartition

        record = next(r for r in await world.read(ORDERS.name, 40) if json.loads(r.value)["number"] == 0)
        committed = await admin.committed(TopicPartition(ORDERS.name, record.partition))
        assert committed is None or committed <= record.offset
    finally:
        await admin.stop()
        blocked.set()


async def test_second_replica_takes_over_without_loss_or_double_effect(world: World) -> None:
    first, second = world.process(), world.process()
    for process in (first, second):
        place_orders(process)
    await first.start(world.relay(first))
    commands = [PlaceOrderV1(customer=f"c{n % 30}", number=n) for n in range(600)]
    sending = asyncio.create_task(world.send(*commands))
    await eventually(lambda: world.rows("SELECT 1 FROM effects LIMIT 1"))
    await second.start(world.relay(second))
    await sending
    await eventually(lambda: second.consumer.state()[0]["partitions"], why="the second replica got partitions")
    await first.stop()
    world.processes.remove(first)
    await eventually(lambda: placed(world, 600), within_seconds=60, why="every order is placed once")
    rows = await world.rows(NUMBERS_BY_CUSTOMER)
    for row in rows:
        assert row["numbers"] == sorted(row["numbers"]), row["customer"]


async def test_a_new_group_reads_from_the_beginning(world: World) -> None:
    """FastStream's default is the end of the log: commands sent before the first start would be lost."""
    await world.send(PlaceOrderV1(customer="ann", number=1))
    process = world.process()
    place_orders(process)
    await process.start(None)
    await eventually(lambda: placed(world, 1), why="the early order is placed")


async def test_a_handler_longer_than_the_poll_interval_keeps_its_partition(world: World) -> None:
    """The poll loop never waits for handlers, so a slow one neither leaves the group nor is done twice."""
    process = world.process(max_poll_interval_seconds=1.0)
    started: list[int] = []

    @process.consumer.on(PlaceOrderV1, concurrency=1, deadline_seconds=30)
    async def slow(command: PlaceOrderV1, delivery: Delivery) -> None:
        started.append(command.number)
        await asyncio.sleep(4)
        async with process.unit_of_work.begin(delivery) as transaction:
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ($1, $2, 1)", command.customer, command.number
            )

    await process.start(None)
    # more than fit in hand, so that the consumer is paused meanwhile as well
    await world.send(*[PlaceOrderV1(customer="ann", number=number) for number in range(2)])
    await eventually(lambda: placed(world, 2), within_seconds=60, why="both are done")
    assert started == [0, 1]


async def test_back_pressure_bounds_what_is_in_hand(world: World) -> None:
    process = world.process()
    release = asyncio.Event()
    most = 0

    @process.consumer.on(PlaceOrderV1, concurrency=2, deadline_seconds=60)
    async def wait(command: PlaceOrderV1, delivery: Delivery) -> None:
        nonlocal most
        await release.wait()
        most = max(most, process.consumer.state()[0]["pending"])
        async with process.unit_of_work.begin(delivery) as transaction:
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ($1, $2, 1)", command.customer, command.number
            )

    await process.start(None)
    await world.send(*[PlaceOrderV1(customer=f"c{number}", number=number) for number in range(200)])
    await eventually(lambda: process.consumer.state()[0]["pending"] >= 10, why="hands are full")
    release.set()
    await eventually(lambda: placed(world, 200), why="all are done")
    assert most <= 2 * (1 + QUEUED_PER_SLOT)
