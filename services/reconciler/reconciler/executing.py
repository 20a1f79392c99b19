"""Carries plans out, and back: each item is looked at again, then handed to whoever owns what it changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from reconciler.alerts import Alerts
from reconciler.checks import Checks
from reconciler.errors import NotComparable
from reconciler.leftovers import discard
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
from reconciler.repositories.reports import Reports
from reconciler.repositories.runs import Runs
from reconciler.runs import Run, Stage
from reconciler.watch import count
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    FileStep,
    FileTaskEndedV1,
    RecordRepair,
    RecordRepairResult,
    RecordsRepairedV1,
    RepairRecordsV1,
    RunFileTaskV1,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.storage.stores import Stores

MOST_REPAIRS = 1000
"""Of one event."""

FAILURES = ("failed", "skipped", "undo_failed")
UNDO_FAILURES = ("undo_failed",)
CHANGED = "changed"
REFERENCED = "referenced"


class Executing:
    """Sends what is due of a plan and takes the outcomes; the last one ends the run."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        stores: Stores,
        checks: Checks,
        alerts: Alerts,
        *,
        in_flight: int,
        temporary_kept_seconds: float,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._stores = stores
        self._checks = checks
        self._alerts = alerts
        self._in_flight = in_flight
        self._temporary_kept_seconds = temporary_kept_seconds

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
            ended = await self._end(transaction, run, Stage.COMPLETED)
        count(ended)

    async def _send(self, transaction: Transaction, run: Run, items: Sequence[PlanItem]) -> None:
        runs, records = Runs(transaction.connection), ReadModels(transaction.connection)
        repairs: list[PlanItem] = []
        tasks: list[PlanItem] = []
        for item in items:
            if objection := await self._objection(records, item):
                await runs.end_item(item.item_id, "skipped", *objection)
            elif item.action is Action.DISCARD:
                # Here and at once: no key of a store names it. Done twice it is gone already.
                written_since = await discard(self._stores.disk, item.key, self._temporary_kept_seconds)
                outcome = ("skipped", CHANGED, written_since) if written_since else ("done", None, None)
                await runs.end_item(item.item_id, *outcome)
            elif item.action in RECORD_ACTIONS:
                repairs.append(item)
            else:
                tasks.append(item)
        await runs.send([(item.item_id, item.item_id) for item in (*repairs, *tasks)], "sent")
        self._publish_repairs(transaction, run.run_id, [(item, item.item_id) for item in repairs])
        for item in tasks:
            transaction.publish(_task(item.item_id, item, steps(run.run_id, item)))

    async def _objection(self, records: ReadModels, item: PlanItem) -> tuple[str, str] | None:
        """Why an item is passed over: the world is not any more what the plan was made of.

        That an object's bytes are still the same is asked by whoever moves it, in the moment when it is moved.
        """
        if item.action is Action.REMOVE and await records.is_referenced(item.key, item.place):
            return REFERENCED, "a record names it now, so it stays"
        if item.action is Action.COPY and not await records.is_referenced(item.key, item.place, item.sha256):
            return CHANGED, f"no record wants these bytes in the {item.place} any more"
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
        self, transaction: Transaction, plan_id: UUID, tasks: Sequence[tuple[PlanItem, UUID]], *, undoes: bool = False
    ) -> None:
        of_product: defaultdict[UUID, list[RecordRepair]] = defaultdict(list)
        for item, task_id in tasks:
            assert item.owner_id is not None, "a record belongs to a product"
            of_product[item.owner_id].append(record_repair(item, task_id, undoes=undoes))
        for product_id, wanted in of_product.items():
            for first in range(0, len(wanted), MOST_REPAIRS):
                transaction.publish(
                    RepairRecordsV1(
                        plan_id=plan_id,
                        product_id=product_id,
                        repairs=tuple(wanted[first : first + MOST_REPAIRS]),
                        wanted_at=datetime.now(UTC),
                    )
                )

    async def _end(self, transaction: Transaction, run: Run, stage: Stage) -> Run:
        runs, records = Runs(transaction.connection), ReadModels(transaction.connection)
        counts = run.counts.model_copy(update=await runs.outcome_counts(run.run_id))
        is_undo = stage is Stage.UNDONE
        if is_undo and counts.undo_failed:
            stage = Stage.PARTLY_UNDONE
        failures = UNDO_FAILURES if is_undo else FAILURES
        error = _complaint(await runs.failures_by_code(run.run_id, failures), is_undo=is_undo)
        result = None
        try:
            report = await self._checks.report(records, run.scope, await runs.problems(run.run_id, failures))
            if report is not None:
                result = await Reports(transaction.connection).keep(run.run_id, report, run_id=run.run_id)
        except NotComparable as problem:
            error = f"outcome_unknown: the plan is carried out; how things stand now is not known: {problem}"
        ended = await runs.move(run.run_id, stage, counts=counts, result=result, error=error)
        await self._alerts.tell(transaction, ended)
        # Whoever waited for this run to end may begin.
        await runs.wake()
        return ended

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
            ended = await self._end(transaction, run, Stage.UNDONE)
        count(ended)

    async def _send_back(self, transaction: Transaction, run: Run, items: Sequence[PlanItem]) -> None:
        # Ids of this attempt alone: the one before was answered under its own, and would be answered so again.
        tasks = [(item, new_id()) for item in items]
        await Runs(transaction.connection).send([(item.item_id, task_id) for item, task_id in tasks], "undoing")
        repairs = [(item, task_id) for item, task_id in tasks if item.action in RECORD_ACTIONS]
        self._publish_repairs(transaction, run.run_id, repairs, undoes=True)
        for item, task_id in tasks:
            if item.action not in RECORD_ACTIONS:
                transaction.publish(_task(task_id, item, undo_steps(run.run_id, item)))

    # --- outcomes -------------------------------------------------------------------------------------------------

    async def task_ended(self, event: FileTaskEndedV1, delivery: Delivery) -> None:
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
                # What did not come back lies in quarantine, where an undo finds it until its time is over.
                await runs.end_item(
                    item.item_id, "skipped" if event.succeeded else "undo_failed", code or REFERENCED, detail
                )
            elif event.succeeded and await self._is_wanted_back(transaction, item):
                task_id = new_id()
                await runs.send([(item.item_id, task_id)], "returning")
                transaction.publish(_task(task_id, item, undo_steps(kept.plan_id, item, is_named=True)))
                return
            else:
                await runs.end_item(
                    item.item_id, "done" if event.succeeded else "failed", code, detail, sha256=_copied(event, item)
                )
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
            kept.item.item_id,
            succeeded if result.done else failed,
            result.code,
            result.detail,
            result.image_id,
            result.sha256,
        )
        return kept.plan_id


def _copied(event: FileTaskEndedV1, item: PlanItem) -> str | None:
    """Checksum of what a task has put into its place, or into quarantine: what an undo has to find there."""
    if not event.succeeded:
        return None
    return event.results[-1 if item.action is Action.COPY else 0].sha256


def _complaint(failures: Mapping[str, int], *, is_undo: bool) -> str | None:
    """How many items are left and why, for whoever reads the run; None where none is."""
    if not failures:
        return None
    why = ", ".join(f"{code} {count}" for code, count in failures.items())
    total = sum(failures.values())
    if is_undo:
        return f"items_not_undone: {total} of the plan's items could not be brought back ({why}); undo tries them again"
    return f"items_not_done: {total} of the plan's items could not be carried out ({why})"


def _task(task_id: UUID, item: PlanItem, wanted: tuple[FileStep, ...]) -> RunFileTaskV1:
    # One file per task: it succeeds or fails alone, and what is removed was copied by the same task.
    return RunFileTaskV1(task_id=task_id, scope=item.task_scope, steps=wanted, requested_at=datetime.now(UTC))
