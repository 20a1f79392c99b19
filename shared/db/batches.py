"""Removing many rows in transactions that are short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shared.db.pool import Database, PooledConnection

RemoveSome = Callable[["PooledConnection[Any]"], Awaitable[int]]


async def remove_in_batches(database: Database, rows_at_once: int, remove: RemoveSome) -> int:
    """Remove batches, each in a transaction of its own, until one is not full; how many rows went.

    `remove` takes at most `rows_at_once` and says how many they were. Several processes at it at once do no harm.
    """
    removed, batch = 0, rows_at_once
    while batch == rows_at_once:
        async with database.connection() as connection, connection.transaction():
            batch = await remove(connection)
        removed += batch
    return removed
