"""Answers questions of how a scope stands; changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from reconciler import errors
from reconciler.errors import NotComparable
from reconciler.looking import Looking
from reconciler.report import MediaReport, ProductsReport, Report
from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.reports import Reports
from reconciler.repositories.runs import KeptItem, Runs
from shared.db.unit_of_work import UnitOfWork
from shared.events import AnswerV1, CheckConsistencyV1, DescribePlanV1, DescribeReportV1, ReconcileScope
from shared.messaging.publisher import Publisher

log = logging.getLogger(__name__)

Problems = Sequence[tuple[UUID | None, str]]
"""What went wrong, and with which product."""


class Checks:
    """Compares on request, and shows plans; at most `at_once` comparisons run beside each other."""

    def __init__(self, unit_of_work: UnitOfWork, looking: Looking, publisher: Publisher, *, at_once: int) -> None:
        self._unit_of_work = unit_of_work
        self._looking = looking
        self._publisher = publisher
        self._places = asyncio.Semaphore(at_once)

    async def answer(self, question: CheckConsistencyV1) -> None:
        """Publish how a scope stands, unless nobody waits for it any more."""
        await self._answer_in_time(question, self._compared(question))

    async def describe(self, question: DescribePlanV1) -> None:
        """Publish some items of a plan, unless nobody waits for them any more."""
        await self._answer_in_time(question, self._described(question))

    async def describe_report(self, question: DescribeReportV1) -> None:
        """Publish a part of a report, unless nobody waits for it any more."""
        await self._answer_in_time(question, self._part(question))

    async def _answer_in_time(
        self, question: CheckConsistencyV1 | DescribePlanV1 | DescribeReportV1, answering: Coroutine[Any, Any, AnswerV1]
    ) -> None:
        seconds_left = (question.answer_by - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(max(seconds_left, 0)), self._places:
                answer = await answering
        except TimeoutError:
            log.warning("a question was not answered in time", extra={"type": question.event_type})
            return
        finally:
            # Where there was no time to begin it, nobody else ends it.
            answering.close()
        self._publisher.tell(answer)

    async def _described(self, question: DescribePlanV1) -> AnswerV1:
        async with self._unit_of_work.begin() as transaction:
            runs = Runs(transaction.connection)
            run = await runs.get(question.plan_id)
            items = await runs.items_page(question.plan_id, question.after, question.limit + 1)
            summary = await _summary(runs, question.plan_id) if question.after < 0 else None
        if run is None:
            return AnswerV1(question_id=question.question_id, problem=errors.UNKNOWN_PLAN)
        body = plan_body(items, question.limit) | {"summary": summary}
        return AnswerV1(question_id=question.question_id, body=body)

    async def _part(self, question: DescribeReportV1) -> AnswerV1:
        async with self._unit_of_work.begin() as transaction:
            part = await Reports(transaction.connection).part(question.report_id, question.part)
        if part is None:
            return AnswerV1(question_id=question.question_id, problem=errors.UNKNOWN_REPORT)
        return AnswerV1(question_id=question.question_id, body={"results": part.entries, "next": part.next})

    async def _compared(self, question: CheckConsistencyV1) -> AnswerV1:
        try:
            async with self._unit_of_work.begin() as transaction:
                report = await self.report(ReadModels(transaction.connection), question.scope)
                body = report and await Reports(transaction.connection).keep(question.question_id, report)
        except NotComparable as error:
            return AnswerV1(question_id=question.question_id, problem=f"{errors.UNAVAILABLE}: {error.detail}")
        if body is None:
            return AnswerV1(question_id=question.question_id, problem=errors.UNKNOWN_PRODUCT)
        return AnswerV1(question_id=question.question_id, body=body)

    async def report(self, records: ReadModels, scope: ReconcileScope, problems: Problems = ()) -> Report | None:
        """How the scope stands, in the contract's words, with what went wrong meanwhile; None for no product.

        Raises NotComparable.
        """
        report = await empty_report(records, scope)
        if report is None:
            return None
        async with aclosing(self._looking.findings(records, scope)) as findings:
            async for finding in findings:
                report.add(finding)
        for owner, problem in problems:
            report.complain(owner, problem)
        return report_of(report, scope)


async def empty_report(records: ReadModels, scope: ReconcileScope) -> ProductsReport | MediaReport | None:
    """To be filled with the findings of a scope; None where there is no such product."""
    if scope.kind == "media":
        return MediaReport()
    if scope.product_id is None:
        return ProductsReport(await records.product_ids())
    return ProductsReport([scope.product_id]) if await records.is_product(scope.product_id) else None


def report_of(report: ProductsReport | MediaReport, scope: ReconcileScope) -> Report:
    """The report in the contract's words."""
    if isinstance(report, MediaReport):
        return report.report()
    return report.of_product(scope.product_id) if scope.product_id else report.of_all()


async def _summary(runs: Runs, plan_id: UUID) -> dict[str, Any]:
    """What the whole plan comes to, counted; `isExpired` where quarantine has ended for something of it."""
    groups, files = await runs.plan_groups(plan_id), await runs.plan_files(plan_id)
    return {
        "groups": [
            {
                "action": row["action"],
                "why": row["why"],
                "place": row["place"],
                "status": row["status"],
                "items": row["items"],
                "sizeBytes": row["size_bytes"],
            }
            for row in groups
        ],
        "files": [
            {"why": row["why"], "becomesSynced": row["becomes_synced"], "files": row["files"], "done": row["done"]}
            for row in files
        ],
        "isExpired": await runs.has_expired_items(plan_id),
    }


def plan_body(items: Sequence[KeptItem], limit: int) -> dict[str, Any]:
    """At most `limit` items, and the position behind which there are more."""
    page = items[:limit]
    return {
        "items": [
            {
                "id": str(kept.item.item_id),
                "action": kept.item.action.value,
                "why": kept.item.why.value,
                "key": kept.item.key,
                "place": kept.item.place.value,
                "sizeBytes": kept.item.size_bytes,
                "status": kept.status,
                "code": kept.code,
                "detail": kept.detail,
            }
            for kept in page
        ],
        "next": page[-1].position if len(items) > limit else None,
    }
