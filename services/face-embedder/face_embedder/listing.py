"""From what lies in the bucket to photos and orders to index them, a batch at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from face_embedder.bucket import is_ours
from face_embedder.layout import Folder, PhotoKey, listed_prefix
from face_embedder.photos import FoundPhoto, Photo, Seen, SeenOriginal, seen_original, seen_preview
from face_embedder.repositories.events import Events, KnownEvent
from face_embedder.repositories.photos import NewPhoto, Photos
from face_embedder.repositories.tasks import Found, Tasks
from face_embedder.tasks import Task, last_words
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import FaceSyncStatus
from shared.storage.object_store import ObjectInfo, ObjectStore

BATCH: Final = 100


class CannotBeSynced(Exception):
    """The task can never be done; the text is its last message."""


class Superseded(Exception):
    """Somebody else has gone on with the task, who was given it when this process seemed dead."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object that is a photo's file."""

    key: PhotoKey
    etag: str

    @property
    def text(self) -> str:
        return str(self.key)


class Listing:
    """Lists the previews of an event, then its originals; can be begun again anywhere.

    A batch is one transaction: its photos, their orders, their counts, and how far the listing is. A photo's row is
    unique by its key, so nothing is found twice.
    """

    def __init__(self, unit_of_work: UnitOfWork, bucket: ObjectStore) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket

    async def go_on(self, task: Task) -> None:
        """List what is left of a task.

        Raises CannotBeSynced, Superseded, and what the store raises when the listing breaks off.
        """
        event = await self._event(task)
        if task.folder is Folder.PREVIEWS:
            async for batch, cursor in self._batches(event, task):
                task = await self._take_previews(event, task, batch, cursor)
            task = await self._turn_to_originals(task)
        async for batch, cursor in self._batches(event, task):
            task = await self._take_originals(event, task, batch, cursor)
        await self._end(task)

    async def _event(self, task: Task) -> KnownEvent:
        async with self._unit_of_work.begin() as transaction:
            event = await Events(transaction.connection).get(task.event_id)
        assert event is not None, "a task's event has a row"
        if not event.keeps_faces:
            raise CannotBeSynced("The event was deleted, or the time for which its faces may be kept is over")
        if listed_prefix(event.number, task.s3_prefix, Folder.PREVIEWS) is None:
            raise CannotBeSynced(f"The prefix {task.s3_prefix!r} lies outside of the event's previews")
        return event

    async def _batches(self, event: KnownEvent, task: Task) -> AsyncIterator[tuple[list[Listed], str]]:
        """The files of the task's folder behind its cursor, and how far each batch of objects reaches."""
        prefix = listed_prefix(event.number, task.s3_prefix, task.folder)
        assert prefix is not None
        batch: list[Listed] = []
        count, last = 0, ""
        async for info in self._bucket.list(prefix, start_after=task.cursor):
            count, last = count + 1, info.key
            batch += _files(info)
            if count == BATCH:
                yield batch, last
                batch, count = [], 0
        if count:
            yield batch, last

    async def _take_previews(self, event: KnownEvent, task: Task, batch: Sequence[Listed], cursor: str) -> Task:
        async with self._unit_of_work.begin() as transaction:
            await Events(transaction.connection).lock(event.event_id)
            photos = Photos(transaction.connection)
            await photos.plan_anew()
            known = {
                photo.s3_key: photo
                for photo in await photos.lock_keys(event.event_id, [listed.text for listed in batch])
            }
            new: list[NewPhoto] = []
            changed: dict[UUID, str] = {}
            same: list[Photo] = []
            for listed in batch:
                photo = known.get(listed.text)
                seen = seen_preview(photo, listed.etag)
                if photo is None:
                    new.append(NewPhoto(listed.text, listed.key.stem, listed.etag))
                elif seen is Seen.KNOWN or (
                    seen is Seen.PERHAPS_OURS and await is_ours(self._bucket, photo, listed.etag)
                ):
                    same.append(photo)
                else:
                    changed[photo.photo_id] = listed.etag
            due = [*await photos.add(event.event_id, new), *await photos.renew(changed)]
            return await self._advance(transaction, task, cursor, due, same, [False] * len(same), has_original=False)

    async def _take_originals(self, event: KnownEvent, task: Task, batch: Sequence[Listed], cursor: str) -> Task:
        async with self._unit_of_work.begin() as transaction:
            await Events(transaction.connection).lock(event.event_id)
            photos = Photos(transaction.connection)
            await photos.plan_anew()
            by_stem: dict[str, list[FoundPhoto]] = {}
            for found in await photos.lock_stems(event.event_id, [listed.key.stem for listed in batch], task.task_id):
                by_stem.setdefault(found.photo.stem, []).append(found)
            new: dict[str, NewPhoto] = {}
            made: dict[UUID, tuple[str, str]] = {}
            linked: dict[UUID, Photo] = {}
            links: dict[UUID, tuple[str, str]] = {}
            for listed in batch:
                seen, photo = seen_original(listed.key, listed.etag, by_stem.get(listed.key.stem, ()))
                if seen is SeenOriginal.LINK:
                    assert photo is not None, "an original is linked to a photo"
                    linked[photo.photo_id], links[photo.photo_id] = photo, (listed.text, listed.etag)
                    # What follows in this batch finds it linked.
                    by_stem[photo.stem] = [found.linked_to(photo, listed.text) for found in by_stem[photo.stem]]
                elif seen is SeenOriginal.MAKE and photo is not None:
                    made[photo.photo_id] = (listed.text, listed.etag)
                elif seen is SeenOriginal.MAKE:
                    # Of two originals of one name the first gets the preview.
                    preview = listed.key.made_preview
                    new.setdefault(
                        preview, NewPhoto(preview, listed.key.stem, None, listed.text, original_etag=listed.etag)
                    )
            transaction.publish(*(photo.told() for photo in await photos.link(links) if photo.is_settled))
            due = [*await photos.add(event.event_id, list(new.values())), *await photos.make(made)]
            same = [photo for photo in linked.values() if photo.photo_id not in made]
            return await self._advance(transaction, task, cursor, due, same, [True] * len(same), has_original=True)

    async def _advance(
        self,
        transaction: Transaction,
        task: Task,
        cursor: str,
        due: Sequence[Photo],
        same: Sequence[Photo],
        same_have_originals: Sequence[bool],
        *,
        has_original: bool,
    ) -> Task:
        tasks = Tasks(transaction.connection)
        waiting = await tasks.wait_for(task.task_id, due, has_original=has_original)
        skipped = await tasks.skip(task.task_id, same, same_have_originals)
        found = Found(waiting.new, skipped.skipped, waiting.revived)
        advanced = _still_ours(await tasks.advance(task, cursor, found))
        transaction.publish(*(photo.order(task.task_id) for photo in due), advanced.told())
        return advanced

    async def _turn_to_originals(self, task: Task) -> Task:
        async with self._unit_of_work.begin() as transaction:
            return _still_ours(await Tasks(transaction.connection).next_folder(task.task_id))

    async def _end(self, task: Task) -> None:
        async with self._unit_of_work.begin() as transaction:
            tasks, photos = Tasks(transaction.connection), Photos(transaction.connection)
            alone = await tasks.lock_without_original(task.task_id)
            unlinked = await photos.unlink(alone)
            transaction.publish(*(photo.told() for photo in unlinked if photo.is_settled))
            ended = _still_ours(await tasks.end_listing(task))
            if ended.is_done:
                ended = await tasks.complete(ended.task_id, last_words(ended))
            transaction.publish(ended.told())


def _files(info: ObjectInfo) -> list[Listed]:
    key = PhotoKey.parse(info.key)
    return [Listed(key, info.etag)] if key is not None else []


def _still_ours(task: Task | None) -> Task:
    if task is None:
        raise Superseded
    assert task.status in (FaceSyncStatus.LISTING, FaceSyncStatus.INDEXING)
    return task
