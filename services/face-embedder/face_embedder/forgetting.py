"""Faces that may not be kept any more are removed; their photos stay."""

from __future__ import annotations

import asyncio
from typing import Final

from face_embedder import failures
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.photos import Photos
from shared.db.unit_of_work import UnitOfWork

PHOTOS_AT_ONCE: Final = 200


class Forgetting:
    """Removes the faces of deleted events and of those whose time is over, a few photos per transaction.

    Searches of such events are refused from the moment on in which it is known; this only cleans up behind: at once
    after a change of an event, and at the due times of the clock for those whose time is over.
    """

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._soon = asyncio.Event()

    def soon(self) -> None:
        """Look at once: an event has changed."""
        self._soon.set()

    async def run(self) -> None:
        """Never ends."""
        while True:
            self._soon.clear()
            await self.sweep()
            await self._soon.wait()

    async def sweep(self) -> dict[str, int]:
        """Forget all faces that may not be kept by now; of how many photos."""
        photos = 0
        while batch := await self.turn():
            photos += batch
        return {"forgotten_photos": photos}

    async def turn(self) -> int:
        """Forget the faces of some photos; of how many."""
        reason = failures.forgotten()
        async with self._unit_of_work.begin() as transaction:
            photos = Photos(transaction.connection)
            photo_ids = await photos.lock_to_forget(PHOTOS_AT_ONCE)
            await Faces(transaction.connection).remove(photo_ids)
            forgotten = await photos.forget(photo_ids, reason.code, reason.detail)
            transaction.publish(*(photo.told() for photo in forgotten))
        return len(photo_ids)
