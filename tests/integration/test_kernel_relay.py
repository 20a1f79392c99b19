"""The outbox relay on real Kafka and PostgreSQL: leadership, order, delays, gaps, pruning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from shared.outbox.relay import Relay, RelaySettings
from shared.testing.waiting import eventually
from tests.integration.kernel_world import FACTS, OrderPlacedV1, World

pytestmark = pytest.mark.stack


async def test_one_relay_leads_and_the_other_takes_over(world: World) -> None:
    first, second = world.process(), world.process()
    relays = [world.relay(first), world.relay(second)]
    await first.start(None)
    await second.start(None)
    leading = asyncio.create_task(relays[0].run())
    await eventually(lambda: _leaders(world, 1), why="one relay leads")
    following = asyncio.create_task(relays[1].run())
    async with first.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="ann", number=1))
    await world.read(FACTS.name, 1)
    assert await _leaders(world, 1)

    # the leader's connection is cut, as by the death of its process
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    async with first.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="ann", number=2))
    assert len(await world.read(FACTS.name, 2, within_seconds=5)) == 2
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _leaders(world: World, expected: int) -> bool:
    rows = await world.rows("SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND granted")
    return int(rows[0]["held"]) == expected


async def test_relay_never_leaves_a_gap_when_transactions_commit_out_of_order(world: World) -> None:
    """A row with a lower id that becomes visible later is published all the same."""
    process = world.process()
    await process.start(world.relay(process))
    held = asyncio.Event()

    async def commit_late() -> None:
        async with process.unit_of_work.begin() as transaction:
            await transaction.connection.execute(
                "INSERT INTO outbox (topic, key, headers, payload) VALUES ($1, 'late', '{}', 'late')", FACTS.name
            )
            await held.wait()

    late = asyncio.create_task(commit_late())
    await asyncio.sleep(0.05)
    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="early", number=1))
    assert (await world.read(FACTS.name, 1))[0].key == b"early"
    held.set()
    await late
    assert {record.key for record in await world.read(FACTS.name, 2)} == {b"early", b"late"}


async def test_delayed_rows_wait_for_their_time_and_overtake_nobody(world: World) -> None:
    from shared.outbox.outgoing import OutgoingMessage, append

    process = world.process()
    await process.start(world.relay(process))
    async with process.unit_of_work.begin() as transaction:
        await append(
            transaction.connection,
            [
                OutgoingMessage(FACTS.name, "k", {"n": "delayed"}, b"1", delay_seconds=0.6),
                OutgoingMessage(FACTS.name, "k", {"n": "now"}, b"2"),
            ],
            "imaging",
        )
    records = await world.read(FACTS.name, 2)
    assert [record.value for record in records] == [b"2", b"1"]
    assert records[1].timestamp - records[0].timestamp >= 500


async def test_a_failed_publish_stops_its_key_and_nobody_elses(world: World) -> None:
    """What follows in the same topic and key must not overtake, however often the first one fails."""
    process = world.process()
    sent: list[tuple[bytes, bytes]] = []
    failures = 3

    async def send(*, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        nonlocal failures
        number = json.loads(value)["number"]
        if key == b"ann" and number == 1 and failures:
            failures -= 1
            raise ConnectionError("no leader")
        sent.append((key, value))

    async with process.unit_of_work.begin() as transaction:
        for number in (1, 2, 3):
            transaction.publish(
                OrderPlacedV1(customer="ann", number=number), OrderPlacedV1(customer="bob", number=number)
            )
    relay = Relay(world.dsn, send, RelaySettings(poll_seconds=0.05), application_name="test")
    running = asyncio.create_task(relay.run())
    await eventually(lambda: len(sent) == 6, why="everything is published")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    numbers = {key: [json.loads(value)["number"] for k, value in sent if k == key] for key in (b"ann", b"bob")}
    assert numbers == {b"ann": [1, 2, 3], b"bob": [1, 2, 3]}
    assert [key for key, _ in sent[:3]] == [b"bob"] * 3


async def test_sent_rows_are_pruned_and_unsent_ones_never(world: World) -> None:
    process = world.process()

    async def send(*, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        if key == b"stays":
            raise ConnectionError("no leader")

    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="goes", number=1), OrderPlacedV1(customer="stays", number=1))
    settings = RelaySettings(poll_seconds=0.05, prune_every_seconds=0.0, outbox_kept_seconds=0.0)
    relay = Relay(world.dsn, send, settings, application_name="test")
    running = asyncio.create_task(relay.run())

    async def only_the_unsent_is_left() -> bool:
        return [row["key"] for row in await world.rows("SELECT key FROM outbox")] == ["stays"]

    try:
        await eventually(only_the_unsent_is_left, why="sent rows are pruned")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
