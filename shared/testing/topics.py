"""Topics for tests: made anew on a broker that others used before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.messaging.topics import SERVICES, TOPICS, ensure_topics
from shared.testing.waiting import eventually

DEADLINE_SECONDS = 60.0


async def start_anew(bootstrap: str) -> None:
    """Leave every declared topic empty and taking messages, with no group at work and no offset committed.

    Waits for the groups to be left: members that were killed stay until their sessions run out, and would hold up those
    who join next.
    """
    await ensure_topics(bootstrap)
    async with _admin(bootstrap) as admin:
        await eventually(
            lambda: _no_members(admin), within_seconds=DEADLINE_SECONDS, every_seconds=0.2, why="no group has members"
        )
        used = await _used(bootstrap)
        if not used:
            return
        await _remove(admin, used)
        await eventually(lambda: _forgotten(admin, used), within_seconds=DEADLINE_SECONDS, why="no offsets are kept")
    await ensure_topics(bootstrap)
    used = await _used(bootstrap)
    assert not used, f"topics that were just made hold messages: {used}"


async def remove_topics(bootstrap: str, names: Collection[str]) -> None:
    """Return once topics of these names are there no more."""
    async with _admin(bootstrap) as admin:
        await _remove(admin, names)


async def _no_members(admin: AIOKafkaAdminClient) -> bool:
    coordinator = await _coordinator(admin)
    for group in await _groups(admin, coordinator):
        # One at a time: the client can't read the answer for several.
        (answer,) = await admin.describe_consumer_groups([group], coordinator)
        ((_, _, state, _, _, members, *_),) = answer.groups
        assert not members, (group, state, len(members))
    return True


async def _forgotten(admin: AIOKafkaAdminClient, names: Collection[str]) -> bool:
    coordinator = await _coordinator(admin)
    for group in await _groups(admin, coordinator):
        offsets = await admin.list_consumer_group_offsets(group, coordinator)
        kept = {partition.topic for partition in offsets} & set(names)
        assert not kept, (group, kept)
    return True


async def _coordinator(admin: AIOKafkaAdminClient) -> int:
    """The one broker there is."""
    (broker,) = (await admin.describe_cluster())["brokers"]
    node_id: int = broker["node_id"]
    return node_id


async def _groups(admin: AIOKafkaAdminClient, coordinator: int) -> list[str]:
    """Those of the services; others have names of their own in each test."""
    listed = [name for name, *_ in await admin.list_consumer_groups([coordinator])]
    return [name for name in listed if name.partition(".")[0] in SERVICES]


async def _remove(admin: AIOKafkaAdminClient, names: Collection[str]) -> None:
    async def absent() -> bool:
        return not set(await admin.list_topics()) & set(names)

    present = set(await admin.list_topics()) & set(names)
    if present:
        await admin.delete_topics(list(present))
    await eventually(absent, within_seconds=DEADLINE_SECONDS, why="topics are removed")


async def _used(bootstrap: str) -> set[str]:
    """The declared topics that a message was ever sent to.

    Comes back when every partition takes messages: a broker tells of new ones some time before that.
    """
    partitions = [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    try:
        await consumer.start()
        # The client asks again until the leader of each one answers.
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {partition.topic for partition, end in ends.items() if end > 0}


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
