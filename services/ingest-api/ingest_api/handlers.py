"""Kafka in: what other services tell becomes the catalogue, the jobs and the notices."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from ingest_api.catalogue import ORIGINAL, ChangedJob, Outcome, file_facts
from ingest_api.media_deletions import MediaDeletions
from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.media import MediaRepository, Shown
from ingest_api.repositories.notices import NoticeRepository
from ingest_api.repositories.reconcile_runs import ReconcileRunRepository
from ingest_api.repositories.sync_jobs import SyncJobRepository
from ingest_api.sync_jobs import progress_notice
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    ImageCancelledV1,
    ImageDiscardedV1,
    ImageFailedV1,
    ImageProcessedV1,
    ImageProgressV1,
    ImageRetryScheduledV1,
    MediaRevisionSupersededV1,
    MediaStorageChangedV1,
    ReconcileRunChangedV1,
    StoredFile,
    SyncJobChangedV1,
)
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery

SYNC_TOLD_EVERY_SECONDS = 1.0
"""How often a requester is told of mere progress; changes of status are told at once."""


def register(consumer: Consumer, unit_of_work: UnitOfWork, deletions: MediaDeletions) -> None:
    """Every handler is harmless on redelivery: the inbox stops it, or what it says is no news."""

    @consumer.on(ReconcileRunChangedV1)
    async def record_run(event: ReconcileRunChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as tx:
            await ReconcileRunRepository(tx.connection).record(event)

    @consumer.on(ImageProcessedV1)
    async def record_processed(event: ImageProcessedV1, delivery: Delivery) -> None:
        """Medium, job and notice in one transaction, and what tells that a revision is shown no more."""
        async with unit_of_work.begin(delivery) as tx:
            shown = await MediaRepository(tx.connection).record_processed(event)
            tx.publish(*superseded_by(event, shown))
            outcome = outcome_of(event, private=shown is not None and shown.private)
            job = await JobRepository(tx.connection).complete(event.job_id, outcome)
            if job is not None:
                body = {"revision": event.revision, "private": outcome.private, "names": names_of(outcome)}
                await NoticeRepository(tx.connection).add("media:processed", job, {"success": True, **body})
                if job.deletion_id is not None:
                    await deletions.rendering_ended(tx, job.deletion_id)

    @consumer.on(ImageFailedV1)
    async def record_failed(event: ImageFailedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as tx:
            job = await JobRepository(tx.connection).fail(event)
            if job is not None:
                await MediaRepository(tx.connection).record_failed(event.media_id, event.revision)
                error = {"code": event.code, "detail": event.detail}
                await NoticeRepository(tx.connection).add("media:processed", job, {"success": False, "error": error})
                if job.deletion_id is not None:
                    await deletions.rendering_ended(tx, job.deletion_id)

    @consumer.on(ImageDiscardedV1)
    async def record_discarded(event: ImageDiscardedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as tx:
            job = await JobRepository(tx.connection).discard(event)
            if job is not None and job.deletion_id is not None:
                await deletions.rendering_ended(tx, job.deletion_id)

    @consumer.on(ImageCancelledV1)
    async def record_cancelled(event: ImageCancelledV1, delivery: Delivery) -> None:
        """Without a notice: who cancelled a selection is told of its end, not of a thousand pictures."""
        async with unit_of_work.begin(delivery) as tx:
            job = await JobRepository(tx.connection).cancel(event)
            if job is not None and job.deletion_id is not None:
                await deletions.rendering_ended(tx, job.deletion_id)

    @consumer.on(ImageRetryScheduledV1)
    async def record_retry(event: ImageRetryScheduledV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as tx:
            await JobRepository(tx.connection).await_next_attempt(event)

    @consumer.on(ImageProgressV1)
    async def record_progress(event: ImageProgressV1, _: Delivery) -> None:
        """Without the inbox: progress only grows, so hearing of it twice changes nothing."""
        async with unit_of_work.database.connection() as connection:
            await JobRepository(connection).advance(event)

    @consumer.on(MediaStorageChangedV1)
    async def record_placed(event: MediaStorageChangedV1, delivery: Delivery) -> None:
        async with unit_of_work.begin(delivery) as tx:
            shown = await MediaRepository(tx.connection).record_placed(event)
            if shown is not None and shown.revision < event.revision:
                tx.publish(_superseded(event.media_id, shown.revision, shown.files))

    @consumer.on(SyncJobChangedV1)
    async def record_sync_job(event: SyncJobChangedV1, delivery: Delivery) -> None:
        """Job, results and the notice to its requester, who hears of the parent as the sum of its children."""
        root_id = event.parent_job_id or event.job_id
        async with unit_of_work.begin(delivery) as tx:
            sync = SyncJobRepository(tx.connection)
            await sync.lock(root_id)
            if not await sync.record(event) or not await sync.claim_telling(root_id, SYNC_TOLD_EVERY_SECONDS):
                return
            if (job := await sync.get(root_id)) is not None:
                changed = ChangedJob(job.id, None, job.requested_by)
                await NoticeRepository(tx.connection).add("sync:progress", changed, progress_notice(job))


def superseded_by(event: ImageProcessedV1, shown: Shown | None) -> list[MediaRevisionSupersededV1]:
    """Of the revision that was shown until now and of the one that is rendered, the one that nobody needs."""
    if shown is None:
        files = (event.original, *event.variants) if event.original else event.variants
        return [_superseded(event.media_id, event.revision, files)]
    return [_superseded(event.media_id, shown.revision, shown.files)] if shown.revision < event.revision else []


def _superseded(media_id: UUID, revision: int, files: tuple[StoredFile, ...]) -> MediaRevisionSupersededV1:
    return MediaRevisionSupersededV1(media_id=media_id, revision=revision, files=files, superseded_at=datetime.now(UTC))


def outcome_of(event: ImageProcessedV1, *, private: bool) -> Outcome:
    """What the job answers from now on."""
    files = [*([event.original] if event.original else []), *event.variants]
    facts = [file_facts(file) | {"name": ORIGINAL if file is event.original else file.name} for file in files]
    return Outcome(
        revision=event.revision,
        private=private,
        width_px=event.width_px,
        height_px=event.height_px,
        storage_status=event.storage_status,
        placeholder=event.placeholder,
        files=tuple(facts),
    )


def names_of(outcome: Outcome) -> list[str]:
    return [str(file["name"]) for file in outcome.files]
