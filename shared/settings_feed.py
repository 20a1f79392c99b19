"""The settings that people change while the system runs, as every process knows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from shared.events import EntityTypeSettings, EntityTypeSettingsChangedV1, MediaSettings, SettingsChangedV1
from shared.messaging.client_start import start
from shared.messaging.incoming import Record, read_headers
from shared.messaging.topics import SETTINGS_EVENTS
from shared.settings import ServiceSettings

log = logging.getLogger(__name__)

FIRST_RECONNECT_SECONDS = 0.2
LONGEST_RECONNECT_SECONDS = 2.0
REQUEST_TIMEOUT_MS = 10_000
POLL_MS = 500
STOP_SECONDS = 2.0

SettingsEvent = SettingsChangedV1 | EntityTypeSettingsChangedV1
Listener = Callable[[SettingsEvent], None]

_EVENTS: Mapping[str, type[SettingsChangedV1] | type[EntityTypeSettingsChangedV1]] = {
    SettingsChangedV1.event_type: SettingsChangedV1,
    EntityTypeSettingsChangedV1.event_type: EntityTypeSettingsChangedV1,
}


def settings_of_environment(settings: ServiceSettings) -> MediaSettings:
    """What holds until somebody changes it: the bucket of the environment, defaults for the rest."""
    return MediaSettings(
        s3_enabled=settings.s3_endpoint is not None,
        s3_bucket=settings.s3_bucket,
        s3_region=settings.s3_region,
        s3_endpoint=settings.s3_endpoint,
        s3_public_url=settings.s3_public_url,
    )


class SettingsFeed:
    """The latest settings, read from the compacted topic in the background.

    Every process reads the whole topic by itself, without a group, so a new replica knows all settings and a running
    one each change. Nobody waits for it: before it has caught up, and while Kafka is away, what is known holds.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        defaults: MediaSettings,
        entity_type_defaults: Mapping[str, EntityTypeSettings] | None = None,
        *,
        client_id: str = "mediabus-settings",
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._media = defaults
        self._entity_types = dict(entity_type_defaults or {})
        self._versions: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._listeners: list[Listener] = []
        self.caught_up = False
        """Whether the topic was read to its end once."""

    def current(self) -> MediaSettings:
        return self._media

    def entity_type(self, name: str) -> EntityTypeSettings | None:
        """None where the type has no settings of its own."""
        return self._entity_types.get(name)

    def version(self, key: str) -> int:
        """Of the document under a key of the topic; 0 while the defaults hold."""
        return self._versions.get(key, 0)

    def told_version(self, key: str) -> int:
        """Of the newest document that the topic showed under a key; 0 where it showed none."""
        return self._told.get(key, 0)

    def on_change(self, listener: Listener) -> None:
        """Have a function called with each newer document, after it holds. What it raises is logged."""
        self._listeners.append(listener)

    def take(self, event: SettingsEvent) -> bool:
        """Whether the event was news; an older or equal version changes nothing, however often it comes."""
        if event.version <= self.version(event.key()):
            return False
        self._versions[event.key()] = event.version
        if isinstance(event, SettingsChangedV1):
            self._media = event.settings
        else:
            self._entity_types[event.entity_type] = event.settings
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on new settings", extra={"key": event.key()})
        return True

    def state(self) -> dict[str, Any]:
        """For the details of readiness."""
        return {"caughtUp": self.caught_up, "versions": dict(sorted(self._versions.items()))}

    async def run(self) -> None:
        """Follow the topic; ends only by cancellation. Connects again, from the beginning, whenever it was cut off."""
        delay_seconds = FIRST_RECONNECT_SECONDS
        while True:
            consumer = self._consumer()
            try:
                await start(consumer)
                delay_seconds = FIRST_RECONNECT_SECONDS
                await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("settings wait for Kafka", extra={"detail": repr(error)})
            finally:
                await _stop(consumer)
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, LONGEST_RECONNECT_SECONDS)

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        partitions = [TopicPartition(SETTINGS_EVENTS.name, number) for number in range(SETTINGS_EVENTS.partitions)]
        consumer.assign(partitions)
        async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
        while True:
            records = await consumer.getmany(timeout_ms=POLL_MS)
            for batch in records.values():
                for record in batch:
                    self._read(record)
            if not self.caught_up and await _reached(consumer, ends):
                self.caught_up = True
                log.info("settings are known", extra=self.state())

    def _read(self, record: Record) -> None:
        event_type = _EVENTS.get(read_headers(record).get("ce_type", ""))
        if event_type is None or record.value is None:
            return
        try:
            event = event_type.model_validate_json(record.value)
        except ValidationError as error:
            # What held before goes on to hold; the topic has nobody to send a dead letter for all replicas.
            log.error("settings that can't be read are passed over", extra={"detail": str(error)})
            return
        self._told[event.key()] = max(event.version, self.told_version(event.key()))
        self.take(event)


async def _reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.stop()
