"""When a part that died is started again."""

from __future__ import annotations

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A part that ran this long before it died counts as healthy, and its next death as the first."""


def consecutive_deaths(before: int, lived_seconds: float) -> int:
    """The number of deaths in a row, this one included."""
    return 1 if lived_seconds >= STEADY_SECONDS else before + 1


def restart_delay_seconds(deaths: int) -> float:
    """How long to wait before starting again after that many deaths in a row: doubling, bounded."""
    return min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** min(deaths - 1, 16))
