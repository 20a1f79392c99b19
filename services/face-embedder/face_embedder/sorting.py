"""Finds out in the background who is on the photos of each event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from face_embedder.likeness import Grouping, Placed, Union, WaitingFace, bars_of
from face_embedder.repositories.events import Events
from face_embedder.repositories.people import NEWS_AT_ONCE, ComparedWith, People
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import PersonChangedV1
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 1.0
"""Between looks for faces that wait: meanwhile some gather, and people are told of once for all of them."""
FACES_AT_ONCE: Final = 1000
QUICK_SECONDS: Final = 0.25
REST_TIMES: Final = 2.0
"""A turn reads every clear face of its event. After one that was not quick, and did not sort as many new faces as it
may, the event rests for so many times as long: meanwhile some gather, and the database has time for others."""
PRUNED_AT_ONCE: Final = 100


@dataclass(slots=True)
class _Done:
    """What a turn has changed."""

    faces: int = 0
    founded: int = 0
    # as many as may be, for the first time: there may be more
    is_full: bool = False
    photo_ids: set[UUID] = field(default_factory=set)
    person_ids: set[UUID] = field(default_factory=set)
    gone: list[PersonChangedV1] = field(default_factory=list)


class Sorting:
    """Sorts some faces of one event per transaction, under the lock of its people: replicas take different events.

    What waits is in tables, so whoever is killed leaves nothing behind but work for the next.
    """

    def __init__(self, unit_of_work: UnitOfWork, changes_kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._changes_kept_seconds = changes_kept_seconds
        self._rest_until: dict[UUID, float] = {}

    async def run(self) -> None:
        """Never ends."""
        while True:
            try:
                await self.round()
            except InfrastructureUnavailable as error:
                log.warning("faces could not be sorted for now", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def round(self) -> None:
        """Sort what waits, the events in turns, without those that rest."""
        async with self._unit_of_work.begin() as transaction:
            await People(transaction.connection).prune_changes(self._changes_kept_seconds, PRUNED_AT_ONCE)
        is_more = True
        while is_more:
            async with self._unit_of_work.begin() as transaction:
                due = await People(transaction.connection).due_events()
            now = time.monotonic()
            self._rest_until = {event_id: until for event_id, until in self._rest_until.items() if until > now}
            is_more = any([await self._tried(event_id) for event_id in due if event_id not in self._rest_until])

    async def _tried(self, event_id: UUID) -> bool:
        """A turn, whose failure holds up no other event; it is tried again at the next look."""
        try:
            return await self.turn(event_id)
        except InfrastructureUnavailable:
            raise
        except Exception:
            log.exception("the faces of an event could not be sorted", extra={"event_id": str(event_id)})
            return False

    async def turn(self, event_id: UUID) -> bool:
        """Sort some faces of an event and tell what is new; False where there was nothing, or others are at it."""
        began = time.monotonic()
        async with self._unit_of_work.begin() as transaction:
            people = People(transaction.connection)
            if not await people.try_lock(event_id):
                return False
            news = await people.take_news(event_id, NEWS_AT_ONCE)
            done = await self._sort(transaction, event_id)
            facts = await people.settle(event_id, done.person_ids | news.person_ids)
            photos = await people.told_of_photos(event_id, done.photo_ids | news.photo_ids)
            transaction.publish(*done.gone, *facts, *photos)
        seconds = time.monotonic() - began
        if seconds > QUICK_SECONDS and not done.is_full:
            self._rest_until[event_id] = began + (1 + REST_TIMES) * seconds
        return bool(done.faces or news.photo_ids)

    async def _sort(self, transaction: Transaction, event_id: UUID) -> _Done:
        """Those that wait for the first time; without any, those that may be somebody's by now."""
        done = _Done()
        event = await Events(transaction.connection).get(event_id)
        if event is None or not (event.is_searchable and event.keeps_faces):
            return done
        people = People(transaction.connection)
        if await people.is_changing_pack(event_id):
            # Whoever is on its other photos would be found a second time.
            return done
        waiting = await people.waiting(event_id, "first", FACES_AT_ONCE)
        done.is_full = sum(map(len, waiting.values())) >= FACES_AT_ONCE
        waiting = waiting or await people.waiting(event_id, "again", FACES_AT_ONCE)
        for pack, faces in waiting.items():
            await self._sort_alike(people, event_id, pack, faces, done)
        if done.founded:
            await people.look_again(event_id)
        return done

    async def _sort_alike(
        self, people: People, event_id: UUID, pack: ComparedWith, faces: list[WaitingFace], done: _Done
    ) -> None:
        """Sort faces of one pack."""
        grouping = Grouping(
            bars_of(pack.name), await people.parts(event_id, pack), decided=await people.decided(event_id)
        )
        photo_ids = {face.photo_id for face in faces}
        there = await people.on_photos(photo_ids)
        # Thousands of people times hundreds of faces: not on the event loop.
        placed = await asyncio.to_thread(grouping.place, faces, there, new_id)
        unions: list[Union] = []
        if links := await asyncio.to_thread(grouping.links):
            on = await people.lock_faces_of(links)
            unions = await asyncio.to_thread(grouping.unite, photos_of(placed, faces, on, grouping.founded))
        fresh = set(grouping.founded)
        placed = after_unions(placed, unions)
        founded = sorted(fresh - {union.gone for union in unions})
        await people.add(event_id, founded, is_decided=False)
        await people.place(placed, {face.face_id for face in faces if face.is_clear})
        for union in unions:
            if union.gone not in fresh:
                done.gone.append(await people.absorb(event_id, union))
        done.founded += len(founded)
        done.faces += len(faces)
        done.photo_ids |= photo_ids
        done.person_ids |= {face.person_id for face in placed if face.person_id} | {one.kept for one in unions}
        done.person_ids -= {one.gone for one in unions}
        metrics.face_people_total.labels("found").inc(len(founded))
        metrics.face_people_total.labels("united").inc(len(unions))


def photos_of(
    placed: Sequence[Placed], faces: Sequence[WaitingFace], known: Mapping[UUID, set[UUID]], founded: Sequence[UUID]
) -> dict[UUID, set[UUID]]:
    """The photos that people are on, with the faces that were placed just now; of known people and new ones alone."""
    on = {**{person_id: set(photos) for person_id, photos in known.items()}, **{one: set() for one in founded}}
    photo_of = {face.face_id: face.photo_id for face in faces}
    for one in placed:
        if one.person_id in on:
            on[one.person_id].add(photo_of[one.face_id])
    return on


def after_unions(placed: Sequence[Placed], unions: Sequence[Union]) -> list[Placed]:
    """Faces whose people were put together belong to whoever stays."""
    now: dict[UUID, Placed] = {one.face_id: one for one in placed}
    for union in unions:
        for face_id, one in now.items():
            if one.person_id == union.gone:
                now[face_id] = Placed(face_id, union.kept, union.part)
    return list(now.values())
