"""What people and the clock ask of runs and plans."""

from __future__ import annotations

import logging

from reconciler import errors
from reconciler.repositories.runs import Runs
from reconciler.runs import Stage, decided
from reconciler.watch import count
from shared.db.unit_of_work import UnitOfWork
from shared.events import DecideOnPlanV1, StartReconcileRunV1
from shared.messaging.delivery import Delivery

log = logging.getLogger(__name__)

QUARANTINE_IS_OVER = (
    "quarantine_over: it can't be undone: the time of its quarantine is over, and what it removed is gone"
)


class Commands:
    """Records what was asked for; the runner acts on it."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def start(self, command: StartReconcileRunV1, delivery: Delivery) -> None:
        """Queue a run. A second one with the same id changes nothing."""
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            run = await runs.add(command)
            if run is not None:
                transaction.publish(run.told())
                await runs.wake()

    async def decide(self, command: DecideOnPlanV1, delivery: Delivery) -> None:
        """Approve, discard or undo. Raises TransientError for a plan that is not known yet.

        A decision that does not fit any more, such as the second of two people's, changes nothing.
        """
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            run = await runs.lock(command.plan_id)
            if run is None:
                raise errors.unknown_run(command.plan_id)
            stage = decided(run.stage, command.decision)
            if run.stage is Stage.FAILED and not await runs.has_items(run.run_id):
                # Its comparison failed: nothing was ever done.
                stage = None
            is_over = stage is Stage.UNDO_WANTED and await runs.has_expired_items(run.run_id)
            if stage is None or is_over:
                log.info("a decision came too late", extra={"plan_id": str(run.run_id), "stage": run.stage.value})
                transaction.publish((await runs.touch(run.run_id, QUARANTINE_IS_OVER if is_over else None)).told())
                return
            if stage is Stage.UNDO_WANTED:
                await runs.try_undo_again(run.run_id)
            moved = await runs.move(
                run.run_id, stage, decided_by=command.decided_by, wants_work=stage is not Stage.DISCARDED
            )
            transaction.publish(*moved.news())
            await runs.wake()
        count(moved)
