"""From one photo to its faces."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from face_embedder import failures
from face_embedder.analysis import Analysis
from face_embedder.bucket import Content, read
from face_embedder.erased import without_erased
from face_embedder.face_pool import FacePool
from face_embedder.packs import PackId
from face_embedder.photos import Photo
from face_embedder.repositories.erasures import Erasures
from face_embedder.repositories.events import Events
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import DuePhoto, Photos, Result
from face_embedder.repositories.second_looks import SecondLooks
from face_embedder.repositories.tasks import Outcome, Tasks
from face_embedder.tasks import last_words
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import IndexPhotoV1, PhotoStatus
from shared.messaging.delivery import Delivery
from shared.messaging.errors import (
    AlreadyHandled,
    InfrastructureUnavailable,
    MessageError,
    PermanentError,
    Postponed,
    TransientError,
)
from shared.messaging.retry import RetryPolicy
from shared.storage.object_store import ObjectStore
from shared.telemetry import metrics
from shared.worker_pool import Urgency

log = logging.getLogger(__name__)

RETRIES: Final = RetryPolicy(attempts=6, first_delay_seconds=1.0, longest_delay_seconds=60.0)
"""More than elsewhere: a photo may be at work in several processes that die before it is the photo's own fault."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found on a photo, and in which content."""

    analysis: Analysis
    preview_etag: str
    original_etag: str | None = None


class _Outdated(Exception):
    """The photo has another content by now, or somebody has deleted it: no preview is to come of this one."""


class Indexing:
    """Handles orders to index a photo. Doing one twice is harmless: faces are replaced, and counted once."""

    def __init__(
        self, unit_of_work: UnitOfWork, bucket: ObjectStore, pool: FacePool, *, limit_bytes: int, limit_seconds: float
    ) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket
        self._pool = pool
        self._limit_bytes = limit_bytes
        self._limit_seconds = limit_seconds

    async def index(self, command: IndexPhotoV1, delivery: Delivery) -> None:
        """Find the faces of a photo's content, unless a newer one is known.

        What is wrong with the photo is recorded with it, and so is what still fails at the last attempt. Raises what
        may be tried again. No preview of a photo that was deleted meanwhile is left behind.
        """
        async with self._unit_of_work.database.connection() as connection:
            due = await Photos(connection).due(command.photo_id, command.generation)
        # Where it is due no more, a preview may have been put by an attempt that did not come to its end.
        if due is None or not await self._is_recorded(due, delivery):
            await self._remove_left_over(command.photo_id)

    async def _is_recorded(self, due: DuePhoto, delivery: Delivery) -> bool:
        """Look at the photo; False where its content is another by now, or it is gone."""
        photo, pack = due.photo, self._pool.packs.for_photo(due.event_pack)
        try:
            if not due.keeps_faces:
                raise failures.not_kept()
            return await self._record(photo, await self._looked(photo, pack), delivery)
        except _Outdated:
            return False
        except (AlreadyHandled, InfrastructureUnavailable, Postponed):
            raise
        except PermanentError as error:
            return await self._record_failure(photo, error, delivery)
        except Exception as error:
            if delivery.attempt < RETRIES.attempts:
                raise
            # Or the photo would wait for ever, and its sync with it.
            log.exception("a photo could not be indexed", extra={"photo_id": str(photo.photo_id)})
            known = error if isinstance(error, MessageError) else failures.unforeseen(type(error).__name__)
            return await self._record_failure(photo, known, delivery)

    async def _remove_left_over(self, photo_id: UUID) -> None:
        """Take away a preview that was put after the files of its photo had been removed."""
        async with self._unit_of_work.database.connection() as connection:
            photo = await Photos(connection).of_id(photo_id)
        if photo is None or not await self._is_left_over(photo):
            return
        async with self._unit_of_work.begin() as transaction:
            # Locked, and so nobody puts a preview of a newer content: that is noted with the photo before.
            if await Photos(transaction.connection).lock_keys(photo.event_id, [photo.s3_key]) == [photo]:
                await self._bucket.delete(photo.s3_key)

    async def _is_left_over(self, photo: Photo) -> bool:
        if photo.status is not PhotoStatus.REMOVED or photo.made_sha256 is None:
            return False
        original = None if photo.image_key is None else await self._bucket.stat(photo.image_key)
        return photo.is_left_over(await self._bucket.stat(photo.s3_key), original)

    async def _looked(self, photo: Photo, pack: PackId) -> Looked:
        try:
            async with asyncio.timeout(self._limit_seconds):
                is_there = photo.preview_etag is not None
                return await (self._look(photo, pack) if is_there else self._make_and_look(photo, pack))
        except TimeoutError as error:
            raise TransientError(
                "photo_deadline", f"Not done within {self._limit_seconds:g} seconds. It is tried again."
            ) from error

    async def _look(self, photo: Photo, pack: PackId) -> Looked:
        preview = await self._read(photo.s3_key)
        return Looked(await self._pool.look(preview.content, pack, Urgency.SOON), preview.etag)

    async def _make_and_look(self, photo: Photo, pack: PackId) -> Looked:
        """Make the preview, unless somebody has put one there meanwhile."""
        if photo.image_key is None:
            raise failures.gone(photo.s3_key)
        if await self._is_anothers(photo.s3_key, photo.made_sha256):
            return await self._look(photo, pack)
        original = await self._read(photo.image_key)
        analysis = await self._pool.look(original.content, pack, Urgency.SOON, makes_preview=True)
        preview = analysis.preview_bytes()
        assert preview is not None, "the worker was asked for a preview"
        sha256 = hashlib.sha256(preview).hexdigest()
        # Before it is stored: what the bucket tells of it may be heard before this is done.
        async with self._unit_of_work.begin() as transaction:
            if not await Photos(transaction.connection).note_made(photo, sha256):
                raise _Outdated
            # The folder of a deleted event is emptied once, and finding the faces may have lasted until after that.
            event = await Events(transaction.connection).get(photo.event_id)
            if event is None or not event.keeps_faces:
                raise failures.not_kept()
        # Once more, for finding the faces takes a while. What comes in the moment from here on is overwritten.
        if await self._is_anothers(photo.s3_key, photo.made_sha256, sha256):
            return await self._look(photo, pack)
        stored = await self._bucket.put_bytes(photo.s3_key, preview, sha256=sha256, content_type="image/jpeg")
        return Looked(analysis, stored.etag, original.etag)

    async def _is_anothers(self, s3_key: str, *made_sha256: str | None) -> bool:
        """Whether there is a preview that is none of those that were made here."""
        found = await self._bucket.stat(s3_key)
        return found is not None and (found.sha256 is None or found.sha256 not in made_sha256)

    async def _read(self, key: str) -> Content:
        return await read(self._bucket, key, self._limit_bytes)

    async def _record(self, photo: Photo, looked: Looked, delivery: Delivery) -> bool:
        async with self._unit_of_work.begin(delivery) as transaction:
            erasures = Erasures(transaction.connection)
            erased = await erasures.places(photo, looked.preview_etag)
            # Looking takes a while, and what is recorded after the event's faces were forgotten stays.
            event = await Events(transaction.connection).get(photo.event_id)
            if event is None or not event.keeps_faces:
                raise failures.not_kept()
            analysis = without_erased(looked.analysis, erased)
            faces = len(analysis.faces)
            result = Result(
                status=PhotoStatus.INDEXED if faces else PhotoStatus.NO_FACE_DETECTED,
                faces=faces,
                confidence=analysis.confidence(),
                preview_etag=looked.preview_etag,
                original_etag=looked.original_etag,
                # The preview that somebody put there is theirs from now on.
                makes_preview=photo.makes_preview
                and (photo.preview_etag is not None or looked.original_etag is not None),
                pack=analysis.pack_id,
            )
            recorded = await Photos(transaction.connection).record(photo, result)
            if recorded is None:
                return False
            await Faces(transaction.connection).replace(recorded, analysis)
            await erasures.note_size(recorded, analysis.width_px, analysis.height_px)
            await SecondLooks(transaction.connection).owe(recorded, analysis.pack_id)
            outcome = Outcome(processed=1, no_face=int(not faces), previews_made=int(looked.original_etag is not None))
            transaction.publish(recorded.told())
            await count(transaction, recorded, outcome)
        metrics.face_photos_total.labels(result.status.value).inc()
        return True

    async def _record_failure(self, photo: Photo, error: MessageError, delivery: Delivery) -> bool:
        log.warning("a photo failed", extra={"photo_id": str(photo.photo_id), "code": error.code})
        result = Result(PhotoStatus.FAILED, code=error.code, detail=error.detail, makes_preview=photo.makes_preview)
        async with self._unit_of_work.begin(delivery) as transaction:
            recorded = await Photos(transaction.connection).record(photo, result)
            if recorded is None:
                return False
            # The faces of an older content are not on this one.
            await Faces(transaction.connection).remove([recorded.photo_id])
            transaction.publish(recorded.told())
            await count(transaction, recorded, Outcome(failed=1))
        metrics.face_photos_total.labels(result.status.value).inc()
        return True


async def count(transaction: Transaction, photo: Photo, outcome: Outcome) -> None:
    """Add a photo that is done to the tasks that wait for it, and tell of those that end with it."""
    tasks = Tasks(transaction.connection)
    for task, is_told in await tasks.settle(photo, outcome):
        if task.is_done:
            transaction.publish((await tasks.complete(task.task_id, last_words(task))).told())
        elif is_told:
            transaction.publish(task.told())
