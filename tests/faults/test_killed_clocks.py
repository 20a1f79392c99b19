"""Two clocks, of which one or both are killed at the second in which something is due: it is told, and told once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from deploy.local.kafka_server import KafkaServer
from shared.events import Envelope, ScheduleDueV1
from shared.messaging.topics import SCHEDULE_EVENTS
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.running_service import RunningService
from tests.system import System, system_of_its_own

pytestmark = [pytest.mark.stack, pytest.mark.fault]

ROUNDS = int(os.environ.get("MEDIABUS_CLOCK_ROUNDS", "3"))
SEED = int(os.environ.get("MEDIABUS_CLOCK_SEED", "1"))
NAME = "reconcile.nightly"
"""Due at night alone, and it is noon: what comes every hour would be told of by itself once in a while."""
AHEAD = timedelta(seconds=0.5)
QUICK = {"MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "1", "MEDIABUS_POSTGRES_CONNECTIONS": "3"}


class Due(Bus):
    def has(self, due_at: datetime) -> bool:
        return due_at in self.by_due_time()

    def by_due_time(self) -> dict[datetime, set[str]]:
        """The events that told each due time; one that a crash had published twice has one id."""
        told: dict[datetime, set[str]] = defaultdict(set)
        for record in self._records:
            headers = {name: value.decode() for name, value in record.headers}
            if headers["ce_type"] == ScheduleDueV1.event_type:
                event = json.loads(record.value)
                if event["name"] == NAME:
                    told[datetime.fromisoformat(event["due_at"])].add(str(Envelope.from_headers(headers).id))
        return told


async def set_due(system: System, moment: datetime) -> None:
    sql = "UPDATE schedules SET next_due_at = $2 WHERE name = $1 RETURNING pg_notify('schedules_cleanup', '')"
    assert await system.rows("cleanup-scheduler", sql, NAME, moment)


async def until(moment: datetime) -> None:
    await asyncio.sleep(max((moment - datetime.now(UTC)).total_seconds(), 0))


async def test_each_due_time_is_told_once_whoever_dies_at_it(
    databases: TestDatabases, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    wanted: list[datetime] = []
    bus = Due(kafka_server.bootstrap, SCHEDULE_EVENTS)
    async with (
        bus,
        system_of_its_own(databases, kafka_server, tmp_path, QUICK) as system,
    ):
        await system.start_all("cleanup-scheduler", "cleanup-scheduler")
        replicas: list[RunningService] = list(system.services)
        await eventually(
            lambda: system.rows("cleanup-scheduler", "SELECT 1 FROM schedules WHERE name = $1", NAME),
            why="the schedules are arranged",
        )
        for number in range(ROUNDS):
            due_at = datetime.now(UTC) + AHEAD
            await set_due(system, due_at)
            wanted.append(due_at)
            victims = dice.choice([replicas[:1], replicas[1:], replicas])
            await until(due_at + timedelta(seconds=dice.uniform(-0.01, 0.06)))
            for victim in victims:
                victim.kill()
            if len(victims) == 1:
                await eventually(partial(bus.has, due_at), within_seconds=60, why=f"round {number}: the other fires")
            for victim in victims:
                victim.start()
            await asyncio.gather(*(victim.wait_until_ready() for victim in victims))
            why = f"round {number}, seed {SEED}: it is told"
            await eventually(partial(bus.has, due_at), within_seconds=60, why=why)
        told = bus.by_due_time()
        runs = await system.rows("cleanup-scheduler", "SELECT due_at FROM runs WHERE name = $1 ORDER BY 1", NAME)
    assert [row["due_at"] for row in runs] == wanted
    assert set(told) == set(wanted)
    assert {len(ids) for ids in told.values()} == {1}
