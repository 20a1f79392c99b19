"""Which staged files belong to uploads that still go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "staging_leases.sql")


class StagingLeaseRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def hold(self, upload_id: UUID, keys: Sequence[str], seconds: float) -> None:
        """These files are an upload's for so long from now; those named before and not now are not any more."""
        await self._connection.execute(QUERIES["hold"], upload_id, list(keys), seconds)

    async def release(self, upload_id: UUID) -> None:
        await self._connection.execute(QUERIES["release"], upload_id)

    async def held(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that an upload holds."""
        return {row["key"] for row in await self._connection.fetch(QUERIES["held"], list(keys))}

    async def remove_over(self) -> None:
        """Forget what uploads held that ended without a word."""
        await self._connection.execute(QUERIES["remove_over"])
