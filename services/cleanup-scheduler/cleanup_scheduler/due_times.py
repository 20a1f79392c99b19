"""What the clock does about a schedule at a moment: a decision of values alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.cron import Timing
from shared.events import MissedFirings

MOST_COUNTED: Final = 1000
"""Missed due times beyond that are counted as so many."""

CLOCK_ERROR: Final = timedelta(days=1)
"""A due time so far ahead was fired by a clock that was wrong: what is due in between must not wait for it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due."""


@dataclass(frozen=True, slots=True)
class Move:
    """Nothing is fired; due times are counted anew from here."""

    next_due_at: datetime


@dataclass(frozen=True, slots=True)
class Fire:
    """Tell of `due_at`; `missed` due times before it go untold. `is_skipped`: record it, and tell nobody."""

    due_at: datetime
    missed: int
    next_due_at: datetime
    is_skipped: bool = False


def decide(
    timing: Timing,
    missed: MissedFirings,
    *,
    next_due_at: datetime,
    last_due_at: datetime | None,
    now: datetime,
    late_after: timedelta,
) -> Wait | Move | Fire:
    """Of several due times that have passed only the latest counts; it is late after `late_after`.

    A clock that was set back waits until it is where it was: nothing is due twice. `last_due_at` more than a day ahead
    shows that it had been wrong before.
    """
    if last_due_at is not None and last_due_at - now > CLOCK_ERROR:
        return Move(timing.following(now))
    due_at = timing.last(next_due_at, now)
    if due_at is None:
        return Wait()
    is_late = now - due_at > late_after
    return Fire(
        due_at,
        timing.count(next_due_at, due_at, MOST_COUNTED),
        timing.following(now),
        is_skipped=is_late and missed is MissedFirings.SKIP,
    )
