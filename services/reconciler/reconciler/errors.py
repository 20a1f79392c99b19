"""Why something can't be compared or repaired, each with a stable code."""

from __future__ import annotations

from shared.messaging.errors import TransientError

UNKNOWN_PRODUCT = "unknown_product"
UNKNOWN_PLAN = "unknown_plan"
UNKNOWN_REPORT = "unknown_report"
UNAVAILABLE = "unavailable"
"""Begins a problem that passes by itself; a sentence follows after a colon."""


class NotComparable(Exception):
    """The comparison broke off, and nothing may be concluded from it.

    `code` is stable, `detail` the sentence that tells an operator why.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class NoSuchProduct(NotComparable):
    """There is nothing to compare."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN_PRODUCT, "there is no such product")


def unknown_run(plan_id: object) -> TransientError:
    return TransientError("unknown_plan", f"there is no plan {plan_id}; its run may be on its way")
