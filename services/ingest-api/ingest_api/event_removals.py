"""What deleted events leave behind: rows of their photos, and files where somebody asked to have them removed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Final
from uuid import UUID

from ingest_api.accounts import Principal
from ingest_api.event_photos import told_gone
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_events import no_such_event
from ingest_api.repositories.event_removals import EventRemoval, EventRemovalRepository
from ingest_api.repositories.photo_events import PhotoEventRepository
from shared.db.unit_of_work import UnitOfWork
from shared.messaging.errors import InfrastructureUnavailable, in_one_piece
from shared.storage.errors import StoreRefused, StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 120.0
"""Longer than a page of files takes, which is the longest that a removal is silent."""

LOOK_EVERY_SECONDS: Final = 20.0
ON_THEIR_WAY_SECONDS: Final = 60.0
"""Files that come so soon after the deletion go with it; more than clocks and slow answers make of a time."""
REQUESTS_AT_ONCE: Final = 16
ROWS_AT_ONCE: Final = 2000


class EventRemovals:
    """Goes on where it was, whatever is killed: what is still in the event's folder is what is left to do.

    What somebody puts there later than a minute after the deletion stays, however late the rest goes: nobody has asked
    to remove it.
    """

    def __init__(self, unit_of_work: UnitOfWork, bucket: S3Store | None) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket

    async def read(self, event_id: UUID, by: Principal) -> EventRemoval:
        """How far it is. Raises Problem 404, for events of others and those that are not deleted too."""
        async with self._unit_of_work.database.connection() as connection:
            event = await PhotoEventRepository(connection).get(event_id)
            removal = await EventRemovalRepository(connection).get(event_id)
        if event is None or removal is None or not event.may_be_used_by(by):
            raise no_such_event()
        return removal

    async def run(self) -> None:
        """Remove what is due; returns only by cancellation."""
        while True:
            try:
                while await self.turn():
                    pass
            except InfrastructureUnavailable as error:
                log.warning("could not look for deleted events", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def turn(self) -> bool:
        """Work on one event; False when none is due. What can't be removed now is tried again."""
        async with self._unit_of_work.database.connection() as connection:
            removal = await EventRemovalRepository(connection).claim(AGAIN_SECONDS)
            event = None if removal is None else await PhotoEventRepository(connection).get(removal.event_id)
        if removal is None or event is None:
            return False
        kept = 0
        try:
            if removal.removes_files:
                kept = await self._remove_files(removal, event)
        except (StoreUnavailable, StoreRefused) as error:
            facts = {"event_id": str(removal.event_id), "detail": str(error)}
            log.warning("the files of a deleted event stay for now", extra=facts)
            async with self._unit_of_work.begin() as transaction:
                await EventRemovalRepository(transaction.connection).note_problem(removal.event_id, in_one_piece(error))
        else:
            await self._forget(removal.event_id, kept)
        return True

    async def _forget(self, event_id: UUID, files_kept: int) -> None:
        """Remove the rows, some per transaction: an event has hundreds of thousands of faces."""
        is_more = True
        while is_more:
            async with self._unit_of_work.begin() as transaction:
                removals = EventRemovalRepository(transaction.connection)
                is_more = await removals.forget(event_id, ROWS_AT_ONCE) > 0
                if is_more:
                    await removals.go_on(event_id, 0, AGAIN_SECONDS)
                else:
                    await removals.complete(event_id, files_kept)

    async def _remove_files(self, removal: EventRemoval, event: PhotoEvent) -> int:
        """Empty the folder of what lay there when the event was deleted; how many files came later."""
        if self._bucket is None:
            raise StoreRefused("s3_not_configured", "no bucket is configured")
        begun, kept = time.monotonic(), 0
        async with aclosing(self._bucket.pages(event.folder)) as pages:
            async for page in pages:
                asked_ago = removal.asked_seconds_ago + time.monotonic() - begun
                going = await self._going(self._bucket, event, page, asked_ago)
                kept += len(page) - len(going)
                await self._remove(self._bucket, going)
                async with self._unit_of_work.begin() as transaction:
                    await EventRemovalRepository(transaction.connection).go_on(event.id, len(going), AGAIN_SECONDS)
                    # The store tells of them too, if its notifications are set; whoever hears looks at the object.
                    transaction.publish(*(told_gone(self._bucket.bucket, info.key) for info in going))
        return kept

    async def _going(
        self, bucket: S3Store, event: PhotoEvent, page: Sequence[ObjectInfo], asked_seconds_ago: float
    ) -> list[ObjectInfo]:
        """What goes of a page: what lay there, and previews that were just being made of it."""
        # By the store's own clock, which the page has told.
        last = bucket.clock() - timedelta(seconds=asked_seconds_ago - ON_THEIR_WAY_SECONDS)
        made: set[str] = set()

        async def look(info: ObjectInfo) -> None:
            if await _is_made(bucket, info.key):
                made.add(info.key)

        late = [info for info in page if info.modified_at > last and info.key.startswith(event.previews_prefix)]
        await _for_each(late, look)
        return [info for info in page if info.modified_at <= last or info.key in made]

    async def _remove(self, bucket: S3Store, going: Sequence[ObjectInfo]) -> None:
        """Remove the objects. Removing one twice is no error."""

        async def remove(info: ObjectInfo) -> None:
            # What is put under its key in the moment between the listing and this goes too.
            await bucket.delete(info.key)

        await _for_each(going, remove)


async def _for_each(objects: Sequence[ObjectInfo], ask: Callable[[ObjectInfo], Awaitable[None]]) -> None:
    """Ask the bucket about some objects at once; raises the first error once all have ended."""
    left = iter(objects)

    async def worker() -> None:
        for info in left:
            await ask(info)

    outcomes = await asyncio.gather(*(worker() for _ in range(REQUESTS_AT_ONCE)), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _is_made(bucket: S3Store, key: str) -> bool:
    """Whether a preview is one of those made here, which have a checksum recorded with them; also if it is gone."""
    found = await bucket.stat(key)
    return found is None or found.sha256 is not None
