"""One topic's subscription against records made by hand: what a crash, a revocation and an outage leave behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from shared.messaging import subscription as module
from shared.messaging.errors import InfrastructureUnavailable
from shared.messaging.incoming import Record
from shared.messaging.subscription import Subscription
from shared.messaging.topics import Topic
from shared.telemetry import metrics
from shared.testing.waiting import eventually

TOPIC = Topic("test.subscription", "commands")
PARTITION = TopicPartition(TOPIC.name, 0)


@dataclass
class FakeRecord:
    offset: int
    key: bytes | None = b"ann"
    topic: str = TOPIC.name
    partition: int = 0
    value: bytes | None = b""
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class Handled:
    """Offsets as they are handled; some of them fail, hang, or are refused for a while."""

    def __init__(self, *, crash: int = -1, hang: int = -1, refuse: int = -1) -> None:
        self.offsets: list[int] = []
        self.release = asyncio.Event()
        self.refusing = True
        self._crash, self._hang, self._refuse = crash, hang, refuse

    async def __call__(self, record: Record, topic: Topic) -> None:
        if record.offset == self._refuse and self.refusing:
            raise InfrastructureUnavailable("postgresql", "away")
        if record.offset == self._crash:
            raise ValueError("a bug of the kernel")
        self.offsets.append(record.offset)
        if record.offset == self._hang:
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                await self.release.wait()
                raise


async def subscribed(handled: Handled, **options: float) -> Subscription:
    made = Subscription(
        TOPIC, handled, concurrency=2, drain_seconds=options.get("drain_seconds", 5.0), stuck_after_seconds=0.05
    )
    await made.on_partitions_assigned({PARTITION})
    return made


async def test_nothing_overtakes_a_message_that_the_kernel_failed_with() -> None:
    handled = Handled(crash=1)
    subscription = await subscribed(handled)
    for offset in range(4):
        subscription.take(FakeRecord(offset))
    subscription.take(FakeRecord(4, key=b"bob"))
    await eventually(lambda: subscription.state()["pending"] == 0, why="nothing waits")
    subscription.take(FakeRecord(5, key=b"bob"))
    await asyncio.sleep(0.01)
    assert 0 in handled.offsets
    assert not {2, 3, 5} & set(handled.offsets)
    assert "a bug of the kernel" in (subscription.stuck() or "")


async def test_a_record_in_hand_when_its_partition_goes_is_left_to_the_next_owner() -> None:
    handled = Handled(hang=0)
    subscription = await subscribed(handled)
    subscription.take(FakeRecord(0))
    await eventually(lambda: handled.offsets == [0])
    revoking = asyncio.create_task(subscription.on_partitions_revoked({PARTITION}))
    await asyncio.sleep(0)
    subscription.take(FakeRecord(1, key=b"bob"))
    handled.release.set()
    await revoking
    assert handled.offsets == [0]


async def test_work_that_ignores_its_cancellation_holds_up_neither_the_group_nor_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.05)
    handled = Handled(hang=0)
    subscription = await subscribed(handled, drain_seconds=0.05)
    subscription.take(FakeRecord(0))
    subscription.take(FakeRecord(1))
    await eventually(lambda: handled.offsets == [0])
    async with asyncio.timeout(20):
        await subscription.on_partitions_revoked({PARTITION})
    await subscription.on_partitions_assigned({PARTITION})
    subscription.take(FakeRecord(2))
    await eventually(lambda: 2 in handled.offsets, why="the next message of its key is handled")
    handled.release.set()
    await eventually(lambda: subscription.state()["pending"] == 0, why="all has ended")
    assert handled.offsets == [0, 2]
    assert metrics.messages_in_flight.labels(TOPIC.name)._value.get() >= 0


async def test_waiting_for_a_dependency_is_held_throughout_and_never_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it is tried again, which may take as long as the pause before."""
    handled = Handled(refuse=0)
    subscription = await subscribed(handled)
    trying = asyncio.Event()
    held: list[bool] = []

    async def slow(record: Record, topic: Topic) -> None:
        held.append(bool(subscription.state()["held"]))
        trying.set()
        await asyncio.sleep(0.1)
        await handled(record, topic)

    subscription._handle = slow
    subscription.take(FakeRecord(0))
    for _ in range(3):
        trying.clear()
        await trying.wait()
    assert held == [False, True, True]
    assert metrics.consumer_held.labels(TOPIC.name)._value.get() == 1
    assert subscription.stuck() is None
    handled.refusing = False
    await eventually(lambda: handled.offsets == [0])
    await eventually(lambda: not subscription.state()["held"])
    assert metrics.consumer_held.labels(TOPIC.name)._value.get() == 0
