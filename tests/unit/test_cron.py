"""When cron expressions are due, on the days on which clocks change and on all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cron import InvalidTiming, Timing, zone, zone_names


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(cron: str, time_zone: str, after: str, how_many: int) -> list[str]:
    """Due times behind a moment in UTC, on the clock of the zone with its offset."""
    moments = Timing.of(cron, time_zone).next_few(utc(after), how_many)
    return [moment.astimezone(zone(time_zone)).isoformat(timespec="minutes") for moment in moments]


@pytest.mark.parametrize(
    ("cron", "time_zone", "after", "expected"),
    [
        # A time that does not exist comes when the clock goes on; 02:30 of the other nights is not moved.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00",
            ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
        ),
        # A time that comes twice is due once, and an hour between two nights more is an hour more.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00",
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
        ),
        # Asked in the hour that repeats, after 02:30 came.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10", ["2026-10-26T02:30+01:00"]),
        # What is due every hour keeps its pace.
        (
            "15 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:30",
            ["2026-10-25T02:15+02:00", "2026-10-25T02:15+01:00", "2026-10-25T03:15+01:00"],
        ),
        (
            "15 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00",
            ["2026-03-29T01:15+01:00", "2026-03-29T03:15+02:00"],
        ),
        ("0 3 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T03:00+00:00", "2032-02-29T03:00+00:00"]),
        ("0 3 * * mon-fri", "UTC", "2026-11-20T12:00", ["2026-11-23T03:00+00:00"]),
        ("0 3 31 * *", "UTC", "2026-01-31T03:00", ["2026-03-31T03:00+00:00"]),
    ],
)
def test_due_times(cron: str, time_zone: str, after: str, expected: list[str]) -> None:
    assert due(cron, time_zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "time_zone", "field", "complaint"),
    [
        ("0 3 * *", "UTC", "cron", "must have five fields"),
        ("0 0 3 * * *", "UTC", "cron", "must have five fields"),
        ("", "UTC", "cron", "must have five fields"),
        ("0 25 * * *", "UTC", "cron", "the field for the hour"),
        ("0 3 * * someday", "UTC", "cron", "the field for the day of week"),
        ("0 3 30 2 *", "UTC", "cron", "day of month"),
        ("0 3 * * *", "Europe/Berln", "time_zone", "Europe/Berlin"),
        ("0 3 * * *", "../zones", "time_zone", "IANA"),
        ("0 3 * * *", "Europe", "time_zone", "IANA"),
        ("0 3 * * *", "", "time_zone", "IANA"),
    ],
)
def test_what_is_wrong_is_named(cron: str, time_zone: str, field: str, complaint: str) -> None:
    with pytest.raises(InvalidTiming, match=complaint) as refused:
        Timing.of(cron, time_zone)
    assert refused.value.field == field


PIECES = st.sampled_from([*"0123456789*/-,#Ll? ", "MON", "jan", "LW", "*/15", "1-5", "29", "²"])


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.lists(PIECES, min_size=5, max_size=5).map(" ".join)))
def test_any_text_is_a_timing_or_refused_with_a_reason(cron: str) -> None:
    try:
        timing = Timing.of(cron, "Europe/Berlin")
    except InvalidTiming as error:
        found = (error.field, bool(error.detail))
    else:
        found = ("cron", timing.following(utc("2026-01-01T00:00")) > utc("2026-01-01T00:00"))
    assert found == ("cron", True)


def test_every_zone_can_be_read() -> None:
    assert {"UTC", "Europe/Berlin", "America/New_York"} <= zone_names()
    for name in zone_names():
        assert zone(name).utcoffset(datetime(2026, 1, 1)) is not None


CRONS = st.sampled_from(["30 2 * * *", "15 * * * *", "*/7 * * * *", "0,30 1,2,3 * * *", "0 3 1 * *", "5 0 * * sun"])
MOMENTS = st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 30), timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])


@settings(deadline=None)
@given(CRONS, ZONES, MOMENTS, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_the_last_due_time_is_the_one_before_the_next(
    cron: str, time_zone: str, begin: datetime, span: timedelta
) -> None:
    """And counting goes through them all, from wherever one begins."""
    timing = Timing.of(cron, time_zone)
    first = timing.following(begin)
    until = first + span
    last = timing.last(first, until)
    assert last is not None
    assert first <= last <= until < timing.following(last)
    assert timing.following(until) == timing.following(last)
    passed = []
    moment = first
    while moment <= until:
        passed.append(moment)
        moment = timing.following(moment)
    assert passed[-1] == last
    assert timing.count(first, last, 10_000) == len(passed) - 1
    assert timing.count(first, last, 3) == min(len(passed) - 1, 3)
    assert timing.last(first, first - timedelta(seconds=1)) is None


def test_years_of_minutes_are_passed_over_at_once() -> None:
    timing = Timing.of("* * * * *", "Europe/Berlin")
    assert timing.last(utc("2006-01-01T00:00"), utc("2026-11-21T20:00")) == utc("2026-11-21T20:00")
    assert timing.count(utc("2006-01-01T00:00"), utc("2026-11-21T20:00"), 1000) == 1000
