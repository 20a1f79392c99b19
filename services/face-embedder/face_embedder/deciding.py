"""What somebody decides about the people of an event: names, merges, splits, and taking them back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from face_embedder.repositories.events import Events
from face_embedder.repositories.people import NEWS_AT_ONCE, People
from face_embedder.repositories.people_changes import Change, ChangedPerson, PeopleChanges, Person, Role
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import ChangePeopleV1, MergePeople, NamePerson, PeopleChangeEndedV1, SplitPerson, UndoChange
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.telemetry import metrics


class Refused(Exception):
    """The wish can't be met as things are; `code` and `detail` are told to whoever has it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class Deciding:
    """Each wish in one transaction with the inbox and all that is told of it."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def decide(self, command: ChangePeopleV1, delivery: Delivery) -> None:
        """Do it, or tell why not: a wish that makes no sense any more is no fault of the message."""
        outcome = "done"
        async with self._unit_of_work.begin(delivery) as transaction:
            people = People(transaction.connection)
            await people.lock(command.event_id)
            try:
                touched = await _decided(transaction, command)
            except Refused as refusal:
                outcome = "refused"
                transaction.publish(_ended(command, None, refusal))
            else:
                news = await people.take_news(command.event_id, NEWS_AT_ONCE)
                facts = await people.settle(command.event_id, news.person_ids | set(touched))
                photos = await people.told_of_photos(command.event_id, news.photo_ids)
                there = {fact.person_id for fact in facts if not fact.is_gone}
                person_id = touched[0] if touched[0] in there else None
                transaction.publish(*facts, *photos, _ended(command, person_id, None))
        metrics.face_people_changes_total.labels(command.wish.kind, outcome).inc()


def _ended(command: ChangePeopleV1, person_id: UUID | None, refusal: Refused | None) -> PeopleChangeEndedV1:
    return PeopleChangeEndedV1(
        change_id=command.change_id,
        event_id=command.event_id,
        is_done=refusal is None,
        person_id=person_id,
        code=refusal and refusal.code,
        detail=refusal and refusal.detail,
        ended_at=datetime.now(UTC),
    )


async def _decided(transaction: Transaction, command: ChangePeopleV1) -> Sequence[UUID]:
    """Meet the wish; the people it has touched, first the one that it is about. Raises Refused."""
    event = await Events(transaction.connection).get(command.event_id)
    if event is None or not (event.is_searchable and event.keeps_faces):
        raise Refused("search_off", "Nobody may look for faces at this event.")
    changes = PeopleChanges(transaction.connection)
    wish = command.wish
    if isinstance(wish, NamePerson):
        return await _name(changes, command, wish)
    if isinstance(wish, MergePeople):
        return await _merge(changes, command, wish)
    if isinstance(wish, SplitPerson):
        return await _split(changes, People(transaction.connection), command, wish)
    return await _undo(changes, command, wish)


async def _name(changes: PeopleChanges, command: ChangePeopleV1, wish: NamePerson) -> Sequence[UUID]:
    (person,) = await _known(changes, command, [wish.person_id])
    if wish.version is not None and wish.version != person.version:
        raise Refused(
            "person_changed", f"This person is at version {person.version}, not {wish.version}: read, then try again."
        )
    if wish.name != person.name:
        await changes.add(command.change_id, command.event_id, "name", command.requested_by)
        await changes.note_people(command.change_id, [(person.person_id, "kept")])
        await changes.call(person.person_id, wish.name)
    return [person.person_id]


async def _merge(changes: PeopleChanges, command: ChangePeopleV1, wish: MergePeople) -> Sequence[UUID]:
    into, *others = await _known(changes, command, list(dict.fromkeys([wish.into, *wish.people])))
    if not others:
        raise Refused("nobody_to_merge", "Name at least one other person.")
    gone = [person.person_id for person in others]
    roles: list[tuple[UUID, Role]] = [(into.person_id, "kept"), *((person_id, "merged") for person_id in gone)]
    await changes.add(command.change_id, command.event_id, "merge", command.requested_by)
    await changes.note_people(command.change_id, roles)
    await changes.note_faces(command.change_id, gone)
    await changes.merge(command.event_id, into.person_id, gone)
    name = next((person.name for person in [into, *others] if person.name is not None), None)
    await changes.call(into.person_id, name)
    return [into.person_id, *gone]


async def _split(changes: PeopleChanges, people: People, command: ChangePeopleV1, wish: SplitPerson) -> Sequence[UUID]:
    (person,) = await _known(changes, command, [wish.person_id])
    wanted = set(wish.faces)
    if unknown := wanted - await changes.faces_of(person.person_id, wanted):
        raise Refused("unknown_face", f"These are not faces of this person: {', '.join(map(str, sorted(unknown)))}.")
    if not wanted or len(wanted) == await changes.count_faces(person.person_id):
        raise Refused("nothing_to_split", "Name some of the person's faces, and not all of them.")
    made = new_id()
    await people.add(command.event_id, [made], is_decided=True)
    await changes.add(command.change_id, command.event_id, "split", command.requested_by)
    await changes.note_people(command.change_id, [(person.person_id, "kept"), (made, "made")])
    await changes.note_faces(command.change_id, [person.person_id], wanted)
    await changes.split(command.event_id, made, wanted)
    return [made, person.person_id]


async def _undo(changes: PeopleChanges, command: ChangePeopleV1, wish: UndoChange) -> Sequence[UUID]:
    change = await changes.lock_change(wish.undone, command.event_id)
    if change is None:
        raise Refused("unknown_change", "There is no such change of this event, or it is too long ago.")
    if change.is_undone:
        raise Refused("already_undone", "This was undone before. An undo is not undone: decide anew.")
    if await changes.is_outdated(change.change_id):
        raise Refused("changed_since", "Something was decided about these people later: undo that first.")
    about = await changes.changed_people(change.change_id)
    kept = [one for one in about if one.role == "kept"]
    if not kept:
        raise Refused("nothing_left", "None of the faces and people of this change is there any more.")
    touched = await _taken_back(changes, command, change, kept[0], [one for one in about if one.role != "kept"])
    await changes.end(change.change_id)
    return touched


async def _taken_back(
    changes: PeopleChanges, command: ChangePeopleV1, change: Change, kept: ChangedPerson, others: list[ChangedPerson]
) -> Sequence[UUID]:
    other_ids = [one.person_id for one in others]
    event_id = command.event_id
    if change.kind == "merge":
        if not await changes.move_back(event_id, change.change_id, kept.person_id):
            raise Refused("nothing_left", "None of the faces that were merged is there any more.")
        for one in others:
            await changes.bring_back(one.person_id, one.was_named)
    elif change.kind == "split":
        for person_id in other_ids:
            if not await changes.move_back(event_id, change.change_id, person_id):
                raise Refused("nothing_left", "None of the faces that were split off is there any more.")
            await changes.move_rest(event_id, person_id, kept.person_id)
        if not others:
            raise Refused("nothing_left", "None of the faces that were split off is there any more.")
    if change.kind != "split":
        await changes.call(kept.person_id, kept.was_named)
    return [kept.person_id, *other_ids]


async def _known(changes: PeopleChanges, command: ChangePeopleV1, person_ids: Sequence[UUID]) -> list[Person]:
    """These people in this order. Raises Refused for those who are not this event's."""
    found = await changes.people(command.event_id, person_ids)
    if unknown := [person_id for person_id in person_ids if person_id not in found]:
        raise Refused("unknown_person", f"This event has no people {', '.join(map(str, unknown))}.")
    return [found[person_id] for person_id in person_ids]
