"""Kafka in, of event photos: what face-embedder tells of syncs and photos."""

from __future__ import annotations

from ingest_api.face_erasures import FaceErasures
from ingest_api.face_syncs import FaceSyncs
from ingest_api.repositories.event_photos import EventPhotoRepository
from ingest_api.repositories.people import PeopleRepository
from shared.db.pool import Database
from shared.events import (
    EventPhotoChangedV1,
    FacesErasedV1,
    FaceSyncChangedV1,
    PeopleChangeEndedV1,
    PersonChangedV1,
    PhotoPeopleChangedV1,
)
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery


def register(consumer: Consumer, syncs: FaceSyncs, erasures: FaceErasures, database: Database) -> None:
    """Every handler is harmless on redelivery: the inbox stops it, or what it says is no news."""

    @consumer.on(FaceSyncChangedV1)
    async def record_sync(event: FaceSyncChangedV1, delivery: Delivery) -> None:
        """Sync and the notices to those who asked for it in one transaction."""
        await syncs.record(event, delivery)

    @consumer.on(EventPhotoChangedV1)
    async def record_photo(event: EventPhotoChangedV1, _: Delivery) -> None:
        """Without the inbox: the photo's version tells what is news, and an event has thousands of them."""
        async with database.connection() as connection:
            await EventPhotoRepository(connection).record(event)

    @consumer.on(FacesErasedV1)
    async def record_erasure(event: FacesErasedV1, delivery: Delivery) -> None:
        await erasures.record(event, delivery)

    @consumer.on(PersonChangedV1)
    async def record_person(event: PersonChangedV1, _: Delivery) -> None:
        """Without the inbox, as photos are."""
        async with database.connection() as connection:
            await PeopleRepository(connection).record(event)

    @consumer.on(PhotoPeopleChangedV1)
    async def record_photo_people(event: PhotoPeopleChangedV1, _: Delivery) -> None:
        async with database.connection() as connection:
            await PeopleRepository(connection).record_photo(event)

    @consumer.on(PeopleChangeEndedV1)
    async def record_change(event: PeopleChangeEndedV1, _: Delivery) -> None:
        """Behind the facts of what it did, which have the same key: who waited reads what came of it."""
        async with database.connection() as connection:
            await PeopleRepository(connection).end_change(event)
