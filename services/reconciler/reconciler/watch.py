"""How repairs stand, for the metrics."""

from __future__ import annotations

import asyncio

from reconciler import errors
from reconciler.repositories.watch import WatchRepository
from reconciler.runs import Run, Stage
from shared.db.unit_of_work import UnitOfWork
from shared.telemetry import metrics

EVERY_SECONDS = 30.0
SCOPES = ("product", "products", "media")
ENDS = (Stage.COMPLETED, Stage.FAILED, Stage.DISCARDED, Stage.PARTLY_UNDONE, Stage.UNDONE)


def count(run: Run | None) -> None:
    """Count a run if it has ended; to be called once that is committed.

    Somebody's question about a product that is not there is no failure of a run.
    """
    if run is not None and run.stage in ENDS and run.error != errors.UNKNOWN_PRODUCT:
        metrics.reconcile_runs_ended_total.labels(run.scope.kind, run.stage.value).inc()


class Watch:
    """Looks now and then; every replica tells the same of it."""

    def __init__(self, unit_of_work: UnitOfWork, quarantine_kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._quarantine_kept_seconds = quarantine_kept_seconds
        # From the start, so that the first that fails is an increase.
        for scope in SCOPES:
            for stage in ENDS:
                metrics.reconcile_runs_ended_total.labels(scope, stage.value)

    async def run(self) -> None:
        """Look for as long as the process lives; returns only by cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        async with self._unit_of_work.database.connection() as connection:
            figures = await WatchRepository(connection).figures(self._quarantine_kept_seconds)
        metrics.reconcile_run_oldest_seconds.set(figures.run_oldest_seconds)
        metrics.plans_waiting.set(figures.plans_waiting)
        metrics.plan_waiting_oldest_seconds.set(figures.plan_waiting_oldest_seconds)
        metrics.quarantine_files.set(figures.quarantine_files)
        metrics.quarantine_bytes.set(figures.quarantine_bytes)
        metrics.quarantine_overdue_seconds.set(figures.quarantine_overdue_seconds)
        metrics.alerts_given_up.set(figures.alerts_given_up)
