"""Composition root of image-processor."""

from __future__ import annotations

from contextlib import AsyncExitStack

from image_processor.handlers import register
from image_processor.imaging import Imaging
from image_processor.originals import Originals
from image_processor.render_pool import RenderPool
from image_processor.settings import ImageProcessorSettings
from image_processor.staging_removal import StagingRemoval
from image_processor.stored_files import StoredFiles
from image_processor.storing import Storing
from image_processor.variants import variants_of
from image_processor.watermark_sources import WatermarkSources
from shared.events.settings import entity_type_key
from shared.service import Service
from shared.settings_feed import SettingsFeed, settings_of_environment
from shared.storage.following import BucketFollowing
from shared.storage.stores import open_stores


async def wire(service: Service, settings: ImageProcessorSettings, stack: AsyncExitStack) -> None:
    """Open what the process owns, in order, and register the handlers; `stack` closes it in reverse."""
    stores = await stack.enter_async_context(open_stores(settings))
    pool = await stack.enter_async_context(RenderPool(settings.render_pool()))
    feed = SettingsFeed(settings.kafka_bootstrap, settings_of_environment(settings))
    service.tell("settings", feed.state)
    service.background(feed.run, "settings feed")
    if stores.bucket is not None:
        service.background(BucketFollowing(stores.bucket, stores.bucket.settings, feed).run, "bucket following")
    stored_files = StoredFiles(stores.disk, stores.bucket)
    imaging = Imaging(
        pool,
        stores.staging,
        stores.disk,
        Storing(stores.disk, stores.bucket),
        service.publisher,
        WatermarkSources(service.database, stored_files),
        Originals(service.database, stored_files),
        variants=lambda entity_type: variants_of(entity_type, settings.variants, feed.entity_type(entity_type)),
        watermark=lambda entity_type: changed.watermark if (changed := feed.entity_type(entity_type)) else None,
        settings_version=lambda entity_type: feed.version(entity_type_key(entity_type)),
        pixel_limit_px=settings.pixel_limit_px,
        webp_effort=settings.webp_effort,
        keep_original=settings.keep_original,
    )
    removal = StagingRemoval(
        stores.staging, stores.disk, service.database, sweep_seconds=settings.staging_sweep_seconds
    )
    register(service.consumer, imaging, service.unit_of_work, removal, settings)
    service.background(removal.sweep, "staging sweep")


def main() -> None:
    settings = ImageProcessorSettings()
    service = Service("image-processor", settings)
    service.run(lambda stack: wire(service, settings, stack))


if __name__ == "__main__":
    main()
