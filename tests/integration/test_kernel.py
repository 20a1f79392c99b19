"""The reliability kernel on real Kafka and PostgreSQL: outbox, inbox, retries, dead letters, order, back-pressure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream.kafka import KafkaBroker

from deploy.local.kafka_server import KafkaServer
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import Envelope, Event
from shared.identifiers import new_id
from shared.messaging.consumer import REQUEST_TIMEOUT_MS, Consumer
from shared.messaging.dead_letters import DeadLetters, Letter, LetterNotFound
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, PermanentError, Postponed, TransientError
from shared.messaging.publisher import Publisher
from shared.messaging.retry import DeadLetter, Retry, RetryPolicy
from shared.messaging.subscription import QUEUED_PER_SLOT
from shared.messaging.topics import Topic, dead_letter_topic, ensure_topics, retry_topic
from shared.outbox.relay import Relay, RelaySettings
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually

pytestmark = pytest.mark.stack

ORDERS = Topic("test.orders", "commands")
FACTS = Topic("test.facts", "events")


class PlaceOrderV1(Event, type="test.place-order.v1", topic=ORDERS):
    customer: str
    number: int

    def key(self) -> str:
        return self.customer


class OrderPlacedV1(Event, type="test.order-placed.v1", topic=FACTS):
    customer: str
    number: int

    def key(self) -> str:
        return self.customer


class OrderFailedV1(Event, type="test.order-failed.v1", topic=FACTS):
    customer: str
    code: str
    attempts: int
    final: bool

    def key(self) -> str:
        return self.customer


NUMBERS_BY_CUSTOMER = "SELECT customer, array_agg(number ORDER BY position) AS numbers FROM effects GROUP BY customer"
FAST = RetryPolicy(attempts=3, first_delay_seconds=0.2, jitter=0.0)


@dataclass
class Process:
    """What one process of a service holds, without HTTP."""

    database: Database
    unit_of_work: UnitOfWork
    broker: KafkaBroker
    publisher: Publisher
    consumer: Consumer
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def start(self, relay: Relay | None) -> None:
        self.consumer.subscribe()
        await self.consumer.start()
        if relay is not None:
            self.tasks.append(asyncio.create_task(relay.run()))

    async def stop(self) -> None:
        await self.consumer.drain()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.broker.stop()
        await self.database.close()


@dataclass
class World:
    """One test's service name, database and topics."""

    service: str
    dsn: str
    bootstrap: str
    processes: list[Process] = field(default_factory=list)

    def process(self, **options: Any) -> Process:
        database = Database(self.dsn, application_name=self.service)
        unit_of_work = UnitOfWork(database, source=f"/test/{self.service}", schema="imaging")
        broker = KafkaBroker(
            self.bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            allow_auto_create_topics=False,
            apply_types=False,
            logger=None,
        )
        consumer = Consumer(
            self.service,
            unit_of_work,
            broker,
            drain_seconds=options.get("drain_seconds", 5.0),
            session_timeout_seconds=options.get("session_timeout_seconds", 3.0),
            max_poll_interval_seconds=options.get("max_poll_interval_seconds", 300.0),
            stuck_margin_seconds=options.get("stuck_margin_seconds", 30.0),
        )
        made = Process(database, unit_of_work, broker, Publisher(broker, unit_of_work.source), consumer)
        self.processes.append(made)
        return made

    def relay(self, process: Process) -> Relay:
        settings = RelaySettings(poll_seconds=0.3)
        return Relay(self.dsn, process.publisher.send, settings, application_name=self.service)

    async def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def send(self, *events: Event, ids: list[UUID] | None = None, raw: bytes | None = None) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await producer.start()
        try:
            for position, event in enumerate(events):
                headers = Envelope.new(event, "/test/sender").headers()
                if ids:
                    headers["ce_id"] = str(ids[position])
                await producer.send_and_wait(
                    event.topic.name,
                    raw if raw is not None else event.payload(),
                    key=event.key().encode(),
                    headers=[(name, value.encode()) for name, value in headers.items()],
                )
        finally:
            await producer.stop()

    async def read(self, topic: str, count: int, within_seconds: float = 15.0) -> list[Any]:
        """The first `count` records of a topic."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        records: list[Any] = []
        try:
            async with asyncio.timeout(within_seconds):
                while len(records) < count:
                    records.append(await consumer.getone())
        except TimeoutError:
            raise AssertionError(f"{topic} holds {len(records)} records, expected {count}") from None
        finally:
            await consumer.stop()
        return records


@pytest.fixture
async def world(database: TestDatabase, kafka_server: KafkaServer) -> AsyncIterator[World]:
    """Topics are made anew for each test, so that no test sees what another left."""
    service = f"service-{new_id().hex[-8:]}"
    topics = [ORDERS, FACTS, retry_topic(service), dead_letter_topic(service)]
    await _remove_topics(kafka_server.bootstrap, [ORDERS.name, FACTS.name])
    await ensure_topics(kafka_server.bootstrap, topics)
    made = World(service, database.dsn("image-processor"), kafka_server.bootstrap)
    connection = await asyncpg.connect(made.dsn)
    await connection.execute("CREATE TABLE effects (customer text, number int, attempt int, position bigserial)")
    await connection.close()
    yield made
    await asyncio.gather(*(process.stop() for process in made.processes))


async def _remove_topics(bootstrap: str, names: list[str]) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        present = set(await admin.list_topics()) & set(names)
        if present:
            await admin.delete_topics(list(present))
        await eventually(lambda: _absent(admin, names), why="topics removed")
    finally:
        await admin.close()


async def _absent(admin: Any, names: list[str]) -> bool:
    return not set(await admin.list_topics()) & set(names)


def place_orders(
    process: Process, before: Callable[[PlaceOrderV1, Delivery], None] | None = None, **options: Any
) -> None:
    """A handler that records its effect and tells of it, in one transaction."""

    @process.consumer.on(PlaceOrderV1, retry=options.pop("retry", FAST), **options)
    async def place_order(command: PlaceOrderV1, delivery: Delivery) -> None:
        if before is not None:
            before(command, delivery)
        async with process.unit_of_work.begin(delivery) as transaction:
            await transaction.connection.execute(
                "INSERT INTO effects (customer, number, attempt) VALUES ($1, $2, $3)",
                command.customer,
                command.number,
                delivery.attempt,
            )
            transaction.publish(OrderPlacedV1(customer=command.customer, number=command.number))


def headers_of(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


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
    await eventually(lambda: _count(world, 3), why="all orders are placed")
    assert [row["number"] for row in await world.rows("SELECT number FROM effects ORDER BY position")] == [0, 1, 2]
    assert refusals == 5


async def _count(world: World, expected: int) -> bool:
    return len(await world.rows("SELECT 1 FROM effects")) == expected


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
    await eventually(lambda: _count(world, 300), why="all orders are placed")
    rows = await world.rows(NUMBERS_BY_CUSTOMER)
    assert {row["customer"]: row["numbers"] for row in rows} == {c: list(range(15)) for c in customers}
    assert 2 <= most <= 6


async def test_only_what_is_done_is_committed(world: World) -> None:
    """A process that vanishes while its slowest message runs has committed nothing past it."""
    first = world.process(session_timeout_seconds=1.0)
    blocked = asyncio.Event()
    done: list[int] = []

    @first.consumer.on(PlaceOrderV1, concurrency=8, deadline_seconds=60)
    async def slow_first(command: PlaceOrderV1, delivery: Delivery) -> None:
        if command.number == 0:
            await blocked.wait()
        done.append(command.number)

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
    await eventually(lambda: _count(world, 600), within_seconds=30, why="every order is placed once")
    rows = await world.rows(NUMBERS_BY_CUSTOMER)
    for row in rows:
        assert row["numbers"] == sorted(row["numbers"]), row["customer"]


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


async def test_a_new_group_reads_from_the_beginning(world: World) -> None:
    """FastStream's default is the end of the log: commands sent before the first start would be lost."""
    await world.send(PlaceOrderV1(customer="ann", number=1))
    process = world.process()
    place_orders(process)
    await process.start(None)
    await eventually(lambda: _count(world, 1), why="the early order is placed")


async def test_a_handler_longer_than_the_poll_interval_keeps_its_partition(world: World) -> None:
    """The poll loop never waits for handlers, so a slow one neither leaves the group nor is done twice."""
    process = world.process(max_poll_interval_seconds=1.0, session_timeout_seconds=1.0)
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
    await eventually(lambda: _count(world, 2), why="both are done")
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
    await eventually(lambda: _count(world, 200), why="all are done")
    assert most <= 2 * (1 + QUEUED_PER_SLOT)


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
