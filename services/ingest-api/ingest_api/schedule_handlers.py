"""Kafka in, of schedules: how they and their runs stand."""

from __future__ import annotations

from ingest_api.repositories.schedules import ScheduleRepository
from shared.db.unit_of_work import UnitOfWork
from shared.events import ScheduleChangedV1, ScheduleRunChangedV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery


def register(consumer: Consumer, unit_of_work: UnitOfWork) -> None:
    """Every handler is harmless on redelivery: the inbox stops it, or what it says is no news."""

    @consumer.on(ScheduleChangedV1)
    async def know_schedule(event: ScheduleChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await ScheduleRepository(transaction.connection).record(event)

    @consumer.on(ScheduleRunChangedV1)
    async def know_run(event: ScheduleRunChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await ScheduleRepository(transaction.connection).record_run(event)
