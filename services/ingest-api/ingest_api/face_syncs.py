"""Asking face-embedder to look at an event's photos, and following how far it is."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from uuid import UUID

from ingest_api.accounts import Principal
from ingest_api.catalogue import ChangedJob
from ingest_api.face_sync import FaceSync, checked_prefix
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_events import usable
from ingest_api.problem_details import Conflict, Problem
from ingest_api.repositories.face_syncs import FaceSyncRepository
from ingest_api.repositories.notices import NoticeRepository
from ingest_api.repositories.photo_events import PhotoEventRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import FaceSyncChangedV1, SyncEventPhotosV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable
from shared.settings_feed import SettingsFeed

log = logging.getLogger(__name__)

TOLD_EVERY_SECONDS = 0.4
"""How often mere progress is told; changes of status are told at once."""
LOOK_EVERY_SECONDS = 30.0


class FaceSyncs:
    """Of one event one sync at a time: the row of the event is locked while one is begun."""

    def __init__(self, unit_of_work: UnitOfWork, feed: SettingsFeed, *, silence_seconds: float) -> None:
        """A sync of which nothing is heard for `silence_seconds` counts as failed, so that another one can begin."""
        self._unit_of_work = unit_of_work
        self._feed = feed
        self._silence_seconds = silence_seconds

    async def start(self, event_id: UUID, s3_prefix: str, by: Principal) -> tuple[PhotoEvent, FaceSync]:
        """The event and its sync: a new one, or the one that runs.

        Raises Problem 404, 422 for a prefix outside the event's previews, 409 where S3 is switched off.
        """
        async with self._unit_of_work.begin() as transaction:
            event = usable(await PhotoEventRepository(transaction.connection).locked(event_id), by)
            prefix = checked_prefix(s3_prefix, event.previews_prefix)
            if not self._feed.current().s3_enabled:
                raise Conflict("s3_off", "Photos are kept in the bucket, and S3 is switched off in the settings.")
            await self._give_up_silent(transaction, event_id)
            syncs = FaceSyncRepository(transaction.connection)
            if (running := await syncs.join_running(event_id, by.user_id)) is not None:
                return event, running
            command = SyncEventPhotosV1(
                task_id=new_id(),
                event_id=event_id,
                number=event.number,
                s3_prefix=prefix,
                requested_by=by.user_id,
                requested_at=datetime.now(UTC),
            )
            sync = await syncs.add(command, by.user_id)
            transaction.publish(command)
        return event, sync

    async def read(self, task_id: UUID, by: Principal) -> FaceSync:
        """Raises Problem 404, also for events of others."""
        async with self._unit_of_work.database.connection() as connection:
            sync = await FaceSyncRepository(connection).get(task_id)
            event = None if sync is None else await PhotoEventRepository(connection).get(sync.event_id)
        if sync is None or event is None or event.is_deleted or not event.may_be_used_by(by):
            raise Problem(404, "not_found", "Task not found")
        return sync

    async def record(self, event: FaceSyncChangedV1, delivery: Delivery) -> None:
        """Take over a fact that is newer than what was known, and tell those who asked for the sync."""
        async with self._unit_of_work.begin(delivery) as transaction:
            syncs = FaceSyncRepository(transaction.connection)
            if await syncs.record(event) and await syncs.claim_telling(event.task_id, TOLD_EVERY_SECONDS):
                await _tell(transaction, await syncs.get(event.task_id))

    async def run(self) -> None:
        """Give silent syncs up, so that nobody waits for them; returns only by cancellation."""
        while True:
            try:
                await self.give_up_silent()
            except InfrastructureUnavailable as error:
                log.warning("could not look for silent syncs", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def give_up_silent(self) -> None:
        async with self._unit_of_work.begin() as transaction:
            await self._give_up_silent(transaction, None)

    async def _give_up_silent(self, transaction: Transaction, event_id: UUID | None) -> None:
        """Those of one event, or all. A sync that is heard of all the same is shown as it is told."""
        message = f"Nothing was heard of this sync for {self._silence_seconds:g} seconds. Start another one."
        syncs = FaceSyncRepository(transaction.connection)
        for sync in await syncs.give_up_silent(event_id, self._silence_seconds, message):
            log.warning("a sync of photos was given up", extra={"task_id": str(sync.id)})
            await _tell(transaction, sync)


async def _tell(transaction: Transaction, sync: FaceSync | None) -> None:
    if sync is None:
        return
    notices = NoticeRepository(transaction.connection)
    # In one order everywhere, for each of them locks its stream until the commit.
    for watcher in sorted(sync.watchers):
        await notices.add("faces:progress", ChangedJob(sync.id, None, watcher), sync.notice(datetime.now(UTC)))
