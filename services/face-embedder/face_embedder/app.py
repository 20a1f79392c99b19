"""Composition root of face-embedder."""

from __future__ import annotations

from contextlib import AsyncExitStack

from face_embedder.arriving import Arriving
from face_embedder.bucket_news import BucketNews
from face_embedder.commands import Commands
from face_embedder.deciding import Deciding
from face_embedder.erasing import Erasing
from face_embedder.face_pool import FacePool
from face_embedder.forgetting import Forgetting
from face_embedder.handlers import register
from face_embedder.indexing import Indexing
from face_embedder.listing import Listing
from face_embedder.presence import Presence
from face_embedder.replacing import Replacing
from face_embedder.runner import Runner
from face_embedder.searching import Searching
from face_embedder.settings import FaceEmbedderSettings
from face_embedder.sorting import Sorting
from shared.scheduling import CONSENTS_EXPIRY, JOBS_RETENTION
from shared.service import Service
from shared.settings_feed import SettingsFeed, settings_of_environment
from shared.storage.following import BucketFollowing
from shared.storage.sealed import SealedSelfies
from shared.storage.stores import open_stores


async def wire(service: Service, settings: FaceEmbedderSettings, stack: AsyncExitStack) -> None:
    """Open what the process owns, in order, and register the handlers; `stack` closes it in reverse."""
    stores = await stack.enter_async_context(open_stores(settings))
    bucket = stores.bucket
    if bucket is None:
        raise ValueError("there are no photos without a bucket: set MEDIABUS_S3_ENDPOINT and its keys")
    if settings.selfie_key_bytes is None:
        raise ValueError("selfies can't be opened: set MEDIABUS_SELFIE_KEY to what ingest-api has")
    feed = SettingsFeed(settings.kafka_bootstrap, settings_of_environment(settings))
    service.tell("settings", feed.state)
    service.background(feed.run, "settings feed")
    service.background(BucketFollowing(bucket, bucket.settings, feed).run, "bucket following")
    pool = await stack.enter_async_context(
        FacePool(settings.engine(), settings.previous_engine(), settings.face_pool(), settings.face_threads)
    )
    selfies = SealedSelfies(stores.disk if settings.staging_store == "local" else bucket, settings.selfie_key_bytes)
    work = service.unit_of_work
    forgetting = Forgetting(work)
    indexing = Indexing(
        work, bucket, pool, limit_bytes=settings.photo_limit_bytes, limit_seconds=settings.index_seconds
    )
    searching = Searching(work, pool, selfies, service.publisher, exact_search_faces=settings.exact_search_faces)
    register(
        service.consumer,
        Commands(work, forgetting.soon),
        Arriving(work, bucket),
        indexing,
        BucketNews(work, bucket),
        searching,
        Erasing(work),
        Deciding(work),
        settings,
    )
    runner = Runner(work, Listing(work, bucket), settings)
    service.background(runner.listen, "news of syncs")
    service.background(runner.run, "syncs")
    service.scheduled.on(CONSENTS_EXPIRY, forgetting.sweep)
    service.scheduled.on(JOBS_RETENTION, runner.forget_ended)
    service.background(forgetting.run, "forgetting of faces")
    service.background(Sorting(work, settings.people_changes_kept_seconds).run, "sorting of faces")
    presence = Presence(work, pool.packs, settings.face_pack_revision)
    service.background(presence.run, "presence")
    replacing = Replacing(
        work,
        bucket,
        pool,
        presence,
        photos_at_once=settings.second_looks_at_once,
        limit_bytes=settings.photo_limit_bytes,
        hold_seconds=settings.task_hold_seconds,
    )
    service.background(replacing.run, "replacing of packs")


def main() -> None:
    settings = FaceEmbedderSettings()
    service = Service("face-embedder", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
