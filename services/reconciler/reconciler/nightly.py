"""The run that the clock asks for every night."""

from __future__ import annotations

from reconciler.repositories.runs import Runs
from shared.db.unit_of_work import UnitOfWork
from shared.events import ReconcileScope, ScheduleDueV1, StartReconcileRunV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery


class NightlyRun:
    """Checks all products every night and removes orphans; records are made and removed by people alone."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def begin(self, event: ScheduleDueV1, delivery: Delivery) -> None:
        """Queue the run of that night, under the id that the clock knows it by; its end answers the clock."""
        command = StartReconcileRunV1(
            run_id=event.run_id or new_id(),
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
