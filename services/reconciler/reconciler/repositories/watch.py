"""How runs, plans, quarantine and alerts stand, in figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "watch.sql")


@dataclass(frozen=True, slots=True)
class Figures:
    """As the metrics of the same names."""

    run_oldest_seconds: float
    plans_waiting: int
    plan_waiting_oldest_seconds: float
    quarantine_files: int
    quarantine_bytes: float
    quarantine_overdue_seconds: float
    alerts_given_up: int


class WatchRepository:
    """Works on the connection it is given."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def figures(self, quarantine_kept_seconds: float) -> Figures:
        row = await self._connection.fetchrow(QUERIES["look"], quarantine_kept_seconds)
        assert row is not None
        return Figures(**row)
