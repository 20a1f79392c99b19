"""What a process tells of itself while it lives."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from shared.db.pool import Database
from shared.events import Envelope, HeartbeatV1
from shared.messaging.consumer import Consumer
from shared.messaging.errors import InfrastructureUnavailable
from shared.messaging.publisher import Publisher
from shared.outbox.outgoing import QUERIES
from shared.outbox.relay import Relay
from shared.telemetry.health import Health

log = logging.getLogger(__name__)

LONGEST_PROBLEM_CHARACTERS = 300
COUNT_SECONDS = 2.0
FAREWELL_SECONDS = 1.0
NOT_CONNECTED_SECONDS = 0.2


class Heartbeat:
    """Nobody calls a service to ask how it is: it says so by itself, and silence says the rest."""

    def __init__(
        self,
        service: str,
        instance: str,
        *,
        every_seconds: float,
        database: Database,
        publisher: Publisher,
        consumer: Consumer,
        relay: Relay,
        health: Health,
    ) -> None:
        self._service = service
        self._instance = instance
        self._every_seconds = every_seconds
        self._database = database
        self._publisher = publisher
        self._consumer = consumer
        self._relay = relay
        self._health = health
        self._version = _version_of(service)
        self._started_at = datetime.now(UTC)

    async def run(self) -> None:
        """Tell at once and then again and again, while Kafka is connected; ends only by cancellation."""
        while True:
            if self._consumer.connected:
                self._publisher.tell(await self._beat())
            await asyncio.sleep(self._every_seconds if self._consumer.connected else NOT_CONNECTED_SECONDS)

    async def farewell(self) -> None:
        """Tell that this process ends, so that nobody takes its silence for a fault; lost, it is taken for one."""
        if not self._consumer.connected:
            return
        last = (await self._beat()).model_copy(update={"is_stopping": True})
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._publisher.send(
                    topic=last.topic.name,
                    key=last.key().encode(),
                    value=last.payload(),
                    headers=Envelope.new(last, f"/mediabus/{self._service}").headers(),
                )
        except Exception as error:
            log.warning("went without a farewell", extra={"detail": repr(error)})

    async def _beat(self) -> HeartbeatV1:
        is_ready, told = await self._health.ready()
        return HeartbeatV1(
            service=self._service,
            instance=self._instance,
            version=self._version,
            started_at=self._started_at,
            told_at=datetime.now(UTC),
            every_seconds=self._every_seconds,
            is_ready=is_ready,
            problems={
                name: outcome[:LONGEST_PROBLEM_CHARACTERS]
                for name, outcome in told.get("checks", {}).items()
                if outcome != "ok"
            },
            lag_messages={state["topic"]: state["lag"] for state in self._consumer.state()},
            outbox_waiting=await self._outbox_waiting(),
        )

    async def _outbox_waiting(self) -> int | None:
        """None where another process's relay leads, or where nobody can count now."""
        if not self._relay.leads:
            return None
        try:
            async with asyncio.timeout(COUNT_SECONDS), self._database.connection() as connection:
                return int(await connection.fetchval(QUERIES["backlog"]))
        except (InfrastructureUnavailable, TimeoutError):
            return None


def _version_of(service: str) -> str:
    try:
        return version(f"mediabus-{service}")
    except PackageNotFoundError:
        return "unknown"
