"""Originals that were uploaded to events, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.idempotency import KeyClaim
from ingest_api.photo_upload import PhotoUpload
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "photo_uploads.sql")


@dataclass(frozen=True, slots=True)
class KnownPhotos:
    """How many photos of a name there are; with `is_hidden` files under it may still be on their way out."""

    photos: int
    is_hidden: bool


class PhotoUploadRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def claim_key(self, user_id: UUID, claim: KeyClaim, upload_id: UUID) -> bool:
        """False where the key stands for something already."""
        claimed = await self._connection.fetchval(QUERIES["claim_key"], user_id, claim.key, claim.sha256, upload_id)
        return bool(claimed)

    async def of_content(self, event_id: UUID, sha256: str) -> PhotoUpload | None:
        row = await self._connection.fetchrow(QUERIES["of_content"], event_id, sha256)
        return _upload(row) if row else None

    async def add(self, upload: PhotoUpload, due_seconds: float) -> bool:
        """False where its name or its content has been taken. One that is not finished comes up after so long."""
        added = await self._connection.fetchval(
            QUERIES["add"],
            upload.id,
            upload.event_id,
            upload.image_key,
            upload.stem,
            upload.sha256,
            upload.mime_type,
            upload.size_bytes,
            upload.uploader,
            upload.status,
            upload.created_at,
            due_seconds,
        )
        return bool(added)

    async def finish(self, upload_id: UUID) -> bool:
        """False where somebody else has, or where it is gone."""
        return bool(await self._connection.fetchval(QUERIES["finish"], upload_id))

    async def is_stored(self, upload_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["is_stored"], upload_id))

    async def forget_content(self, upload_id: UUID) -> None:
        """Let the same content be another photo from now on."""
        await self._connection.execute(QUERIES["forget_content"], upload_id)

    async def remove_unfinished(self, upload_id: UUID) -> None:
        await self._connection.execute(QUERIES["remove_unfinished"], upload_id)

    async def claim_unfinished(self, again_seconds: float, limit: int) -> list[PhotoUpload]:
        """Those that are due; they come up again after so long."""
        rows = await self._connection.fetch(QUERIES["claim_unfinished"], again_seconds, limit)
        return [_upload(row) for row in rows]

    async def photo_id(self, event_id: UUID, preview: str, image_key: str) -> UUID | None:
        """The photo of an original; None while nobody has looked at it. `preview` is a key without its ending."""
        found: UUID | None = await self._connection.fetchval(QUERIES["photo_id"], event_id, preview, image_key)
        return found

    async def known_photos(self, event_id: UUID, preview: str, original: str) -> KnownPhotos:
        """Those with this preview; it and the original are keys without their endings."""
        row = await self._connection.fetchrow(QUERIES["known_photos"], event_id, preview, original)
        assert row is not None
        return KnownPhotos(row["photos"], row["is_hidden"])


def _upload(row: Mapping[str, Any]) -> PhotoUpload:
    values = {name: value for name, value in row.items() if name != "due_at"}
    return PhotoUpload(**values)
