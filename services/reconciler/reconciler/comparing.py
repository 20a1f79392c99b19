"""From a run to its plan."""

from __future__ import annotations

import logging
from contextlib import aclosing

from reconciler.alerts import Alerts
from reconciler.checks import empty_report, report_of
from reconciler.errors import NoSuchProduct, NotComparable
from reconciler.looking import Looking
from reconciler.planning import Guard, PlanItem, Wishes, plan
from reconciler.report import Tally
from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.reports import Reports
from reconciler.repositories.runs import Runs
from reconciler.runs import Run, Stage
from reconciler.watch import count
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import RunCounts

log = logging.getLogger(__name__)

ITEMS_AT_ONCE = 500
WAITS_TO_BE_READ = "whoever asked for the plan wants to read it first"


class Comparing:
    """Compares the scope of a run and keeps the plan; plan and comparison commit together or not at all."""

    def __init__(self, unit_of_work: UnitOfWork, looking: Looking, guard: Guard, alerts: Alerts) -> None:
        self._unit_of_work = unit_of_work
        self._looking = looking
        self._guard = guard
        self._alerts = alerts

    async def compare(self, run: Run) -> None:
        """Make the plan of a run, and have it carried out unless somebody has to agree first."""
        try:
            await self._looking.wait_until_fresh(run.scope)
            async with self._unit_of_work.begin() as transaction:
                moved = await self._plan(transaction, run)
        except NotComparable as error:
            async with self._unit_of_work.begin() as transaction:
                moved = await Runs(transaction.connection).move(run.run_id, Stage.FAILED, error=str(error))
                await self._alerts.tell(transaction, moved)
        count(moved)

    async def _plan(self, transaction: Transaction, run: Run) -> Run | None:
        runs, records = Runs(transaction.connection), ReadModels(transaction.connection)
        locked = await runs.lock(run.run_id)
        if locked is None or locked.stage is not Stage.COMPARING:
            return None
        scope = run.scope
        report = await empty_report(records, scope)
        if report is None:
            raise NoSuchProduct
        await runs.forget_items(run.run_id)
        products = frozenset(await records.product_ids())
        wishes = Wishes(run.remove_orphaned, run.recreate_missing, products.__contains__)
        tally, items = Tally(), _Items(runs, run)
        async with aclosing(self._looking.proven_findings(records, scope)) as findings:
            async for finding in findings:
                tally.add(finding)
                report.add(finding)
                for item in plan(finding, wishes):
                    await items.add(item)
        await items.write()
        counts = items.counted(tally.counts())
        if not items.total:
            result = await Reports(transaction.connection).keep(run.run_id, report_of(report, scope), run_id=run.run_id)
            moved = await runs.move(run.run_id, Stage.COMPLETED, counts=counts, result=result)
        elif reason := self._reason_to_wait(run, counts, tally.total):
            moved = await runs.move(run.run_id, Stage.AWAITING_APPROVAL, counts=counts, needs_approval_because=reason)
        else:
            moved = await runs.move(run.run_id, Stage.EXECUTING, counts=counts, wants_work=True)
        await self._alerts.tell(transaction, moved)
        return moved

    def _reason_to_wait(self, run: Run, counts: RunCounts, files_in_scope: int) -> str | None:
        return WAITS_TO_BE_READ if not run.approves else self._guard.objection(counts, files_in_scope)


class _Items:
    """Writes the items of a plan as they come, some hundreds at a time."""

    def __init__(self, runs: Runs, run: Run) -> None:
        self._runs = runs
        self._plan_id = run.run_id
        self._waiting: list[PlanItem] = []
        self.total = 0
        self._removals = 0
        self._removal_bytes = 0

    async def add(self, item: PlanItem) -> None:
        self._waiting.append(item)
        self._removals += item.removes
        self._removal_bytes += item.size_bytes if item.removes else 0
        if len(self._waiting) >= ITEMS_AT_ONCE:
            await self.write()

    async def write(self) -> None:
        if self._waiting:
            await self._runs.add_items(self._plan_id, self.total, self._waiting)
            self.total += len(self._waiting)
            self._waiting = []

    def counted(self, found: RunCounts) -> RunCounts:
        return found.model_copy(
            update={
                "removals": self._removals,
                "removal_bytes": self._removal_bytes,
                "repairs": self.total - self._removals,
            }
        )
