"""What MinIO's Kafka target writes, as it writes it: raw JSON without headers, beside our own messages."""

from __future__ import annotations

import json
from secrets import token_hex
from typing import Any
from urllib.parse import quote_plus

import pytest
from aiokafka import AIOKafkaProducer

from shared.events import BucketObjectV1
from shared.events.bucket_notifications import read_notification
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, TransientError
from shared.messaging.topics import BUCKET_EVENTS, dead_letter_topic
from shared.outbox.outgoing import OutgoingMessage
from shared.testing.waiting import eventually
from tests.integration.kernel_world import FAST, ORDERS, Process, World, place_orders

pytestmark = pytest.mark.stack


class BucketReader:
    """A service that notes which objects it heard of; other tests' buckets share the topic, so it knows its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bucket = f"bucket-{token_hex(6)}"
        self.attempts: list[tuple[str, int]] = []
        self.failures: list[Exception] = []

    def take_part(self, process: Process) -> None:
        @process.consumer.on(BucketObjectV1, retry=FAST)
        async def note(event: BucketObjectV1, delivery: Delivery) -> None:
            if event.bucket != self.bucket:
                return
            self.attempts.append((event.object_key, delivery.attempt))
            if self.failures:
                raise self.failures.pop()
            async with process.unit_of_work.begin(delivery) as transaction:
                await transaction.connection.execute(
                    "INSERT INTO effects (customer, number, attempt) VALUES ($1, 0, $2)",
                    f"{event.object_key} {event.told_by}",
                    delivery.attempt,
                )

    async def effects(self) -> list[str]:
        rows = await self.world.rows("SELECT customer FROM effects ORDER BY position")
        return [row["customer"] for row in rows]

    def body(self, *keys: str, event_name: str = "s3:ObjectCreated:Put", sequencer: str | None = None) -> bytes:
        records = [
            {
                "eventName": event_name,
                "eventTime": "2026-01-02T03:04:05.678Z",
                "s3": {
                    "bucket": {"name": self.bucket},
                    "object": {"key": quote_plus(key), "size": 1, "sequencer": sequencer or token_hex(8)},
                },
            }
            for key in keys
        ]
        return json.dumps({"EventName": event_name, "Key": f"{self.bucket}/{keys[0]}", "Records": records}).encode()

    async def write(self, *bodies: bytes, key: str = "k") -> None:
        """As MinIO's Kafka target does."""
        producer = AIOKafkaProducer(bootstrap_servers=self.world.bootstrap, acks="all")
        await producer.start()
        try:
            for sent in bodies:
                await producer.send_and_wait(BUCKET_EVENTS.name, sent, key=f"{self.bucket}/{key}".encode())
        finally:
            await producer.stop()

    async def letters(self) -> list[Any]:
        """Those that concern this bucket."""
        found = await DeadLetters(self.world.bootstrap, self.world.service).list()
        return [letter for letter in found if self.bucket in letter.key]


@pytest.fixture
async def reader(world: World) -> BucketReader:
    made = BucketReader(world)
    process = world.process()
    made.take_part(process)
    await process.start(world.relay(process))
    return made


async def test_both_ways_take_effect_once(world: World, reader: BucketReader) -> None:
    """The same notification by Kafka, again by Kafka, and out of somebody's outbox, where a webhook left it."""
    sent = reader.body("a b+c", sequencer="17A1")
    (notice,) = read_notification(sent, "webhook").notices
    ours = OutgoingMessage.of(notice.event, "x")
    await reader.write(sent, sent)
    await eventually(reader.effects, why="the object is heard of")
    await world.processes[0].publisher.send(
        topic=ours.topic, key=ours.key.encode(), value=ours.payload, headers=notice.envelope.headers()
    )
    await reader.write(reader.body("the last"))
    await eventually(lambda: _has(reader, "the last kafka"), why="what came after them is heard of")
    # Ours is of another key, so that it may be handled behind the last.
    consumer = world.processes[0].consumer
    await eventually(lambda: all(state["lag"] == 0 for state in consumer.state()), why="all is handled")
    assert sorted(await reader.effects()) == ["a b+c kafka", "the last kafka"]


async def _has(reader: BucketReader, effect: str) -> bool:
    return effect in await reader.effects()


async def test_every_record_of_a_message_is_a_message(reader: BucketReader) -> None:
    await reader.write(reader.body("a", "b", "c"))
    await eventually(lambda: _has(reader, "c kafka"), why="all three are heard of")
    assert await reader.effects() == ["a kafka", "b kafka", "c kafka"]


async def test_an_outage_in_the_middle_of_a_message_repeats_no_effect(reader: BucketReader) -> None:
    reader.failures.append(InfrastructureUnavailable("disk", "away for a moment"))
    await reader.write(reader.body("a", "b"))
    await eventually(lambda: _has(reader, "b kafka"), why="both are heard of")
    assert await reader.effects() == ["a kafka", "b kafka"]
    assert [attempt for _, attempt in reader.attempts] == [1, 1, 1]


async def test_a_failed_one_is_tried_again_as_a_message_of_ours(reader: BucketReader) -> None:
    reader.failures.append(TransientError("busy", "come back"))
    await reader.write(reader.body("a"))
    await eventually(lambda: _has(reader, "a kafka"), why="the second attempt succeeds")
    assert reader.attempts == [("a", 1), ("a", 2)]


async def test_what_concerns_nobody_leaves_no_trace(reader: BucketReader) -> None:
    await reader.write(reader.body("read", event_name="s3:ObjectAccessed:Get"), reader.body("a"))
    await eventually(lambda: _has(reader, "a kafka"), why="what came after it is heard of")
    assert await reader.effects() == ["a kafka"]
    assert await reader.letters() == []


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\x00", b"not json", b'{"Records":[{"eventName":"s3:ObjectCreated:Put"}]}']
)
async def test_garbage_becomes_one_dead_letter_and_blocks_nobody(reader: BucketReader, garbage: bytes) -> None:
    await reader.write(garbage, reader.body("a"))
    await eventually(lambda: _has(reader, "a kafka"), why="what came after it is heard of")
    (letter,) = await eventually(reader.letters, why="the dead letter is there")
    assert letter.payload == garbage
    assert letter.summary()["code"] == "notification_invalid"
    assert letter.summary()["origin"].startswith("bucket.events/")


async def test_a_dead_letter_that_is_sent_again_is_read_as_it_came(world: World, reader: BucketReader) -> None:
    """A body of which one record could not be read: the good one took effect, and does so once."""
    mixed = json.loads(reader.body("good", "bad"))
    del mixed["Records"][1]["eventTime"]
    await reader.write(json.dumps(mixed).encode())
    (letter,) = await eventually(reader.letters, why="the dead letter is there")
    assert "Records[1]" in letter.summary()["detail"]
    assert await reader.effects() == ["good kafka"]
    await DeadLetters(world.bootstrap, world.service).replay(letter.id)

    async def came_back() -> bool:
        return [found.id for found in await reader.letters()] not in ([], [letter.id])

    await eventually(came_back, why="what still can't be read is a dead letter again")
    assert await reader.effects() == ["good kafka"]


async def test_elsewhere_raw_json_is_an_error(world: World) -> None:
    """Only topics with a reader of their own take it."""
    process = world.process()
    place_orders(process)
    await process.start(world.relay(process))
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap)
    await producer.start()
    await producer.send_and_wait(ORDERS.name, b'{"Records":[]}', key=b"k")
    await producer.stop()
    (letter,) = await world.read(dead_letter_topic(world.service).name, 1)
    assert dict(letter.headers)["mb_error_code"] == b"envelope_invalid"
