"""Whether this service has heard everything that others had said up to now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from reconciler.errors import NotComparable
from shared.messaging.client_start import start
from shared.messaging.topics import Topic

POLL_SECONDS = 0.01
LONGEST_POLL_SECONDS = 0.2
REQUEST_SECONDS = 5.0
LOOK_AGAIN_MILLISECONDS = 20
"""Between two looks for the leaders of partitions: at the first question of a topic they are not known yet."""


class Freshness:
    """Compares the ends of topics with what this service's groups have committed, over all replicas.

    A file that lies in a store was announced before it was put there. So once everything that had been said when a
    comparison began is known, an old object without a record has none, and was not merely not heard of.
    """

    def __init__(self, bootstrap_servers: str, service: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._service = service
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._clients: tuple[AIOKafkaConsumer, AIOKafkaAdminClient] | None = None

    async def close(self) -> None:
        # What others open meanwhile is theirs.
        stack, self._stack, self._clients = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def wait(self, topics: Sequence[Topic], within_seconds: float) -> None:
        """Return once all that was said is handled and committed; raises NotComparable at the deadline."""
        try:
            async with asyncio.timeout(within_seconds):
                await self._wait(topics)
        except TimeoutError as error:
            names = ", ".join(topic.name for topic in topics)
            raise NotComparable(
                "facts_not_handled", f"what others told on {names} is not handled yet; try again when it is"
            ) from error
        except (KafkaError, OSError) as error:
            await self.close()
            raise NotComparable("kafka_away", f"Kafka could not say whether everything is known: {error!r}") from error

    async def _wait(self, topics: Sequence[Topic]) -> None:
        ends, admin = await self._ends(topics)
        delay_seconds = POLL_SECONDS
        for topic in topics:
            while not await self._reached(topic, ends, admin):
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 2, LONGEST_POLL_SECONDS)

    async def _ends(self, topics: Sequence[Topic]) -> tuple[Mapping[TopicPartition, int], AIOKafkaAdminClient]:
        consumer, admin = await self._opened()
        partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
        ends, beginnings = await asyncio.gather(
            consumer.end_offsets(partitions), consumer.beginning_offsets(partitions)
        )
        # Where nothing is left to read nothing was ever committed, perhaps.
        return {partition: end for partition, end in ends.items() if end > beginnings[partition]}, admin

    async def _reached(self, topic: Topic, ends: Mapping[TopicPartition, int], admin: AIOKafkaAdminClient) -> bool:
        wanted = {partition: end for partition, end in ends.items() if partition.topic == topic.name}
        if not wanted:
            return True
        committed = await admin.list_consumer_group_offsets(f"{self._service}.{topic.name}", partitions=list(wanted))
        return all(partition in committed and committed[partition].offset >= end for partition, end in wanted.items())

    async def _opened(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        async with self._opening:
            if self._clients is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap_servers,
                    group_id=None,
                    retry_backoff_ms=LOOK_AGAIN_MILLISECONDS,
                )
                admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
                async with AsyncExitStack() as unfinished:
                    # Before they are started: one whose start is cut off, by the deadline say, is half open.
                    unfinished.push_async_callback(consumer.stop)
                    unfinished.push_async_callback(admin.close)
                    await start(consumer)
                    await start(admin)
                    await self._stack.enter_async_context(unfinished.pop_all())
                self._clients = consumer, admin
            return self._clients
