"""Batches on real PostgreSQL and Kafka: one transaction for many messages, each with the fate it would have alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import asyncpg
import pytest

from shared.db import pool
from shared.db.pool import Database
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import Envelope
from shared.messaging.batching import Batching, Joined
from shared.messaging.delivery import Delivery
from shared.messaging.errors import (
    AlreadyHandled,
    InfrastructureUnavailable,
    PermanentError,
    Postponed,
    TransientError,
)
from shared.messaging.retry import PROCESSING_RETRIES, Postpone, next_attempt
from shared.outbox.outgoing import channel_of
from shared.telemetry.tracing import span
from shared.testing.silence import silenceable
from shared.testing.waiting import eventually
from tests.integration.kernel_world import NUMBERS_BY_CUSTOMER, OrderPlacedV1, PlaceOrderV1, Process, World, placed

pytestmark = pytest.mark.stack


class Orders:
    """Places the orders of a batch; a `refused` one fails it, a `stuck` one waits for longer than it may take."""

    def __init__(
        self, unit_of_work: UnitOfWork, refused: int | None = None, stuck: Collection[int] = (), **seconds: float
    ) -> None:
        self.batching = Batching(unit_of_work, self._place, **seconds)
        self.sizes: list[int] = []
        self._refused = refused
        self._stuck = stuck

    async def _place(self, transaction: Transaction, batch: Sequence[Joined[PlaceOrderV1]]) -> None:
        self.sizes.append(len(batch))
        for joined in batch:
            order = joined.event
            if order.number in self._stuck:
                await transaction.connection.execute("SELECT pg_sleep(60)")
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ($1, $2, 1)", order.customer, order.number
            )
            transaction.publish(OrderPlacedV1(customer=order.customer, number=order.number), trace=joined.trace)
            if order.number == self._refused:
                raise PermanentError("refused", f"order {order.number} is refused")

    async def place(self, deliveries: Sequence[tuple[PlaceOrderV1, Delivery]]) -> list[BaseException | None]:
        return await asyncio.gather(
            *(self.batching.join(order, delivery) for order, delivery in deliveries), return_exceptions=True
        )


def order(number: int, customer: str | None = None) -> tuple[PlaceOrderV1, Delivery]:
    event = PlaceOrderV1(customer=customer or f"c{number}", number=number)
    envelope = Envelope.new(event, "/test/sender")
    return event, Delivery("tests", envelope, event.topic.name, 0, number, b"", envelope.headers(), event.payload(), 1)


async def numbers(world: World) -> list[int]:
    return sorted(row["number"] for row in await world.rows("SELECT number FROM effects"))


async def test_what_waits_at_the_same_time_takes_effect_in_one_transaction(world: World) -> None:
    orders = Orders(world.process().unit_of_work)
    assert await orders.place([order(number) for number in range(30)]) == [None] * 30
    assert await numbers(world) == list(range(30))
    assert len(await world.rows("SELECT DISTINCT xmin::text FROM effects")) == 1
    assert len(await world.rows("SELECT DISTINCT xmin::text FROM inbox")) == 1


async def test_what_was_handled_before_is_left_out_of_a_batch(world: World) -> None:
    orders = Orders(world.process().unit_of_work)
    first, second, third = order(1), order(2), order(3)
    assert await orders.place([second]) == [None]
    ended = await orders.place([first, second, third, third])
    assert [isinstance(error, AlreadyHandled) for error in ended] == [False, True, False, True]
    assert await numbers(world) == [1, 2, 3]
    assert orders.sizes == [1, 2]


async def test_who_cannot_be_handled_fails_alone(world: World) -> None:
    orders = Orders(world.process().unit_of_work, refused=11)
    ended = await orders.place([order(number) for number in range(20)])
    assert [number for number, error in enumerate(ended) if error is not None] == [11]
    assert isinstance(ended[11], PermanentError)
    assert await numbers(world) == [number for number in range(20) if number != 11]
    assert len(await world.rows("SELECT 1 FROM outbox")) == 19


async def test_who_is_late_fails_alone_and_the_others_take_effect(world: World) -> None:
    orders = Orders(world.process().unit_of_work, stuck=(4,), transaction_seconds=2.0, turns_seconds=30)
    ended = await orders.place([order(number) for number in range(8)])
    assert [number for number, error in enumerate(ended) if error is not None] == [4]
    assert isinstance(ended[4], TransientError)
    assert await numbers(world) == [number for number in range(8) if number != 4]
    assert orders.sizes == [8, *[1] * 8]


async def test_who_has_no_turn_in_time_comes_again_without_an_attempt_used_up(world: World) -> None:
    orders = Orders(world.process().unit_of_work, stuck=range(9), transaction_seconds=0.2, turns_seconds=1.0)
    ended = await orders.place([order(number) for number in range(9)])
    kinds = [type(error) for error in ended]
    assert kinds == [TransientError] * kinds.count(TransientError) + [Postponed] * kinds.count(Postponed)
    assert 0 < kinds.count(TransientError) < 9, "some had their turn: all of them would take twice as long"
    decisions = [next_attempt(error, 1, PROCESSING_RETRIES) for error in ended if isinstance(error, Postponed)]
    assert all(isinstance(decision, Postpone) for decision in decisions)
    assert await numbers(world) == []


async def test_who_waits_too_long_for_a_batch_comes_again_and_holds_nobody_up(world: World) -> None:
    orders = Orders(world.process().unit_of_work, stuck=(0,), transaction_seconds=1.5, waited_seconds=1)
    first = asyncio.create_task(orders.place([order(0)]))
    await eventually(lambda: orders.sizes, why="a batch has begun")
    second = asyncio.create_task(orders.place([order(1)]))
    assert [type(error) for error in await first] == [TransientError]
    third = asyncio.create_task(orders.place([order(2)]))
    assert [type(error) for error in await second] == [Postponed]
    assert await third == [None]
    assert await numbers(world) == [2]


async def test_for_whom_nobody_waits_any_more_is_not_tried_again(world: World) -> None:
    orders = Orders(world.process().unit_of_work, stuck=range(9), transaction_seconds=1.0)
    waiting = asyncio.create_task(orders.place([order(number) for number in range(9)]))
    await eventually(lambda: orders.sizes, why="the batch has begun")
    waiting.cancel()
    await asyncio.wait([waiting])
    begun = asyncio.create_task(orders.place([order(10)]))
    assert await begun == [None]
    assert orders.sizes == [9, 1], "a process that stops does not go through what it has taken"


async def test_without_a_database_all_are_told_so_and_none_takes_effect() -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none", application_name="tests")
    orders = Orders(UnitOfWork(away, source="/tests", schema="imaging"))
    ended = await orders.place([order(number) for number in range(3)])
    assert [type(error) for error in ended] == [InfrastructureUnavailable] * 3
    await away.close()


async def test_a_server_that_falls_silent_in_a_batch_costs_nobody_an_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "STATEMENT_SECONDS", 1.0)
    async with silenceable(world.dsn) as (proxied, silence):
        database = Database(proxied, application_name="tests")
        # While it is answered a connection may take its time.
        await database.ping()
        monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 0.5)
        unit_of_work = UnitOfWork(database, source="/tests", schema="imaging")
        orders = Orders(unit_of_work, stuck=range(3), transaction_seconds=0.8)
        placing = asyncio.create_task(orders.place([order(number) for number in range(3)]))
        await eventually(lambda: orders.sizes, why="the batch has begun")
        silence.set()
        assert [type(error) for error in await placing] == [InfrastructureUnavailable] * 3
        await database.close()


async def test_each_message_of_a_batch_goes_on_under_its_own_trace(world: World) -> None:
    orders = Orders(world.process().unit_of_work)
    traces = {number: f"{number + 1:032x}" for number in range(3)}

    async def place(number: int) -> None:
        with span("receive", parent_headers={"traceparent": f"00-{traces[number]}-00000000000000aa-01"}):
            await orders.batching.join(*order(number))

    await asyncio.gather(*(place(number) for number in traces))
    assert orders.sizes == [3]
    rows = await world.rows("SELECT key, traceparent FROM outbox")
    assert {row["key"]: row["traceparent"].split("-")[1] for row in rows} == {
        f"c{number}": trace for number, trace in traces.items()
    }


async def test_batched_messages_keep_their_order_and_no_others_from_running(world: World) -> None:
    process = world.process()
    orders = Orders(process.unit_of_work)
    place_together(process, orders)
    sent = [(f"c{number % 25}", number) for number in range(200)]
    await world.send(*(PlaceOrderV1(customer=customer, number=number) for customer, number in sent))
    await process.start(None)
    await eventually(lambda: placed(world, 200), why="all orders are placed")
    assert max(orders.sizes) > 1, "one may run at a time, and more than one is in a batch"
    for row in await world.rows(NUMBERS_BY_CUSTOMER):
        assert row["numbers"] == sorted(row["numbers"])


def place_together(process: Process, orders: Orders) -> None:
    @process.consumer.on(PlaceOrderV1, concurrency=1, batched=True)
    async def place(command: PlaceOrderV1, delivery: Delivery) -> None:
        await orders.batching.join(command, delivery)


class LeadingRelay:
    def __init__(self, leads: bool) -> None:
        self.leads = leads
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


@pytest.mark.parametrize("leads", [True, False])
async def test_who_has_the_leading_relay_wakes_it_without_a_notify(world: World, leads: bool) -> None:
    unit_of_work = world.process().unit_of_work
    relay = unit_of_work.relay = LeadingRelay(leads)
    heard: list[str] = []
    listener = await asyncpg.connect(world.dsn)
    await listener.add_listener(channel_of("imaging"), lambda *_: heard.append("notified"))
    async with unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="ann", number=1))
        assert relay.woken == 0, "not before the commit"
    async with unit_of_work.begin():
        pass
    await listener.execute("SELECT 1")
    await listener.close()
    assert (relay.woken, len(heard)) == ((1, 0) if leads else (0, 1))
    assert len(await world.rows("SELECT 1 FROM outbox")) == 1
