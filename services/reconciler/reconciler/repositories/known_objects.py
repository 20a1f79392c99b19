"""What was told of the bucket, and how far the sweep is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import BucketObjectV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "sweep.sql")


@dataclass(frozen=True, slots=True)
class KnownObject:
    key: str
    is_removed: bool
    size_bytes: int | None
    etag: str | None
    known_at: datetime


class KnownObjects:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def know(self, event: BucketObjectV1) -> None:
        """Take over what a notification told, unless something later is known."""
        await self._connection.execute(
            QUERIES["know"],
            event.bucket,
            event.object_key,
            event.happened == "removed",
            event.size_bytes,
            event.etag,
            event.sequencer,
            event.happened_at,
        )

    async def see(self, bucket: str, events: Sequence[BucketObjectV1]) -> None:
        """Take over what a listing showed."""
        seen = [
            {
                "object_key": event.object_key,
                "is_removed": event.happened == "removed",
                "size_bytes": event.size_bytes,
                "etag": event.etag,
                "happened_at": event.happened_at.isoformat(),
            }
            for event in events
        ]
        if seen:
            await self._connection.execute(QUERIES["see"], bucket, seen)

    async def known(self, bucket: str, prefix: str, after: str) -> AsyncIterator[KnownObject]:
        """By key, those behind `after`; needs a transaction."""
        async for row in self._connection.cursor(QUERIES["known"], bucket, after, prefix, prefetch=1000):
            yield KnownObject(row["object_key"], row["is_removed"], row["size_bytes"], row["etag"], row["known_at"])

    async def claim_sweep(self, bucket: str) -> str | None:
        """Where this turn begins; None when none is due or another process has it."""
        await self._connection.execute(QUERIES["begin_sweep"], bucket)
        cursor: str | None = await self._connection.fetchval(QUERIES["claim_sweep"], bucket)
        return cursor

    async def end_turn(self, bucket: str, cursor: str, again_after_seconds: float) -> None:
        await self._connection.execute(QUERIES["end_turn"], bucket, cursor, again_after_seconds)

    async def prune(self, removed_kept_seconds: float) -> None:
        await self._connection.execute(QUERIES["prune_removed"], removed_kept_seconds)
