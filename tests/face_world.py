"""A small world for face-embedder: photos of real people in the bucket, and what ingest-api would send."""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from PIL import Image

from deploy.local.object_store import ObjectStoreServer
from face_embedder.layout import stem_of
from shared.events import (
    AddEventPhotoV1,
    AnswerV1,
    BucketObjectV1,
    EventPhotoChangedV1,
    FaceSyncChangedV1,
    IndexPhotoV1,
    PhotoEventChangedV1,
    SearchFacesV1,
    SyncEventPhotosV1,
)
from shared.identifiers import new_id
from shared.storage.local_disk import LocalDiskStore
from shared.storage.sealed import SealedSelfies
from shared.testing.pictures import encoded
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.face_scenes import packaged, portraits
from tests.running_service import RunningService
from tests.system import System

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

BUCKET = "mediabus"
START_SECONDS = 180.0
SYNC_SECONDS = 600.0


@lru_cache
def portrait(person: int, quality: int = 88, side_px: int = 200) -> bytes:
    """A photo of one of eight people; another quality is another photo of the same face."""
    _, part, _ = portraits()[person]
    scale = side_px / max(part.size)
    return encoded(part.resize((round(part.width * scale), round(part.height * scale))), "JPEG", quality=quality)


@lru_cache
def group(side_px: int = 900) -> bytes:
    """Six people, the first six of the portraits."""
    with Image.open(packaged("insightface:data/images/t1.jpg")) as opened:
        opened.thumbnail((side_px, side_px))
        return encoded(opened, "JPEG", quality=90)


@lru_cache
def nobody() -> bytes:
    return encoded(Image.new("RGB", (320, 240), "teal"), "JPEG")


@dataclass
class Occasion:
    """An event as it was told last."""

    event_id: UUID
    number: int
    version: int = 1
    auto_index: bool = False
    is_searchable: bool = True
    faces_expire_at: datetime | None = None
    is_deleted: bool = False

    def fact(self) -> PhotoEventChangedV1:
        return PhotoEventChangedV1(
            event_id=self.event_id,
            number=self.number,
            version=self.version,
            name="Wedding",
            auto_index=self.auto_index,
            is_searchable=self.is_searchable,
            faces_expire_at=self.faces_expire_at,
            is_deleted=self.is_deleted,
            changed_at=datetime.now(UTC),
        )

    def preview(self, name: str) -> str:
        return f"events/{self.number}/previews/{name}"

    def original(self, name: str) -> str:
        return f"events/{self.number}/originals/{name}"

    def uploaded(self, name: str) -> AddEventPhotoV1:
        """What ingest-api tells of an original that somebody uploaded."""
        return AddEventPhotoV1(
            event_id=self.event_id,
            number=self.number,
            image_key=self.original(name),
            uploaded_by=new_id(),
            uploaded_at=datetime.now(UTC),
        )


@dataclass
class FaceWorld:
    """Puts photos into the bucket, asks for syncs and searches, and looks at what was told and kept."""

    system: System
    bus: Bus
    client: S3Client
    embedder: RunningService

    async def occasion(self, **fields: Any) -> Occasion:
        """An event of its own that face-embedder knows."""
        made = self.untold(**fields)
        await self.tell(made)
        return made

    def untold(self, **fields: Any) -> Occasion:
        """An event of its own that nobody has told of."""
        return Occasion(new_id(), random.SystemRandom().randrange(10**6, 10**15), **fields)

    async def tell(self, occasion: Occasion) -> None:
        """Tell of an event as it is now, and wait until that is known."""
        await self.bus.send(occasion.fact())
        sql = "SELECT 1 FROM events WHERE event_id = $1 AND version >= $2"
        await eventually(
            lambda: self.rows(sql, occasion.event_id, occasion.version), within_seconds=60, why="the event is known"
        )

    async def put(self, files: Mapping[str, bytes]) -> None:
        for key, content in files.items():
            await self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    async def get(self, key: str) -> bytes:
        answer = await self.client.get_object(Bucket=BUCKET, Key=key)
        return await answer["Body"].read()

    async def notify(self, key: str, happened: Any) -> None:
        """What the bucket tells of a key."""
        await self.bus.send(
            BucketObjectV1(
                bucket=BUCKET,
                object_key=key,
                happened=happened,
                event_name="test",
                happened_at=datetime.now(UTC),
                told_by="webhook",
            )
        )

    # --- syncs ------------------------------------------------------------------------------------------------------

    async def begin_sync(self, occasion: Occasion) -> UUID:
        command = SyncEventPhotosV1(
            task_id=new_id(),
            event_id=occasion.event_id,
            number=occasion.number,
            s3_prefix=occasion.preview(""),
            requested_by=None,
            requested_at=datetime.now(UTC),
        )
        await self.bus.send(command)
        return command.task_id

    async def ended(self, task_id: UUID) -> dict[str, Any]:
        """The last that is told of a sync."""

        def last() -> dict[str, Any] | None:
            facts = [fact for fact in self.bus.told(FaceSyncChangedV1.event_type) if fact["task_id"] == str(task_id)]
            final = [fact for fact in facts if fact["status"] in ("completed", "failed")]
            assert len(final) <= 1, final
            return final[0] if final else None

        # Looking more often would cost the photos a good part of a core.
        found: dict[str, Any] = await eventually(
            last, within_seconds=SYNC_SECONDS, every_seconds=0.1, why=f"sync {task_id} has ended"
        )
        return found

    async def synced(self, occasion: Occasion) -> dict[str, Any]:
        return await self.ended(await self.begin_sync(occasion))

    async def listed(self, occasion: Occasion, name: str) -> IndexPhotoV1:
        """A photo as a listing that saw some content leaves it, and the order that would follow."""
        order = IndexPhotoV1(photo_id=new_id(), event_id=occasion.event_id, generation=1, task_id=None)
        await self.rows(
            "INSERT INTO photos (photo_id, event_id, s3_key, stem, preview_etag) VALUES ($1, $2, $3, $4, 'listed')",
            order.photo_id,
            occasion.event_id,
            occasion.preview(name),
            stem_of(name),
        )
        return order

    async def photo_is(self, occasion: Occasion, name: str, status: str) -> None:
        """Wait until a photo has this status."""
        sql = "SELECT 1 FROM photos WHERE event_id = $1 AND s3_key = $2 AND status = $3"
        key = occasion.preview(name)
        await eventually(
            lambda: self.rows(sql, occasion.event_id, key, status),
            within_seconds=SYNC_SECONDS,
            why=f"{name} is {status}",
        )

    def told_last(self, occasion: Occasion) -> dict[str, dict[str, Any]]:
        """The newest that was told of each photo, by its name."""
        newest: dict[str, dict[str, Any]] = {}
        for fact in self.bus.seen(occasion.event_id, EventPhotoChangedV1.event_type):
            name = fact["s3_key"].rpartition("/")[2]
            if name not in newest or newest[name]["version"] < fact["version"]:
                newest[name] = fact
        return newest

    # --- searches ---------------------------------------------------------------------------------------------------

    async def search(self, occasion: Occasion, picture: bytes, **wishes: Any) -> dict[str, Any]:
        """The answer to a selfie; the selfie is gone by then."""
        selfies = SealedSelfies(LocalDiskStore(self.system.media_root), bytes.fromhex("11" * 32))
        question_id = new_id()
        question = SearchFacesV1(
            question_id=question_id,
            answer_by=datetime.now(UTC) + timedelta(seconds=60),
            event_id=occasion.event_id,
            selfie=await selfies.seal(question_id, picture),
            **wishes,
        )
        await self.bus.send(question)
        answer = await self.bus.one(question_id, AnswerV1.event_type, within_seconds=60)
        assert not (self.system.media_root / question.selfie.key).exists()
        return answer

    # --- looking ----------------------------------------------------------------------------------------------------

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        return list(await self.system.rows("face-embedder", sql, *arguments))

    async def kept(self, occasion: Occasion) -> dict[str, tuple[Any, ...]]:
        """What is kept of each photo, by its name: status, faces that are there, code, and the original."""
        sql = """
            SELECT s3_key, status, photo.faces, code, image_key,
                   (SELECT count(*) FROM faces AS face WHERE face.photo_id = photo.photo_id) AS rows
            FROM photos AS photo WHERE event_id = $1
        """
        rows = await self.rows(sql, occasion.event_id)
        assert all(row["faces"] == row["rows"] for row in rows), rows
        return {
            row["s3_key"].rpartition("/")[2]: (
                row["status"],
                row["faces"],
                row["code"],
                row["image_key"] and row["image_key"].rpartition("/")[2],
            )
            for row in rows
        }

    async def vectors(self, occasion: Occasion) -> set[tuple[str, str]]:
        """Every embedding with the photo it is from."""
        sql = "SELECT s3_key, embedding::text FROM faces JOIN photos USING (photo_id) WHERE faces.event_id = $1"
        rows = await self.rows(sql, occasion.event_id)
        found = {(row["s3_key"].rpartition("/")[2], row["embedding"]) for row in rows}
        assert len(found) == len(rows), "a face is kept twice"
        return found

    async def people(self, occasion: Occasion) -> set[frozenset[str]]:
        """The photos of each person, once all faces are sorted; every one of them is a person of this event."""
        unsorted = "SELECT 1 FROM members WHERE event_id = $1 AND waits IS NOT NULL"

        async def all_sorted() -> bool:
            return not await self.rows(unsorted, occasion.event_id)

        await eventually(all_sorted, within_seconds=60, every_seconds=0.1, why="all faces are sorted")
        sql = """
            SELECT array_agg(s3_key) AS keys FROM members AS member JOIN photos USING (photo_id)
            JOIN people AS person ON person.person_id = member.person_id AND person.event_id = photos.event_id
            WHERE member.event_id = $1 GROUP BY member.person_id
        """
        rows = await self.rows(sql, occasion.event_id)
        return {frozenset(key.rpartition("/")[2] for key in row["keys"]) for row in rows}


def worker_pids(embedder: RunningService) -> list[int]:
    """The processes that look for faces."""
    children = Path(f"/proc/{embedder.pid}/task").glob("*/children")
    return [int(pid) for path in children for pid in path.read_text().split()]


def size_px(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.size


@asynccontextmanager
async def opened_world(
    system: System, bus: Bus, server: ObjectStoreServer, embedder: RunningService
) -> AsyncIterator[FaceWorld]:
    if not embedder.running:
        embedder.start()
        await embedder.wait_until_ready(START_SECONDS)
    async with server.client() as client:
        yield FaceWorld(system, bus, client, embedder)
