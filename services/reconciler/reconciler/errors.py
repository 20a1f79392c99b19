"""Why something can't be compared or repaired, each with a stable code."""

from __future__ import annotations

from shared.messaging.errors import TransientError

UNKNOWN_PRODUCT = "unknown_product"
UNKNOWN_PLAN = "unknown_plan"
UNKNOWN_REPORT = "unknown_report"
UNAVAILABLE = "unavailable"
"""Begins a problem that passes by itself; a sentence follows after a colon."""


class NotComparable(Exception):
    """The comparison broke off, and nothing may be concluded from it. The text tells an operator why."""


class NoSuchProduct(NotComparable):
    """There is nothing to compare."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN_PRODUCT)


def unknown_run(plan_id: object) -> TransientError:
    return TransientError("unknown_plan", f"there is no plan {plan_id}; its run may be on its way")
