"""Has the faces of every photo found by the pack that takes the place of its event's, and then changes the event."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final
from uuid import UUID

from face_embedder import failures
from face_embedder.bucket import read
from face_embedder.erased import without_erased
from face_embedder.face_pool import FacePool
from face_embedder.presence import GONE_SECONDS, Presence
from face_embedder.repositories.erasures import Erasures
from face_embedder.repositories.events import Events
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import Photos
from face_embedder.repositories.second_looks import SecondLook, SecondLooks
from shared.db.unit_of_work import UnitOfWork
from shared.messaging.errors import InfrastructureUnavailable, MessageError, PermanentError, Postponed
from shared.storage.object_store import ObjectStore
from shared.telemetry import metrics
from shared.worker_pool import Urgency

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 2.0
ATTEMPTS: Final = 6
RETRY_SECONDS: Final = 5.0
LONGEST_LOOK_SECONDS: Final = 1200.0
"""Of one attempt: waiting until no other photo does is most of it."""
EVENTS_AT_ONCE: Final = 100
ADOPTED_AT_ONCE: Final = 200
_FIRST: Final = UUID(int=0)


class Replacing:
    """One per process; photos are shared among replicas by leases in the database, which a dead process loses.

    New faces lie beside the old ones, which are searched until no photo of the event waits. Then one row says that the
    event has changed; its photos take over what was found, and lose what they had, some per transaction.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        bucket: ObjectStore,
        pool: FacePool,
        presence: Presence,
        *,
        photos_at_once: int,
        limit_bytes: int,
        hold_seconds: float,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._bucket = bucket
        self._pool = pool
        self._presence = presence
        self._photos_at_once = photos_at_once
        self._limit_bytes = limit_bytes
        self._hold_seconds = hold_seconds
        self._in_hand: dict[UUID, SecondLook] = {}
        self._news = asyncio.Event()
        self._tidied_at = -LOOK_EVERY_SECONDS
        self._behind = _FIRST

    async def run(self) -> None:
        """Ends only by cancellation, which leaves the rest to whoever takes it next."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_holding())
            while True:
                self._news.clear()
                try:
                    await self._turn(group)
                except InfrastructureUnavailable as error:
                    log.warning("packs can't be replaced just now", extra={"detail": str(error)})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_SECONDS):
                        await self._news.wait()

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Fill the free places, and look after events and photos where none was left or that was long ago."""
        is_busy = await self._begin_due(group)
        if is_busy and time.monotonic() - self._tidied_at < LOOK_EVERY_SECONDS:
            return
        while await self._discard() or await self._adopt():
            pass
        if self._presence.is_in_front and await self._go_on_with_events():
            self._news.set()
        self._tidied_at = time.monotonic()

    async def _begin_due(self, group: asyncio.TaskGroup) -> bool:
        """Whether there was a photo for every free place."""
        free = self._photos_at_once - len(self._in_hand)
        if free <= 0 or not self._presence.is_in_front:
            return free <= 0
        async with self._unit_of_work.begin() as transaction:
            claimed = await SecondLooks(transaction.connection).claim(self._pool.packs.wanted, free, self._hold_seconds)
        for look in claimed:
            self._in_hand[look.photo.photo_id] = look
            group.create_task(self._work(look))
        return len(claimed) == free

    async def _keep_holding(self) -> None:
        while True:
            await asyncio.sleep(self._hold_seconds / 3)
            if self._in_hand:
                with suppress(InfrastructureUnavailable):
                    async with self._unit_of_work.begin() as transaction:
                        await SecondLooks(transaction.connection).hold(
                            self._pool.packs.wanted, list(self._in_hand), self._hold_seconds
                        )

    # --- events -----------------------------------------------------------------------------------------------------

    async def _go_on_with_events(self) -> bool:
        """Note the photos of events that have another pack, and change those that are done; whether there were any."""
        is_news = False
        for _ in range(EVENTS_AT_ONCE):
            async with self._unit_of_work.begin() as transaction:
                looks, wanted = SecondLooks(transaction.connection), self._pool.packs.wanted
                found = await looks.lock_event(wanted, self._behind)
                if found is None:
                    self._behind = _FIRST
                    break
                self._behind, old = found
                facts = {"event_id": str(self._behind), "pack": str(wanted), "old_pack": str(old or "none")}
                planned = await looks.plan(self._behind, wanted)
                replaced = None if planned else await looks.switch(self._behind, wanted, GONE_SECONDS)
            if planned:
                log.info("the photos of an event are looked at with another pack", extra={**facts, "photos": planned})
            elif replaced is not None:
                counts = {"done": replaced.done, "failed": replaced.failed}
                log.info("an event has changed to another pack", extra={**facts, **counts})
            is_news = is_news or planned > 0 or replaced is not None
        return is_news

    async def _discard(self) -> bool:
        async with self._unit_of_work.begin() as transaction:
            return await SecondLooks(transaction.connection).discard(ADOPTED_AT_ONCE) > 0

    async def _adopt(self) -> bool:
        async with self._unit_of_work.begin() as transaction:
            looks = SecondLooks(transaction.connection)
            photo_ids = await looks.lock_to_adopt(ADOPTED_AT_ONCE)
            if photo_ids:
                transaction.publish(*(photo.told() for photo in await looks.adopt(photo_ids)))
        return bool(photo_ids)

    # --- photos -----------------------------------------------------------------------------------------------------

    async def _work(self, look: SecondLook) -> None:
        try:
            await self._tried(look)
        except Exception:
            # PostgreSQL is away, or something unforeseen: the lease runs out, and the photo is taken again.
            log.exception("a second look could not be recorded", extra={"photo_id": str(look.photo.photo_id)})
        finally:
            del self._in_hand[look.photo.photo_id]
            self._news.set()

    async def _tried(self, look: SecondLook) -> None:
        try:
            async with asyncio.timeout(LONGEST_LOOK_SECONDS):
                await self._look(look)
        except (InfrastructureUnavailable, Postponed):
            await self._put_off(look, RETRY_SECONDS, counts=False)
        except PermanentError as error:
            await self._fail(look, error)
        except Exception as error:
            if look.attempts < ATTEMPTS:
                log.warning("a second look failed", extra={"photo_id": str(look.photo.photo_id), "detail": repr(error)})
                await self._put_off(look, RETRY_SECONDS * look.attempts, counts=True)
            else:
                # Or the event would wait for ever.
                known = error if isinstance(error, MessageError) else failures.unforeseen(type(error).__name__)
                await self._fail(look, known)

    async def _look(self, look: SecondLook) -> None:
        photo = look.photo
        if not look.is_needed:
            async with self._unit_of_work.begin() as transaction:
                await SecondLooks(transaction.connection).drop(look)
            return
        preview = await read(self._bucket, photo.s3_key, self._limit_bytes)
        if preview.etag != photo.preview_etag:
            await self._renew(look, preview.etag)
            return
        analysis = await self._pool.look(preview.content, look.pack, Urgency.WHEN_IDLE)
        async with self._unit_of_work.begin() as transaction:
            # Locks the photo: what is removed, erased or found on it meanwhile is known here, or knows of this.
            places = await Erasures(transaction.connection).places(photo, preview.etag)
            if not await SecondLooks(transaction.connection).finish(look):
                return
            await Faces(transaction.connection).put_beside(photo, without_erased(analysis, places))
        metrics.face_second_looks_total.labels("done").inc()

    async def _renew(self, look: SecondLook, etag: str) -> None:
        """The content is another than the one whose faces are known: both packs' are to be found in the new one."""
        photo = look.photo
        async with self._unit_of_work.begin() as transaction:
            await Events(transaction.connection).lock(photo.event_id)
            photos = Photos(transaction.connection)
            known = await photos.lock_keys(photo.event_id, [photo.s3_key])
            changed = {one.photo_id: etag for one in known if one.generation == look.generation and one.is_settled}
            transaction.publish(*(one.order(None) for one in await photos.renew(changed)))
            await SecondLooks(transaction.connection).drop(look)

    async def _put_off(self, look: SecondLook, seconds: float, *, counts: bool) -> None:
        async with self._unit_of_work.begin() as transaction:
            await SecondLooks(transaction.connection).put_off(look, seconds, counts=counts)

    async def _fail(self, look: SecondLook, error: MessageError) -> None:
        photo = look.photo
        async with self._unit_of_work.begin() as transaction:
            await Erasures(transaction.connection).lock_photos(photo.event_id, [photo.photo_id])
            if not await SecondLooks(transaction.connection).finish(look, error):
                return
        log.warning("the wanted pack fails at a photo", extra={"photo_id": str(photo.photo_id), "code": error.code})
        metrics.face_second_looks_total.labels("failed").inc()
