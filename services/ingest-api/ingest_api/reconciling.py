"""Asking reconciler how bucket, disk and records compare."""

from __future__ import annotations

from functools import partial
from typing import Any

from ingest_api.answers import Answers
from ingest_api.problem_details import RETRY_AFTER_SECONDS, Problem, retry_after
from shared.events import AnswerV1, CheckConsistencyV1, ReconcileScope

CHECK_SECONDS = 20.0


class Reconciling:
    """Questions to reconciler, answered with a deadline."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def check(self, scope: ReconcileScope) -> dict[str, Any]:
        """How a scope stands, in the contract's words."""
        return body_of(await self._answers.ask(partial(CheckConsistencyV1, scope=scope), CHECK_SECONDS))


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
    code, _, detail = (answer.problem or "").partition(": ")
    if code == "unknown_product":
        raise no_such_product()
    if code == "unknown_plan":
        raise no_such_plan()
    raise Problem(
        503, "service_unavailable", f"Nothing was changed: {detail or code}.", retry_after(RETRY_AFTER_SECONDS)
    )


def no_such_product() -> Problem:
    return Problem(404, "not_found", "There is no product with this id.")


def no_such_plan() -> Problem:
    return Problem(404, "not_found", "There is no plan with this id.")
