"""People of events: whose the faces are, and what is told of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import numpy as np

from face_embedder.likeness import Floats, Part, Placed, Union, WaitingFace, is_clear
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import FaceOfPerson, FacePlace, PersonChangedV1, PhotoPeopleChangedV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "people.sql")
NEWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class News:
    """Photos and people of which something is to be told."""

    photo_ids: frozenset[UUID]
    person_ids: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class ComparedWith:
    """Embeddings of this pack and version are compared with each other alone."""

    name: str
    version: str


class People:
    """Works on the connection it is given; whoever gives it decides about the transaction.

    Whoever changes the people of an event holds its lock.
    """

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def lock(self, event_id: UUID) -> None:
        """Wait until nobody else is at the event's people; before anything of them or of faces is locked."""
        await self._connection.execute(QUERIES["lock"], event_id)

    async def try_lock(self, event_id: UUID) -> bool:
        """The same without waiting; False where somebody else is at them."""
        return bool(await self._connection.fetchval(QUERIES["try_lock"], event_id))

    async def due_events(self) -> list[UUID]:
        """Events with faces that wait, or with news."""
        return [row["event_id"] for row in await self._connection.fetch(QUERIES["due_events"])]

    async def take_news(self, event_id: UUID, limit: int) -> News:
        rows = await self._connection.fetch(QUERIES["take_news"], event_id, limit)
        people = (row["person_id"] for row in rows if row["person_id"] is not None)
        return News(frozenset(row["photo_id"] for row in rows), frozenset(people))

    async def of_faces(self, face_ids: Sequence[UUID]) -> set[UUID]:
        """Whose these faces are."""
        return {row["person_id"] for row in await self._connection.fetch(QUERIES["of_faces"], face_ids)}

    async def forget_names(self, event_id: UUID, person_ids: Collection[UUID]) -> None:
        """Take away what they are called, and what an undo would call them or who was merged into them."""
        await self._connection.execute(QUERIES["forget_names"], event_id, list(person_ids))

    # --- sorting ----------------------------------------------------------------------------------------------------

    async def is_changing_pack(self, event_id: UUID) -> bool:
        """Whether some of its people are still known by another pack than the faces that are found now."""
        return bool(await self._connection.fetchval(QUERIES["is_changing_pack"], event_id))

    async def waiting(
        self, event_id: UUID, waits: Literal["first", "again"], limit: int
    ) -> dict[ComparedWith, list[WaitingFace]]:
        """Faces that nobody else is at, by what their embeddings are compared with."""
        faces: defaultdict[ComparedWith, list[WaitingFace]] = defaultdict(list)
        for row in await self._connection.fetch(QUERIES["waiting"], event_id, waits, limit):
            clear = is_clear(row["size_px"], row["sharpness"], row["yaw"])
            embedding = _of_length_1(_numbers(row["embedding"], ">f2"))
            face = WaitingFace(row["face_id"], row["photo_id"], clear, embedding)
            faces[ComparedWith(row["pack"], row["pack_version"])].append(face)
        return dict(faces)

    async def parts(self, event_id: UUID, pack: ComparedWith) -> list[Part]:
        """Everybody of whom a face was clear."""
        rows = await self._connection.fetch(QUERIES["parts"], event_id, pack.name, pack.version)
        return [Part(row["person_id"], row["part"], _numbers(row["mean"], ">f4"), row["clear_faces"]) for row in rows]

    async def decided(self, event_id: UUID) -> set[UUID]:
        return {row["person_id"] for row in await self._connection.fetch(QUERIES["decided"], event_id)}

    async def on_photos(self, photo_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
        """Who is known to be on each photo."""
        people: defaultdict[UUID, set[UUID]] = defaultdict(set)
        for row in await self._connection.fetch(QUERIES["on_photos"], list(photo_ids)):
            people[row["photo_id"]].add(row["person_id"])
        return dict(people)

    async def lock_faces_of(self, person_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
        """The photos of those of the people whose faces nobody else is at."""
        rows = await self._connection.fetch(QUERIES["lock_faces_of"], list(person_ids))
        return {row["person_id"]: set(row["photo_ids"]) for row in rows}

    async def add(self, event_id: UUID, person_ids: Sequence[UUID], *, is_decided: bool) -> None:
        await self._connection.execute(QUERIES["add"], event_id, person_ids, is_decided)

    async def place(self, placed: Sequence[Placed], clear: Collection[UUID]) -> None:
        """Let faces be whose they were found to be; `clear` are those that tell who somebody is."""
        await self._connection.execute(
            QUERIES["place"],
            [face.face_id for face in placed],
            [face.person_id for face in placed],
            [face.part for face in placed],
            [face.face_id in clear for face in placed],
        )

    async def look_again(self, event_id: UUID) -> None:
        """Have faces that are nobody's compared once more."""
        await self._connection.execute(QUERIES["look_again"], event_id)

    async def absorb(self, event_id: UUID, union: Union) -> PersonChangedV1:
        """Give one person's faces to another, for good; what is told of who is gone."""
        await self._connection.execute(QUERIES["absorb"], event_id, union.kept, union.part, union.gone)
        version = await self._connection.fetchval(QUERIES["gone_by_union"], union.gone)
        return PersonChangedV1(
            person_id=union.gone,
            event_id=event_id,
            version=version,
            name=None,
            faces=0,
            photos=0,
            cover=None,
            is_gone=True,
            merged_into=union.kept,
            changed_at=datetime.now(UTC),
        )

    # --- telling ----------------------------------------------------------------------------------------------------

    async def settle(self, event_id: UUID, person_ids: Iterable[UUID]) -> list[PersonChangedV1]:
        """What is to be told of people whose faces or names have changed; who has no face left is removed."""
        wanted = sorted(set(person_ids))
        rows = await self._connection.fetch(QUERIES["renewed"], event_id, wanted) if wanted else []
        covers = await self._covers([row["person_id"] for row in rows if row["faces"]])
        facts = [_fact(event_id, row, covers.get(row["person_id"])) for row in rows]
        await self._connection.execute(QUERIES["remove_empty"], event_id, wanted)
        return facts

    async def _covers(self, person_ids: Sequence[UUID]) -> dict[UUID, FacePlace]:
        rows = await self._connection.fetch(QUERIES["covers"], person_ids) if person_ids else []
        return {row["person_id"]: FacePlace(photo_id=row["photo_id"], box=tuple(row["box"])) for row in rows}

    async def told_of_photos(self, event_id: UUID, photo_ids: Collection[UUID]) -> list[PhotoPeopleChangedV1]:
        """What is to be told of whose faces are on photos."""
        rows = await self._connection.fetch(QUERIES["photos_told"], list(photo_ids)) if photo_ids else []
        now = datetime.now(UTC)
        return [
            PhotoPeopleChangedV1(
                photo_id=row["photo_id"],
                event_id=event_id,
                version=row["version"],
                width_px=row["width_px"],
                height_px=row["height_px"],
                faces=tuple(FaceOfPerson.model_validate(face) for face in row["faces"]),
                changed_at=now,
            )
            for row in rows
        ]

    async def prune_changes(self, kept_seconds: float, limit: int) -> None:
        """What was decided before can't be undone any more."""
        await self._connection.execute(QUERIES["prune_changes"], kept_seconds, limit)


def _fact(event_id: UUID, row: Mapping[str, Any], cover: FacePlace | None) -> PersonChangedV1:
    is_gone = row["faces"] == 0
    return PersonChangedV1(
        person_id=row["person_id"],
        event_id=event_id,
        version=row["version"],
        name=None if is_gone else row["name"],
        faces=row["faces"],
        photos=row["photos"],
        cover=cover,
        is_gone=is_gone,
        merged_into=row["merged_into"],
        changed_at=datetime.now(UTC),
    )


def _numbers(sent: bytes, kind: str) -> Floats:
    """What pgvector sends: two counts of two bytes, then the numbers."""
    return np.frombuffer(sent, dtype=kind, offset=4).astype(np.float32)


def _of_length_1(vector: Floats) -> Floats:
    """Half precision leaves the length a little off."""
    unit: Floats = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return unit
