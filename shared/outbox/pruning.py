"""Messages that are sent, and claims that nothing can come again for, are forgotten."""

from __future__ import annotations

from typing import Any, Final

from shared.db.batches import remove_in_batches
from shared.db.pool import Database, PooledConnection
from shared.db.queries import affected_rows
from shared.outbox.outgoing import QUERIES

ROWS_AT_ONCE: Final = 5_000


class Pruning:
    """Removes old rows of outbox and inbox in batches, so that no statement is long. Unsent rows stay."""

    def __init__(self, database: Database, *, outbox_kept_seconds: float, inbox_kept_seconds: float) -> None:
        self._database = database
        self._kept_seconds = {"outbox": outbox_kept_seconds, "inbox": inbox_kept_seconds}

    async def sweep(self) -> dict[str, int]:
        """Remove what is old by now; how many rows of which table."""
        return {f"{table}_rows": await self._prune(table) for table in self._kept_seconds}

    async def _prune(self, table: str) -> int:
        async def remove(connection: PooledConnection[Any]) -> int:
            statement = QUERIES[f"prune_{table}"]
            return affected_rows(await connection.execute(statement, self._kept_seconds[table], ROWS_AT_ONCE))

        return await remove_in_batches(self._database, ROWS_AT_ONCE, remove)
