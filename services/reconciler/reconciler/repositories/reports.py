"""Reports that were too long for one message."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from reconciler.report import Report
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "reports.sql")


@dataclass(frozen=True, slots=True)
class ReportPart:
    """Entries of a report, and the number of the next part; None behind the last."""

    entries: list[dict[str, Any]]
    next: int | None


class Reports:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def keep(self, report_id: UUID, report: Report, *, run_id: UUID | None = None) -> dict[str, Any]:
        """What goes into a message: the report, or its counts and where the lists are kept.

        What was kept under this id before is forgotten. With a run its report is kept as long as itself.
        """
        await self._connection.execute(QUERIES["forget"], report_id)
        for number, entries in enumerate(report.parts):
            await self._connection.execute(QUERIES["keep"], report_id, number, run_id, entries)
        if not report.parts:
            return report.body
        return {**report.body, "truncated": True, "reportId": str(report_id), "parts": len(report.parts)}

    async def part(self, report_id: UUID, number: int) -> ReportPart | None:
        row = await self._connection.fetchrow(QUERIES["part"], report_id, number)
        return ReportPart(row["entries"], number + 1 if row["goes_on"] else None) if row else None

    async def prune(self, kept_seconds: float) -> None:
        """Forget reports of checks that were made so long ago."""
        await self._connection.execute(QUERIES["prune"], kept_seconds)
