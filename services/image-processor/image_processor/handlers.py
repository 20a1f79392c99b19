"""Kafka in: one function per message type."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from image_processor.imaging import Command, Imaging, copy_to_bucket
from image_processor.repository import ImageRepository
from image_processor.settings import ImageProcessorSettings
from image_processor.staging_removal import StagingRemoval
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    Event,
    ImageCancelledV1,
    ImageDiscardedV1,
    ImageFailedV1,
    ImageMediaForgottenV1,
    ImageProcessedV1,
    ImageRetryScheduledV1,
    MediaDeletionBegunV1,
    ProcessImageV1,
    RerenderImageV1,
    RerenderingCancelledV1,
)
from shared.messaging.batching import Batching, Joined
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.messaging.retry import PROCESSING_RETRIES, DeadLetter, Decision
from shared.telemetry import metrics

C = TypeVar("C", ProcessImageV1, RerenderImageV1)


def register(
    consumer: Consumer,
    imaging: Imaging,
    unit_of_work: UnitOfWork,
    removal: StagingRemoval,
    settings: ImageProcessorSettings,
) -> None:
    """Tell the consumer what this service handles."""

    @consumer.on(
        ProcessImageV1,
        retry=PROCESSING_RETRIES,
        on_failure=tell_of_failure,
        observe_failure=count_failure,
        concurrency=settings.concurrency,
        deadline_seconds=settings.deadline_seconds,
    )
    async def process_image(command: ProcessImageV1, delivery: Delivery) -> None:
        """Render every variant of one upload.

        Redelivery is harmless: object keys are deterministic and the inbox claim commits with the result.
        """
        await work(command, delivery, imaging.render, command.staging_key)
        await removal.remove(command.staging_key)

    @consumer.on(
        RerenderImageV1,
        retry=PROCESSING_RETRIES,
        on_failure=tell_of_failure,
        observe_failure=count_failure,
        concurrency=settings.rerender_concurrency,
        deadline_seconds=settings.rerender_deadline_seconds,
    )
    async def rerender_image(command: RerenderImageV1, delivery: Delivery) -> None:
        """Render a further revision of a stored picture, behind uploads. Redelivery is harmless, as above.

        Of a selection that was cancelled none is begun; one that was ends as if nobody had. What a person replays is
        wanted by itself.
        """
        if not await is_cancelled(command, delivery):
            await work(command, delivery, imaging.rerender, None)
            return
        async with unit_of_work.begin(delivery) as transaction:
            images = ImageRepository(transaction.connection)
            await images.lock_medium(command.media_id)
            if await images.is_deleted(command.media_id):
                await discard(transaction, command, None)
            else:
                transaction.publish(cancelled(command))

    async def is_cancelled(command: RerenderImageV1, delivery: Delivery) -> bool:
        if command.parent_job_id is None or delivery.is_replay:
            return False
        async with unit_of_work.database.connection() as connection:
            return await ImageRepository(connection).is_cancelled(command.parent_job_id)

    @consumer.on(RerenderingCancelledV1)
    async def cancel_rerendering(event: RerenderingCancelledV1, delivery: Delivery) -> None:
        """Begin nothing more of a selection, whatever is queued of it."""
        async with unit_of_work.begin(delivery) as transaction:
            await ImageRepository(transaction.connection).note_cancelled(event.job_id)

    async def forget_media(transaction: Transaction, batch: Sequence[Joined[MediaDeletionBegunV1]]) -> None:
        """Render nothing of the media any more; what is being rendered now ends as discarded."""
        media_ids = [joined.event.media_id for joined in batch]
        deletion_ids = [joined.event.deletion_id for joined in batch]
        records = await ImageRepository(transaction.connection).forget_media(media_ids, deletion_ids)
        for joined in batch:
            forgotten = ImageMediaForgottenV1(
                deletion_id=joined.event.deletion_id,
                media_id=joined.event.media_id,
                records=records.get(joined.event.media_id, 0),
                forgotten_at=datetime.now(UTC),
            )
            transaction.publish(forgotten, trace=joined.trace)

    deletions = Batching(unit_of_work, forget_media)

    @consumer.on(MediaDeletionBegunV1, batched=True)
    async def forget_medium(event: MediaDeletionBegunV1, delivery: Delivery) -> None:
        await deletions.join(event, delivery)

    async def keep(
        transaction: Transaction,
        command: Command,
        image: ImageProcessedV1 | None,
        attempt: int,
        staging_key: str | None,
    ) -> bool:
        """Record and tell of a rendering; of a medium that goes for good, that there is none."""
        images = ImageRepository(transaction.connection)
        await images.lock_medium(command.media_id)
        if image is None or await images.is_deleted(command.media_id):
            await discard(transaction, command, staging_key)
            return False
        await images.record(image, attempt=attempt, staging_key=staging_key)
        transaction.publish(image)
        if copy := copy_to_bucket(command, image):
            transaction.publish(copy)
        return True

    async def discard(transaction: Transaction, command: Command, staging_key: str | None) -> None:
        """Tell that a rendering is not wanted any more: whoever removes the medium's files looks for its files too."""
        if staging_key is not None:
            await ImageRepository(transaction.connection).note_staging_removal(staging_key)
        transaction.publish(
            ImageDiscardedV1(
                job_id=command.job_id,
                media_id=command.media_id,
                revision=command.revision,
                discarded_at=datetime.now(UTC),
            )
        )

    async def work(
        command: C,
        delivery: Delivery,
        render: Callable[[C, int], Awaitable[ImageProcessedV1]],
        staging_key: str | None,
    ) -> None:
        started_at = time.perf_counter()
        if await unit_of_work.is_handled(delivery):
            raise AlreadyHandled
        async with unit_of_work.database.connection() as connection:
            is_wanted = not await ImageRepository(connection).is_deleted(command.media_id)
        image = await render(command, delivery.attempt) if is_wanted else None
        try:
            async with unit_of_work.begin(delivery) as transaction:
                is_kept = await keep(transaction, command, image, delivery.attempt, staging_key)
        except AlreadyHandled:
            # Taken for dead, this process may have stored files after another one had done with the command.
            async with unit_of_work.begin() as transaction:
                if await ImageRepository(transaction.connection).is_deleted(command.media_id):
                    await discard(transaction, command, staging_key)
            raise
        if not is_kept:
            return
        metrics.media_jobs_processed_total.labels(command.entity_type, "success").inc()
        metrics.media_processing_duration_seconds.labels(command.entity_type).observe(time.perf_counter() - started_at)


def cancelled(command: RerenderImageV1) -> ImageCancelledV1:
    return ImageCancelledV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        cancelled_at=datetime.now(UTC),
    )


def tell_of_failure(command: Command, decision: Decision) -> Sequence[Event]:
    """The fact that follows a failed attempt: another one is due, or the picture is given up."""
    failure = decision.failure
    now = datetime.now(UTC)
    if isinstance(decision, DeadLetter):
        return [
            ImageFailedV1(
                job_id=command.job_id,
                media_id=command.media_id,
                revision=command.revision,
                code=failure.code,
                detail=failure.detail,
                attempts=failure.attempt,
                failed_at=now,
            )
        ]
    return [
        ImageRetryScheduledV1(
            job_id=command.job_id,
            media_id=command.media_id,
            revision=command.revision,
            code=failure.code,
            detail=failure.detail,
            attempts=failure.attempt,
            next_attempt_at=now + timedelta(seconds=decision.delay_seconds),
        )
    ]


def count_failure(command: Command, decision: Decision) -> None:
    if isinstance(decision, DeadLetter):
        metrics.media_jobs_processed_total.labels(command.entity_type, "failed").inc()
