"""Opens the three streams of a scope and compares them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from reconciler.comparison import FileClass, Finding, OutOfOrder, Patience, Stored, compare
from reconciler.errors import NotComparable
from reconciler.freshness import Freshness
from reconciler.layout import PRODUCTS_PREFIX, product_prefix
from reconciler.repositories.read_models import ReadModels
from reconciler.settings import ReconcilerSettings
from shared.events import ReconcileScope
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.messaging.topics import CATALOG_EVENTS, IMAGE_EVENTS, SYNC_EVENTS, Topic
from shared.storage.keys import MEDIA_PREFIX
from shared.storage.object_store import ObjectInfo
from shared.storage.stores import Stores


def prefix_of(scope: ReconcileScope) -> str:
    """Where the files of a scope lie, on the disk and in the bucket."""
    if scope.kind == "product":
        assert scope.product_id is not None, "a scope of one product names it"
        return product_prefix(scope.product_id)
    return PRODUCTS_PREFIX if scope.kind == "products" else MEDIA_PREFIX


def told_on(scope: ReconcileScope) -> tuple[Topic, ...]:
    """Where others tell of the records of a scope."""
    return (IMAGE_EVENTS, SYNC_EVENTS) if scope.kind == "media" else (CATALOG_EVENTS,)


class Looking:
    """Compares scopes; changes nothing."""

    def __init__(self, stores: Stores, freshness: Freshness, settings: ReconcilerSettings) -> None:
        self._stores = stores
        self._freshness = freshness
        self._settings = settings

    async def wait_until_fresh(self, scope: ReconcileScope) -> None:
        """Return once what was told of the scope is known; raises NotComparable at the deadline."""
        await self._freshness.wait(told_on(scope), self._settings.catch_up_seconds)

    async def findings(self, records: ReadModels, scope: ReconcileScope) -> AsyncIterator[Finding]:
        """Compare a scope; `records` belong to an open transaction.

        Raises NotComparable when a listing or a stream breaks off: what was given before is of a part.
        """
        bucket = self._stores.bucket
        if bucket is None:
            raise NotComparable("no bucket is configured: set MEDIABUS_S3_ENDPOINT and its keys")
        settings, prefix = self._settings, prefix_of(scope)
        grace = settings.media_grace_seconds if scope.kind == "media" else settings.object_grace_seconds
        fresh_since = await records.now() - timedelta(seconds=settings.record_grace_seconds)
        patience = Patience(
            bucket_clock=bucket.clock,
            disk_clock=lambda: datetime.now(UTC),
            object_grace=timedelta(seconds=grace),
            records_changed_before=fresh_since,
        )
        streams = compare(
            records.records(scope, fresh_since),
            _listed(bucket.list(prefix)),
            _listed(self._stores.disk.list(prefix)),
            patience,
        )
        try:
            async for finding in streams:
                yield finding
            if scope.kind == "media":
                async for path in self._stores.disk.list_temporary(
                    prefix, older_than_seconds=settings.temporary_kept_seconds
                ):
                    yield Finding(str(path.relative_to(self._stores.disk.root)), FileClass.STALE_TEMPORARY)
        except (InfrastructureUnavailable, MessageError, OutOfOrder) as error:
            raise NotComparable(f"the comparison broke off, so nothing follows from it: {error}") from error


async def _listed(objects: AsyncIterator[ObjectInfo]) -> AsyncIterator[Stored]:
    async for one in objects:
        yield Stored(one.key, one.size_bytes, one.etag, one.modified_at, one.sha256)
