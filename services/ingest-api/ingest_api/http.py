"""The HTTP application, made of its parts."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.di import Provide

from ingest_api.application import Application
from ingest_api.bucket_webhook import BucketWebhook
from ingest_api.bulk_cancellation import BulkCancellation
from ingest_api.bulk_deletions import BulkDeletions
from ingest_api.catalogue import Records
from ingest_api.controllers.dead_letters import DeadLetterController
from ingest_api.controllers.deletions import DeletionController
from ingest_api.controllers.direct_uploads import DirectUploadController
from ingest_api.controllers.erasure_requests import ErasureRequestController, EventErasureRequestsController
from ingest_api.controllers.event_photos import EventPhotoController
from ingest_api.controllers.face_erasures import FaceErasureController, ReceiptKeyController
from ingest_api.controllers.faces import FaceController
from ingest_api.controllers.galleries import GalleriesController
from ingest_api.controllers.gallery import GalleryController
from ingest_api.controllers.jobs import JobController
from ingest_api.controllers.media import MediaController
from ingest_api.controllers.media_bytes import MediaBytesController
from ingest_api.controllers.operations import OperationsController
from ingest_api.controllers.people import PeopleController, PhotoFacesController
from ingest_api.controllers.photo_events import PhotoEventController
from ingest_api.controllers.products import ProductController, ProductDesk, ProductImageAddressController
from ingest_api.controllers.reconcile import ProductSyncController, ReconcileController
from ingest_api.controllers.schedules import ScheduleController
from ingest_api.controllers.settings import SettingsController, SettingsDesk
from ingest_api.controllers.sync import SyncController
from ingest_api.controllers.uploads import UploadDesk
from ingest_api.controllers.watermark import WatermarkController
from ingest_api.controllers.webhooks import WebhookController
from ingest_api.controllers.websocket import SocketPlaces, WebSocketController
from ingest_api.dead_letters import DeadLetterDesk
from ingest_api.direct_uploads import DirectUploads
from ingest_api.job_retry import JobRetry
from ingest_api.media_deletions import MediaDeletions
from ingest_api.media_urls import MediaUrls
from ingest_api.outcome_wait import OutcomeWait
from ingest_api.pages_plugin import PagesPlugin
from ingest_api.photo_desk import PhotoDesk
from ingest_api.reconciling import Reconciling
from ingest_api.rerendering import Rerendering
from ingest_api.scheduling import Scheduling
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignIn
from ingest_api.sign_in_plugin import SignInPlugin
from ingest_api.sockets import NoticeStream
from ingest_api.storage_sync import StorageSync
from ingest_api.tracing_middleware import traced
from ingest_api.uploads import Uploads
from shared.db.pool import Database
from shared.settings_feed import SettingsFeed
from shared.storage.stores import Stores
from shared.telemetry.http import PATHS, AsgiApp, Receive, Scope, Send

LARGEST_JSON_BYTES = 1024 * 1024


def create_app(
    sign_in: SignIn,
    *,
    settings: IngestSettings,
    database: Database,
    uploads: Uploads,
    outcome_wait: OutcomeWait,
    direct_uploads: DirectUploads,
    job_retry: JobRetry,
    bucket_webhook: BucketWebhook,
    records: Records,
    stores: Stores,
    media_urls: MediaUrls,
    stream: NoticeStream,
    feed: SettingsFeed,
    settings_desk: SettingsDesk,
    storage_sync: StorageSync,
    products: ProductDesk,
    rerendering: Rerendering,
    deletions: MediaDeletions,
    bulk_deletions: BulkDeletions,
    bulk_cancellation: BulkCancellation,
    reconciling: Reconciling,
    photo_desk: PhotoDesk,
    scheduling: Scheduling,
    dead_letters: DeadLetterDesk,
) -> Litestar:
    """Everything below /api, /admin, /docs, /media and the pages."""
    parts: dict[str, Any] = {
        "settings": settings,
        "database": database,
        "desk": UploadDesk(uploads, outcome_wait, records, settings, feed),
        "feed": feed,
        "direct_uploads": direct_uploads,
        "job_retry": job_retry,
        "bucket_webhook": bucket_webhook,
        "records": records,
        "stores": stores,
        "media_urls": media_urls,
        "stream": stream,
        "settings_desk": settings_desk,
        "storage_sync": storage_sync,
        "products": products,
        "rerendering": rerendering,
        "deletions": deletions,
        "bulk_deletions": bulk_deletions,
        "bulk_cancellation": bulk_cancellation,
        "reconciling": reconciling,
        "photo_desk": photo_desk,
        "scheduling": scheduling,
        "dead_letters": dead_letters,
        "places": SocketPlaces(settings.sockets),
    }
    return Application(
        route_handlers=[
            MediaController,
            DeletionController,
            DirectUploadController,
            JobController,
            SyncController,
            WatermarkController,
            ProductSyncController,
            ReconcileController,
            ScheduleController,
            OperationsController,
            DeadLetterController,
            SettingsController,
            ProductController,
            ProductImageAddressController,
            PhotoEventController,
            FaceController,
            FaceErasureController,
            EventErasureRequestsController,
            ErasureRequestController,
            ReceiptKeyController,
            EventPhotoController,
            PeopleController,
            PhotoFacesController,
            GalleriesController,
            GalleryController,
            MediaBytesController,
            WebhookController,
            WebSocketController,
        ],
        dependencies={name: _provide(part) for name, part in parts.items()},
        plugins=[SignInPlugin(sign_in), PagesPlugin(records, lambda: bucket_origins(stores))],
        request_max_body_size=LARGEST_JSON_BYTES,
        logging_config=None,
    )


def bucket_origins(stores: Stores) -> list[str]:
    """The origins from which pictures come when they are read from the bucket."""
    if stores.bucket is None:
        return []
    bucket = stores.bucket.settings
    addresses = (bucket.public_url, bucket.presign_endpoint or bucket.endpoint)
    parts = [urlsplit(address) for address in addresses if address]
    return sorted({f"{part.scheme}://{part.netloc}" for part in parts})


def _provide(part: Any) -> Provide:
    return Provide(lambda: part, use_cache=True, sync_to_thread=False)


def with_operations(app: Litestar, operations: AsgiApp) -> AsgiApp:
    """The operator's pages beside the application, without sign-in and without spans."""
    serve = traced(cast(AsgiApp, app))

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_operation = scope["type"] == "http" and scope["path"] in PATHS
        await (operations if is_operation else serve)(scope, receive, send)

    return dispatch
