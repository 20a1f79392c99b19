"""The clock of the nightly run, and the run itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Final

from reconciler.repositories.runs import Runs
from reconciler.repositories.schedule import Schedule
from shared.db.unit_of_work import UnitOfWork
from shared.events import ReconcileScope, ScheduleDueV1, StartReconcileRunV1
from shared.messaging.delivery import Delivery

NIGHTLY_RECONCILE: Final = "reconcile.nightly"
LOOK_EVERY_SECONDS = 15.0
_NAMESPACE: Final = uuid.UUID("6f1f4b5e-6c52-4f0e-9c0e-6f0f8f3f4a11")


def last_due(now: datetime, at: time) -> datetime:
    """The last moment at which the daily time `at` (UTC) came round."""
    today = datetime.combine(now.astimezone(UTC).date(), at, UTC)
    return today if today <= now else today - timedelta(days=1)


class NightlyClock:
    """Tells that the time has come, once per night however many replicas look, also when it was missed for a while."""

    def __init__(
        self, unit_of_work: UnitOfWork, at: time, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._unit_of_work = unit_of_work
        self._at = at
        self._now = now

    async def run(self) -> None:
        """Look at the clock for as long as the process lives; returns only by cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def look(self) -> None:
        due_at = last_due(self._now(), self._at)
        async with self._unit_of_work.begin() as transaction:
            if await Schedule(transaction.connection).passed(NIGHTLY_RECONCILE, due_at):
                transaction.publish(ScheduleDueV1(name=NIGHTLY_RECONCILE, due_at=due_at))


class NightlyRun:
    """Checks all products every night and removes orphans; records are made and removed by people alone."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def begin(self, event: ScheduleDueV1, delivery: Delivery) -> None:
        """Queue the run of that night; a second telling of the same night changes nothing."""
        if event.name != NIGHTLY_RECONCILE:
            return
        command = StartReconcileRunV1(
            run_id=uuid.uuid5(_NAMESPACE, f"{event.name} {event.due_at.isoformat()}"),
            scope=ReconcileScope(kind="products"),
            remove_orphaned=True,
            recreate_missing=False,
            approves=True,
            requested_by=None,
            requested_at=event.due_at,
        )
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            run = await runs.add(command)
            if run is not None:
                transaction.publish(run.told())
                await runs.wake()
