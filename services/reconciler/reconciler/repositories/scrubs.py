"""How far the scrub is, and what it reads next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.comparison import Recorded
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import ProductImageType

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "scrub.sql")
NAME = "everything"


class Scrubs:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def claim(self, turn_seconds: float) -> str | None:
        """Where this turn begins, kept from others for so long; None when none is due."""
        await self._connection.execute(QUERIES["begin"], NAME)
        cursor: str | None = await self._connection.fetchval(QUERIES["claim"], NAME, turn_seconds)
        return cursor

    async def next(self, cursor: str, limit: int) -> list[Recorded]:
        """Files that are recorded with a checksum, by key."""
        return [
            Recorded(
                key=row["object_key"],
                size_bytes=row["size_bytes"],
                sha256=row["sha256"],
                in_bucket=row["in_bucket"],
                on_disk=row["on_disk"],
                is_settled=True,
                is_removed=False,
                known_at=row["known_at"],
                owner_id=row["owner_id"],
                record_id=row["record_id"],
                mime_type=row["mime_type"],
                weight=row["weight"],
                image_type=ProductImageType(row["image_type"]) if row["image_type"] else None,
            )
            for row in await self._connection.fetch(QUERIES["next"], cursor, limit)
        ]

    async def known_lost(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of the keys whose file was lost when it was last read."""
        return frozenset(row["object_key"] for row in await self._connection.fetch(QUERIES["known_lost"], list(keys)))

    async def know_lost(self, record: Recorded, held: Mapping[str, str]) -> list[str]:
        """Take over where a file is lost, by place, and the checksum of what is held there in its stead.

        Returns the places that were not known to hold these bytes instead of that file.
        """
        await self._connection.execute(QUERIES["forget_lost"], record.key, record.sha256, list(held), [*held.values()])
        rows = await self._connection.fetch(
            QUERIES["know_lost"], record.key, record.sha256, list(held), [*held.values()]
        )
        return [row["place"] for row in rows]

    async def prune_lost(self) -> None:
        """Forget the losses of files that no record names any more."""
        await self._connection.execute(QUERIES["prune_lost"])

    async def end_turn(self, cursor: str, again_after_seconds: float) -> None:
        await self._connection.execute(QUERIES["end_turn"], NAME, cursor, again_after_seconds)
