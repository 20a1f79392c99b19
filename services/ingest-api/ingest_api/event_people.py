"""People on the photos of an event: shown as they are told of, and changed by face-embedder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ingest_api.accounts import Principal
from ingest_api.notifications import NewsHub
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_events import PhotoEvents
from ingest_api.problem_details import Conflict, FieldError, InvalidFields, Problem
from ingest_api.repositories.people import PeopleChange, PeopleRepository, Person, PersonPhoto, PhotoFaces
from ingest_api.settings_document import require_match
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    ChangePeopleV1,
    MergePeople,
    NamePerson,
    PeopleWish,
    SplitPerson,
    UndoChange,
)
from shared.identifiers import new_id

LOOK_EVERY_SECONDS: Final = 2.0
"""How often a change is read though nothing was heard, in case a notification was lost."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A change that was done, with who came of it; or one that is still under way."""

    change: PeopleChange
    person: Person | None


class EventPeople:
    """Whoever reaches the event names, merges and splits; while faces may not be looked for nobody is shown."""

    def __init__(
        self, unit_of_work: UnitOfWork, events: PhotoEvents, hub: NewsHub, *, wait_seconds: float, waiting: int
    ) -> None:
        """At most `waiting` callers wait for their changes at once, each at most `wait_seconds`."""
        self._unit_of_work = unit_of_work
        self._events = events
        self._hub = hub
        self._wait_seconds = wait_seconds
        self._free_places = waiting

    async def event(self, event_id: UUID, by: Principal) -> PhotoEvent:
        """The event, for everything below. Raises Problem 404, and 409 where its faces may not be looked for."""
        event = await self._events.read(event_id, by)
        if not event.is_searchable(datetime.now(UTC)):
            raise _search_off()
        return event

    async def page(self, event: PhotoEvent, after: tuple[int, UUID] | None, limit: int) -> list[Person]:
        async with self._unit_of_work.database.connection() as connection:
            return await PeopleRepository(connection).page(event.id, after, limit)

    async def read(self, event: PhotoEvent, person_id: UUID) -> Person:
        """Raises Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            person = await PeopleRepository(connection).get(event.id, person_id)
        if person is None:
            raise Problem(404, "not_found", "This event has no such person.")
        return person

    async def photos(self, event: PhotoEvent, person_id: UUID, after: UUID | None, limit: int) -> list[PersonPhoto]:
        async with self._unit_of_work.database.connection() as connection:
            return await PeopleRepository(connection).photos_of(event.id, person_id, after, limit)

    async def faces(self, event: PhotoEvent, photo_id: UUID) -> PhotoFaces:
        """Raises Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            faces = await PeopleRepository(connection).faces_of_photo(event.id, photo_id)
        if faces is None:
            raise Problem(404, "not_found", "This event has no such photo.")
        return faces

    # --- changes ----------------------------------------------------------------------------------------------------

    async def name(
        self, event: PhotoEvent, person_id: UUID, name: str | None, if_match: str | None, by: Principal
    ) -> Outcome:
        """Raises Problem 404, and 412 for a stale `if_match`."""
        version = None
        if if_match is not None:
            version = (await self.read(event, person_id)).version
            require_match(if_match, version)
        wish = NamePerson(person_id=person_id, name=name, version=version)
        return await self._decide(event, wish, [person_id], by)

    async def merge(self, event: PhotoEvent, into: UUID, people: Sequence[UUID], by: Principal) -> Outcome:
        """Raises Problem 404, and 422 where it names nobody else."""
        others = [one for one in dict.fromkeys(people) if one != into]
        if not others:
            raise InvalidFields(FieldError("from", "names nobody but the person that stays"))
        return await self._decide(event, MergePeople(into=into, people=tuple(others)), [into, *others], by)

    async def split(self, event: PhotoEvent, person_id: UUID, faces: Sequence[UUID], by: Principal) -> Outcome:
        """Raises Problem 404, and 422 for faces that are another person's, or all of this one's."""
        wish = SplitPerson(person_id=person_id, faces=tuple(dict.fromkeys(faces)))
        return await self._decide(event, wish, [person_id], by)

    async def undo(self, event: PhotoEvent, change_id: UUID, by: Principal) -> Outcome:
        """Raises Problem 404, and 409 where it can't be undone."""
        change = await self.change(event, change_id)
        if change.kind == "undo":
            raise Conflict("undo_of_undo", "An undo is not undone: decide anew.")
        return await self._decide(event, UndoChange(undone=change_id), change.people, by)

    async def change(self, event: PhotoEvent, change_id: UUID) -> PeopleChange:
        """Raises Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            change = await PeopleRepository(connection).change(event.id, change_id)
        if change is None:
            raise _no_such_change()
        return change

    async def changes(self, event: PhotoEvent, before: UUID | None, limit: int) -> list[PeopleChange]:
        """Newest first."""
        async with self._unit_of_work.database.connection() as connection:
            return await PeopleRepository(connection).changes(event.id, before, limit)

    async def _decide(self, event: PhotoEvent, wish: PeopleWish, people: Sequence[UUID], by: Principal) -> Outcome:
        """Have it done and wait for that; it may still be under way at the deadline. Raises the Problem it met."""
        now = datetime.now(UTC)
        command = ChangePeopleV1(
            change_id=new_id(), event_id=event.id, wish=wish, requested_by=by.user_id, requested_at=now
        )
        undone = wish.undone if isinstance(wish, UndoChange) else None
        async with self._unit_of_work.begin() as transaction:
            await PeopleRepository(transaction.connection).add_change(
                command.change_id, event.id, wish.kind, list(people), undone, by.user_id, now
            )
            transaction.publish(command)
        change = await self._ended(event, command.change_id)
        if change.status == "refused":
            raise problem_of(change)
        if change.status == "waiting" or change.person_id is None:
            return Outcome(change, None)
        async with self._unit_of_work.database.connection() as connection:
            return Outcome(change, await PeopleRepository(connection).get(event.id, change.person_id))

    async def _ended(self, event: PhotoEvent, change_id: UUID) -> PeopleChange:
        deadline = time.monotonic() + (self._wait_seconds if self._free_places > 0 else 0.0)
        self._free_places -= 1
        try:
            with self._hub.listening_for(str(change_id)) as news:
                while True:
                    news.clear()
                    change = await self.change(event, change_id)
                    seconds_left = deadline - time.monotonic()
                    if change.status != "waiting" or seconds_left <= 0:
                        return change
                    try:
                        async with asyncio.timeout(min(seconds_left, LOOK_EVERY_SECONDS)):
                            await news.wait()
                    except TimeoutError:
                        continue
        finally:
            self._free_places += 1


_STATUSES: Final = {
    "unknown_person": (404, "not_found"),
    "unknown_change": (404, "not_found"),
    "person_changed": (412, "precondition_failed"),
    "search_off": (409, "search_off"),
}
_FIELDS: Final = {"unknown_face": "faces", "nothing_to_split": "faces", "nobody_to_merge": "from"}


def problem_of(change: PeopleChange) -> Problem:
    """What the caller is told of a change that face-embedder has refused."""
    code, detail = change.code or "", change.detail or "It was refused."
    if field := _FIELDS.get(code):
        return InvalidFields(FieldError(field, detail))
    return Problem(*_STATUSES[code], detail) if code in _STATUSES else Conflict(code, detail)


def _search_off() -> Problem:
    return Problem(409, "search_off", "Looking for faces is switched off for this event, so nobody is shown.")


def _no_such_change() -> Problem:
    return Problem(404, "not_found", "This event has no such change of people, or it is too long ago.")
