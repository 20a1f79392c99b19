"""Kafka in: one function per message type. Redelivery is harmless: the inbox stops it, or nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence

from cleanup_scheduler.commands import Commands
from cleanup_scheduler.due_media import DueMedia
from cleanup_scheduler.ending import Ending
from cleanup_scheduler.purging import Purging
from cleanup_scheduler.repositories.ledger import Ledger
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    ChangeScheduleV1,
    DecideOnScheduleRunV1,
    DescribeDueMediaV1,
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaPurgeTakenV1,
    MediaRestoredV1,
    MediaUploadedV1,
    RunScheduleV1,
    ScheduledWorkDoneV1,
)
from shared.messaging.batching import Batching, Joined
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery


def register_schedules(consumer: Consumer, commands: Commands, ending: Ending) -> None:
    @consumer.on(RunScheduleV1)
    async def run_schedule(command: RunScheduleV1, delivery: Delivery) -> None:
        await commands.run_now(command, delivery)

    @consumer.on(ChangeScheduleV1)
    async def change_schedule(command: ChangeScheduleV1, delivery: Delivery) -> None:
        await commands.change(command, delivery)

    @consumer.on(ScheduledWorkDoneV1)
    async def work_done(event: ScheduledWorkDoneV1, delivery: Delivery) -> None:
        await ending.take(event, delivery)


def register_purges(consumer: Consumer, purging: Purging, due_media: DueMedia) -> None:
    @consumer.on(DecideOnScheduleRunV1)
    async def decide_on_run(command: DecideOnScheduleRunV1, delivery: Delivery) -> None:
        await purging.decide(command, delivery)

    @consumer.on(MediaPurgeTakenV1)
    async def purge_taken(event: MediaPurgeTakenV1, delivery: Delivery) -> None:
        await purging.taken(event, delivery)

    @consumer.on(DescribeDueMediaV1)
    async def describe_due_media(question: DescribeDueMediaV1, delivery: Delivery) -> None:
        await due_media.answer(question)


def register_ledger(consumer: Consumer, unit_of_work: UnitOfWork, purging: Purging) -> None:
    """What the owner of media tells of them; what says nothing newer changes nothing."""

    @consumer.on(MediaUploadedV1)
    async def know_uploaded(event: MediaUploadedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await Ledger(transaction.connection).know_uploaded(event.media_id)

    async def note_completed(transaction: Transaction, batch: Sequence[Joined[MediaDeletionCompletedV1]]) -> None:
        await purging.completed(transaction, [joined.event for joined in batch])

    deleted = Batching(unit_of_work, _know_deleted)
    going = Batching(unit_of_work, _know_going)
    completed = Batching(unit_of_work, note_completed)

    @consumer.on(MediaDeletedV1, batched=True)
    async def know_deleted(event: MediaDeletedV1, delivery: Delivery) -> None:
        await deleted.join(event, delivery)

    @consumer.on(MediaRestoredV1)
    async def know_restored(event: MediaRestoredV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await Ledger(transaction.connection).know_restored(event)

    @consumer.on(MediaDeletionBegunV1, batched=True)
    async def know_going(event: MediaDeletionBegunV1, delivery: Delivery) -> None:
        await going.join(event, delivery)

    @consumer.on(MediaDeletionCompletedV1, batched=True)
    async def forget(event: MediaDeletionCompletedV1, delivery: Delivery) -> None:
        await completed.join(event, delivery)
        purging.look()


async def _know_deleted(transaction: Transaction, batch: Sequence[Joined[MediaDeletedV1]]) -> None:
    await Ledger(transaction.connection).know_deleted([joined.event for joined in batch])


async def _know_going(transaction: Transaction, batch: Sequence[Joined[MediaDeletionBegunV1]]) -> None:
    await Ledger(transaction.connection).know_going([joined.event for joined in batch])
