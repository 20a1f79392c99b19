"""Composition root of s3-syncer."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from dataclasses import replace

from s3_syncer.batch import Batches
from s3_syncer.copy_watch import CopyWatch
from s3_syncer.deletions import MediaDeletions
from s3_syncer.file_moves import FileMoves
from s3_syncer.file_tasks import FileTasks
from s3_syncer.handlers import register
from s3_syncer.local_first import LocalFirst
from s3_syncer.one_medium import OneMedium
from s3_syncer.outages import Outages
from s3_syncer.planner import Planner
from s3_syncer.retention import Retention
from s3_syncer.set_aside import SetAside
from s3_syncer.settings import S3SyncerSettings
from s3_syncer.superseded import Superseded
from s3_syncer.transfers import Transfers
from s3_syncer.unfinished import UnfinishedUploads
from shared.messaging.retry import S3_RETRIES
from shared.scheduling import JOBS_RETENTION, MULTIPART_CLEANUP
from shared.service import Service
from shared.settings_feed import SettingsFeed
from shared.storage.following import BucketFollowing
from shared.storage.object_store import ObjectStore
from shared.storage.stores import open_stores


async def wire(service: Service, settings: S3SyncerSettings, stack: AsyncExitStack) -> None:
    """Open what the process owns, in order, and register the handlers; `stack` closes it in reverse."""
    stores = await stack.enter_async_context(open_stores(settings))
    feed = SettingsFeed(settings.kafka_bootstrap, settings.media_defaults())
    service.tell("settings", feed.state)
    service.background(feed.run, "settings feed")
    if stores.bucket is not None:
        service.background(BucketFollowing(stores.bucket, stores.bucket.settings, feed).run, "bucket following")
        unfinished = UnfinishedUploads(stores.bucket, settings.unfinished_uploads_kept_seconds)
        service.scheduled.on(MULTIPART_CLEANUP, unfinished.sweep)
    retries = replace(S3_RETRIES, first_delay_seconds=settings.file_retry_seconds)
    transfers = Transfers(stores.disk, stores.bucket)
    media = OneMedium(transfers, retries, in_flight=settings.transfers_in_flight)
    batches = Batches(service.unit_of_work, media, settings)

    def copies_by_itself() -> bool | None:
        return (stores.bucket is not None and feed.current().copies_by_itself) if feed.caught_up else None

    local_first = LocalFirst(
        service.unit_of_work,
        media,
        retries,
        settings,
        is_on=copies_by_itself,
        is_urgent_work_in_hand=lambda: batches.in_hand > 0,
    )
    staging = stores.bucket if settings.staging_store == "bucket" and stores.bucket else stores.disk
    file_tasks = FileTasks(
        service.unit_of_work,
        FileMoves(stores.disk, stores.bucket, staging),
        Outages(transfers.check),
        retries,
        hold_seconds=settings.scope_hold_seconds,
        files_in_flight=settings.files_in_flight,
    )
    kept_in: list[ObjectStore] = [stores.disk, *([stores.bucket] if stores.bucket else [])]
    superseded = Superseded(service.unit_of_work, kept_in, kept_seconds=settings.superseded_kept_seconds)
    deletions = MediaDeletions(
        service.unit_of_work,
        stores.disk,
        stores.bucket,
        staging,
        hold_seconds=settings.scope_hold_seconds,
        at_once=settings.files_in_flight,
    )
    planner = Planner(service.unit_of_work)
    register(
        service.consumer,
        service.unit_of_work,
        planner,
        batches,
        local_first,
        file_tasks,
        superseded,
        deletions,
        settings,
    )
    service.background(batches.sweep, "removals of jobs that were given up")
    service.background(superseded.work_off, "removal of superseded files")
    service.background(deletions.work_off, "removal of deleted media")
    service.background(SetAside(service.unit_of_work, kept_in).run, "files that are set aside")
    service.background(local_first.work_off, "local_first copies")
    service.background(CopyWatch(service.unit_of_work, is_on=copies_by_itself).run, "local_first metrics")
    service.scheduled.on(JOBS_RETENTION, Retention(service.unit_of_work, settings.jobs_kept_seconds).sweep)
    # What lives as long as the process is no garbage: looking through it took a tenth of the work on small files.
    gc.collect()
    gc.freeze()


def main() -> None:
    settings = S3SyncerSettings()
    service = Service("s3-syncer", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
