"""The settings feed on a real broker: all is read anew by each replica, changes arrive soon, outages pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from deploy.local.kafka_server import KafkaServer
from deploy.local.ports import free_port
from shared.events import (
    EntityTypeSettings,
    EntityTypeSettingsChangedV1,
    Envelope,
    Event,
    MediaSettings,
    SettingsChangedV1,
    StorageStrategy,
    VariantSettings,
)
from shared.identifiers import new_id
from shared.messaging import client_start
from shared.messaging.topics import SETTINGS_EVENTS, ensure_topics
from shared.settings_feed import SettingsFeed
from shared.testing.waiting import eventually

pytestmark = pytest.mark.stack

DEFAULTS = MediaSettings(upload_limit_bytes=4096)


@pytest.fixture(scope="module")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaServer]:
    """A broker of this module's own: it is restarted, and its one topic holds only what is written here."""
    server = KafkaServer(tmp_path_factory.mktemp("settings-kafka"), free_port())
    await server.start()
    yield server
    if server.running:
        await server.stop()


@pytest.fixture
async def topic(kafka: KafkaServer) -> AsyncIterator[str]:
    from aiokafka.admin import AIOKafkaAdminClient

    if not kafka.running:
        await kafka.start()
    await ensure_topics(kafka.bootstrap, [SETTINGS_EVENTS])
    yield kafka.bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_topics([SETTINGS_EVENTS.name])

    async def is_gone() -> bool:
        return SETTINGS_EVENTS.name not in await admin.list_topics()

    await eventually(is_gone, why="the topic is gone")
    await admin.close()


@asynccontextmanager
async def running(bootstrap: str) -> AsyncIterator[SettingsFeed]:
    feed = SettingsFeed(bootstrap, DEFAULTS)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def send(bootstrap: str, *events: Event, value: bytes | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for event in events:
            headers = [(name, text.encode()) for name, text in Envelope.new(event, "/tests").headers().items()]
            payload = event.payload() if value is None else value
            await producer.send_and_wait(event.topic.name, payload, key=event.key().encode(), headers=headers)
    finally:
        await producer.stop()


async def test_a_feed_that_is_stopped_while_it_connects_leaves_no_connection(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped while it asks the first broker who the others are."""
    asked: list[AIOKafkaConnection] = []
    go_on = asyncio.Event()
    send_request = AIOKafkaConnection.send

    async def send_slowly(connection: AIOKafkaConnection, request: Any, **named: Any) -> Any:
        if isinstance(request, MetadataRequest):
            asked.append(connection)
            await go_on.wait()
        return await send_request(connection, request, **named)

    with monkeypatch.context() as slow:
        slow.setattr(AIOKafkaConnection, "send", send_slowly)
        slow.setattr(client_start, "CUT_OFF_SECONDS", 60.0)
        feed = asyncio.create_task(SettingsFeed(kafka.bootstrap, DEFAULTS).run())
        await eventually(lambda: bool(asked), why="it asks the first broker")
        feed.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await feed
    assert not any(connection.connected() for connection in asked)


def media(version: int, **changes: Any) -> SettingsChangedV1:
    settings = DEFAULTS.model_copy(update=changes)
    return SettingsChangedV1(version=version, settings=settings, changed_by=new_id(), changed_at=datetime.now(UTC))


def entity_type(name: str, version: int, width_px: int) -> EntityTypeSettingsChangedV1:
    settings = EntityTypeSettings(variants=(VariantSettings(name="card", width_px=width_px),))
    return EntityTypeSettingsChangedV1(
        entity_type=name, version=version, settings=settings, changed_by=new_id(), changed_at=datetime.now(UTC)
    )


async def caught_up(feed: SettingsFeed) -> None:
    await eventually(lambda: feed.caught_up, why="the feed has caught up")


async def knows_version(feed: SettingsFeed, version: int) -> None:
    await eventually(lambda: feed.version("media") == version, why="the change holds")


async def test_a_new_replica_reads_all_and_a_later_change_holds_within_a_second(topic: str) -> None:
    await send(topic, media(1), media(2, s3_auto_sync=False), entity_type("product", 1, 300))
    async with running(topic) as first, running(topic) as second:
        for feed in (first, second):
            await caught_up(feed)
            assert feed.current().s3_auto_sync is False
            held = feed.entity_type("product")
            assert held is not None
            assert held.variants[0].width_px == 300
            assert feed.entity_type("article") is None
        seconds = []
        for version in (3, 4, 5):
            await send(topic, media(version, default_storage_strategy=StorageStrategy.BOTH))
            began = time.monotonic()
            for feed in (first, second):
                await knows_version(feed, version)
                assert feed.current().default_storage_strategy is StorageStrategy.BOTH
            seconds.append(time.monotonic() - began)
        # A machine that has much to do may be late once.
        assert min(seconds) < 1


async def test_an_empty_topic_is_caught_up_with_the_defaults(topic: str) -> None:
    async with running(topic) as feed:
        await caught_up(feed)
        assert feed.current() == DEFAULTS
        assert feed.state() == {"caughtUp": True, "versions": {}}


async def test_older_versions_and_what_cannot_be_read_change_nothing(topic: str) -> None:
    await send(topic, media(5, s3_auto_sync=False), media(4))
    await send(topic, media(6), value=b'{"version": 6, "settings": {"s3_bucket": "/"}}')
    await send(topic, media(6), value=b"no JSON")
    async with running(topic) as feed:
        await caught_up(feed)
        assert feed.version("media") == 5
        assert feed.current().s3_auto_sync is False


async def test_listeners_hear_of_news_alone_and_their_failures_stop_nobody() -> None:
    feed = SettingsFeed("127.0.0.1:9", DEFAULTS)
    heard: list[int] = []

    def fails(event: object) -> None:
        raise RuntimeError("a listener's own trouble")

    feed.on_change(fails)
    feed.on_change(lambda event: heard.append(event.version))
    assert feed.take(media(2))
    assert not feed.take(media(2))
    assert not feed.take(media(1))
    assert heard == [2]


async def test_start_up_does_not_wait_for_a_broker_and_outages_pass(topic: str, kafka: KafkaServer) -> None:
    await send(topic, media(1, s3_auto_sync=False))
    async with running(topic) as connected:
        await caught_up(connected)
        await kafka.kill()
        async with running(topic) as started_in_the_outage:
            assert started_in_the_outage.current() == DEFAULTS
            assert connected.current().s3_auto_sync is False
            await kafka.start()
            await caught_up(started_in_the_outage)
            assert started_in_the_outage.current().s3_auto_sync is False
            await send(topic, media(2, upload_limit_bytes=2048))
            for feed in (connected, started_in_the_outage):
                await knows_version(feed, 2)
                assert feed.current().upload_limit_bytes == 2048
