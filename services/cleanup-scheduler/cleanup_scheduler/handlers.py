"""Kafka in: one function per message type. Redelivery is harmless: the inbox stops it."""

from __future__ import annotations

from cleanup_scheduler.commands import Commands
from cleanup_scheduler.ending import Ending
from shared.events import ChangeScheduleV1, RunScheduleV1, ScheduledWorkDoneV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery


def register(consumer: Consumer, commands: Commands, ending: Ending) -> None:
    @consumer.on(RunScheduleV1)
    async def run_schedule(command: RunScheduleV1, delivery: Delivery) -> None:
        await commands.run_now(command, delivery)

    @consumer.on(ChangeScheduleV1)
    async def change_schedule(command: ChangeScheduleV1, delivery: Delivery) -> None:
        await commands.change(command, delivery)

    @consumer.on(ScheduledWorkDoneV1)
    async def work_done(event: ScheduledWorkDoneV1, delivery: Delivery) -> None:
        await ending.take(event, delivery)
