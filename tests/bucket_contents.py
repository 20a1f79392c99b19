"""What lies in the bucket that test modules of one process share."""

from __future__ import annotations

from deploy.local.object_store import ObjectStoreServer

BUCKET = "mediabus"


async def empty_bucket(server: ObjectStoreServer, bucket: str) -> None:
    """Remove every object, one by one as this store wants it."""
    async with server.client() as client:
        async for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for stored in page.get("Contents", ()):
                await client.delete_object(Bucket=bucket, Key=stored["Key"])
