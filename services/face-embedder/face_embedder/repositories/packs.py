"""Which packs are wanted, and which each process can look with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from face_embedder.packs import PackId
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "packs.sql")


class Packs:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def want(self, pack: PackId, revision: int) -> PackId:
        """Put a pack in front of the others, unless it was wanted in that revision before; the one in front."""
        await self._connection.execute(QUERIES["want"], pack.name, pack.version, revision)
        wanted = pack_of(await self._connection.fetchrow(QUERIES["wanted"]))
        assert wanted is not None, "one was noted just now"
        return wanted

    async def appear(self, replica_id: UUID, packs: Sequence[PackId], gone_seconds: float) -> None:
        """Say with what a process can look; those that said nothing for so long are forgotten."""
        await self._connection.execute(QUERIES["appear"], replica_id, [str(pack) for pack in packs])
        await self._connection.execute(QUERIES["forget_replicas"], gone_seconds)

    async def leave(self, replica_id: UUID) -> None:
        await self._connection.execute(QUERIES["leave"], replica_id)

    async def events_by_pack(self) -> dict[PackId, int]:
        rows = await self._connection.fetch(QUERIES["events_by_pack"])
        return {PackId(row["pack"], row["pack_version"]): row["events"] for row in rows}

    async def photos_waiting(self) -> int:
        """Photos that wait for a second look."""
        return int(await self._connection.fetchval(QUERIES["photos_waiting"]))


def pack_of(row: Mapping[str, Any] | None) -> PackId | None:
    """The pack that a row names, if it does."""
    return PackId(row["pack"], row["pack_version"]) if row is not None and row["pack"] is not None else None
