"""Carries plans out, and back: each item is looked at again, then handed to whoever owns what it changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from reconciler.alerts import Alerts
from reconciler.checks import Checks
from reconciler.errors import NotComparable
from reconciler.planning import (
    RECORD_ACTIONS,
    REMOVALS_STEP,
    Action,
    PlanItem,
    record_repair,
    steps,
    undo_steps,
)
from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.runs import Runs
from reconciler.runs import Run, Stage
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    FileStep,
    FileTaskEndedV1,
    RecordRepairResult,
    RecordsRepairedV1,
    RepairRecordsV1,
    RunFileTaskV1,
)
from shared.messaging.delivery import Delivery
from shared.storage.stores import Stores

MOST_REPAIRS = 1000
"""Of one event."""

FAILURES = ("failed", "skipped")
UNDO_FAILURES = ("undo_failed",)
CHANGED = "changed"
REFERENCED = "referenced"


class Executing:
    """Sends what is due of a plan and takes the outcomes; the last one ends the run."""

    def __init__(
        self, unit_of_work: UnitOfWork, stores: Stores, checks: Checks, alerts: Alerts, *, in_flight: int
    ) -> None:
        self._unit_of_work = unit_of_work
        self._stores = stores
        self._checks = checks
        self._alerts = alerts
        self._in_flight = in_flight

    # --- carrying out ---------------------------------------------------------------------------------------------

    async def go_on(self, run_id: UUID) -> None:
        """Send what may be sent now of a plan; ends the run when nothing is left."""
        async with self._unit_of_work.begin() as transaction:
            runs = Runs(transaction.connection)
            run = await runs.lock(run_id)
            if run is None or run.stage is not Stage.EXECUTING:
                return
            step = run.step
            while True:
                open_items = await runs.count_open(run_id)
                planned = await runs.next_planned(run_id, step, max(self._in_flight - open_items, 0))
                if planned:
                    await self._send(transaction, run, planned)
                    continue
                if open_items:
                    await runs.set_step(run_id, step)
                    return
                if step == REMOVALS_STEP:
                    break
                step += 1
            await self._end(transaction, run, Stage.COMPLETED)

    async def _send(self, transaction: Transaction, run: Run, items: Sequence[PlanItem]) -> None:
        runs, records = Runs(transaction.connection), ReadModels(transaction.connection)
        repairs: list[PlanItem] = []
        tasks: list[PlanItem] = []
        for item in items:
            if objection := await self._objection(records, item):
                await runs.end_item(item.item_id, "skipped", *objection)
            elif item.action in RECORD_ACTIONS:
                repairs.append(item)
            else:
                tasks.append(item)
        await runs.send([(item.item_id, item.item_id) for item in (*repairs, *tasks)], "sent")
        self._publish_repairs(transaction, run.run_id, repairs)
        for item in tasks:
            transaction.publish(_task(item.item_id, item, steps(run.run_id, item)))

    async def _objection(self, records: ReadModels, item: PlanItem) -> tuple[str, str] | None:
        """Why an item is passed over: the world is not any more what the plan was made of.

        That an object's bytes are still the same is asked by whoever moves it, in the moment when it is moved.
        """
        if item.action is Action.REMOVE and await records.is_referenced(item.key, item.place):
            return REFERENCED, "a record names it now, so it stays"
        if item.action is Action.MAKE_RECORD and await records.is_referenced(item.key):
            return REFERENCED, "it has a record by now"
        if item.action is Action.REMOVE_RECORD:
            if not await records.is_referenced(item.key):
                return CHANGED, "its record is gone already"
            bucket = self._stores.bucket
            if bucket is None or await bucket.stat(item.key) is not None:
                return CHANGED, "its file is there again, so the record stays"
        return None

    def _publish_repairs(
        self, transaction: Transaction, plan_id: UUID, items: Sequence[PlanItem], *, undoes: bool = False
    ) -> None:
        of_product: defaultdict[UUID, list[PlanItem]] = defaultdict(list)
        for item in items:
            assert item.owner_id is not None, "a record belongs to a product"
            of_product[item.owner_id].append(item)
        for product_id, wanted in of_product.items():
            for first in range(0, len(wanted), MOST_REPAIRS):
                part = wanted[first : first + MOST_REPAIRS]
                transaction.publish(
                    RepairRecordsV1(
                        plan_id=plan_id,
                        product_id=product_id,
                        repairs=tuple(record_repair(item, undoes=undoes) for item in part),
                        wanted_at=datetime.now(UTC),
                    )
                )

    async def _end(self, transaction: Transaction, run: Run, stage: Stage) -> None:
        runs, records = Runs(transaction.connection), ReadModels(transaction.connection)
        failures = UNDO_FAILURES if stage is Stage.UNDONE else FAILURES
        done, failed = await runs.outcome_counts(run.run_id, failures)
        counts = run.counts.model_copy(update={"done": done, "failed": failed})
        error = f"{failed} of the plan's items could not be carried out" if failed else None
        result = None
        try:
            result = await self._checks.report(records, run.scope, await runs.problems(run.run_id, failures))
        except NotComparable as problem:
            error = f"the plan is carried out; how things stand now is not known: {problem}"
        ended = await runs.move(run.run_id, stage, counts=counts, result=result, error=error)
        await self._alerts.tell(transaction, ended)
        # Whoever waited for this run to end may begin.
        await runs.wake()

    # --- undoing --------------------------------------------------------------------------------------------------

    async def go_on_undoing(self, run_id: UUID) -> None:
        """Bring back what may be brought back now; ends the run when nothing is left."""
        async with self._unit_of_work.begin() as transaction:
            runs = Runs(transaction.connection)
            run = await runs.lock(run_id)
            if run is None or run.stage is not Stage.UNDOING:
                return
            while True:
                open_items = await runs.count_open(run_id)
                items = await runs.next_to_undo(run_id, max(self._in_flight - open_items, 0))
                if items:
                    await self._send_back(transaction, run, items)
                    continue
                if open_items:
                    return
                break
            await self._end(transaction, run, Stage.UNDONE)

    async def _send_back(self, transaction: Transaction, run: Run, items: Sequence[PlanItem]) -> None:
        repairs = [item for item in items if item.action in RECORD_ACTIONS]
        await Runs(transaction.connection).send([(item.item_id, item.undo_id) for item in items], "undoing")
        self._publish_repairs(transaction, run.run_id, repairs, undoes=True)
        for item in items:
            if item.action not in RECORD_ACTIONS:
                transaction.publish(_task(item.undo_id, item, undo_steps(run.run_id, item)))

    # --- outcomes -------------------------------------------------------------------------------------------------

    async def file_task_ended(self, event: FileTaskEndedV1, delivery: Delivery) -> None:
        """Note what became of an item's files; tasks of others are passed over."""
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            kept = await runs.item_of_task(event.task_id)
            if kept is None:
                return
            item, failure = kept.item, next((one for one in event.results if one.status == "failed"), None)
            code, detail = (failure.code, failure.detail) if failure else (None, None)
            if kept.status == "undoing":
                await runs.end_item(item.item_id, "undone" if event.succeeded else "undo_failed", code, detail)
            elif kept.status == "returning":
                detail = detail or "a record began to name it while it was removed, so it was brought back"
                await runs.end_item(
                    item.item_id, "skipped" if event.succeeded else "failed", code or REFERENCED, detail
                )
            elif event.succeeded and await self._is_wanted_back(transaction, item):
                await runs.send([(item.item_id, item.return_id)], "returning")
                transaction.publish(_task(item.return_id, item, undo_steps(kept.plan_id, item)))
                return
            else:
                copied = event.results[-1].sha256 if event.succeeded and item.action is Action.COPY else None
                await runs.end_item(item.item_id, "done" if event.succeeded else "failed", code, detail, sha256=copied)
            await runs.want_work(kept.plan_id)

    async def _is_wanted_back(self, transaction: Transaction, item: PlanItem) -> bool:
        """Whether a record took the key up between the last look and the removal."""
        records = ReadModels(transaction.connection)
        return item.action is Action.REMOVE and await records.is_referenced(item.key, item.place)

    async def records_repaired(self, event: RecordsRepairedV1, delivery: Delivery) -> None:
        """Note what became of the records of a plan."""
        async with self._unit_of_work.begin(delivery) as transaction:
            runs = Runs(transaction.connection)
            plan_ids = {await self._record_repaired(runs, result) for result in event.results} - {None}
            for plan_id in plan_ids:
                assert plan_id is not None
                await runs.want_work(plan_id)

    async def _record_repaired(self, runs: Runs, result: RecordRepairResult) -> UUID | None:
        kept = await runs.item_of_task(result.item_id)
        if kept is None:
            return None
        succeeded, failed = ("undone", "undo_failed") if kept.status == "undoing" else ("done", "failed")
        await runs.end_item(
            kept.item.item_id, succeeded if result.done else failed, result.code, result.detail, result.image_id
        )
        return kept.plan_id


def _task(task_id: UUID, item: PlanItem, wanted: tuple[FileStep, ...]) -> RunFileTaskV1:
    # One file per task: it succeeds or fails alone, and what is removed was copied by the same task.
    return RunFileTaskV1(task_id=task_id, scope=item.task_scope, steps=wanted, requested_at=datetime.now(UTC))
