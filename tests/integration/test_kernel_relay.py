"""The outbox relay on real Kafka and PostgreSQL: leadership, order, delays, gaps, pruning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from secrets import token_bytes

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from opentelemetry.trace import SpanKind

from shared.messaging.topics import ensure_topics
from shared.outbox.outgoing import LARGEST_EVENT_BYTES, EventTooLarge, OutgoingMessage, append
from shared.outbox.pruning import Pruning
from shared.outbox.relay import Relay, RelaySettings, Sender
from shared.telemetry import metrics
from shared.telemetry.tracing import span
from shared.testing.silence import silenceable
from shared.testing.waiting import eventually
from tests.integration.kernel_world import FACTS, OrderFailedV1, OrderPlacedV1, World, configure

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
    assert len(await world.read(FACTS.name, 2)) == 2
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _leaders(world: World, expected: int) -> bool:
    rows = await world.rows(
        "SELECT count(*) AS held FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    return int(rows[0]["held"]) == expected


async def test_relay_never_leaves_a_gap_when_transactions_commit_out_of_order(world: World) -> None:
    """A row with a lower id that becomes visible later is published all the same."""
    process = world.process()
    await process.start(world.relay(process))
    written, held = asyncio.Event(), asyncio.Event()

    async def commit_late() -> None:
        async with process.unit_of_work.begin() as transaction:
            await transaction.connection.execute(
                "INSERT INTO outbox (topic, key, headers, payload) VALUES ($1, 'late', '{}', 'late')", FACTS.name
            )
            written.set()
            await held.wait()

    late = asyncio.create_task(commit_late())
    async with asyncio.timeout(20):
        await written.wait()
    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="early", number=1))
    assert (await world.read(FACTS.name, 1))[0].key == b"early"
    held.set()
    await late
    assert {record.key for record in await world.read(FACTS.name, 2)} == {b"early", b"late"}


async def test_a_relay_that_is_woken_in_its_process_needs_no_notification(world: World) -> None:
    process = world.process()
    sent: list[bytes] = []

    async def send(*, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        sent.append(key)

    relay = Relay(world.dsn, send, RelaySettings(poll_seconds=60.0), application_name="test")
    running = asyncio.create_task(relay.run())
    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="told", number=1))

    async def is_marked() -> bool:
        async with process.unit_of_work.database.connection() as connection:
            return bool(await connection.fetchval("SELECT bool_and(sent_at IS NOT NULL) FROM outbox"))

    # From here on the relay waits: nothing but waking it lets it look again.
    await eventually(is_marked, why="the first row is marked")
    assert relay.leads
    async with process.unit_of_work.database.connection() as connection:
        await connection.execute(
            "INSERT INTO outbox (topic, key, headers, payload) VALUES ($1, 'silent', '{}', 'silent')", FACTS.name
        )
    relay.wake()
    await eventually(lambda: sent == [b"told", b"silent"], why="the row is published")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not relay.leads


async def test_delayed_rows_wait_for_their_time_and_overtake_nobody(world: World) -> None:
    process = world.process()
    relay = world.relay(process)
    await process.start(relay)
    # One that leads later would find both rows due.
    await eventually(lambda: relay.leads, why="the relay leads")
    async with process.unit_of_work.begin() as transaction:
        await append(
            transaction.connection,
            [
                OutgoingMessage(FACTS.name, "k", {"n": "delayed"}, b"1", delay_seconds=1.5),
                OutgoingMessage(FACTS.name, "k", {"n": "now"}, b"2"),
            ],
            "imaging",
        )
    records = await world.read(FACTS.name, 2)
    assert [record.value for record in records] == [b"2", b"1"]
    ((due_at,),) = await world.rows("SELECT due_at FROM outbox WHERE due_at IS NOT NULL")
    assert records[1].timestamp >= int(due_at.timestamp() * 1000)


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
    relay = Relay(world.dsn, send, RelaySettings(poll_seconds=0.05), application_name="test")
    running = asyncio.create_task(relay.run())

    async def one_is_sent() -> bool:
        return bool(await world.rows("SELECT 1 FROM outbox WHERE sent_at IS NOT NULL"))

    try:
        await eventually(one_is_sent, why="a row is sent and marked")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    kept = Pruning(process.database, outbox_kept_seconds=3600, inbox_kept_seconds=3600)
    assert await kept.sweep() == {"outbox_rows": 0, "inbox_rows": 0}
    forgotten = Pruning(process.database, outbox_kept_seconds=0, inbox_kept_seconds=0)
    assert await forgotten.sweep() == {"outbox_rows": 1, "inbox_rows": 0}
    assert [row["key"] for row in await world.rows("SELECT key FROM outbox")] == ["stays"]


async def test_rows_that_cannot_be_published_hold_up_nobody_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and at once: they are the oldest, so they come first in every batch."""
    # What waits for the end of patience waits for longer than the test.
    monkeypatch.setattr("shared.outbox.relay.PATIENCE_SECONDS", 60.0)
    process = world.process()
    sent: list[bytes] = []

    async def send(*, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        if key.startswith(b"stuck"):
            raise ValueError("too large")
        sent.append(key)

    async def only_the_stuck_are_left() -> bool:
        sql = "SELECT DISTINCT key FROM outbox WHERE sent_at IS NULL ORDER BY key"
        return [row["key"] for row in await world.rows(sql)] == ["stuck0", "stuck1", "stuck2"]

    async with process.unit_of_work.begin() as transaction:
        for number in range(30):
            transaction.publish(OrderPlacedV1(customer=f"stuck{number % 3}", number=number))
        transaction.publish(OrderPlacedV1(customer="free", number=1))
    # It looks again by itself only after the test has failed: what is published is published at once.
    relay = Relay(world.dsn, send, RelaySettings(poll_seconds=60.0, batch_rows=5), application_name="test")
    running = asyncio.create_task(relay.run())
    try:
        await eventually(lambda: sent == [b"free"], why="the row behind them is published")
        for number in range(10):
            async with process.unit_of_work.begin() as transaction:
                transaction.publish(OrderPlacedV1(customer="free", number=number))
            await eventually(partial(_holds, sent, number + 2), why="the next one is published")
        await eventually(only_the_stuck_are_left, why="what was published is marked as sent")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _holds(sent: list[bytes], expected: int) -> bool:
    return len(sent) == expected


async def test_what_the_broker_refuses_breaks_nothing_else_of_its_partition(world: World) -> None:
    """An idempotent producer would go on with a gap in its sequence numbers, which the broker refuses for ever."""
    process = world.process()
    await process.start(world.relay(process))
    await configure(world.bootstrap, FACTS.name, {"max.message.bytes": "2000"})

    await process.publisher.send(topic=FACTS.name, key=b"ann", value=b"{}", headers={})
    accepted = 1

    async def refused() -> bool:
        nonlocal accepted
        try:
            await process.publisher.send(topic=FACTS.name, key=b"ann", value=token_bytes(5000), headers={})
        except MessageSizeTooLargeError:
            return True
        accepted += 1
        return False

    await eventually(refused, why="the broker refuses what is too large")
    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="ann", number=1))
    *_, record = await world.read(FACTS.name, accepted + 1)
    assert json.loads(record.value)["number"] == 1


async def test_the_largest_event_is_published_and_a_larger_one_refused_where_it_is_made(world: World) -> None:
    """In the outbox it would hold up its key for ever."""
    process = world.process()
    await process.start(world.relay(process))

    def event(reason_bytes: int) -> OrderFailedV1:
        return OrderFailedV1(customer="ann", code="x" * reason_bytes, attempts=1, final=True)

    room_bytes = LARGEST_EVENT_BYTES - OutgoingMessage.of(event(0), process.unit_of_work.source).size_bytes
    async with process.unit_of_work.begin() as transaction:
        with span("a caller", SpanKind.INTERNAL):
            # The time in the headers is shorter once in a million times.
            transaction.publish(event(room_bytes - 8))
    (record,) = await world.read(FACTS.name, 1)
    assert len(record.value) > LARGEST_EVENT_BYTES - 1_000

    with pytest.raises(EventTooLarge) as refused:
        async with process.unit_of_work.begin() as transaction:
            transaction.publish(event(room_bytes + 20))
    for told in ("test.order-failed.v1", str(LARGEST_EVENT_BYTES), str(LARGEST_EVENT_BYTES + 20)[:5]):
        assert told in str(refused.value)
    assert await world.rows("SELECT 1 FROM outbox WHERE sent_at IS NULL") == []


async def test_existing_topics_are_brought_in_line_with_the_replicas_they_have(world: World) -> None:
    """Two copies in sync are asked for where there are two, whatever is asked for topics that are made."""
    process = world.process()
    await process.start(world.relay(process))
    await configure(world.bootstrap, FACTS.name, FACTS.configuration(3))

    async def reconfigured() -> bool:
        report = await ensure_topics(world.bootstrap, [FACTS], replication_factor=3)
        return report.reconfigured == [FACTS.name]

    # The broker takes a moment to know what it was told.
    await eventually(reconfigured, why="the one replica that there is suffices again")
    async with process.unit_of_work.begin() as transaction:
        transaction.publish(OrderPlacedV1(customer="ann", number=1))
    await world.read(FACTS.name, 1)


async def test_rows_for_a_topic_that_does_not_exist_hold_up_nobody_else(world: World) -> None:
    process = world.process()
    async with process.unit_of_work.begin() as transaction:
        rows = [OutgoingMessage("test.nowhere", f"k{number}", {}, b"1") for number in range(20)]
        await append(transaction.connection, rows, "imaging")
        transaction.publish(OrderPlacedV1(customer="ann", number=1))
    await process.broker.start()
    settings = RelaySettings(poll_seconds=0.2, batch_rows=5, publish_seconds=1.0)
    relay = Relay(world.dsn, process.publisher.send, settings, application_name="test")
    process.tasks.append(asyncio.create_task(relay.run()))
    await world.read(FACTS.name, 1)


async def test_pruning_goes_on_until_nothing_old_is_left(world: World) -> None:
    """Whatever the rate: one batch at each due time would fall behind for ever."""
    await world.rows(
        "INSERT INTO outbox (topic, key, headers, payload, sent_at) "
        "SELECT 't', 'k', '{}', '', now() - interval '2 days' FROM generate_series(1, 12000)"
    )
    await world.rows(
        "INSERT INTO inbox (consumer, source, claim, claimed_at) "
        "SELECT 'c', 's', n::text, now() - interval '30 days' FROM generate_series(1, 12000) AS n"
    )
    pruning = Pruning(world.process().database, outbox_kept_seconds=86400, inbox_kept_seconds=14 * 86400)
    assert await pruning.sweep() == {"outbox_rows": 12_000, "inbox_rows": 12_000}
    rows = await world.rows("SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM inbox) AS left_over")
    assert rows[0]["left_over"] == 0


async def test_a_leader_whose_connection_went_silent_stops_leading_and_another_takes_over(world: World) -> None:
    """As by a network that swallows every packet: no error ever arrives."""
    process = world.process()
    sent: list[str] = []

    def sender(name: str) -> Sender:
        async def send(*, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
            sent.append(name)

        return send

    settings = RelaySettings(poll_seconds=0.1, statement_seconds=1.5, silence_seconds=2.0)
    async with silenceable(world.dsn) as (dsn, silence):
        first = asyncio.create_task(Relay(dsn, sender("first"), settings, application_name="first").run())
        async with process.unit_of_work.begin() as transaction:
            transaction.publish(OrderPlacedV1(customer="ann", number=0))
        await eventually(lambda: world.rows("SELECT 1 FROM outbox WHERE sent_at IS NOT NULL"), why="the first leads")
        assert sent == ["first"]
        second = asyncio.create_task(Relay(world.dsn, sender("second"), settings, application_name="second").run())
        try:
            silence.set()
            async with process.unit_of_work.begin() as transaction:
                transaction.publish(OrderPlacedV1(customer="ann", number=1))
            await eventually(lambda: sent[1:] == ["second"], why="the second has taken over")
            silence.clear()
            await eventually(lambda: _connected(world, "first-relay"), why="the first has come back to follow")
        finally:
            for task in (first, second):
                task.cancel()
            await asyncio.gather(first, second, return_exceptions=True)


async def _connected(world: World, application_name: str) -> bool:
    return bool(await world.rows("SELECT 1 FROM pg_stat_activity WHERE application_name = $1", application_name))


async def test_the_age_of_the_outbox_counts_from_when_a_row_was_due(world: World) -> None:
    """A retry that waited for its time is not late, and a process that no longer leads knows of no backlog."""
    process = world.process()

    async def send(*, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        raise ConnectionError("no leader")

    await world.rows(
        "INSERT INTO outbox (topic, key, headers, payload, created_at, due_at) "
        "VALUES ('t', 'k', '{}', '', now() - interval '1 hour', now())"
    )
    settings = RelaySettings(poll_seconds=0.05, measure_every_seconds=0.0)
    running = asyncio.create_task(Relay(world.dsn, send, settings, application_name="test").run())
    try:
        await eventually(lambda: metrics.outbox_unsent._value.get() == 1, why="the backlog is measured")
        assert metrics.outbox_oldest_seconds._value.get() < 60
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert metrics.outbox_unsent._value.get() == 0
    assert metrics.outbox_oldest_seconds._value.get() == 0
    await process.database.close()
