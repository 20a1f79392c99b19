"""What somebody decided about people, and how it was before."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "people_changes.sql")

Kind = Literal["name", "merge", "split"]
Role = Literal["kept", "merged", "made"]
"""Who keeps the faces or the name, who was merged, whom a split has made."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with faces; `version` is what was told last."""

    person_id: UUID
    name: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    change_id: UUID
    kind: Kind
    is_undone: bool


@dataclass(frozen=True, slots=True)
class ChangedPerson:
    """Somebody whom a change is about, as they were called before it."""

    person_id: UUID
    role: Role
    was_named: str | None


class PeopleChanges:
    """Works on the connection it is given, whose transaction holds the lock of the event's people."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def people(self, event_id: UUID, person_ids: Collection[UUID]) -> dict[UUID, Person]:
        """Those of them who are people of this event."""
        rows = await self._connection.fetch(QUERIES["people"], event_id, list(person_ids))
        return {row["person_id"]: Person(**row) for row in rows}

    async def faces_of(self, person_id: UUID, face_ids: Collection[UUID]) -> set[UUID]:
        """Those of the faces that are this person's."""
        rows = await self._connection.fetch(QUERIES["faces_of"], person_id, list(face_ids))
        return {row["face_id"] for row in rows}

    async def count_faces(self, person_id: UUID) -> int:
        return int(await self._connection.fetchval(QUERIES["count_faces"], person_id))

    async def add(self, change_id: UUID, event_id: UUID, kind: Kind, made_by: UUID | None) -> None:
        await self._connection.execute(QUERIES["add"], change_id, event_id, kind, made_by)

    async def note_people(self, change_id: UUID, roles: Sequence[tuple[UUID, Role]]) -> None:
        """Remember what people are called; from now on nothing but somebody's decision puts them together."""
        person_ids = [person_id for person_id, _ in roles]
        await self._connection.execute(QUERIES["note_people"], change_id, person_ids, [role for _, role in roles])
        await self._connection.execute(QUERIES["decide"], person_ids)

    async def note_faces(
        self, change_id: UUID, person_ids: Sequence[UUID], face_ids: Collection[UUID] | None = None
    ) -> None:
        """Remember whose faces are: all of these people's, or some of them."""
        chosen = None if face_ids is None else list(face_ids)
        await self._connection.execute(QUERIES["note_faces"], change_id, person_ids, chosen)

    async def call(self, person_id: UUID, name: str | None) -> None:
        await self._connection.execute(QUERIES["call"], person_id, name)

    async def merge(self, event_id: UUID, into: UUID, gone: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["merge"], event_id, into, gone)

    async def split(self, event_id: UUID, made: UUID, face_ids: Collection[UUID]) -> None:
        await self._connection.execute(QUERIES["split"], event_id, made, list(face_ids))

    # --- undoing ----------------------------------------------------------------------------------------------------

    async def lock_change(self, change_id: UUID, event_id: UUID) -> Change | None:
        row = await self._connection.fetchrow(QUERIES["lock_change"], change_id, event_id)
        return Change(**row) if row else None

    async def is_outdated(self, change_id: UUID) -> bool:
        """Whether something that still holds was decided about one of its people later."""
        return bool(await self._connection.fetchval(QUERIES["is_outdated"], change_id))

    async def changed_people(self, change_id: UUID) -> list[ChangedPerson]:
        rows = await self._connection.fetch(QUERIES["changed_people"], change_id)
        return [ChangedPerson(**row) for row in rows]

    async def move_back(self, event_id: UUID, change_id: UUID, holder: UUID) -> int:
        """Give the faces that it moved, and `holder` still has, back to whose they were; how many."""
        moved = await self._connection.fetchval(QUERIES["move_back"], event_id, change_id, holder)
        await self._connection.execute(QUERIES["move_joined"], event_id, change_id, holder)
        return int(moved)

    async def move_rest(self, event_id: UUID, holder: UUID, to: UUID) -> None:
        """What `holder` has left is the other one's too."""
        await self._connection.execute(QUERIES["move_rest"], event_id, holder, to)

    async def bring_back(self, person_id: UUID, name: str | None) -> None:
        """Let somebody who was merged be a person again."""
        await self._connection.execute(QUERIES["bring_back"], person_id, name)

    async def end(self, change_id: UUID) -> None:
        """The change is undone."""
        await self._connection.execute(QUERIES["note_undone"], change_id)
        await self._connection.execute(QUERIES["forget_faces"], change_id)
