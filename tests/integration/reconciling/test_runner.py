"""Working on runs: failures, outages, another process that goes on, decisions, and the end of old runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, cast
from uuid import UUID

import pytest

from reconciler.alerts import Alerts, channels_of
from reconciler.commands import Commands
from reconciler.comparing import Comparing
from reconciler.executing import Executing
from reconciler.repositories.runs import Runs
from reconciler.retention import Retention
from reconciler.runner import Runner
from reconciler.runs import Run, Stage
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    DecideOnPlanV1,
    ReconcileRunChangedV1,
    ReconcileScope,
)
from shared.identifiers import new_id
from shared.messaging.retry import RetryPolicy
from shared.storage.errors import StoreUnavailable
from shared.testing.waiting import eventually
from tests.integration.reconciling.reconciler_world import (
    Reconciler,
    decide,
    delivery_of,
    ended_run,
    kept_run,
    removal,
    run_command,
)

pytestmark = pytest.mark.stack


class Troubled(Comparing):
    """Raises these errors in turn; after them it ends its run, or works on it for ever."""

    def __init__(self, work: UnitOfWork, errors: Sequence[Exception], *, ends: bool = True) -> None:
        self._work = work
        self._errors = list(errors)
        self._ends = ends
        self.worked_on: list[UUID] = []

    async def compare(self, run: Run) -> None:
        self.worked_on.append(run.run_id)
        if self._errors:
            raise self._errors.pop(0)
        if not self._ends:
            await asyncio.Event().wait()
        async with self._work.begin() as transaction:
            await Runs(transaction.connection).move(run.run_id, Stage.COMPLETED)


@asynccontextmanager
async def working(reconciler: Reconciler, work: Comparing | Executing) -> AsyncIterator[None]:
    """One process that works on runs, and tries three times without a pause."""
    runner = Runner(
        reconciler.work,
        cast(Comparing, work),
        cast(Executing, work),
        Alerts(reconciler.work, channels_of(reconciler.settings())),
        reconciler.settings(),
        RetryPolicy(attempts=3, first_delay_seconds=0, jitter=0),
    )
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome


async def started_run(reconciler: Reconciler) -> UUID:
    command = run_command(requested_by=new_id())
    async with reconciler.work.begin() as transaction:
        await Runs(transaction.connection).add(command)
    return command.run_id


async def reached(reconciler: Reconciler, run_id: UUID, stage: Stage) -> Any:
    async def row() -> Any:
        (found,) = await reconciler.rows("SELECT * FROM runs WHERE run_id = $1", run_id)
        return found if found["stage"] == stage.value and found["held_until"] is None else None

    return await eventually(row, within_seconds=60, why=f"the run is {stage.value}")


async def test_a_run_that_always_fails_is_given_up_and_lets_others_begin(reconciler: Reconciler) -> None:
    failing, next_run = await started_run(reconciler), await started_run(reconciler)
    comparing = Troubled(reconciler.work, [RuntimeError("a defect")] * 3)
    async with working(reconciler, comparing):
        failed = await reached(reconciler, failing, Stage.FAILED)
        await reached(reconciler, next_run, Stage.COMPLETED)
    assert comparing.worked_on == [failing] * 3 + [next_run]
    assert failed["error"] == "given_up: it was given up after 3 attempts: unexpected_error: RuntimeError: a defect"
    (told,) = await reconciler.told(ReconcileRunChangedV1)
    assert (told["run_id"], told["status"], told["error"]) == (str(failing), "failed", failed["error"])
    # Somebody asked for it, and people hear of the defect all the same.
    (alert,) = await reconciler.rows("SELECT subject FROM alerts")
    assert alert["subject"] == f"Work on products was given up: {failed['error']}"


async def test_a_run_waits_as_long_as_something_is_away(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.runner.AGAIN_AFTER_SECONDS", 0.0)
    run_id = await started_run(reconciler)
    errors = [StoreUnavailable("s3", "away"), RuntimeError("once")]
    comparing = Troubled(reconciler.work, [*errors * 2, errors[0], errors[0]])
    async with working(reconciler, comparing):
        ended = await reached(reconciler, run_id, Stage.COMPLETED)
    assert len(comparing.worked_on) == 7
    assert ended["attempts"] == 0


async def test_a_run_whose_process_is_stopped_goes_on_elsewhere(reconciler: Reconciler) -> None:
    run_id = await started_run(reconciler)
    endless = Troubled(reconciler.work, [], ends=False)
    async with working(reconciler, endless):
        await eventually(lambda: endless.worked_on, why="one process works on it")
    async with working(reconciler, Troubled(reconciler.work, [])):
        await reached(reconciler, run_id, Stage.COMPLETED)


@pytest.mark.parametrize(("stage", "then"), [("executing", Stage.FAILED), ("undoing", Stage.PARTLY_UNDONE)])
async def test_what_was_carried_out_of_a_plan_that_failed_can_be_undone(
    reconciler: Reconciler, stage: str, then: Stage
) -> None:
    class Failing(Executing):
        def __init__(self) -> None:
            pass

        async def go_on(self, run_id: UUID) -> None:
            raise RuntimeError("a defect")

        go_on_undoing = go_on

    run_id = await kept_run(reconciler, Stage(stage), [removal("gone")], "done")
    async with reconciler.work.begin() as transaction:
        await Runs(transaction.connection).want_work(run_id)
    async with working(reconciler, Failing()):
        ended = await reached(reconciler, run_id, then)
    assert ended["counts"]["done"] == 1
    assert await decide(reconciler, run_id, "undo") == "undo_wanted"
    async with reconciler.work.begin() as transaction:
        assert [item.key for item in await Runs(transaction.connection).next_to_undo(run_id, 10)] == [
            "products/gone.png"
        ]


async def test_what_a_plan_will_never_do_is_not_in_work(reconciler: Reconciler) -> None:
    waiting = {Stage.AWAITING_APPROVAL: True, Stage.EXECUTING: True, Stage.DISCARDED: False, Stage.FAILED: False}
    for stage, is_in_work in waiting.items():
        item = removal(stage.value)
        await kept_run(reconciler, stage, [item], "planned")
        async with reconciler.work.begin() as transaction:
            assert await Runs(transaction.connection).is_in_work(item.key) is is_in_work, stage


async def test_a_decision_counts_once_and_where_it_fits(reconciler: Reconciler) -> None:
    cases: list[tuple[Stage, Literal["approve", "discard", "undo"], str]] = [
        (Stage.AWAITING_APPROVAL, "approve", "approved"),
        (Stage.AWAITING_APPROVAL, "discard", "discarded"),
        (Stage.COMPLETED, "undo", "undo_wanted"),
        (Stage.PARTLY_UNDONE, "undo", "undo_wanted"),
        (Stage.FAILED, "undo", "undo_wanted"),
        (Stage.UNDONE, "undo", "undone"),
        (Stage.DISCARDED, "approve", "discarded"),
        (Stage.EXECUTING, "discard", "executing"),
        (Stage.AWAITING_APPROVAL, "undo", "awaiting_approval"),
    ]
    for stage, decision, then in cases:
        run_id = await kept_run(reconciler, stage, [removal("a")], "done")
        assert [await decide(reconciler, run_id, decision) for _ in range(2)] == [then, then], (stage, decision)
    without_plan = await kept_run(reconciler, Stage.FAILED, [], "done")
    assert await decide(reconciler, without_plan, "undo") == "failed"


async def test_old_runs_are_forgotten_and_those_under_way_never(reconciler: Reconciler) -> None:
    alerts = Alerts(reconciler.work, [])
    for stage in (Stage.COMPLETED, Stage.EXECUTING, Stage.FAILED):
        await ended_run(reconciler, alerts, stage)
    await reconciler.rows("UPDATE runs SET changed_at = changed_at - interval '91 days' RETURNING 1")
    await ended_run(reconciler, alerts)
    await Retention(reconciler.work, 90 * 24 * 3600).sweep()
    rows = await reconciler.rows("SELECT stage FROM runs")
    assert sorted(row["stage"] for row in rows) == ["completed", "executing"]


async def test_a_decision_that_comes_too_late_is_answered_with_how_the_run_stands(reconciler: Reconciler) -> None:
    """Whoever decided shows the outcome that he expected until he is told of a newer one."""
    alerts = Alerts(reconciler.work, [])
    await ended_run(reconciler, alerts)
    (before,) = await reconciler.told(ReconcileRunChangedV1)
    command = DecideOnPlanV1(
        plan_id=before["run_id"],
        scope=ReconcileScope(kind="products"),
        decision="approve",
        decided_by=new_id(),
        decided_at=datetime.now(UTC),
    )
    await Commands(reconciler.work).decide(command, delivery_of(command))
    after = (await reconciler.told(ReconcileRunChangedV1))[-1]
    assert (after["status"], after["version"]) == ("completed", before["version"] + 1)
