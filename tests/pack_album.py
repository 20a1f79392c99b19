"""An event's photos on a real database, and processes that look at them with generated packs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from PIL import Image

from face_embedder.face_pool import FacePool
from face_embedder.indexing import Indexing
from face_embedder.packs import PackId
from face_embedder.photos import Photo
from face_embedder.presence import Presence
from face_embedder.replacing import Replacing
from face_embedder.repositories.events import Events
from face_embedder.repositories.photos import NewPhoto, Photos
from face_embedder.searching import Searching
from shared.db.unit_of_work import UnitOfWork
from shared.events import AnswerV1, Envelope, Event, SearchFacesV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.publisher import Publisher
from shared.storage.local_disk import LocalDiskStore
from shared.storage.object_store import OpenObject
from shared.storage.sealed import SealedSelfies
from shared.testing.pictures import encoded

SELFIE_KEY = bytes.fromhex("11" * 32)
E = TypeVar("E", bound=Event)
LEFT = (96, 96)
RIGHT = (416, 288)


def lamps(seed: int, *corners_px: tuple[int, int], side_px: int = 32) -> bytes:
    """A dark picture with bright squares, which generated packs take for faces; another seed is another face."""
    pixels = np.zeros((480, 640, 3), dtype=np.uint8)
    chance = np.random.default_rng(seed)
    for left, top in corners_px:
        pixels[top : top + side_px, left : left + side_px] = chance.integers(150, 255, (side_px, side_px, 3))
    return encoded(Image.fromarray(pixels), "PNG")


class GatedStore(LocalDiskStore):
    """Opens the objects that are in `gates` once their gate is open."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gates: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def open(self, key: str, *, start_byte: int = 0, end_byte: int | None = None) -> AsyncIterator[OpenObject]:
        if key in self.gates:
            await self.gates[key].wait()
        async with super().open(key, start_byte=start_byte, end_byte=end_byte) as opened:
            yield opened


class Told(Publisher):
    """Keeps the answers instead of sending them."""

    def __init__(self) -> None:
        self.answers: list[Event] = []

    def tell(self, event: Event) -> None:
        self.answers.append(event)


@dataclass
class Replica:
    """What one process does with photos and searches."""

    album: Album
    pool: FacePool
    revision: int = 1
    presence: Presence = field(init=False)
    replacing: Replacing = field(init=False)

    def __post_init__(self) -> None:
        self.presence = Presence(self.album.work, self.pool.packs, self.revision)
        self.replacing = Replacing(
            self.album.work,
            self.album.bucket,
            self.pool,
            self.presence,
            photos_at_once=4,
            limit_bytes=2**24,
            hold_seconds=2.0,
        )
        self.indexing = Indexing(self.album.work, self.album.bucket, self.pool, limit_bytes=2**24, limit_seconds=60.0)

    @asynccontextmanager
    async def replaces(self) -> AsyncIterator[None]:
        """At work in the background."""
        await self.presence.turn()
        task = asyncio.create_task(self.replacing.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def index(self, photo: Photo) -> None:
        order = photo.order(None)
        await self.indexing.index(order, delivery_of(order))

    async def search(self, picture: bytes, **wishes: Any) -> dict[str, float]:
        """The names of the photos that were found, and how alike they are."""
        answer = await self.asked(picture, **wishes)
        assert answer.body is not None, answer.problem
        return {match["s3_key"].rpartition("/")[2]: match["similarity"] for match in answer.body["matches"]}

    async def asked(self, picture: bytes, **wishes: Any) -> AnswerV1:
        told, question_id = Told(), new_id()
        selfies = SealedSelfies(self.album.bucket, SELFIE_KEY)
        question = SearchFacesV1(
            question_id=question_id,
            answer_by=datetime.now(UTC) + timedelta(seconds=60),
            event_id=self.album.event_id,
            selfie=await selfies.seal(question_id, picture),
            **wishes,
        )
        await Searching(self.album.work, self.pool, selfies, told, exact_search_faces=1000).answer(question)
        (answer,) = told.answers
        assert isinstance(answer, AnswerV1)
        return answer


@dataclass(frozen=True)
class Album:
    """One event."""

    work: UnitOfWork
    bucket: GatedStore
    event_id: UUID

    async def put(self, name: str, content: bytes) -> str:
        """Its tag."""
        sha256 = hashlib.sha256(content).hexdigest()
        return (await self.bucket.put_bytes(self.key(name), content, sha256=sha256)).etag

    def hold(self, name: str) -> asyncio.Event:
        """Nobody reads this photo before the gate is set."""
        return self.bucket.gates.setdefault(self.key(name), asyncio.Event())

    def key(self, name: str) -> str:
        return f"events/1/previews/{name}"

    async def photo(self, name: str, content: bytes) -> Photo:
        """A photo as a listing leaves it."""
        etag = await self.put(name, content)
        async with self.work.begin() as transaction:
            new = NewPhoto(self.key(name), name.partition(".")[0], etag)
            (photo,) = await Photos(transaction.connection).add(self.event_id, [new])
        return photo

    async def pack(self) -> PackId | None:
        async with self.work.begin() as transaction:
            event = await Events(transaction.connection).get(self.event_id)
        assert event is not None
        return event.pack

    async def faces(self) -> dict[str, dict[str, int]]:
        """How many faces are there, by photo and the version of the pack."""
        sql = "SELECT s3_key, face.pack_version AS version, count(*) FROM faces AS face JOIN photos USING (photo_id) "
        found: dict[str, dict[str, int]] = {}
        for row in await self.rows(sql + "GROUP BY 1, 2"):
            found.setdefault(row["s3_key"].rpartition("/")[2], {})[row["version"]] = row["count"]
        return found

    async def status(self) -> dict[str, tuple[str, int, str | None]]:
        rows = await self.rows("SELECT s3_key, status, faces, code FROM photos")
        return {row["s3_key"].rpartition("/")[2]: (row["status"], row["faces"], row["code"]) for row in rows}

    async def told(self, kind: type[E]) -> list[E]:
        sql = "SELECT payload FROM outbox WHERE headers ->> 'ce_type' = $1 ORDER BY id"
        return [kind.model_validate_json(row["payload"]) for row in await self.rows(sql, kind.event_type)]

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.work.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))


def delivery_of(event: Event) -> Delivery:
    envelope = Envelope.new(event, "/tests")
    return Delivery(
        consumer="face-embedder",
        envelope=envelope,
        topic=event.topic.name,
        partition=0,
        offset=0,
        key=event.key().encode(),
        headers=envelope.headers(),
        payload=event.payload(),
        attempt=1,
    )
