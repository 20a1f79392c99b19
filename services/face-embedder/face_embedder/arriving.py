"""Photos that somebody uploaded to an event: their originals lie in the bucket, and nothing has to be listed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeAlias
from uuid import UUID

from face_embedder import failures
from face_embedder.layout import Folder, PhotoKey
from face_embedder.photos import FoundPhoto, Photo, SeenOriginal, seen_original
from face_embedder.repositories.events import Events
from face_embedder.repositories.photos import NewPhoto, Photos
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import AddEventPhotoV1
from shared.messaging.delivery import Delivery
from shared.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

Found: TypeAlias = Mapping[Photo, bool]
"""Of photos as they were, whether their previews lie in the bucket."""


class Arriving:
    """Makes of an original that was uploaded what a sync would; also where the event does not index by itself."""

    def __init__(self, unit_of_work: UnitOfWork, bucket: ObjectStore) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket

    async def add(self, command: AddEventPhotoV1, delivery: Delivery) -> None:
        """Have the photo known and looked at. One that has left the bucket meanwhile is passed over.

        Raises PermanentError for a key that is no original of the event.
        """
        key = PhotoKey.parse(command.image_key)
        if key is None or key.folder is not Folder.ORIGINALS or key.number != command.number:
            raise failures.no_original(command.image_key)
        original = await self._bucket.stat(str(key))
        found = await self._found(command.event_id, key)
        async with self._unit_of_work.begin(delivery) as transaction:
            events = Events(transaction.connection)
            await events.ensure(command.event_id, command.number)
            event = await events.lock(command.event_id)
            assert event is not None, "the event has a row by now"
            if original is not None and event.keeps_faces:
                due = await self._due(transaction, command, key, original.etag, found)
                transaction.publish(*(photo.order(None) for photo in due))

    async def _found(self, event_id: UUID, key: PhotoKey) -> Found:
        """Asked while nothing is locked: syncs and news of the event don't wait for a slow bucket."""
        async with self._unit_of_work.database.connection() as connection:
            same_stem = await Photos(connection).of_stem(event_id, key.stem)
        return {one: await self._bucket.stat(one.s3_key) is not None for one in same_stem}

    async def _due(
        self, transaction: Transaction, command: AddEventPhotoV1, key: PhotoKey, etag: str, found: Found
    ) -> list[Photo]:
        """The photo, if it is to be looked at; the bucket is asked only for photos that have changed since `found`."""
        photos = Photos(transaction.connection)
        same_stem = []
        for one in await photos.lock_stems(command.event_id, [key.stem], None):
            is_found = found.get(one.photo)
            if is_found is None:
                is_found = await self._bucket.stat(one.photo.s3_key) is not None
            same_stem.append(FoundPhoto(one.photo, is_found))
        seen, photo = seen_original(key, etag, same_stem)
        if seen is SeenOriginal.LINK:
            assert photo is not None, "an original is linked to a photo"
            linked = await photos.link({photo.photo_id: (str(key), etag)})
            transaction.publish(*(one.told() for one in linked if one.is_settled))
            return []
        if seen is SeenOriginal.PASS:
            log.warning("an uploaded photo has the name of another one", extra={"key": str(key)})
            return []
        if photo is not None:
            return await photos.make({photo.photo_id: (str(key), etag)})
        new = NewPhoto(key.made_preview, key.stem, None, str(key), original_etag=etag)
        return await photos.add(command.event_id, [new])
