"""Photographed events: made, read, changed, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ingest_api.accounts import Principal, Role
from ingest_api.photo_event import PhotoEvent
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.event_removals import EventRemovalRepository
from ingest_api.repositories.photo_events import ConsentDecision, PhotoEventRepository
from ingest_api.settings_document import require_match
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.identifiers import new_id


class PhotoEvents:
    """Every change is one transaction with the fact that tells of it, and the record of what was decided."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def add(self, fields: Mapping[str, Any], by: Principal) -> PhotoEvent:
        """`fields` are those that callers may change."""
        now = datetime.now(UTC)
        fresh = PhotoEvent(
            id=new_id(),
            # The database counts.
            number=0,
            name="",
            version=1,
            owner=by.user_id,
            auto_index=False,
            face_search_enabled=True,
            consent_text=None,
            consent_version=0,
            expires_at=None,
            is_deleted=False,
            created_at=now,
            updated_at=now,
        )
        async with self._unit_of_work.begin() as transaction:
            events = PhotoEventRepository(transaction.connection)
            event = await events.add(fresh.with_changes(fields))
            await events.note_decision(event, by.user_id)
            transaction.publish(event.changed())
        return event

    async def read(self, event_id: UUID, by: Principal) -> PhotoEvent:
        """Raises Problem 404, for events of others too."""
        async with self._unit_of_work.database.connection() as connection:
            return usable(await PhotoEventRepository(connection).get(event_id), by)

    async def newest(self, by: Principal, after: UUID | None, limit: int) -> list[PhotoEvent]:
        owner = None if by.may(Role.ADMIN) else by.user_id
        async with self._unit_of_work.database.connection() as connection:
            return await PhotoEventRepository(connection).newest(owner, after, limit)

    async def all_with_faces(self, by: Principal, most: int) -> list[PhotoEvent]:
        """Those whose faces are not over. Raises Problem 422 where they are more than `most`."""
        now = datetime.now(UTC)
        owner = None if by.may(Role.ADMIN) else by.user_id
        async with self._unit_of_work.database.connection() as connection:
            events = await PhotoEventRepository(connection).with_faces(owner, now, most + 1)
        if len(events) > most:
            raise InvalidFields(FieldError("event_uuid", f"is needed: there are more than {most} events"))
        return events

    async def decisions(
        self, event_id: UUID, by: Principal, before_version: int | None, limit: int
    ) -> list[ConsentDecision]:
        """What was decided about looking for faces, newest first. Raises Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            events = PhotoEventRepository(connection)
            usable(await events.get(event_id), by)
            return await events.decisions(event_id, before_version, limit)

    async def change(
        self, event_id: UUID, changes: Mapping[str, Any], if_match: str | None, by: Principal
    ) -> PhotoEvent:
        """A change that changes nothing makes no version. Raises Problem 404, and 412 for a stale `if_match`."""
        async with self._unit_of_work.begin() as transaction:
            return await self._changed(transaction, event_id, changes, if_match, by)

    async def delete(self, event_id: UUID, if_match: str | None, by: Principal, *, removes_files: bool) -> None:
        """Nobody sees or searches it from now on, its faces go, and what is known of its photos.

        Its files go only where that is asked for. Raises as `change` does.
        """
        async with self._unit_of_work.begin() as transaction:
            await self._changed(transaction, event_id, {"is_deleted": True}, if_match, by)
            removals = EventRemovalRepository(transaction.connection)
            await removals.add(event_id, by.user_id, removes_files=removes_files)

    async def _changed(
        self, transaction: Transaction, event_id: UUID, changes: Mapping[str, Any], if_match: str | None, by: Principal
    ) -> PhotoEvent:
        events = PhotoEventRepository(transaction.connection)
        event = usable(await events.locked(event_id), by)
        require_match(if_match, event.version)
        wanted = event.with_changes(changes)
        if wanted == event:
            return event
        changed = await events.save(wanted)
        if not changed.decides_as(event):
            await events.note_decision(changed, by.user_id)
        transaction.publish(changed.changed())
        return changed


def usable(event: PhotoEvent | None, by: Principal) -> PhotoEvent:
    """The event, if there is one for this principal; raises Problem 404."""
    if event is None or event.is_deleted or not event.may_be_used_by(by):
        raise no_such_event()
    return event


def no_such_event() -> Problem:
    return Problem(404, "not_found", "Event not found")
