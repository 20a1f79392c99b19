"""Direct uploads, as PostgreSQL holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg

from ingest_api.announcement import DirectUpload
from ingest_api.catalogue import JobStatus
from ingest_api.idempotency import KeyClaim
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import StorageStrategy
from shared.telemetry.tracing import current_traceparent

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "direct_uploads.sql")


class DirectUploadRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, upload: DirectUpload, most_waiting: int, claim: KeyClaim | None) -> bool:
        """False, and nothing is added, while so many wait already or when the key was used before."""
        added = await self._connection.fetchval(
            QUERIES["add"],
            upload.id,
            upload.media_id,
            upload.uploader,
            upload.filename,
            upload.mime_type,
            upload.size_bytes,
            upload.sha256,
            upload.entity_type,
            upload.entity_id,
            upload.alt,
            upload.title,
            upload.storage_strategy,
            most_waiting,
            current_traceparent(),
            upload.created_at,
            upload.expires_at,
            claim and claim.key,
            claim and claim.sha256,
        )
        return bool(added)

    async def get(self, upload_id: UUID) -> DirectUpload | None:
        row = await self._connection.fetchrow(QUERIES["get"], upload_id)
        return None if row is None else _upload(row)

    async def newest(self, status: JobStatus | None, after: UUID | None, limit: int) -> list[DirectUpload]:
        """Those that are no jobs yet, or never were, newest first."""
        return [_upload(row) for row in await self._connection.fetch(QUERIES["newest"], after, status, limit)]

    async def finish(
        self, upload_id: UUID, status: Literal["received", "failed"], code: str | None = None, detail: str | None = None
    ) -> bool:
        """Whether this transaction is the one that ends its wait."""
        return bool(await self._connection.fetchval(QUERIES["finish"], upload_id, status, code, detail))

    async def object_removed(self, upload_id: UUID) -> None:
        await self._connection.execute(QUERIES["object_removed"], upload_id)

    async def to_remove(self, limit: int) -> list[DirectUpload]:
        """Finished ones whose object may still be in the bucket, oldest first."""
        return [_upload(row) for row in await self._connection.fetch(QUERIES["to_remove"], limit)]

    async def expired(self, since_seconds: float, limit: int) -> list[DirectUpload]:
        """Those that still wait so long after their file could be sent."""
        return [_upload(row) for row in await self._connection.fetch(QUERIES["expired"], since_seconds, limit)]

    async def remove_finished(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_finished"], older_than_seconds, limit))


def _upload(row: asyncpg.Record) -> DirectUpload:
    stored = dict(row)
    del stored["object_removed_at"]
    return DirectUpload(**stored | {"storage_strategy": StorageStrategy(stored["storage_strategy"])})
