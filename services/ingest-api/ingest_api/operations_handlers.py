"""Kafka in, of operating the system: how its processes fare."""

from __future__ import annotations

from ingest_api.repositories.replicas import ReplicaRepository
from shared.db.pool import Database
from shared.events import HeartbeatV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery


def register(consumer: Consumer, database: Database) -> None:
    """Without the inbox: the time of a heartbeat says whether it is news, and there is no end of them."""

    @consumer.on(HeartbeatV1)
    async def know_replica(event: HeartbeatV1, delivery: Delivery) -> None:
        async with database.connection() as connection:
            await ReplicaRepository(connection).record(event)
