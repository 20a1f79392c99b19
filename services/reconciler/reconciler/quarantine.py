"""What was removed is gone for good after its time."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from reconciler.planning import quarantine_key
from reconciler.repositories.schedule import Schedule
from shared.db.unit_of_work import UnitOfWork
from shared.events import FileAt, FilePlace, FileStep, FileTaskEndedV1, RunFileTaskV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery

log = logging.getLogger(__name__)

FILES_AT_ONCE = 100
SCOPE = "quarantine"


class QuarantineExpiry:
    """Has files removed from quarantine; from then on their plan can't be undone.

    What could not be removed is in quarantine still, and is tried again an hour later.
    """

    def __init__(self, unit_of_work: UnitOfWork, kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._kept_seconds = kept_seconds

    async def sweep(self) -> dict[str, int]:
        """Have everything removed whose time is over by now; how many files."""
        files = 0
        while batch := await self.turn():
            files += batch
        return {"expired_files": files}

    async def turn(self) -> int:
        """How many files there were to remove, at most some. The mark and the command are one transaction."""
        async with self._unit_of_work.begin() as transaction:
            schedule = Schedule(transaction.connection)
            items = await schedule.expired_items(self._kept_seconds, FILES_AT_ONCE)
            if not items:
                return 0
            task_id = new_id()
            await schedule.expire(task_id, [kept.item.item_id for kept in items])
            steps = tuple(
                FileStep(
                    kind="remove",
                    target=FileAt(place=FilePlace.BUCKET, key=quarantine_key(kept.plan_id, kept.item)),
                )
                for kept in items
            )
            transaction.publish(
                RunFileTaskV1(
                    task_id=task_id, scope=SCOPE, steps=steps, is_atomic=False, requested_at=datetime.now(UTC)
                )
            )
        return len(items)

    async def task_ended(self, event: FileTaskEndedV1, delivery: Delivery) -> None:
        """Take note of what stays in quarantine though its time is over."""
        failed = [step for step, result in enumerate(event.results) if result.status == "failed"]
        async with self._unit_of_work.begin(delivery) as transaction:
            await Schedule(transaction.connection).expiry_failed(event.task_id, failed)
        if failed:
            log.warning(
                "files can't be removed from quarantine",
                extra={"files": len(failed), "detail": event.results[failed[0]].detail},
            )
