"""ingest-api's HTTP side in the process of a test: a real server, PostgreSQL and disk, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import uvicorn
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from ingest_api import bucket_handlers, deletion_handlers, face_handlers, handlers, product_handlers
from ingest_api.accounts import ApiKeyText, Role, new_secret
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
from ingest_api.http import create_app
from ingest_api.job_retry import JobRetry
from ingest_api.media_deletions import MediaDeletions
from ingest_api.media_urls import MediaUrls
from ingest_api.notifications import NewsHub
from ingest_api.operations_handlers import register as register_operations
from ingest_api.outcome_wait import OutcomeWait
from ingest_api.passwords import Argon2Parameters, Passwords
from ingest_api.photo_desk import PhotoDesk
from ingest_api.product_repairs import ProductRepairs
from ingest_api.reconciling import Reconciling
from ingest_api.repositories.accounts import AccountRepository
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
from ingest_api.tracing_middleware import traced
from ingest_api.uploads import Uploads
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import Envelope, Event
from shared.http_server import BoundedHttp
from shared.identifiers import new_id
from shared.messaging.broker import kafka_broker
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.messaging.publisher import Publisher
from shared.settings_feed import SettingsFeed
from shared.storage.following import BucketFollowing
from shared.storage.settings import S3Settings
from shared.storage.stores import Stores, open_stores
from shared.testing.databases import TestDatabase
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.files_on_disk import files_below

UPLOADS = "/api/admin/media"
JOBS = "/api/admin/media/jobs"
PICTURE = photo_jpeg(64, 48)


def bucket_settings(server: ObjectStoreServer) -> dict[str, Any]:
    """What a site is told so that it has that store's bucket."""
    return {
        "s3_endpoint": server.endpoint,
        "s3_access_key": SecretStr(server.access_key),
        "s3_secret_key": SecretStr(server.secret_key),
    }


class Handlers:
    """Stands where the consumer registers handlers, and hands them events as deliveries."""

    def __init__(self) -> None:
        self._functions: dict[type[Event], Any] = {}

    def on(self, event_type: type[Event], **_: Any) -> Any:
        def register(function: Any) -> Any:
            self._functions[event_type] = function
            return function

        return register

    async def deliver(self, event: Event, *, event_id: UUID | None = None) -> bool:
        """Whether the event was news; a duplicate is not."""
        envelope = Envelope(event_id or new_id(), event.event_type, "/tests", Envelope.new(event, "/tests").time)
        delivery = Delivery(
            consumer="ingest-api",
            envelope=envelope,
            topic=event.topic.name,
            partition=0,
            offset=0,
            key=event.key().encode(),
            headers=envelope.headers(),
            payload=event.payload(),
            attempt=1,
        )
        try:
            await self._functions[type(event)](event, delivery)
        except AlreadyHandled:
            return False
        return True


@dataclass
class IngestSite:
    """A running server; `api` is a client with a superadmin's key."""

    base_url: str
    port: int
    key: str
    user_id: UUID
    settings: IngestSettings
    database: Database
    stores: Stores
    hub: NewsHub
    sign_in: SignIn
    sweep: StagingSweep
    retention: Retention
    handlers: Handlers
    rerendering: Rerendering
    deletions: MediaDeletions
    bulk_deletions: BulkDeletions
    bulk_ends: BulkEnds
    storage_sync: StorageSync
    direct_upload_sweep: DirectUploadSweep
    photo_desk: PhotoDesk
    api: httpx.AsyncClient
    rows: asyncpg.Connection[Any]

    async def upload(self, content: bytes = PICTURE, /, filename: str = "p.jpg", **options: Any) -> httpx.Response:
        """`headers` are the request's; other options are text fields, `entityType` being product unless given."""
        headers: Mapping[str, str] = options.pop("headers", {})
        fields = {"entityType": "product"} | options
        return await self.api.post(
            UPLOADS,
            files={"file": (filename, content)},
            data={name: value for name, value in fields.items() if value is not None},
            headers=headers,
        )

    async def uploaded(self, content: bytes = PICTURE, /, **options: Any) -> dict[str, Any]:
        """The 202 answer."""
        answer = await self.upload(content, **options)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"{JOBS}/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def staged_files(self) -> list[Path]:
        """Every file in the staging area, unfinished ones included."""
        return files_below(self.settings.media_root / "staging")

    async def count(self, table: str) -> int:
        count: int = await self.rows.fetchval(f"SELECT count(*) FROM {table}")
        return count

    async def key_of(self, role: Role) -> str:
        """An API key of a new account of this role."""
        return str((await add_account(self.sign_in, role))[1])


async def add_account(sign_in: SignIn, role: Role) -> tuple[UUID, ApiKeyText]:
    user_id, key = new_id(), ApiKeyText(new_id(), new_secret())
    async with sign_in.database.connection() as connection:
        accounts = AccountRepository(connection)
        await accounts.add_user(user_id, f"{user_id}@example.test", role, await sign_in.passwords.hash("x"))
        await accounts.add_api_key(key, name="test", role=role, created_by=user_id, expires_at=None)
    return user_id, key


@asynccontextmanager
async def running_site(database: TestDatabase, media_root: Path, **changes: Any) -> AsyncIterator[IngestSite]:
    """`changes` are settings that differ from the defaults."""
    port = free_port()
    await asyncio.to_thread(media_root.mkdir, exist_ok=True)
    settings = IngestSettings(
        postgres_dsn=SecretStr(database.dsn("ingest-api")),
        kafka_bootstrap="127.0.0.1:9",
        media_root=media_root,
        http_port=port,
        **{"signing_key": SecretStr("s" * 32), **changes},
    )
    dsn = settings.postgres_dsn.get_secret_value()
    pool = Database(dsn, application_name="tests", max_connections=settings.postgres_connections)
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings))
        stack.push_async_callback(pool.close)
        sign_in = SignIn(pool, Passwords(Argon2Parameters(time_cost=1, memory_kib=64)), SignInSettings())
        stack.callback(sign_in.passwords.close)
        unit_of_work = UnitOfWork(pool, source="/mediabus/ingest-api", schema="ingest")
        broker = kafka_broker(settings.kafka_bootstrap, client_id="tests", drain_seconds=1, logger=None)
        hub = NewsHub(dsn, application_name="tests")
        sweep = StagingSweep(
            stores.staging, stores.disk, pool, orphans_kept_seconds=settings.staging_orphans_kept_seconds
        )
        registered = Handlers()
        urls = MediaUrls(settings.signing_key_bytes, settings.signed_url_seconds)
        records = Records(urls)
        feed = SettingsFeed(settings.kafka_bootstrap, settings.media_defaults(), settings.entity_type_defaults())
        deletions = MediaDeletions(unit_of_work, feed.current)
        bulk_deletions = BulkDeletions(unit_of_work, deletions, confirm_above=settings.mass_delete_confirm_above)
        handlers.register(registered, unit_of_work, deletions)  # type: ignore[arg-type]
        deletion_handlers.register(registered, deletions, unit_of_work)  # type: ignore[arg-type]
        storage_sync = StorageSync(unit_of_work, feed, settings)
        rerendering = Rerendering(unit_of_work, lambda: feed.current().copies_by_itself)
        uploads = Uploads(unit_of_work, stores.staging, sweep, settings, feed)
        products = ProductDesk.of(unit_of_work, uploads.intake, stores, hub, settings)
        repairs = ProductRepairs(unit_of_work, stores)
        product_handlers.register(registered, products.changes, repairs)  # type: ignore[arg-type]
        direct_uploads = DirectUploads(unit_of_work, stores.staging, stores.bucket, sweep, uploads.intake, settings)
        bucket_handlers.register(registered, stores.bucket, direct_uploads, repairs)  # type: ignore[arg-type]
        answers = Answers(settings.kafka_bootstrap, Publisher(broker, "/tests"), "/tests")
        register_schedules(registered, unit_of_work)  # type: ignore[arg-type]
        register_operations(registered, pool)  # type: ignore[arg-type]
        photo_desk = PhotoDesk.of(unit_of_work, feed, settings, stores, answers, sign_in, hub, uploads.intake)
        face_handlers.register(registered, photo_desk.syncs, photo_desk.erasures, pool)  # type: ignore[arg-type]
        app = create_app(
            sign_in,
            settings=settings,
            database=pool,
            uploads=uploads,
            direct_uploads=direct_uploads,
            outcome_wait=OutcomeWait(pool, hub, places=settings.waiting_answers),
            job_retry=JobRetry(unit_of_work, stores.disk, rerendering),
            bucket_webhook=BucketWebhook(unit_of_work, settings.webhook_token),
            records=records,
            stores=stores,
            media_urls=urls,
            stream=NoticeStream(pool, hub, records, settings.socket_send_seconds),
            feed=feed,
            settings_desk=SettingsDesk(
                SettingsStore(unit_of_work, feed, settings.media_defaults(), settings.entity_type_defaults()),
                BucketStatus(stores.bucket),
                BucketTrials(),
                S3Settings.of(settings),
            ),
            storage_sync=storage_sync,
            rerendering=rerendering,
            deletions=deletions,
            bulk_deletions=bulk_deletions,
            bulk_cancellation=BulkCancellation(unit_of_work),
            products=products,
            reconciling=Reconciling(
                answers,
                unit_of_work,
                hub,
                longest_wait_seconds=settings.reconcile_wait_seconds,
            ),
            photo_desk=photo_desk,
            scheduling=Scheduling(answers, unit_of_work),
            dead_letters=DeadLetterDesk(unit_of_work, DeadLetterRetention(pool, LettersKept.of(settings))),
        )
        stack.push_async_callback(_cancel, asyncio.create_task(hub.run()))
        if stores.bucket is not None:
            following = BucketFollowing(stores.bucket, stores.bucket.settings, feed)
            stack.push_async_callback(_cancel, asyncio.create_task(following.run()))
        base_url = await stack.enter_async_context(_served(traced(app), port))  # type: ignore[arg-type]
        user_id, key = await add_account(sign_in, Role.SUPERADMIN)
        headers = {"Authorization": f"Bearer {key}"}
        # Without TLS: loading the authorities of the world takes longer than most tests.
        client = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30, verify=False)
        api = await stack.enter_async_context(client)
        rows: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
        stack.push_async_callback(rows.close)
        yield IngestSite(
            base_url,
            port,
            str(key),
            user_id,
            settings,
            pool,
            stores,
            hub,
            sign_in,
            sweep,
            Retention(pool, stores.staging, settings),
            registered,
            rerendering,
            deletions,
            bulk_deletions,
            BulkEnds(unit_of_work),
            storage_sync,
            DirectUploadSweep(direct_uploads, pool, settings),
            photo_desk,
            api,
            rows,
        )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _served(app: Any, port: int) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app, http=BoundedHttp, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started, why="the server listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
