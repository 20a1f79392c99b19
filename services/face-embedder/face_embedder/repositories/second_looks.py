"""Photos that are looked at with the pack that takes the place of their event's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from face_embedder.packs import PackId
from face_embedder.photos import Photo
from face_embedder.places import PlacedFace, found_again
from face_embedder.repositories.members import Members
from face_embedder.repositories.packs import pack_of
from face_embedder.repositories.photos import photo_of
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import PhotoStatus
from shared.messaging.errors import MessageError

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "second_looks.sql")


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A photo that somebody was given to look at; `generation` is that of the content which is meant."""

    photo: Photo
    pack: PackId
    generation: int
    attempts: int

    @property
    def is_needed(self) -> bool:
        """Whether the photo still has that content, and its faces were found."""
        has_faces = self.photo.status in (PhotoStatus.INDEXED, PhotoStatus.NO_FACE_DETECTED)
        return has_faces and self.photo.generation == self.generation


@dataclass(frozen=True, slots=True)
class Replaced:
    """How an event has changed to another pack: of how many photos the faces were found, and of how many not."""

    done: int
    failed: int


class SecondLooks:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def owe(self, photo: Photo, found_by: PackId) -> None:
        """Have the photo, whose faces were found just now, looked at again where another pack is wanted."""
        await self._connection.execute(
            QUERIES["owe"], photo.photo_id, photo.event_id, photo.generation, found_by.name, found_by.version
        )

    # --- events -----------------------------------------------------------------------------------------------------

    async def lock_event(self, pack: PackId, behind: UUID) -> tuple[UUID, PackId | None] | None:
        """An event, behind that one, which has another pack and of which no photo waits; and its pack."""
        row = await self._connection.fetchrow(QUERIES["lock_event"], pack.name, pack.version, behind)
        return (row["event_id"], pack_of(row)) if row else None

    async def plan(self, event_id: UUID, pack: PackId) -> int:
        """Note the photos of an event that need a look; how many were not noted before."""
        return len(await self._connection.fetch(QUERIES["plan"], event_id, pack.name, pack.version))

    async def switch(self, event_id: UUID, pack: PackId, gone_seconds: float) -> Replaced | None:
        """Have a locked event searched with this pack; None while a photo waits or a living process lacks the pack."""
        row = await self._connection.fetchrow(
            QUERIES["switch"], event_id, pack.name, pack.version, str(pack), gone_seconds
        )
        return Replaced(row["done"], row["failed"]) if row else None

    # --- photos -----------------------------------------------------------------------------------------------------

    async def claim(self, pack: PackId, limit: int, hold_seconds: float) -> list[SecondLook]:
        """Photos that are due, held for so long."""
        rows = await self._connection.fetch(QUERIES["claim"], pack.name, pack.version, limit, hold_seconds)
        return [SecondLook(photo_of(row), pack, row["looked_generation"], row["attempts"]) for row in rows]

    async def hold(self, pack: PackId, photo_ids: Sequence[UUID], hold_seconds: float) -> None:
        """Keep others away for so long."""
        await self._connection.execute(QUERIES["hold"], photo_ids, pack.name, pack.version, hold_seconds)

    async def put_off(self, look: SecondLook, seconds: float, *, counts: bool) -> None:
        """Let it be tried again after so long; it was an attempt if that `counts`."""
        await self._connection.execute(QUERIES["put_off"], *_key(look), seconds, 0 if counts else 1)

    async def finish(self, look: SecondLook, error: MessageError | None = None) -> bool:
        """Note how a look has ended, of a photo that is locked; False where nobody waits for it any more."""
        state = "done" if error is None else "failed"
        code, detail = (error.code, error.detail) if error is not None else (None, None)
        found = await self._connection.fetchval(QUERIES["finish"], *_key(look), look.generation, state, code, detail)
        return found is not None

    async def drop(self, look: SecondLook) -> None:
        """Forget a look that is not needed."""
        await self._connection.execute(QUERIES["drop"], *_key(look), look.generation)

    # --- behind the switch ------------------------------------------------------------------------------------------

    async def lock_to_adopt(self, limit: int) -> list[UUID]:
        """Photos whose event has changed to the pack that has looked at them."""
        return [row["photo_id"] for row in await self._connection.fetch(QUERIES["lock_to_adopt"], limit)]

    async def adopt(self, photo_ids: Sequence[UUID]) -> list[Photo]:
        """Let locked photos have what their event's pack has found, and nothing that was found before.

        Faces in the place of one that had a person are that person's.
        """
        await self._carry_people(photo_ids)
        adopted = [photo_of(row) for row in await self._connection.fetch(QUERIES["adopt"], photo_ids)]
        await self._connection.execute(QUERIES["remove_adopted"], photo_ids)
        await self._connection.execute(QUERIES["remove_old_faces"], photo_ids)
        return adopted

    async def _carry_people(self, photo_ids: Sequence[UUID]) -> None:
        old: defaultdict[UUID, list[PlacedFace]] = defaultdict(list)
        new: defaultdict[UUID, list[PlacedFace]] = defaultdict(list)
        for row in await self._connection.fetch(QUERIES["faces_to_carry"], photo_ids):
            of_photos = new if row["is_new"] else old
            of_photos[row["photo_id"]].append(PlacedFace(row["face_id"], tuple(row["box"])))
        carried = [pair for photo_id, faces in new.items() for pair in found_again(old[photo_id], faces)]
        members = Members(self._connection)
        await members.carry(carried, least_similarity=None)
        await members.add_missing([face.face_id for faces in new.values() for face in faces])

    async def discard(self, limit: int) -> int:
        """Remove looks that nobody needs, with what they found; how many."""
        return int(await self._connection.fetchval(QUERIES["discard"], limit))


def _key(look: SecondLook) -> tuple[UUID, str, str]:
    return look.photo.photo_id, look.pack.name, look.pack.version
