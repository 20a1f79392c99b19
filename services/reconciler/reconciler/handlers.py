"""Kafka in: one function per message type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from reconciler.checks import Checks
from reconciler.commands import Commands
from reconciler.executing import Executing
from reconciler.quarantine import SCOPE as QUARANTINE_SCOPE
from reconciler.quarantine import QuarantineExpiry
from reconciler.repositories.known_objects import KnownObjects
from reconciler.repositories.read_models import ReadModels
from reconciler.sweep import is_swept
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    BucketObjectV1,
    CheckConsistencyV1,
    DecideOnPlanV1,
    DescribePlanV1,
    DescribeReportV1,
    FileTaskEndedV1,
    ImageProcessedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaStorageChangedV1,
    ProductChangedV1,
    ProductImageChangedV1,
    ReconcileMediaForgottenV1,
    RecordsRepairedV1,
    StartReconcileRunV1,
    StorageStatus,
)
from shared.messaging.batching import Batching, Joined
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery

LONGEST_CHECK_SECONDS = 120.0


def register_read_models(consumer: Consumer, unit_of_work: UnitOfWork) -> None:
    """What others tell of their records. Redelivery is harmless: what says nothing newer changes nothing."""

    @consumer.on(ProductChangedV1)
    async def know_product(event: ProductChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await ReadModels(transaction.connection).know_product(event)

    @consumer.on(ProductImageChangedV1)
    async def know_image(event: ProductImageChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await ReadModels(transaction.connection).know_image(event)

    @consumer.on(ImageProcessedV1)
    async def know_processed(event: ImageProcessedV1, delivery: Delivery) -> None:
        files = (event.original, *event.variants) if event.original else event.variants
        async with unit_of_work.begin(delivery) as transaction:
            await ReadModels(transaction.connection).know_processed(
                event.media_id,
                event.revision,
                files,
                on_disk=event.on_disk,
                in_bucket=event.in_bucket,
                copy_waits=event.storage_status is StorageStatus.PENDING,
            )

    @consumer.on(MediaStorageChangedV1)
    async def know_places(event: MediaStorageChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await ReadModels(transaction.connection).know_places(
                event.media_id,
                event.revision,
                event.files,
                on_disk=event.on_disk,
                in_bucket=event.in_bucket,
                copy_waits=event.storage_status is StorageStatus.PENDING,
                placed_at=event.changed_at,
            )

    begun = Batching(unit_of_work, _forget_media)
    completed = Batching(unit_of_work, _complete_deletions)

    @consumer.on(MediaDeletionBegunV1, batched=True)
    async def forget_medium(event: MediaDeletionBegunV1, delivery: Delivery) -> None:
        await begun.join(event, delivery)

    @consumer.on(MediaDeletionCompletedV1, batched=True)
    async def complete_deletion(event: MediaDeletionCompletedV1, delivery: Delivery) -> None:
        await completed.join(event, delivery)


async def _forget_media(transaction: Transaction, batch: Sequence[Joined[MediaDeletionBegunV1]]) -> None:
    records = await ReadModels(transaction.connection).forget_media([joined.event for joined in batch])
    for joined in batch:
        forgotten = ReconcileMediaForgottenV1(
            deletion_id=joined.event.deletion_id,
            media_id=joined.event.media_id,
            records=records.get(joined.event.media_id, 0),
            forgotten_at=datetime.now(UTC),
        )
        transaction.publish(forgotten, trace=joined.trace)


async def _complete_deletions(transaction: Transaction, batch: Sequence[Joined[MediaDeletionCompletedV1]]) -> None:
    await ReadModels(transaction.connection).complete_deletions([joined.event.media_id for joined in batch])


def register_checks(consumer: Consumer, checks: Checks, at_once: int) -> None:
    """Questions: no inbox, for answering twice is harmless."""

    @consumer.on(CheckConsistencyV1, concurrency=at_once, deadline_seconds=LONGEST_CHECK_SECONDS)
    async def check(question: CheckConsistencyV1, delivery: Delivery) -> None:
        await checks.answer(question)

    @consumer.on(DescribePlanV1, concurrency=at_once)
    async def describe(question: DescribePlanV1, delivery: Delivery) -> None:
        await checks.describe(question)

    @consumer.on(DescribeReportV1, concurrency=at_once)
    async def describe_report(question: DescribeReportV1, delivery: Delivery) -> None:
        await checks.describe_report(question)


def register_runs(consumer: Consumer, commands: Commands, executing: Executing, quarantine: QuarantineExpiry) -> None:
    """Runs and plans: commands in, and what became of their items."""

    @consumer.on(StartReconcileRunV1)
    async def start_run(command: StartReconcileRunV1, delivery: Delivery) -> None:
        await commands.start(command, delivery)

    @consumer.on(DecideOnPlanV1)
    async def decide(command: DecideOnPlanV1, delivery: Delivery) -> None:
        await commands.decide(command, delivery)

    @consumer.on(FileTaskEndedV1)
    async def file_task_ended(event: FileTaskEndedV1, delivery: Delivery) -> None:
        if event.scope == QUARANTINE_SCOPE:
            await quarantine.task_ended(event, delivery)
        else:
            await executing.task_ended(event, delivery)

    @consumer.on(RecordsRepairedV1)
    async def records_repaired(event: RecordsRepairedV1, delivery: Delivery) -> None:
        await executing.records_repaired(event, delivery)


def register_bucket(consumer: Consumer, unit_of_work: UnitOfWork, prefixes: Sequence[str]) -> None:
    """What the bucket tells; the sweep looks for what it does not."""

    @consumer.on(BucketObjectV1)
    async def know_object(event: BucketObjectV1, delivery: Delivery) -> None:
        if is_swept(event.object_key, prefixes):
            async with unit_of_work.begin(delivery) as transaction:
                await KnownObjects(transaction.connection).know(event)
