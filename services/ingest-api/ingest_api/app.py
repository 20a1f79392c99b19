"""Composition root of ingest-api."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack

from ingest_api import bucket_handlers, deletion_handlers, face_handlers, handlers, product_handlers
from ingest_api.answers import Answers
from ingest_api.bucket_trial import BucketStatus, BucketTrials
from ingest_api.bucket_webhook import BucketWebhook
from ingest_api.bulk_cancellation import BulkCancellation
from ingest_api.bulk_deletions import BulkDeletions
from ingest_api.bulk_ends import BulkEnds
from ingest_api.catalogue import Records
from ingest_api.controllers.products import ProductDesk
from ingest_api.controllers.settings import SettingsDesk
from ingest_api.dead_letter_retention import DeadLetterRetention, LettersKept
from ingest_api.dead_letters import DeadLetterDesk
from ingest_api.direct_upload_sweep import DirectUploadSweep
from ingest_api.direct_uploads import DirectUploads
from ingest_api.http import create_app, with_operations
from ingest_api.job_retry import JobRetry
from ingest_api.media_deletions import MediaDeletions
from ingest_api.media_urls import MediaUrls
from ingest_api.notifications import NewsHub
from ingest_api.operations_handlers import register as register_operations
from ingest_api.outcome_wait import OutcomeWait
from ingest_api.passwords import Passwords
from ingest_api.photo_desk import PhotoDesk
from ingest_api.product_repairs import ProductRepairs
from ingest_api.queue_size import QueueSize
from ingest_api.reconciling import Reconciling
from ingest_api.rerendering import Rerendering
from ingest_api.retention import Retention
from ingest_api.schedule_handlers import register as register_schedules
from ingest_api.scheduling import Scheduling
from ingest_api.settings import IngestSettings
from ingest_api.settings_store import SettingsStore
from ingest_api.sign_in import SignIn, SignInSettings
from ingest_api.sockets import NoticeStream
from ingest_api.staging_sweep import StagingSweep
from ingest_api.storage_sync import StorageSync
from ingest_api.uploads import Uploads
from shared.scheduling import JOBS_RETENTION, STAGING_CLEANUP
from shared.service import Service
from shared.settings_feed import SettingsFeed
from shared.storage.following import BucketFollowing
from shared.storage.settings import S3Settings
from shared.storage.stores import open_stores
from shared.telemetry.http import AsgiApp

YOUNG_OBJECTS = 10_000
"""So many more objects are made than freed before the collector looks; one upload makes some hundreds."""


async def wire(service: Service, settings: IngestSettings, stack: AsyncExitStack) -> AsgiApp:
    """Open what the process owns, register handlers and background tasks, and make the HTTP application."""
    database, unit_of_work = service.database, service.unit_of_work
    stores = await stack.enter_async_context(open_stores(settings))
    staging_store = stores.bucket if settings.staging_store == "bucket" and stores.bucket else stores.disk
    feed = SettingsFeed(settings.kafka_bootstrap, settings.media_defaults(), settings.entity_type_defaults())
    settings_store = SettingsStore(unit_of_work, feed, settings.media_defaults(), settings.entity_type_defaults())
    service.tell("settings", feed.state)
    sign_in = SignIn(database, Passwords(), SignInSettings())
    stack.callback(sign_in.passwords.close)
    answers = Answers(settings.kafka_bootstrap, service.publisher, unit_of_work.source)
    service.tell("answers", answers.state)
    register_schedules(service.consumer, unit_of_work)
    register_operations(service.consumer, database)
    dead_letters = DeadLetterDesk(unit_of_work, DeadLetterRetention(database, LettersKept.of(settings)))
    dead_letters.register(service.consumer)
    rerendering = Rerendering(unit_of_work, lambda: feed.current().copies_by_itself)
    hub = NewsHub(database.session_dsn, application_name=service.name)
    sweep = StagingSweep(
        stores.staging, stores.disk, database, orphans_kept_seconds=settings.staging_orphans_kept_seconds
    )
    service.scheduled.on(STAGING_CLEANUP, sweep.sweep)
    service.scheduled.on(JOBS_RETENTION, Retention(database, stores.staging, settings).sweep)
    for task in (
        sign_in.sweep,
        hub.run,
        answers.run,
        feed.run,
        settings_store.follow,
        sweep.run,
        QueueSize(database).run,
        rerendering.run,
    ):
        service.background(task)
    if stores.bucket is not None:
        service.background(BucketFollowing(stores.bucket, stores.bucket.settings, feed).run, "bucket following")
    uploads = Uploads(unit_of_work, stores.staging, sweep, settings, feed, service.relay)
    products = ProductDesk.of(unit_of_work, uploads.intake, stores, hub, settings)
    service.background(products.changes.run, "changes of products")
    repairs = ProductRepairs(unit_of_work, stores)
    deletions = MediaDeletions(unit_of_work, feed.current)
    bulk_deletions = BulkDeletions(unit_of_work, deletions, confirm_above=settings.mass_delete_confirm_above)
    storage_sync = StorageSync(unit_of_work, feed, settings)
    service.background(storage_sync.run, "selections for storage jobs")
    service.background(deletions.run, "open deletions")
    service.background(bulk_deletions.run, "deletions of selections")
    service.background(BulkEnds(unit_of_work).run, "ends of selections")
    handlers.register(service.consumer, unit_of_work, deletions)
    deletion_handlers.register(service.consumer, deletions, unit_of_work)
    product_handlers.register(service.consumer, products.changes, repairs)
    direct_uploads = DirectUploads(unit_of_work, stores.staging, stores.bucket, sweep, uploads.intake, settings)
    service.background(DirectUploadSweep(direct_uploads, database, settings).run)
    bucket_handlers.register(service.consumer, stores.bucket, direct_uploads, repairs)
    photo_desk = PhotoDesk.of(unit_of_work, feed, settings, stores, answers, sign_in, hub, uploads.intake)
    service.background(photo_desk.syncs.run, "silent syncs of photos")
    service.background(photo_desk.search.run, "sweep of selfies")
    service.background(photo_desk.photos.run, "files of deleted photos")
    service.background(photo_desk.uploads.run, "photos that broke off")
    service.background(photo_desk.removals.run, "what deleted events leave behind")
    face_handlers.register(service.consumer, photo_desk.syncs, photo_desk.erasures, database)
    media_urls = MediaUrls(settings.signing_key_bytes, settings.signed_url_seconds)
    records = Records(media_urls)
    app = create_app(
        sign_in,
        settings=settings,
        database=database,
        uploads=uploads,
        direct_uploads=direct_uploads,
        outcome_wait=OutcomeWait(database, hub, places=settings.waiting_answers),
        job_retry=JobRetry(unit_of_work, staging_store, rerendering),
        bucket_webhook=BucketWebhook(unit_of_work, settings.webhook_token),
        records=records,
        stores=stores,
        media_urls=media_urls,
        stream=NoticeStream(database, hub, records, settings.socket_send_seconds),
        feed=feed,
        settings_desk=SettingsDesk(
            settings_store, BucketStatus(stores.bucket), BucketTrials(), S3Settings.of(settings)
        ),
        storage_sync=storage_sync,
        rerendering=rerendering,
        deletions=deletions,
        bulk_deletions=bulk_deletions,
        bulk_cancellation=BulkCancellation(unit_of_work),
        products=products,
        reconciling=Reconciling(answers, unit_of_work, hub, longest_wait_seconds=settings.reconcile_wait_seconds),
        photo_desk=photo_desk,
        scheduling=Scheduling(answers, unit_of_work),
        dead_letters=dead_letters,
    )
    http_app = with_operations(app, service.operations())
    _spare_collector()
    return http_app


def _spare_collector() -> None:
    """Take what lives as long as the process out of the garbage collector's sight.

    Imports and routes make some hundred thousand objects; each full collection looked at all of them, found nothing and
    held every request up for a tenth of a second meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def main() -> None:
    settings = IngestSettings()
    service = Service("ingest-api", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
