"""Photos of events, as face-embedder tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.photo_removal import AskedFile, PhotoFiles, Removal, RemovalState
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import EventPhotoChangedV1, PhotoStatus

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "event_photos.sql")


@dataclass(frozen=True, slots=True)
class PhotoKeys:
    """Where a photo lies: its preview, and its original if there is one. Nobody is shown one that was removed."""

    s3_key: str
    image_key: str | None
    is_shown: bool


@dataclass(frozen=True, slots=True)
class EventPhoto:
    """One photo of an event; `s3_key` is its preview, `image_key` its original if there is one."""

    id: UUID
    s3_key: str
    image_key: str | None
    status: PhotoStatus
    faces: int
    confidence: float
    code: str | None
    detail: str | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class PhotoPart:
    """Some photos that follow each other: those behind the photo `after`, by their places from 1."""

    after: UUID | None
    first: int
    last: int


class EventPhotoRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def record(self, event: EventPhotoChangedV1) -> None:
        """Take over a fact that is newer than what was known of the photo."""
        await self._connection.execute(
            QUERIES["record"],
            event.photo_id,
            event.event_id,
            event.version,
            event.s3_key,
            event.image_key,
            event.status.value,
            event.faces,
            event.confidence,
            event.code,
            event.detail,
            event.changed_at,
            event.preview_etag,
            event.image_etag,
        )

    async def keys(self, event_id: UUID, photo_ids: Sequence[UUID]) -> dict[UUID, PhotoKeys]:
        """Of those of the photos that are known."""
        rows = await self._connection.fetch(QUERIES["shown"], event_id, list(photo_ids))
        return {row["id"]: PhotoKeys(row["s3_key"], row["image_key"], row["is_shown"]) for row in rows}

    async def page(
        self, event_id: UUID, status: PhotoStatus | None, after: UUID | None, limit: int
    ) -> list[EventPhoto]:
        """Those that are there, of one status or of all, in the order in which they were found."""
        rows = await self._connection.fetch(QUERIES["page"], event_id, status, after, limit)
        return [_photo(row) for row in rows]

    async def parts(self, event_id: UUID, photos_each: int) -> list[PhotoPart]:
        """All that are there, in the order in which they were found, in parts of so many; the last may have fewer."""
        rows = await self._connection.fetch(QUERIES["part_ends"], event_id, photos_each)
        starts: list[UUID | None] = [None, *(row["id"] for row in rows[:-1])]
        return [
            PhotoPart(after, number * photos_each + 1, min((number + 1) * photos_each, row["photos"]))
            for number, (after, row) in enumerate(zip(starts, rows, strict=True))
        ]

    async def by_ids(self, event_id: UUID, photo_ids: Sequence[UUID]) -> list[EventPhoto]:
        """Those of the photos that are there, in the order in which they were found."""
        return [_photo(row) for row in await self._connection.fetch(QUERIES["by_ids"], event_id, list(photo_ids))]

    async def files(self, event_id: UUID, photo_id: UUID) -> PhotoFiles | None:
        """Of a photo that is shown."""
        row = await self._connection.fetchrow(QUERIES["files"], event_id, photo_id)
        return None if row is None else PhotoFiles(**row)

    async def hide(self, event_id: UUID, photo_id: UUID) -> PhotoFiles | None:
        """Let nobody see the photo any more; its files, or None where there is no such photo."""
        row = await self._connection.fetchrow(QUERIES["hide"], event_id, photo_id)
        return None if row is None else PhotoFiles(**row)

    async def add_removal(self, removal: Removal, removed_by: UUID, due_seconds: float) -> Removal:
        """Have the files taken out of the bucket, by the sweep unless somebody does it before; the removal recorded."""
        etags = [file.etag for file in removal.files]
        removed_at = await self._connection.fetchval(
            QUERIES["add_removal"], removal.photo_id, removal.event_id, removal.keys, etags, removed_by, due_seconds
        )
        return replace(removal, removed_at=removed_at)

    async def claim_removal(self, again_seconds: float) -> Removal | None:
        """One that is due; it comes up again after so long unless it is ended."""
        row = await self._connection.fetchrow(QUERIES["claim_removal"], again_seconds)
        if row is None:
            return None
        keys = row["object_keys"]
        etags = row["etags"] or [None] * len(keys)
        files = tuple(AskedFile(key, etag) for key, etag in zip(keys, etags, strict=True))
        return Removal(row["photo_id"], row["event_id"], files, row["removed_at"])

    async def end_removal(self, removal: Removal, kept_keys: Sequence[str]) -> bool:
        """Nothing is left to do; it is remembered where newer files were kept. False where it had ended before."""
        which = (removal.photo_id, removal.removed_at)
        if kept_keys:
            ended = await self._connection.execute(QUERIES["end_removal_keeping"], *which, list(kept_keys))
        else:
            ended = await self._connection.execute(QUERIES["end_removal"], *which)
        return affected_rows(ended) > 0

    async def removal(self, event_id: UUID, photo_id: UUID) -> RemovalState | None:
        """How far it is; None where there is none, or nothing is left of it."""
        row = await self._connection.fetchrow(QUERIES["removal"], event_id, photo_id)
        if row is None:
            return None
        return RemovalState(row["removed_at"], row["completed_at"], tuple(row["kept_keys"]))

    async def remove_completed_removals(self, older_than_seconds: float, limit: int) -> int:
        """Forget at most so many; how many."""
        return affected_rows(
            await self._connection.execute(QUERIES["remove_completed_removals"], older_than_seconds, limit)
        )


def _photo(row: Mapping[str, Any]) -> EventPhoto:
    values = dict(row)
    return EventPhoto(**values | {"status": PhotoStatus(values["status"])})
