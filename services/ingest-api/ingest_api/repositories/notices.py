"""What uploaders are told, as PostgreSQL holds it: numbered per uploader, in the order in which it became visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg

from ingest_api.catalogue import ChangedJob
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.telemetry.tracing import current_traceparent

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "notices.sql")

CHANNEL = "notices_ingest"
"""NOTIFY channels are per database, so the schema's name is part of it. The payload is "<uploader> <job>"."""

NoticeType = Literal[
    "media:processed", "media:progress", "media:deleted", "jobs:progress", "sync:progress", "faces:progress"
]


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to an uploader, without addresses: those are made when it is sent."""

    id: int
    type: NoticeType
    job_id: UUID
    media_id: UUID | None
    body: Mapping[str, Any]
    traceparent: str | None


class NoticeRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any] | asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def add(
        self, notice_type: NoticeType, job: ChangedJob, body: Mapping[str, Any], *, traceparent: str | None = None
    ) -> None:
        """Add a notice and wake whoever listens once it is committed; without a `traceparent`, under the current one.

        Belongs at the end of a transaction: other notices of the uploader wait for its commit.
        """
        traceparent = traceparent or current_traceparent()
        await self._connection.execute(
            QUERIES["add"], job.uploader, notice_type, job.id, job.media_id, body, traceparent
        )

    async def after(self, uploader: UUID, notice_id: int, limit: int) -> list[Notice]:
        """The notices behind the given number, oldest first."""
        rows = await self._connection.fetch(QUERIES["after"], uploader, notice_id, limit)
        return [Notice(**row) for row in rows]

    async def last_id(self, uploader: UUID) -> int:
        """The number of the newest notice; 0 if there was none yet."""
        number: int = await self._connection.fetchval(QUERIES["last_id"], uploader)
        return number

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune"], older_than_seconds, limit))
