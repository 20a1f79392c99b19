"""Kafka in: what is told of the bucket. A hint: whoever acts on it looks at the object first."""

from __future__ import annotations

from typing import Final

from ingest_api.announcement import UPLOADS_PREFIX
from ingest_api.direct_uploads import DirectUploads
from ingest_api.product_keys import PRODUCTS_PREFIX
from ingest_api.product_repairs import ProductRepairs
from shared.events import BucketObjectV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.retry import S3_RETRIES
from shared.storage.s3 import S3Store

RECEIVED_AT_ONCE: Final = 4
RECEIVE_SECONDS: Final = 300.0
"""For the largest file over the slowest line to the bucket."""


def register(
    consumer: Consumer, bucket: S3Store | None, direct_uploads: DirectUploads, products: ProductRepairs
) -> None:
    """What is told of another bucket, or of what concerns other services, is passed over."""

    @consumer.on(BucketObjectV1, retry=S3_RETRIES, concurrency=RECEIVED_AT_ONCE, deadline_seconds=RECEIVE_SECONDS)
    async def hear_of_object(event: BucketObjectV1, delivery: Delivery) -> None:
        if bucket is None or event.bucket != bucket.bucket:
            return
        if event.object_key.startswith(UPLOADS_PREFIX) and event.happened == "created":
            await direct_uploads.hear_of(event, delivery)
        elif event.object_key.startswith(PRODUCTS_PREFIX):
            await products.hear_of(event, delivery)
