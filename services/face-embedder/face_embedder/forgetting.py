"""Faces that may not be kept any more are removed; their photos stay."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from face_embedder import failures
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import Photos
from shared.db.unit_of_work import UnitOfWork

PHOTOS_AT_ONCE: Final = 200


class Forgetting:
    """Removes the faces of deleted events and of those whose time is over, a few photos per transaction.

    Searches of such events are refused from the moment on in which it is known; this only cleans up behind.
    """

    def __init__(self, unit_of_work: UnitOfWork, every_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._every_seconds = every_seconds
        self._soon = asyncio.Event()

    def soon(self) -> None:
        """Look at once: an event has changed."""
        self._soon.set()

    async def run(self) -> None:
        """Never ends."""
        while True:
            self._soon.clear()
            while await self.turn():
                pass
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds):
                    await self._soon.wait()

    async def turn(self) -> bool:
        """Forget the faces of some photos; False where there were none."""
        reason = failures.forgotten()
        async with self._unit_of_work.begin() as transaction:
            photos = Photos(transaction.connection)
            photo_ids = await photos.lock_to_forget(PHOTOS_AT_ONCE)
            await Faces(transaction.connection).remove(photo_ids)
            forgotten = await photos.forget(photo_ids, reason.code, reason.detail)
            transaction.publish(*(photo.told() for photo in forgotten))
        return bool(photo_ids)
