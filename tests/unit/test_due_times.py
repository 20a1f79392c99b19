"""What the clock decides about one schedule at one moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cleanup_scheduler.catalogue import DEFINITIONS
from cleanup_scheduler.due_times import Fire, Move, Wait, decide
from shared.cron import Timing
from shared.events import MissedFirings

NIGHTLY = Timing.of("0 3 * * *", "UTC")
LATE = timedelta(minutes=5)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def decided(now: str, *, due: str = "05-10T03:00", last: str | None = "05-09T03:00", skips: bool = False) -> object:
    return decide(
        NIGHTLY,
        MissedFirings.SKIP if skips else MissedFirings.RUN_ONCE,
        next_due_at=utc(due),
        last_due_at=utc(last) if last else None,
        now=utc(now),
        late_after=LATE,
    )


def test_nothing_is_due_before_its_time() -> None:
    assert decided("05-10T02:59:59.999999") == Wait()


@pytest.mark.parametrize("now", ["05-10T03:00", "05-10T03:04:59"])
@pytest.mark.parametrize("skips", [True, False])
def test_what_is_due_is_fired(now: str, skips: bool) -> None:
    assert decided(now, skips=skips) == Fire(utc("05-10T03:00"), 0, utc("05-11T03:00"))


def test_after_a_long_stop_the_latest_due_time_is_made_up_for_once() -> None:
    assert decided("05-14T12:00") == Fire(utc("05-14T03:00"), 4, utc("05-15T03:00"))


def test_or_that_it_was_missed_is_recorded() -> None:
    assert decided("05-14T12:00", skips=True) == Fire(utc("05-14T03:00"), 4, utc("05-15T03:00"), is_skipped=True)


def test_a_clock_that_comes_back_at_a_due_time_fires_that_one_and_skips_the_rest() -> None:
    assert decided("05-14T03:01", skips=True) == Fire(utc("05-14T03:00"), 4, utc("05-15T03:00"))


def test_a_clock_that_was_set_back_waits_until_it_is_where_it_was() -> None:
    for now in ("05-10T02:50", "05-09T03:10", "05-10T02:59"):
        assert decided(now, due="05-11T03:00", last="05-10T03:00") == Wait()


def test_a_clock_that_had_been_wrong_by_years_holds_nothing_up() -> None:
    assert decided("05-10T12:00", due="12-02T03:00", last="12-01T03:00") == Move(utc("05-11T03:00"))


def test_what_was_never_fired_waits_for_its_first_time() -> None:
    assert decided("05-09T12:00", last=None) == Wait()


def test_definitions_can_be_timed_and_have_somebody_to_do_the_work() -> None:
    for name, definition in DEFINITIONS.items():
        assert definition.name == name
        assert Timing.of(definition.cron, "UTC")
        assert definition.workers
