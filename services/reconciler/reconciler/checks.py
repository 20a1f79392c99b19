"""Answers questions of how a scope stands; changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from reconciler import errors
from reconciler.errors import NotComparable
from reconciler.looking import Looking
from reconciler.report import MediaReport, ProductsReport
from reconciler.repositories.read_models import ReadModels
from shared.db.unit_of_work import UnitOfWork
from shared.events import AnswerV1, CheckConsistencyV1, ReconcileScope
from shared.messaging.publisher import Publisher

log = logging.getLogger(__name__)

Problems = Sequence[tuple[UUID | None, str]]
"""What went wrong, and with which product."""


class Checks:
    """Compares on request; at most `at_once` comparisons run beside each other."""

    def __init__(self, unit_of_work: UnitOfWork, looking: Looking, publisher: Publisher, *, at_once: int) -> None:
        self._unit_of_work = unit_of_work
        self._looking = looking
        self._publisher = publisher
        self._places = asyncio.Semaphore(at_once)

    async def answer(self, question: CheckConsistencyV1) -> None:
        """Publish the answer, unless nobody waits for it any more."""
        seconds_left = (question.answer_by - datetime.now(UTC)).total_seconds()
        if seconds_left <= 0:
            return
        try:
            async with asyncio.timeout(seconds_left), self._places:
                answer = await self._answer(question)
        except TimeoutError:
            log.warning("a check took longer than somebody waited", extra={"scope": question.scope.name})
            return
        self._publisher.tell(answer)

    async def _answer(self, question: CheckConsistencyV1) -> AnswerV1:
        try:
            async with self._unit_of_work.begin() as transaction:
                body = await self.report(ReadModels(transaction.connection), question.scope)
        except NotComparable as error:
            return AnswerV1(question_id=question.question_id, problem=f"{errors.UNAVAILABLE}: {error}")
        if body is None:
            return AnswerV1(question_id=question.question_id, problem=errors.UNKNOWN_PRODUCT)
        return AnswerV1(question_id=question.question_id, body=body)

    async def report(
        self, records: ReadModels, scope: ReconcileScope, problems: Problems = ()
    ) -> dict[str, Any] | None:
        """How the scope stands, in the contract's words, with what went wrong meanwhile; None for no product.

        Raises NotComparable.
        """
        if scope.kind == "media":
            return await self._media_report(records, scope, problems)
        product_id = scope.product_id
        if product_id is not None and not await records.is_product(product_id):
            return None
        report = ProductsReport([product_id] if product_id else await records.product_ids())
        async for finding in self._looking.findings(records, scope):
            report.add(finding)
        for owner, problem in problems:
            report.complain(owner, problem)
        return report.of_product(product_id) if product_id else report.of_all()

    async def _media_report(self, records: ReadModels, scope: ReconcileScope, problems: Problems) -> dict[str, Any]:
        report = MediaReport()
        async for finding in self._looking.findings(records, scope):
            report.add(finding)
        for _, problem in problems:
            report.complain(problem)
        return report.body()
