"""What is over is forgotten after a while."""

from __future__ import annotations

from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.reports import Reports
from reconciler.repositories.runs import Runs
from reconciler.repositories.schedule import Schedule
from reconciler.repositories.scrubs import Scrubs
from shared.db.batches import remove_in_batches
from shared.db.unit_of_work import UnitOfWork

RUNS_AT_ONCE = 10
REMOVED_IMAGES_KEPT_SECONDS = 30 * 24 * 3600.0
"""Longer than topics keep messages: an old fact must not bring a record back."""

SUPERSEDED_FILES_KEPT_SECONDS = 7 * 24 * 3600.0
"""Longer than anybody has the addresses of an older revision."""

REPORTS_OF_CHECKS_KEPT_SECONDS = 3600.0


class Retention:
    """Removes ended runs with their plans, alerts as old, and what is known of records that were removed."""

    def __init__(self, unit_of_work: UnitOfWork, runs_kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._runs_kept_seconds = runs_kept_seconds

    async def sweep(self) -> dict[str, int]:
        """Remove what is over by now; how many runs."""
        removed = await remove_in_batches(
            self._unit_of_work.database,
            RUNS_AT_ONCE,
            lambda connection: Runs(connection).prune(self._runs_kept_seconds, RUNS_AT_ONCE),
        )
        await self._remove_other()
        return {"reconcile_runs": removed}

    async def _remove_other(self) -> None:
        async with self._unit_of_work.begin() as transaction:
            await Schedule(transaction.connection).prune_alerts(self._runs_kept_seconds)
            await Reports(transaction.connection).prune(REPORTS_OF_CHECKS_KEPT_SECONDS)
            await ReadModels(transaction.connection).prune(REMOVED_IMAGES_KEPT_SECONDS, SUPERSEDED_FILES_KEPT_SECONDS)
            await Scrubs(transaction.connection).prune_lost()
