"""Runs are forgotten after a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from cleanup_scheduler.clock import Clock
from cleanup_scheduler.repositories.runs import Runs
from shared.db.batches import remove_in_batches
from shared.db.unit_of_work import UnitOfWork

RUNS_AT_ONCE: Final = 500


class Retention:
    def __init__(self, unit_of_work: UnitOfWork, clock: Clock, runs_kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._runs_kept = timedelta(seconds=runs_kept_seconds)

    async def sweep(self) -> dict[str, int]:
        """Remove runs that ended so long ago, in batches, so that no transaction is long."""
        ended_before = self._clock.now() - self._runs_kept
        removed = await remove_in_batches(
            self._unit_of_work.database,
            RUNS_AT_ONCE,
            lambda connection: Runs(connection).prune(ended_before, RUNS_AT_ONCE),
        )
        return {"schedule_runs": removed}
