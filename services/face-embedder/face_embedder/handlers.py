"""Kafka in: one function per message type."""

from __future__ import annotations

from face_embedder.arriving import Arriving
from face_embedder.bucket_news import BucketNews
from face_embedder.commands import Commands
from face_embedder.deciding import Deciding
from face_embedder.erasing import Erasing
from face_embedder.indexing import RETRIES, Indexing
from face_embedder.searching import Searching
from face_embedder.settings import FaceEmbedderSettings
from shared.events import (
    AddEventPhotoV1,
    BucketObjectV1,
    ChangePeopleV1,
    EraseFacesV1,
    IndexPhotoV1,
    PhotoEventChangedV1,
    SearchFacesV1,
    SyncEventPhotosV1,
)
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.retry import RetryPolicy

LONGEST_SEARCH_SECONDS = 60.0


def register(
    consumer: Consumer,
    commands: Commands,
    arriving: Arriving,
    indexing: Indexing,
    news: BucketNews,
    searching: Searching,
    erasing: Erasing,
    deciding: Deciding,
    settings: FaceEmbedderSettings,
) -> None:
    """Tell the consumer what this service handles."""

    @consumer.on(PhotoEventChangedV1)
    async def know_event(event: PhotoEventChangedV1, delivery: Delivery) -> None:
        await commands.know_event(event, delivery)

    @consumer.on(SyncEventPhotosV1)
    async def sync(command: SyncEventPhotosV1, delivery: Delivery) -> None:
        await commands.sync(command, delivery)

    @consumer.on(AddEventPhotoV1)
    async def add_photo(command: AddEventPhotoV1, delivery: Delivery) -> None:
        await arriving.add(command, delivery)

    @consumer.on(EraseFacesV1)
    async def erase(command: EraseFacesV1, delivery: Delivery) -> None:
        await erasing.erase(command, delivery)

    @consumer.on(ChangePeopleV1)
    async def decide(command: ChangePeopleV1, delivery: Delivery) -> None:
        await deciding.decide(command, delivery)

    @consumer.on(
        IndexPhotoV1,
        retry=RETRIES,
        concurrency=settings.index_concurrency,
        # Beyond its own limit, so that what takes too long is recorded rather than given up here.
        deadline_seconds=settings.index_seconds + 30.0,
    )
    async def index(command: IndexPhotoV1, delivery: Delivery) -> None:
        await indexing.index(command, delivery)

    @consumer.on(BucketObjectV1)
    async def hear(event: BucketObjectV1, delivery: Delivery) -> None:
        await news.hear(event, delivery)

    @consumer.on(SearchFacesV1, retry=RetryPolicy(attempts=1), deadline_seconds=LONGEST_SEARCH_SECONDS)
    async def search(question: SearchFacesV1, delivery: Delivery) -> None:
        """No inbox: a question changes nothing, and its selfie can be read once."""
        await searching.answer(question)
