"""Photos of events: listed, and deleted with their files and faces."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ingest_api.photo_event import PhotoEvent
from ingest_api.problem_details import Problem
from ingest_api.repositories.event_photos import EventPhoto, EventPhotoRepository, PhotoPart, Removal
from shared.db.unit_of_work import UnitOfWork
from shared.events import BucketObjectV1, PhotoStatus
from shared.messaging.errors import InfrastructureUnavailable
from shared.storage.errors import StoreRefused, StoreUnavailable
from shared.storage.s3 import S3Store

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 60.0
GIVEN_UP_SECONDS: Final = 40.0
"""Whoever is at a removal has given it up before it comes up again: nobody deletes what lies there after its end."""
LOOK_EVERY_SECONDS: Final = 20.0
BATCH_ROWS: Final = 100


class EventPhotos:
    """A deleted photo is hidden by the transaction that promises the removal of its files.

    Once those are gone face-embedder is told so, and removes the faces with the photo.
    """

    def __init__(self, unit_of_work: UnitOfWork, bucket: S3Store | None) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket

    async def page(
        self, event: PhotoEvent, status: PhotoStatus | None, after: UUID | None, limit: int
    ) -> list[EventPhoto]:
        async with self._unit_of_work.database.connection() as connection:
            return await EventPhotoRepository(connection).page(event.id, status, after, limit)

    async def parts(self, event: PhotoEvent, photos_each: int) -> list[PhotoPart]:
        """All of the event in parts that later arrivals don't shift."""
        async with self._unit_of_work.database.connection() as connection:
            return await EventPhotoRepository(connection).parts(event.id, photos_each)

    async def by_ids(self, event: PhotoEvent, photo_ids: list[UUID]) -> list[EventPhoto]:
        """Those of the photos that are there."""
        async with self._unit_of_work.database.connection() as connection:
            return await EventPhotoRepository(connection).by_ids(event.id, photo_ids)

    async def delete(self, event: PhotoEvent, photo_id: UUID, deleted_by: UUID) -> None:
        """Nobody sees the photo from now on. Raises Problem 404."""
        async with self._unit_of_work.begin() as transaction:
            photos = EventPhotoRepository(transaction.connection)
            keys = await photos.hide(event.id, photo_id)
            if keys is None:
                raise Problem(404, "not_found", "This event has no such photo.")
            s3_key, image_key = keys
            # The original first: of it a sync would make the preview anew.
            files = [key for key in (image_key, s3_key) if key is not None and key.startswith(event.folder)]
            removal = Removal(photo_id, tuple(files))
            await photos.add_removal(removal, deleted_by, AGAIN_SECONDS)
        await self._remove_files(removal)

    async def run(self) -> None:
        """Take away the files of deleted photos that could not be removed at once; returns only by cancellation."""
        while True:
            try:
                await self.sweep_once()
            except InfrastructureUnavailable as error:
                log.warning("could not look for deleted photos", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def sweep_once(self) -> None:
        for _ in range(BATCH_ROWS):
            async with self._unit_of_work.database.connection() as connection:
                removal = await EventPhotoRepository(connection).claim_removal(AGAIN_SECONDS)
            if removal is None:
                return
            await self._remove_files(removal)

    async def _remove_files(self, removal: Removal) -> None:
        """What can't be removed now is tried again by the sweep. Removing a file twice is no error."""
        if self._bucket is None:
            return
        try:
            async with asyncio.timeout(GIVEN_UP_SECONDS):
                await self._remove_and_tell(self._bucket, removal)
        except (StoreUnavailable, StoreRefused, TimeoutError) as error:
            detail = str(error) or f"it took longer than {GIVEN_UP_SECONDS:.0f} seconds"
            facts = {"photo_id": str(removal.photo_id), "detail": detail}
            log.warning("the files of a deleted photo stay for now", extra=facts)

    async def _remove_and_tell(self, bucket: S3Store, removal: Removal) -> None:
        for key in removal.object_keys:
            await bucket.delete(key)
        async with self._unit_of_work.begin() as transaction:
            await EventPhotoRepository(transaction.connection).end_removal(removal.photo_id)
            # The store tells of it too, if its notifications are set; whoever hears looks at the object.
            transaction.publish(*(told_gone(bucket.bucket, key) for key in removal.object_keys))


def told_gone(bucket: str, key: str) -> BucketObjectV1:
    """What whoever knows of the object has to hear."""
    return BucketObjectV1(
        bucket=bucket,
        object_key=key,
        happened="removed",
        event_name="mediabus:Deleted",
        happened_at=datetime.now(UTC),
        told_by="deletion",
    )
