"""Photos of events: listed, and deleted with their files and faces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_removal import PhotoFiles, Removal, RemovalState
from ingest_api.problem_details import Problem
from ingest_api.repositories.event_photos import EventPhoto, EventPhotoRepository, PhotoPart
from shared.db.unit_of_work import UnitOfWork
from shared.events import BucketObjectV1, PhotoStatus
from shared.messaging.errors import InfrastructureUnavailable
from shared.storage.errors import StoreRefused, StoreUnavailable
from shared.storage.s3 import S3Store

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 60.0
GIVEN_UP_SECONDS: Final = 40.0
"""Whoever is at a removal has given it up before it comes up again: nobody deletes what lies there after its end."""
LOOKED_AT_SECONDS: Final = 5.0
"""For so long whoever deletes a photo waits for the bucket to tell what lies there."""
LOOK_EVERY_SECONDS: Final = 20.0
BATCH_ROWS: Final = 100


class EventPhotos:
    """A deleted photo is hidden by the transaction that promises the removal of its files.

    Once those are gone face-embedder is told so, and removes the faces with the photo. However late that is, only what
    lay there when it was asked for goes: a newer file is another photo, which face-embedder finds when it is told.
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
        async with self._unit_of_work.database.connection() as connection:
            files = await EventPhotoRepository(connection).files(event.id, photo_id)
        seen = None if files is None else await self._seen(event, files)
        async with self._unit_of_work.begin() as transaction:
            photos = EventPhotoRepository(transaction.connection)
            known = await photos.hide(event.id, photo_id)
            if known is None:
                raise Problem(404, "not_found", "This event has no such photo.")
            removal = Removal.of(photo_id, event.id, event.folder, known, seen or {})
            removal = await photos.add_removal(removal, deleted_by, AGAIN_SECONDS)
        if seen is not None:
            await self._remove_files(removal)

    async def _seen(self, event: PhotoEvent, files: PhotoFiles) -> dict[str, str | None] | None:
        """The tags of what lies in the bucket, so that nothing else goes; None where the bucket tells nothing now."""
        if self._bucket is None:
            return None
        keys = [key for key in (files.s3_key, files.image_key) if key is not None and key.startswith(event.folder)]
        try:
            async with asyncio.timeout(LOOKED_AT_SECONDS):
                found = await asyncio.gather(*(self._bucket.stat(key) for key in keys))
        except (StoreUnavailable, StoreRefused, TimeoutError) as error:
            log.warning("the bucket does not tell of a photo that is deleted", extra={"detail": repr(error)})
            return None
        return {key: None if info is None else info.etag for key, info in zip(keys, found, strict=True)}

    async def removal(self, event: PhotoEvent, photo_id: UUID) -> RemovalState:
        """How far the removal of a deleted photo's files is. Raises Problem 404 where nothing is left of it."""
        async with self._unit_of_work.database.connection() as connection:
            state = await EventPhotoRepository(connection).removal(event.id, photo_id)
        if state is None:
            detail = "No file of such a photo of this event is to be removed: there was none, or all are gone."
            raise Problem(404, "not_found", detail)
        return state

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
        kept = await self._remove(bucket, removal)
        async with self._unit_of_work.begin() as transaction:
            if not await EventPhotoRepository(transaction.connection).end_removal(removal, kept):
                return  # Whoever ended it has told, and by now the photo may be another one.
            # The store tells of it too, if its notifications are set; whoever hears looks at the object.
            transaction.publish(*(told_gone(bucket.bucket, key) for key in removal.keys))
        if kept:
            facts = {"photo_id": str(removal.photo_id), "keys": kept}
            log.info("newer files under the keys of a deleted photo stay", extra=facts)

    async def _remove(self, bucket: S3Store, removal: Removal) -> Sequence[str]:
        """Remove what was asked for, and give the keys under which something else lies by now.

        What comes between the look and the removal of one file, a few milliseconds, still goes: S3 has removals that
        name an ETag, but MinIO does not heed it.
        """
        kept = []
        for file in removal.files:
            found = await bucket.stat(file.key)
            if found is None:
                continue
            if file.is_it(found):
                await bucket.delete(file.key)
            else:
                kept.append(file.key)
        return kept


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
