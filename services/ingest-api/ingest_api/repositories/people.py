"""People on the photos of events, as face-embedder tells of them, and what was decided about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import PeopleChangeEndedV1, PersonChangedV1, PhotoPeopleChangedV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "people.sql")

ChangeKind = Literal["name", "merge", "split", "undo"]
ChangeStatus = Literal["waiting", "done", "refused"]
Box = tuple[float, ...]
"""Left, top, right, bottom in pixels of the preview."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with faces; the cover is None where its photo is not shown."""

    id: UUID
    version: int
    name: str | None
    faces: int
    photos: int
    cover_photo_id: UUID | None
    cover_key: str | None
    cover_box: Box | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class FaceAt:
    face_id: UUID
    box: Box


@dataclass(frozen=True, slots=True)
class PersonPhoto:
    """A photo that somebody is on, with the places of their faces; usually one."""

    id: UUID
    s3_key: str
    image_key: str | None
    faces: tuple[FaceAt, ...]


@dataclass(frozen=True, slots=True)
class FaceOnPhoto:
    """A face and whose it is, if that is known."""

    face_id: UUID
    box: Box
    person_id: UUID | None
    name: str | None


@dataclass(frozen=True, slots=True)
class PhotoFaces:
    """All faces on a photo; the size is None until they were looked for."""

    width_px: int | None
    height_px: int | None
    faces: tuple[FaceOnPhoto, ...]


@dataclass(frozen=True, slots=True)
class PeopleChange:
    """What somebody decided; `people` are those it is about, `person_id` is who came of it."""

    id: UUID
    event_id: UUID
    kind: ChangeKind
    people: tuple[UUID, ...]
    undone: UUID | None
    status: ChangeStatus
    code: str | None
    detail: str | None
    person_id: UUID | None
    requested_by: UUID
    requested_at: datetime
    ended_at: datetime | None
    undone_by: UUID | None


class PeopleRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def record(self, fact: PersonChangedV1) -> None:
        """Take over a fact that is newer than what was known of the person."""
        cover = fact.cover
        await self._connection.execute(
            QUERIES["record"],
            fact.person_id,
            fact.event_id,
            fact.version,
            None if fact.is_gone else fact.name,
            fact.faces,
            fact.photos,
            None if fact.is_gone or cover is None else cover.photo_id,
            None if fact.is_gone or cover is None else list(cover.box),
            fact.is_gone,
            fact.merged_into,
            fact.changed_at,
        )

    async def record_photo(self, fact: PhotoPeopleChangedV1) -> None:
        """Take over a fact that is newer than what was known of the photo's faces."""
        faces = [face.model_dump(mode="json") for face in fact.faces]
        await self._connection.execute(
            QUERIES["record_photo"], fact.photo_id, fact.event_id, fact.version, fact.width_px, fact.height_px, faces
        )

    async def page(self, event_id: UUID, after: tuple[int, UUID] | None, limit: int) -> list[Person]:
        """Who has most faces first; `after` is the last one before, by faces and id."""
        faces, person_id = after or (None, None)
        return [
            _person(row) for row in await self._connection.fetch(QUERIES["page"], event_id, faces, person_id, limit)
        ]

    async def get(self, event_id: UUID, person_id: UUID) -> Person | None:
        row = await self._connection.fetchrow(QUERIES["get"], event_id, person_id)
        return None if row is None else _person(row)

    async def photos_of(self, event_id: UUID, person_id: UUID, after: UUID | None, limit: int) -> list[PersonPhoto]:
        """Those that are shown, in the order in which they were found."""
        rows = await self._connection.fetch(QUERIES["photos_of"], event_id, person_id, after, limit)
        return [
            PersonPhoto(
                row["id"],
                row["s3_key"],
                row["image_key"],
                tuple(FaceAt(UUID(face["face_id"]), tuple(face["box"])) for face in row["faces"]),
            )
            for row in rows
        ]

    async def faces_of_photo(self, event_id: UUID, photo_id: UUID) -> PhotoFaces | None:
        """None where the event shows no such photo."""
        photo = await self._connection.fetchrow(QUERIES["photo_size"], event_id, photo_id)
        if photo is None:
            return None
        rows = await self._connection.fetch(QUERIES["faces_of_photo"], photo_id)
        faces = tuple(FaceOnPhoto(row["face_id"], tuple(row["box"]), row["person_id"], row["name"]) for row in rows)
        return PhotoFaces(photo["width_px"], photo["height_px"], faces)

    async def preview_sizes(self, photo_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """Width and height in pixels of those of the previews on which faces were looked for."""
        rows = await self._connection.fetch(QUERIES["preview_sizes"], list(photo_ids))
        return {row["photo_id"]: (row["width_px"], row["height_px"]) for row in rows}

    # --- changes ----------------------------------------------------------------------------------------------------

    async def add_change(
        self,
        change_id: UUID,
        event_id: UUID,
        kind: ChangeKind,
        people: Sequence[UUID],
        undone: UUID | None,
        requested_by: UUID,
        requested_at: datetime,
    ) -> None:
        await self._connection.execute(
            QUERIES["add_change"], change_id, event_id, kind, people, undone, requested_by, requested_at
        )

    async def end_change(self, fact: PeopleChangeEndedV1) -> None:
        """Note what came of it, once, and wake who waits for it."""
        await self._connection.execute(
            QUERIES["end_change"],
            fact.change_id,
            fact.is_done,
            fact.person_id,
            fact.code,
            fact.detail,
            fact.ended_at,
        )

    async def change(self, event_id: UUID, change_id: UUID) -> PeopleChange | None:
        row = await self._connection.fetchrow(QUERIES["change"], event_id, change_id)
        return None if row is None else _change(row)

    async def changes(self, event_id: UUID, before: UUID | None, limit: int) -> list[PeopleChange]:
        """Newest first."""
        return [_change(row) for row in await self._connection.fetch(QUERIES["changes"], event_id, before, limit)]

    # --- retention --------------------------------------------------------------------------------------------------

    async def remove_gone(self, kept_seconds: float, limit: int) -> int:
        """Forget who is gone for so long; how many."""
        return len(await self._connection.fetch(QUERIES["remove_gone"], kept_seconds, limit))

    async def remove_changes(self, kept_seconds: float, limit: int) -> int:
        return len(await self._connection.fetch(QUERIES["remove_changes"], kept_seconds, limit))


def _person(row: Mapping[str, Any]) -> Person:
    values = dict(row)
    return Person(**values | {"cover_box": values["cover_box"] and tuple(values["cover_box"])})


def _change(row: Mapping[str, Any]) -> PeopleChange:
    return PeopleChange(**dict(row) | {"people": tuple(row["people"])})
