"""Finds what no notification told of: the listing beside what was told, a few thousand objects per turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from reconciler.repositories.known_objects import KnownObject, KnownObjects
from reconciler.repositories.read_models import ReadModels
from reconciler.settings import ReconcilerSettings
from shared.db.unit_of_work import UnitOfWork
from shared.events import BucketObjectV1
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store
from shared.telemetry import metrics

log = logging.getLogger(__name__)

LONGEST_REST_SECONDS = 5.0
REMOVED_KEPT_SECONDS = 24 * 3600.0


class Sweep:
    """Publishes what differs as `told_by` sweep and counts it; from then on it is known like what was notified.

    A turn is one transaction: its facts, what is known from then on, and the cursor. A listing that breaks off leaves
    no trace, and the turn is done again.
    """

    def __init__(self, unit_of_work: UnitOfWork, bucket: S3Store, settings: ReconcilerSettings) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket
        self._settings = settings

    async def run(self) -> None:
        """Sweep for as long as the process lives; returns only by cancellation."""
        rest_seconds = min(self._settings.sweep_every_seconds, LONGEST_REST_SECONDS)
        while True:
            try:
                did_something = await self.turn()
            except (InfrastructureUnavailable, MessageError) as error:
                log.warning("the sweep waits for what it needs", extra={"detail": str(error)})
                did_something = False
            if not did_something:
                await asyncio.sleep(rest_seconds)

    async def turn(self) -> bool:
        """Look at the next objects; False when it is not due, or another process is at it."""
        bucket, settings = self._bucket.bucket, self._settings
        async with self._unit_of_work.begin() as transaction:
            known = KnownObjects(transaction.connection)
            cursor = await known.claim_sweep(bucket)
            if cursor is None:
                return False
            now = await ReadModels(transaction.connection).now()
            told: list[BucketObjectV1] = []
            seen, position = 0, ""
            for prefix in sorted(settings.sweep_prefixes):
                if position or (cursor >= prefix and not cursor.startswith(prefix)):
                    continue
                listed = self._bucket.list(prefix, start_after=cursor if cursor.startswith(prefix) else "")
                looked = differing(
                    self._bucket,
                    listed,
                    known.known(bucket, prefix, cursor),
                    told_before=now - timedelta(seconds=settings.sweep_grace_seconds),
                    grace=timedelta(seconds=settings.sweep_grace_seconds),
                )
                async for key, event in looked:
                    seen += 1
                    if event is not None:
                        told.append(event)
                    if seen >= settings.sweep_page:
                        position = key
                        break
            await known.see(bucket, told)
            transaction.publish(*told)
            await known.end_turn(bucket, position, 0.0 if position else settings.sweep_every_seconds)
            if not position:
                await known.prune(REMOVED_KEPT_SECONDS)
        for event in told:
            metrics.bucket_events_missed_total.labels(event.happened).inc()
        return True


async def differing(
    bucket: S3Store,
    listed: AsyncIterator[ObjectInfo],
    known: AsyncIterator[KnownObject],
    *,
    told_before: datetime,
    grace: timedelta,
) -> AsyncIterator[tuple[str, BucketObjectV1 | None]]:
    """Every key of either stream in order, with the event that nobody told of, if there is one.

    What happened within the grace may still be told.
    """
    seen, heard = await anext(listed, None), await anext(known, None)
    while seen is not None or heard is not None:
        if heard is None or (seen is not None and seen.key < heard.key):
            assert seen is not None
            is_old = not grace or bucket.clock() - seen.modified_at >= grace
            yield seen.key, _event(bucket.bucket, "created", seen) if is_old else None
            seen = await anext(listed, None)
        elif seen is None or heard.key < seen.key:
            is_lost = not heard.is_removed and heard.known_at < told_before
            yield heard.key, _event(bucket.bucket, "removed", heard) if is_lost else None
            heard = await anext(known, None)
        else:
            is_same = not heard.is_removed and heard.etag in (None, seen.etag)
            is_old = (not grace or bucket.clock() - seen.modified_at >= grace) and heard.known_at < told_before
            yield seen.key, _event(bucket.bucket, "created", seen) if is_old and not is_same else None
            seen, heard = await anext(listed, None), await anext(known, None)


def _event(bucket: str, happened: Literal["created", "removed"], found: ObjectInfo | KnownObject) -> BucketObjectV1:
    is_listed = isinstance(found, ObjectInfo)
    return BucketObjectV1(
        bucket=bucket,
        object_key=found.key,
        happened=happened,
        event_name=f"sweep:{happened}",
        size_bytes=found.size_bytes if is_listed else None,
        etag=found.etag if is_listed else None,
        happened_at=found.modified_at if isinstance(found, ObjectInfo) else datetime.now(UTC),
        told_by="sweep",
    )


def is_swept(key: str, prefixes: Sequence[str]) -> bool:
    return key.startswith(tuple(prefixes))
