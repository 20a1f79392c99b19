"""Kafka in: one function per message type."""

from __future__ import annotations

import logging

from s3_syncer.batch import Batches
from s3_syncer.deletions import MediaDeletions
from s3_syncer.file_tasks import FileTasks
from s3_syncer.jobs import Medium
from s3_syncer.local_first import LocalFirst
from s3_syncer.planner import Planner
from s3_syncer.repository import SyncRepository
from s3_syncer.settings import S3SyncerSettings
from s3_syncer.superseded import Superseded
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    CancelSyncJobV1,
    ImageDiscardedV1,
    ImageProcessedV1,
    MediaDeletionBegunV1,
    MediaRevisionSupersededV1,
    MediaUploadedV1,
    RemoveMediaFilesV1,
    RunFileTaskV1,
    RunSyncBatchV1,
    SelectSyncMediaV1,
    StartSyncJobV1,
    SyncMediaV1,
)
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, InfrastructureUnavailable, MessageError
from shared.messaging.retry import PROCESSING_RETRIES, S3_RETRIES

log = logging.getLogger(__name__)

PLAN_SECONDS = 600.0
LONGEST_FILE_SECONDS = 3600.0


def register(
    consumer: Consumer,
    unit_of_work: UnitOfWork,
    planner: Planner,
    batches: Batches,
    local_first: LocalFirst,
    file_tasks: FileTasks,
    superseded: Superseded,
    deletions: MediaDeletions,
    settings: S3SyncerSettings,
) -> None:
    """Tell the consumer what this service handles."""

    @consumer.on(MediaUploadedV1)
    async def know_entity(event: MediaUploadedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as transaction:
            await SyncRepository(transaction.connection).know_entity(event.media_id, event.entity_type, event.entity_id)

    @consumer.on(ImageProcessedV1)
    async def know_files(event: ImageProcessedV1, delivery: Delivery) -> None:
        """Learn where a picture's files are; an older revision changes nothing."""
        files = (event.original, *event.variants) if event.original else event.variants
        async with unit_of_work.begin(delivery) as transaction:
            await SyncRepository(transaction.connection).know_files(
                Medium(event.media_id, event.revision, files, event.on_disk, event.in_bucket)
            )

    @consumer.on(MediaRevisionSupersededV1)
    async def note_superseded(event: MediaRevisionSupersededV1, delivery: Delivery) -> None:
        """Have the files of a revision removed when nobody reads them any more."""
        await superseded.note(event, delivery)

    @consumer.on(MediaDeletionBegunV1, batched=True)
    async def fence_off(event: MediaDeletionBegunV1, delivery: Delivery) -> None:
        await deletions.fence(event, delivery)

    @consumer.on(RemoveMediaFilesV1, batched=True)
    async def remove_files(command: RemoveMediaFilesV1, delivery: Delivery) -> None:
        """Note which files are to go; they are removed beside the batches, and the answer tells when they are gone."""
        await deletions.remove(command, delivery)

    @consumer.on(ImageDiscardedV1)
    async def empty_again(event: ImageDiscardedV1, delivery: Delivery) -> None:
        """What a rendering that came too late has left goes with the medium."""
        await deletions.look_again(event.media_id, delivery)

    @consumer.on(SelectSyncMediaV1, retry=PROCESSING_RETRIES)
    async def select_media(command: SelectSyncMediaV1, delivery: Delivery) -> None:
        await planner.select(command, delivery)

    @consumer.on(StartSyncJobV1, retry=PROCESSING_RETRIES, deadline_seconds=PLAN_SECONDS)
    async def start_job(command: StartSyncJobV1, delivery: Delivery) -> None:
        """Plan a job. Redelivery goes on at its cursor; the inbox is claimed with the end of the plan."""
        await planner.plan(command, delivery, is_last_attempt=delivery.attempt >= PROCESSING_RETRIES.attempts)

    @consumer.on(CancelSyncJobV1, retry=S3_RETRIES)
    async def cancel_job(command: CancelSyncJobV1, delivery: Delivery) -> None:
        await planner.cancel(command.job_id, delivery)

    @consumer.on(
        RunSyncBatchV1,
        retry=S3_RETRIES,
        concurrency=settings.concurrency,
        deadline_seconds=settings.turn_seconds + LONGEST_FILE_SECONDS,
    )
    async def run_batch(command: RunSyncBatchV1, delivery: Delivery) -> None:
        """Work on what is left of a batch. Redelivery is harmless: a result counts once, copies converge."""
        try:
            await batches.run(command.job_id, delivery)
        except (AlreadyHandled, MessageError, InfrastructureUnavailable):
            raise
        except Exception as error:
            if delivery.attempt < S3_RETRIES.attempts:
                raise
            # A dead letter would leave the job, and its parent, without an end.
            log.exception("a batch is given up", extra={"job_id": str(command.job_id)})
            await batches.give_up(command.job_id, delivery, error)

    @consumer.on(
        RunFileTaskV1, retry=S3_RETRIES, concurrency=settings.concurrency, deadline_seconds=LONGEST_FILE_SECONDS
    )
    async def run_file_task(command: RunFileTaskV1, delivery: Delivery) -> None:
        """Carry steps out and answer. Redelivery is harmless: what was found before each change is written down."""
        try:
            await file_tasks.run(command, delivery)
        except (AlreadyHandled, MessageError, InfrastructureUnavailable):
            raise
        except Exception as error:
            if delivery.attempt < S3_RETRIES.attempts:
                raise
            # A dead letter would leave who asked without an answer, and the scope blocked.
            log.exception("a file task is given up", extra={"task_id": str(command.task_id)})
            await file_tasks.give_up(command, delivery, error)

    @consumer.on(SyncMediaV1, concurrency=settings.concurrency)
    async def want_copy(command: SyncMediaV1, delivery: Delivery) -> None:
        """Queue the copy that local_first promises; it is made when nothing urgent runs."""
        await local_first.want(command, delivery)
