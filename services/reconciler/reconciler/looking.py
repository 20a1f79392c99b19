"""Opens the three streams of a scope and compares them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from reconciler.comparison import FileClass, Finding, OutOfOrder, Patience, Stored, compare
from reconciler.errors import NotComparable
from reconciler.freshness import Freshness
from reconciler.layout import PRODUCTS_PREFIX, product_prefix
from reconciler.proving import Proof, proven
from reconciler.repositories.read_models import ReadModels
from reconciler.settings import ReconcilerSettings
from shared.events import FilePlace, ReconcileScope
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.messaging.topics import CATALOG_EVENTS, IMAGE_EVENTS, MEDIA_EVENTS, SYNC_EVENTS, Topic
from shared.storage.keys import MEDIA_PREFIX, TEMPORARY_PREFIX, media_of
from shared.storage.s3 import S3Store
from shared.storage.stores import Stores

PAGES_AHEAD: Final = 2
ENTRIES_AT_ONCE: Final = 100

_ORPHANED_IN: Final = {
    FileClass.ORPHANED_IN_BUCKET: FilePlace.BUCKET,
    FileClass.ORPHANED_ON_DISK: FilePlace.DISK,
}


def prefix_of(scope: ReconcileScope) -> str:
    """Where the files of a scope lie, on the disk and in the bucket."""
    if scope.kind == "product":
        assert scope.product_id is not None, "a scope of one product names it"
        return product_prefix(scope.product_id)
    return PRODUCTS_PREFIX if scope.kind == "products" else MEDIA_PREFIX


def told_on(scope: ReconcileScope) -> tuple[Topic, ...]:
    """Where others tell of the records of a scope."""
    return (IMAGE_EVENTS, SYNC_EVENTS, MEDIA_EVENTS) if scope.kind == "media" else (CATALOG_EVENTS,)


class Looking:
    """Compares scopes; changes nothing."""

    def __init__(self, stores: Stores, freshness: Freshness, settings: ReconcilerSettings) -> None:
        self._stores = stores
        self._freshness = freshness
        self._settings = settings

    async def wait_until_fresh(self, scope: ReconcileScope) -> None:
        """Return once what was told of the scope is known; raises NotComparable at the deadline."""
        await self._freshness.wait(told_on(scope), self._settings.catch_up_seconds)

    async def proven_findings(self, records: ReadModels, scope: ReconcileScope) -> AsyncGenerator[Finding, None]:
        """Like `findings`, and what could be copied from was read: for plans, which must not rely on a size."""
        proof = Proof(self._bucket(), self._stores.disk)
        try:
            async with aclosing(self.findings(records, scope)) as findings:
                async for finding in proven(findings, proof.of):
                    yield finding
        except (InfrastructureUnavailable, MessageError) as error:
            raise NotComparable(
                "stores_unreadable", f"what is stored could not be read, so nothing follows from it: {error}"
            ) from error

    async def findings(self, records: ReadModels, scope: ReconcileScope) -> AsyncGenerator[Finding, None]:
        """Compare a scope; `records` belong to an open transaction. To be closed: the listings are read ahead.

        Raises NotComparable when a listing or a stream breaks off: what was given before is of a part.
        """
        bucket = self._bucket()
        settings, prefix = self._settings, prefix_of(scope)
        grace = settings.media_grace_seconds if scope.kind == "media" else settings.object_grace_seconds
        now = await records.now()
        fresh_since = now - timedelta(seconds=settings.record_grace_seconds)
        # Files of an older revision are kept for who has their addresses; then whoever keeps them takes them away.
        removed_since = now - timedelta(seconds=grace) if scope.kind == "media" else fresh_since
        patience = Patience(
            bucket_clock=bucket.clock,
            disk_clock=lambda: datetime.now(UTC),
            object_grace=timedelta(seconds=grace),
            records_changed_before=fresh_since,
        )
        try:
            async with (
                ReadAhead(bucket.pages(prefix)) as in_bucket,
                ReadAhead(self._on_disk(scope, prefix)) as on_disk,
            ):
                left: deque[Stored] = deque()
                finished = _finished(on_disk, left)
                async for finding in compare(records.records(scope, removed_since), in_bucket, finished, patience):
                    if not await _belongs_to_deletion(finding, records, removed_since):
                        yield finding
                    while left:
                        yield _unfinished(left.popleft())
                for stored in left:
                    yield _unfinished(stored)
        except (InfrastructureUnavailable, MessageError, OutOfOrder) as error:
            raise NotComparable(
                "comparison_broke_off", f"the comparison broke off, so nothing follows from it: {error}"
            ) from error

    def _on_disk(self, scope: ReconcileScope, prefix: str) -> AsyncIterator[Sequence[Stored]]:
        """What lies on the disk; with the unfinished files that nobody is at, except for one product."""
        if scope.kind == "product":
            return self._stores.disk.pages(prefix)
        kept_seconds = self._settings.temporary_kept_seconds
        return self._stores.disk.pages_with_temporary(prefix, older_than_seconds=kept_seconds)

    def _bucket(self) -> S3Store:
        if self._stores.bucket is None:
            raise NotComparable("s3_not_configured", "no bucket is configured: set MEDIABUS_S3_ENDPOINT and its keys")
        return self._stores.bucket


async def _finished(on_disk: AsyncIterator[Sequence[Stored]], left: deque[Stored]) -> AsyncIterator[Sequence[Stored]]:
    """The files that are compared; the unfinished ones between them are put into `left`."""
    async for batch in on_disk:
        unfinished = [stored for stored in batch if _is_unfinished(stored.key)]
        left.extend(unfinished)
        yield [stored for stored in batch if not _is_unfinished(stored.key)] if unfinished else batch


def _is_unfinished(key: str) -> bool:
    return TEMPORARY_PREFIX in key and key.rpartition("/")[2].startswith(TEMPORARY_PREFIX)


async def _belongs_to_deletion(finding: Finding, records: ReadModels, since: datetime) -> bool:
    """Whether an orphan is a file of a medium that was deleted: whoever deletes it removes or keeps its files."""
    orphaned_in = _ORPHANED_IN.get(finding.kind)
    if orphaned_in is None or (media_id := media_of(finding.key)) is None:
        return False
    return await records.is_deletion_under_way(media_id, orphaned_in, since)


def _unfinished(stored: Stored) -> Finding:
    return Finding(stored.key, FileClass.STALE_TEMPORARY, disk=stored)


class ReadAhead:
    """A listing that is read on while others are waited for, a bounded number of pages ahead; use as `async with`.

    It gives the pages piece by piece, and lets others go on in between: a page that has come must not wait until what
    came before it is compared, for the next one is asked for only then.
    """

    def __init__(self, pages: AsyncIterator[Sequence[Stored]]) -> None:
        self._listed = pages
        self._pages: asyncio.Queue[Sequence[Stored] | Exception | None] = asyncio.Queue(PAGES_AHEAD)
        self._page: Sequence[Stored] = ()
        self._given = 0

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Stored]:
        """The next entries; raises what the listing raised, in its place."""
        if self._given >= len(self._page):
            page = await self._pages.get()
            if page is None:
                raise StopAsyncIteration
            if isinstance(page, Exception):
                raise page
            self._page, self._given = page, 0
        await asyncio.sleep(0)
        piece = self._page[self._given : self._given + ENTRIES_AT_ONCE]
        self._given += ENTRIES_AT_ONCE
        return piece

    async def _read(self) -> None:
        try:
            async for page in self._listed:
                await self._pages.put(page)
        except Exception as error:
            await self._pages.put(error)
        else:
            await self._pages.put(None)
        finally:
            if isinstance(self._listed, AsyncGenerator):
                await self._listed.aclose()
