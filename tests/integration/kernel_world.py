"""A small service on the real kernel: its events, its processes, its world of topics and a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream.kafka import KafkaBroker

from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import Envelope, Event
from shared.messaging.broker import kafka_broker
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.publisher import Publisher
from shared.messaging.retry import RetryPolicy
from shared.messaging.topics import Topic
from shared.outbox.relay import Relay, RelaySettings

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
        broker = kafka_broker(self.bootstrap, client_id=self.service, drain_seconds=5.0, logger=None)
        consumer = Consumer(
            self.service,
            unit_of_work,
            broker,
            drain_seconds=options.get("drain_seconds", 5.0),
            session_timeout_seconds=options.get("session_timeout_seconds", 6.0),
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

    async def read(self, topic: str, count: int, within_seconds: float = 30.0) -> list[Any]:
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


async def configure(bootstrap: str, topic: str, settings: dict[str, str]) -> None:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)])
    finally:
        await admin.close()


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


async def placed(world: World, expected: int) -> bool:
    """Whether so many orders took effect."""
    return len(await world.rows("SELECT 1 FROM effects")) == expected
