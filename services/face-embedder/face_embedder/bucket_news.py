"""What the bucket tells of the photos of events; hints, so the object itself is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from face_embedder import failures
from face_embedder.bucket import is_ours
from face_embedder.indexing import count
from face_embedder.layout import Folder, PhotoKey, prefix_of
from face_embedder.photos import FoundPhoto, Photo, Seen, SeenOriginal, seen_original, seen_preview
from face_embedder.repositories.events import Events, KnownEvent
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import NewPhoto, Photos
from face_embedder.repositories.tasks import Outcome
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import BucketObjectV1, PhotoStatus
from shared.messaging.delivery import Delivery
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store

MOST_WAITS = 5
"""How often what is told of a photo waits for its event, which is told of on another topic: about a minute."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The place that was told of, and what lies there now."""

    key: PhotoKey
    event: KnownEvent
    found: ObjectInfo | None


class BucketNews:
    """Indexes what appears in the previews of events that want it, and takes away what left the bucket."""

    def __init__(self, unit_of_work: UnitOfWork, bucket: S3Store) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket

    async def hear(self, news: BucketObjectV1, delivery: Delivery) -> None:
        """Bring the photo of a key in line with the object. Redelivery and any order are harmless.

        Raises Postponed while nobody has told of the event, as long as that may still come.
        """
        key = PhotoKey.parse(news.object_key)
        if key is None or news.bucket != self._bucket.bucket:
            return
        async with self._unit_of_work.begin() as transaction:
            event = await Events(transaction.connection).of_number(key.number)
        if event is None:
            if news.happened == "created" and delivery.postponed < MOST_WAITS:
                raise failures.event_not_told(key.number)
            return
        place = _Place(key, event, await self._bucket.stat(news.object_key))
        async with self._unit_of_work.begin(delivery) as transaction:
            await Events(transaction.connection).lock(event.event_id)
            if key.folder is Folder.PREVIEWS:
                await self._preview(transaction, place)
            else:
                await self._original(transaction, place)

    async def _preview(self, transaction: Transaction, place: _Place) -> None:
        photos = Photos(transaction.connection)
        known = await photos.lock_keys(place.event.event_id, [str(place.key)])
        photo = known[0] if known else None
        if place.found is None:
            if photo is not None and _is_there(photo):
                await _remove(transaction, photo)
            return
        if not (place.event.auto_index and place.event.keeps_faces):
            return
        etag = place.found.etag
        seen = seen_preview(photo, etag)
        if photo is None:
            original = await self._original_of(place.key)
            new = NewPhoto(str(place.key), place.key.stem, etag, str(original) if original else None)
            due = await photos.add(place.event.event_id, [new])
        elif seen is Seen.CHANGED or (seen is Seen.PERHAPS_OURS and not await is_ours(self._bucket, photo, etag)):
            due = await photos.renew({photo.photo_id: etag})
        else:
            return
        transaction.publish(*(one.order(None) for one in due))

    async def _original_of(self, preview: PhotoKey) -> PhotoKey | None:
        """The original that is there already: what was told of it came before its photo was known.

        Looked for while the event is locked, so that one which comes later finds the photo.
        """
        found: list[PhotoKey] = []
        async for info in self._bucket.list(f"{prefix_of(preview.number, Folder.ORIGINALS)}{preview.stem}."):
            key = PhotoKey.parse(info.key)
            if key is not None and key.stem == preview.stem:
                found.append(key)
        return next((key for key in found if key.name == preview.name), found[0] if found else None)

    async def _original(self, transaction: Transaction, place: _Place) -> None:
        """Photos are made by their previews alone, or by a sync: here an original only finds its photo."""
        photos = Photos(transaction.connection)
        if place.found is None:
            having = await photos.lock_original(place.event.event_id, str(place.key))
            changed = await photos.link({photo.photo_id: None for photo in having})
            transaction.publish(*(photo.told() for photo in changed if photo.is_settled))
            return
        same_stem = await photos.lock_stems(place.event.event_id, [place.key.stem], None)
        live = [FoundPhoto(found.photo, is_found=True) for found in same_stem]
        seen, photo = seen_original(place.key, place.found.etag, live)
        if photo is None or not _is_there(photo):
            return
        if seen is SeenOriginal.LINK:
            changed = await photos.link({photo.photo_id: str(place.key)})
            transaction.publish(*(one.told() for one in changed if one.is_settled))
        elif place.event.auto_index and place.event.keeps_faces:
            due = await photos.make({photo.photo_id: (str(place.key), place.found.etag)})
            transaction.publish(*(one.order(None) for one in due))


def _is_there(photo: Photo) -> bool:
    """Whether the photo is one of the event's. Before its preview is made there is nothing that could be missed."""
    return photo.status is not PhotoStatus.REMOVED


async def _remove(transaction: Transaction, photo: Photo) -> None:
    if photo.makes_preview and photo.preview_etag is None:
        return
    removed = await Photos(transaction.connection).remove(photo.photo_id)
    await Faces(transaction.connection).remove([photo.photo_id])
    transaction.publish(removed.told())
    await count(transaction, removed, Outcome(failed=1))
