"""What the bucket tells of the photos of events; hints, so the object itself is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from face_embedder import failures
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
    """The place that was told of, and what lies there now; all of it was asked for while nothing was locked."""

    key: PhotoKey
    event: KnownEvent
    found: ObjectInfo | None
    is_deleted: bool
    """Whether somebody has deleted its photo; what is found there all the same came later."""
    photo: Photo | None = None
    """As it was before the bucket was asked."""
    original: ObjectInfo | None = None
    """That of the photo whose preview this is; of one that is or was deleted, and of one that may have none yet."""

    @property
    def is_wanted(self) -> bool:
        """Whether a preview that lies there is looked at without a sync."""
        return self.found is not None and self.event.auto_index and self.event.keeps_faces

    def holds_original_of(self, photo: Photo) -> bool:
        """Whether that of which the photo's preview is made is there."""
        at = self.original
        return at is not None and photo.makes_preview and (at.key, at.etag) == (photo.image_key, photo.original_etag)


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
        async with self._unit_of_work.database.connection() as connection:
            event = await Events(connection).of_number(key.number)
            photo = None if event is None else await Photos(connection).of_key(event.event_id, str(key))
        if event is None:
            if news.happened == "created" and delivery.postponed < MOST_WAITS:
                raise failures.event_not_told(key.number)
            return
        place = await self._look(_Place(key, event, None, is_deleted=news.told_by == "deletion"), photo)
        is_linked = photo is not None and photo.image_key is not None
        if key.folder is Folder.PREVIEWS and place.is_wanted and not place.is_deleted and not is_linked:
            # The photo is known before the originals are listed: one that comes later than that finds it by itself.
            async with self._unit_of_work.begin() as transaction:
                await self._bring_in_line(transaction, place)
            place = replace(place, original=await self._original_of(key))
        async with self._unit_of_work.begin(delivery) as transaction:
            await self._bring_in_line(transaction, place)

    async def _look(self, place: _Place, photo: Photo | None) -> _Place:
        """The place with what lies there now."""
        found, original = await self._bucket.stat(str(place.key)), None
        if photo is not None and photo.image_key is not None and (place.is_deleted or not _is_there(photo)):
            original = await self._bucket.stat(photo.image_key)
        return replace(place, photo=photo, found=found, original=original)

    async def _bring_in_line(self, transaction: Transaction, place: _Place) -> None:
        await Events(transaction.connection).lock(place.event.event_id)
        if place.key.folder is Folder.PREVIEWS:
            await self._preview(transaction, place)
        else:
            await self._original(transaction, place)

    async def _preview(self, transaction: Transaction, place: _Place) -> None:
        photos = Photos(transaction.connection)
        known = await photos.lock_keys(place.event.event_id, [str(place.key)])
        photo = known[0] if known else None
        if photo is not None and (place.is_deleted or not _is_there(photo)):
            place = await self._without_left_over(place, photo)
        if place.is_deleted and photo is not None and _is_there(photo):
            await self._deleted(transaction, place, photo)
        elif place.found is None:
            # Before its preview is made there is nothing that could be missed.
            is_awaited = photo is not None and photo.makes_preview and photo.preview_etag is None
            if photo is not None and _is_there(photo) and not is_awaited:
                await _remove(transaction, photo)
        elif place.is_wanted:
            await self._wanted(transaction, place, place.found, photo)

    async def _without_left_over(self, place: _Place, photo: Photo) -> _Place:
        """The place as if no preview lay there that was made of what is gone: it brings no deleted photo back.

        Whoever is told of the deletion removes it, for it may have been put after the other files went. The photo is
        locked: a preview of a newer content is put only once that is noted with it.
        """
        if photo != place.photo:
            place = await self._look(place, photo)
        if not photo.is_left_over(place.found, place.original):
            return place
        if place.is_deleted:
            await self._bucket.delete(photo.s3_key)
        return replace(place, found=None)

    async def _wanted(self, transaction: Transaction, place: _Place, found: ObjectInfo, photo: Photo | None) -> None:
        photos = Photos(transaction.connection)
        seen = seen_preview(photo, found.etag)
        due: list[Photo] = []
        if photo is None:
            due = await photos.add(place.event.event_id, [NewPhoto(str(place.key), place.key.stem, found.etag)])
        elif seen is Seen.CHANGED or (seen is Seen.PERHAPS_OURS and found.sha256 != photo.made_sha256):
            due = await photos.renew({photo.photo_id: found.etag})
        transaction.publish(*(one.order(None) for one in due))
        if photo is not None and photo.image_key is None and place.original is not None:
            linked = await photos.link({photo.photo_id: (place.original.key, place.original.etag)})
            transaction.publish(*(one.told() for one in linked if one.is_settled))

    async def _deleted(self, transaction: Transaction, place: _Place, photo: Photo) -> None:
        """The photo goes with its faces, whatever lies there; a newer file is another photo, and is looked at as such.

        Where the event does not index by itself that is one which a sync or an upload had found already.
        """
        await _remove(transaction, photo)
        if not place.event.keeps_faces:
            return
        photos = Photos(transaction.connection)
        found = place.found
        due: list[Photo] = []
        is_awaited = found is None and photo.preview_etag is None
        if is_awaited or (found is not None and found.sha256 is not None and found.sha256 == photo.made_sha256):
            if place.holds_original_of(photo):
                assert photo.image_key is not None, "it is there"
                assert photo.original_etag is not None, "it is there"
                due = await photos.make({photo.photo_id: (photo.image_key, photo.original_etag)})
        elif found is not None and (place.event.auto_index or photo.preview_etag == found.etag):
            due = await photos.renew({photo.photo_id: found.etag})
        transaction.publish(*(one.order(None) for one in due))

    async def _original_of(self, preview: PhotoKey) -> ObjectInfo | None:
        """The original that is there already: what was told of it came before its photo was known."""
        found: list[ObjectInfo] = []
        async for info in self._bucket.list(f"{prefix_of(preview.number, Folder.ORIGINALS)}{preview.stem}."):
            key = PhotoKey.parse(info.key)
            if key is not None and key.stem == preview.stem:
                found.append(info)
        same_name = f"{prefix_of(preview.number, Folder.ORIGINALS)}{preview.name}"
        return next((info for info in found if info.key == same_name), found[0] if found else None)

    async def _original(self, transaction: Transaction, place: _Place) -> None:
        """Photos are made by their previews alone, or by a sync: here an original only finds its photo."""
        photos = Photos(transaction.connection)
        if place.found is None:
            having = await photos.lock_original(place.event.event_id, str(place.key))
            changed = await photos.unlink([photo.photo_id for photo in having])
            transaction.publish(*(photo.told() for photo in changed if photo.is_settled))
            return
        same_stem = await photos.lock_stems(place.event.event_id, [place.key.stem], None)
        live = [FoundPhoto(found.photo, is_found=True) for found in same_stem]
        seen, photo = seen_original(place.key, place.found.etag, live)
        if photo is None or not _is_there(photo):
            return
        if seen is SeenOriginal.LINK:
            changed = await photos.link({photo.photo_id: (str(place.key), place.found.etag)})
            transaction.publish(*(one.told() for one in changed if one.is_settled))
        elif place.event.auto_index and place.event.keeps_faces:
            due = await photos.make({photo.photo_id: (str(place.key), place.found.etag)})
            transaction.publish(*(one.order(None) for one in due))


def _is_there(photo: Photo) -> bool:
    """Whether the photo is one of the event's."""
    return photo.status is not PhotoStatus.REMOVED


async def _remove(transaction: Transaction, photo: Photo) -> None:
    removed = await Photos(transaction.connection).remove(photo.photo_id)
    await Faces(transaction.connection).remove([photo.photo_id])
    transaction.publish(removed.told())
    await count(transaction, removed, Outcome(failed=1))
