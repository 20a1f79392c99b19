"""A small world for s3-syncer: pictures that are stored somewhere, told of as image-processor tells of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.events import (
    CancelSyncJobV1,
    ImageProcessedV1,
    MediaFilter,
    MediaUploadedV1,
    StartSyncJobV1,
    StorageStatus,
    StorageStrategy,
    StoredFile,
    SyncMediaV1,
    SyncOperation,
)
from shared.identifiers import new_id
from shared.storage.keys import MediaKey
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.system import System

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

BUCKET = "mediabus"
USER = UUID(int=7)
FINAL = {"completed", "failed", "cancelled"}


@dataclass
class Picture:
    """One medium: its files and what they should hold, by key."""

    media_id: UUID
    files: tuple[StoredFile, ...]
    contents: dict[str, bytes]
    entity_type: str = "product"

    @property
    def keys(self) -> list[str]:
        return list(self.contents)


@dataclass
class SyncWorld:
    """Puts pictures on the disk, asks for jobs, and looks at disk, bucket and database on its own."""

    system: System
    bus: Bus
    client: S3Client
    chance: random.Random = field(default_factory=lambda: random.Random(4))

    @property
    def disk(self) -> Path:
        return self.system.media_root

    # --- pictures -------------------------------------------------------------------------------------------------

    async def picture(
        self, *, files: int = 2, size_bytes: int = 4000, entity_type: str = "product", is_told: bool = True
    ) -> Picture:
        """A picture on the disk. Unless `is_told`, s3-syncer has not heard of it."""
        media_id = new_id()
        contents = {
            str(MediaKey(media_id, 1, f"size-{number}", "webp")): self.chance.randbytes(size_bytes + number)
            for number in range(files)
        }
        stored = tuple(
            StoredFile(
                name=f"size-{number}",
                key=key,
                mime_type="image/webp",
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                width_px=10,
                height_px=10,
            )
            for number, (key, content) in enumerate(contents.items())
        )
        for key, content in contents.items():
            path = self.disk / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        made = Picture(media_id, stored, contents, entity_type)
        if is_told:
            await self.tell([made])
        return made

    async def pictures(self, count: int, **options: Any) -> list[Picture]:
        made = [await self.picture(**options, is_told=False) for _ in range(count)]
        await self.tell(made)
        return made

    async def tell(self, pictures: Sequence[Picture]) -> None:
        """Tell of pictures as the other services do, and wait until s3-syncer knows them."""
        for picture in pictures:
            await self.bus.send(_uploaded(picture))
            await self.bus.send(_processed(picture))
        ids = [picture.media_id for picture in pictures]

        async def known() -> bool:
            sql = "SELECT 1 FROM media WHERE media_id = ANY($1) AND revision > 0 AND entity_type IS NOT NULL"
            return len(await self.system.rows("s3-syncer", sql, ids)) == len(ids)

        await eventually(known, within_seconds=60, why="s3-syncer knows the pictures")

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def start(
        self,
        operation: SyncOperation,
        pictures: Sequence[Picture] = (),
        *,
        ids: Sequence[UUID] | None = None,
        **options: Any,
    ) -> UUID:
        command = start_command(operation, ids or [picture.media_id for picture in pictures], **options)
        await self.bus.send(command)
        return command.job_id

    async def cancel(self, job_id: UUID) -> None:
        await self.bus.send(CancelSyncJobV1(job_id=job_id, requested_by=USER, requested_at=datetime.now(UTC)))

    def facts(self, job_id: UUID) -> list[dict[str, Any]]:
        """Every fact of a job or a parent, in the order in which they were told."""
        return [fact for fact in self.all_facts(job_id) if fact["job_id"] == str(job_id)]

    def all_facts(self, job_id: UUID) -> list[dict[str, Any]]:
        """Those of its children too. A fact that is told again, as after a crash, counts once and says the same."""
        told: dict[tuple[str, int], dict[str, Any]] = {}
        for fact in self.bus.seen(job_id, "sync.job-changed.v1"):
            assert told.setdefault((fact["job_id"], fact["version"]), fact) == fact
        return list(told.values())

    async def ended(self, job_id: UUID, within_seconds: float = 60) -> dict[str, Any]:
        """The job's last fact."""
        found: list[dict[str, Any]] = await eventually(
            lambda: [fact for fact in self.facts(job_id) if fact["status"] in FINAL],
            within_seconds=within_seconds,
            why=f"the job {job_id} ends; last {self.facts(job_id)[-1:]}",
        )
        assert len(found) == 1, "a job ends once"
        return found[0]

    def results(self, job_id: UUID) -> dict[str, dict[str, Any]]:
        """The result of each medium of a job, told once."""
        told = [result for fact in self.all_facts(job_id) for result in fact["recent_results"]]
        by_medium = {result["media_id"]: result for result in told}
        assert len(told) == len(by_medium), "each result is told once"
        return by_medium

    async def run(self, operation: SyncOperation, pictures: Sequence[Picture], **options: Any) -> dict[str, Any]:
        """Start a job and wait for its end."""
        return await self.ended(await self.start(operation, pictures, **options))

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        return list(await self.system.rows("s3-syncer", sql, *arguments))

    # --- looking --------------------------------------------------------------------------------------------------

    async def in_bucket(self, key: str) -> bytes | None:
        try:
            answer = await self.client.get_object(Bucket=BUCKET, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        async with answer["Body"] as body:
            return await body.read()

    def on_disk(self, key: str) -> bytes | None:
        path = self.disk / key
        return path.read_bytes() if path.exists() else None

    async def assert_stored(self, picture: Picture, *, on_disk: bool, in_bucket: bool) -> None:
        """Disk, bucket and database agree, byte for byte."""
        for key, content in picture.contents.items():
            assert self.on_disk(key) == (content if on_disk else None), key
            assert await self.in_bucket(key) == (content if in_bucket else None), key
        (row,) = await self.rows("SELECT * FROM media WHERE media_id = $1", picture.media_id)
        assert (row["on_disk"], row["in_bucket"], row["held_by"]) == (on_disk, in_bucket, None)
        assert not await self.rows("SELECT 1 FROM removals WHERE media_id = $1", picture.media_id)

    def placements(self, picture: Picture) -> list[str]:
        """What was told of where a picture is."""
        return [fact["storage_status"] for fact in self.bus.seen(picture.media_id, "sync.media-storage-changed.v1")]

    async def told_of(self, picture: Picture, *placements: str) -> None:
        """Wait until just this was told of where a picture is; the end of its job may be heard of before."""
        await eventually(
            lambda: self.placements(picture) == [*placements],
            within_seconds=60,
            why=f"{picture.media_id} was {', '.join(placements)}; so far {self.placements(picture)}",
        )


@asynccontextmanager
async def client_of(system: System, server: Any, bus: Bus) -> AsyncIterator[SyncWorld]:
    async with server.client() as client:
        yield SyncWorld(system, bus, client)


def start_command(operation: SyncOperation, ids: Sequence[UUID], **options: Any) -> StartSyncJobV1:
    by_filter: MediaFilter | None = options.pop("filter", None)
    retry_of: UUID | None = options.pop("retry_of", None)
    values: dict[str, Any] = {"min_files_for_batching": 50, "batch_size": 100, **options}
    return StartSyncJobV1(
        job_id=new_id(),
        operation=operation,
        media_ids=None if by_filter or retry_of or "selected_files" in values else tuple(ids),
        filter=by_filter,
        retry_of=retry_of,
        requested_by=USER,
        requested_at=datetime.now(UTC),
        **values,
    )


def copy_command(picture: Picture) -> SyncMediaV1:
    """What image-processor sends for local_first."""
    return SyncMediaV1(media_id=picture.media_id, revision=1, files=picture.files, requested_at=datetime.now(UTC))


def _uploaded(picture: Picture) -> MediaUploadedV1:
    return MediaUploadedV1(
        media_id=picture.media_id,
        job_id=new_id(),
        revision=1,
        filename="a.jpg",
        mime_type="image/jpeg",
        size_bytes=1,
        sha256="0" * 64,
        entity_type=picture.entity_type,
        entity_id=None,
        storage_strategy=StorageStrategy.LOCAL_ONLY,
        uploaded_by=USER,
        uploaded_at=datetime.now(UTC),
    )


def _processed(picture: Picture) -> ImageProcessedV1:
    return ImageProcessedV1(
        job_id=new_id(),
        media_id=picture.media_id,
        revision=1,
        width_px=10,
        height_px=10,
        mime_type="image/webp",
        sha256="0" * 64,
        original=None,
        variants=picture.files,
        placeholder="",
        storage_status=StorageStatus.LOCAL_ONLY,
        on_disk=True,
        in_bucket=False,
        render_seconds=0.1,
        processed_at=datetime.now(UTC),
    )
