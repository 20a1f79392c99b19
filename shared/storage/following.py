"""The bucket of a process goes where the settings say it is, without a restart."""

from __future__ import annotations

import asyncio
import logging

from shared.settings_feed import SettingsFeed
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings

log = logging.getLogger(__name__)


class BucketFollowing:
    """Moves the store to the endpoint, bucket and region that people set; credentials stay those of the environment."""

    def __init__(self, bucket: S3Store, environment: S3Settings, feed: SettingsFeed) -> None:
        self._bucket = bucket
        self._environment = environment
        self._feed = feed
        self._changed = asyncio.Event()
        feed.on_change(lambda _: self._changed.set())

    async def run(self) -> None:
        """Never ends. Settings that nobody changed name the place of the environment."""
        while True:
            self._changed.clear()
            media = self._feed.current()
            wanted = self._environment.at(media.s3_endpoint, media.s3_bucket, media.s3_region, media.s3_public_url)
            if wanted != self._bucket.settings:
                await self._bucket.move_to(wanted)
                log.info("the bucket is elsewhere now", extra={"endpoint": wanted.endpoint, "bucket": wanted.bucket})
            await self._changed.wait()
