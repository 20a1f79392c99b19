"""Asking reconciler how bucket, disk and records compare, and having it repair what differs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from ingest_api.answers import Answers
from ingest_api.notifications import NewsHub
from ingest_api.problem_details import RETRY_AFTER_SECONDS, Conflict, Problem, retry_after
from ingest_api.repositories.reconcile_runs import ReconcileRun, ReconcileRunRepository
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    AnswerV1,
    CheckConsistencyV1,
    DecideOnPlanV1,
    DescribePlanV1,
    DescribeReportV1,
    ReconcileScope,
    RunStatus,
    StartReconcileRunV1,
)
from shared.identifiers import new_id

CHECK_SECONDS = 20.0
LOOK_EVERY_SECONDS = 2.0
"""How often a run is read though nothing was heard, in case a notification was lost."""

UNDER_WAY = frozenset({RunStatus.COMPARING, RunStatus.EXECUTING, RunStatus.UNDOING})
_EXPECTED = {
    "approve": ((RunStatus.AWAITING_APPROVAL,), RunStatus.EXECUTING),
    "discard": ((RunStatus.AWAITING_APPROVAL,), RunStatus.DISCARDED),
    "undo": ((RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.PARTLY_UNDONE), RunStatus.UNDOING),
}
_CODE = re.compile(r"[a-z0-9_]+")
MOST_PARTS = 64
"""Of a report, each of less than a megabyte, that are put together into one answer."""
DecisionName = Literal["approve", "discard", "undo"]


class Reconciling:
    """Questions are answered with a deadline; runs and decisions are durable, and their outcome is waited for."""

    def __init__(
        self, answers: Answers, unit_of_work: UnitOfWork, hub: NewsHub, *, longest_wait_seconds: float
    ) -> None:
        self._answers = answers
        self._unit_of_work = unit_of_work
        self._hub = hub
        self._longest_wait_seconds = longest_wait_seconds

    async def check(self, scope: ReconcileScope) -> dict[str, Any]:
        """How a scope stands, in the contract's words."""
        body = body_of(await self._answers.ask(partial(CheckConsistencyV1, scope=scope), CHECK_SECONDS))
        return await self.whole(body)

    async def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer with the lists that were too long for one message.

        With more than `MOST_PARTS` of them it stays as it is: truncated, and naming the report that has them.
        """
        parts = body.get("parts", 0)
        if not 0 < parts <= MOST_PARTS:
            return body
        entries: list[dict[str, Any]] = []
        for part in range(parts):
            add_entries(entries, (await self.report_part(UUID(body["reportId"]), part))["results"])
        kept = {name: value for name, value in body.items() if name not in ("truncated", "reportId", "parts")}
        return {**kept, "results": entries} if "results" in body else {**kept, **entries[0]}

    async def report_part(self, report_id: UUID, part: int) -> dict[str, Any]:
        question = partial(DescribeReportV1, report_id=report_id, part=part)
        return body_of(await self._answers.ask(question, CHECK_SECONDS))

    async def plan_items(
        self, plan_id: UUID, after: int, limit: int, *, within_seconds: float = CHECK_SECONDS
    ) -> dict[str, Any]:
        """Items behind a position, and before the first one the summary of all."""
        question = partial(DescribePlanV1, plan_id=plan_id, after=after, limit=limit)
        return body_of(await self._answers.ask(question, within_seconds))

    async def run(self, run_id: UUID) -> ReconcileRun:
        async with self._unit_of_work.database.connection() as connection:
            run = await ReconcileRunRepository(connection).get(run_id)
        if run is None:
            raise no_such_plan()
        return run

    async def start(
        self, scope: ReconcileScope, *, remove_orphaned: bool, recreate_missing: bool, approves: bool, user_id: UUID
    ) -> ReconcileRun:
        """Have a scope compared and repaired, and wait for the end; the run may still be under way at the deadline."""
        command = StartReconcileRunV1(
            run_id=new_id(),
            scope=scope,
            remove_orphaned=remove_orphaned,
            recreate_missing=recreate_missing,
            approves=approves,
            requested_by=user_id,
            requested_at=datetime.now(UTC),
        )
        async with self._unit_of_work.begin() as transaction:
            await ReconcileRunRepository(transaction.connection).add(command)
            transaction.publish(command)
        return await self._ended(command.run_id)

    async def decide(self, plan_id: UUID, decision: DecisionName, user_id: UUID) -> ReconcileRun:
        """Approve, discard or undo a plan and wait for the end; 409 where there is nothing to decide so."""
        needed, expected = _EXPECTED[decision]
        now = datetime.now(UTC)
        async with self._unit_of_work.begin() as transaction:
            runs = ReconcileRunRepository(transaction.connection)
            run = await runs.lock(plan_id)
            if run is None:
                raise no_such_plan()
            if run.status not in needed:
                *others, last = needed
                wanted = f"{', '.join(others)} or {last}" if others else last
                raise Conflict(
                    "plan_in_other_state", f"The plan is {run.status}; to {decision} it, it has to be {wanted}."
                )
            await runs.expect(plan_id, expected, now)
            await runs.note_decision(plan_id, decision, user_id, now)
            transaction.publish(
                DecideOnPlanV1(plan_id=plan_id, scope=run.scope, decision=decision, decided_by=user_id, decided_at=now)
            )
        ended = await self._ended(plan_id)
        if decision == "undo" and ended.status in (RunStatus.COMPLETED, RunStatus.FAILED):
            code, why = _told(ended.error or "items_not_undone: the plan could not be undone")
            raise Conflict(code or "items_not_undone", _sentence(why))
        return ended

    async def _ended(self, run_id: UUID) -> ReconcileRun:
        deadline = time.monotonic() + self._longest_wait_seconds
        with self._hub.listening_for(str(run_id)) as news:
            while True:
                news.clear()
                run = await self.run(run_id)
                seconds_left = deadline - time.monotonic()
                if run.status not in UNDER_WAY or seconds_left <= 0:
                    return run
                try:
                    async with asyncio.timeout(min(seconds_left, LOOK_EVERY_SECONDS)):
                        await news.wait()
                except TimeoutError:
                    continue


def body_of(answer: AnswerV1 | None) -> dict[str, Any]:
    """The answer's body, or the problem that the caller reads."""
    if answer is None:
        raise Problem(
            503,
            "service_unavailable",
            "reconciler did not answer in time. Nothing was changed; try again shortly.",
            retry_after(RETRY_AFTER_SECONDS),
        )
    if answer.body is not None:
        return answer.body
    code, detail = _told(answer.problem or "")
    if code == "unknown_product":
        raise no_such_product()
    if code == "unknown_plan":
        raise no_such_plan()
    if code == "unknown_report":
        raise Problem(404, "not_found", "There is no such part of a report, or it is not kept any more: check again.")
    raise _failed(detail)


def add_entries(entries: list[dict[str, Any]], more: Sequence[dict[str, Any]]) -> None:
    """Put the entries of a part behind those of the part before; a product that goes on in it is one entry again."""
    for entry in more:
        if entries and entries[-1]["productId"] == entry["productId"]:
            for name, values in entry.items():
                if isinstance(values, list):
                    entries[-1][name] += values
        else:
            entries.append(entry)


def outcome_of(run: ReconcileRun) -> dict[str, Any] | None:
    """How things stand after a fix; None while it is under way. Raises Problem for what has no such end."""
    if run.status in UNDER_WAY:
        return None
    if run.status is RunStatus.AWAITING_APPROVAL:
        raise Problem(
            409,
            "approval_needed",
            f"{run.needs_approval_because}. Nothing was changed: read the plan and approve or discard it.",
            members={"planId": str(run.plan_id)},
        )
    if run.error is not None and _told(run.error)[0] == "unknown_product":
        raise no_such_product()
    if run.result is None:
        raise _failed(_told(run.error or f"the run is {run.status}")[1])
    return run.result


def no_such_product() -> Problem:
    return Problem(404, "not_found", "There is no product with this id.")


def no_such_plan() -> Problem:
    return Problem(404, "not_found", "There is no run or plan with this id.")


def _failed(detail: str) -> Problem:
    return Problem(503, "service_unavailable", _sentence(detail), retry_after(RETRY_AFTER_SECONDS))


def _told(error: str) -> tuple[str, str]:
    """Code and sentence of what is told as `code: sentence`, or as a code alone."""
    code, _, sentence = error.partition(": ")
    return (code, sentence or code) if _CODE.fullmatch(code) else ("", error)


def _sentence(detail: str) -> str:
    return f"{detail[:1].upper()}{detail[1:].rstrip('.')}."
