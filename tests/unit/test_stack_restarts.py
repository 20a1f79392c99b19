"""When the supervisor starts a part again."""

from __future__ import annotations

import pytest

from deploy.local.restarts import STEADY_SECONDS, consecutive_deaths, restart_delay_seconds


@pytest.mark.parametrize(
    ("deaths", "delay_seconds"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (1_000_000, 30.0)]
)
def test_the_delay_doubles_up_to_its_bound(deaths: int, delay_seconds: float) -> None:
    assert restart_delay_seconds(deaths) == delay_seconds


def test_a_part_that_ran_steadily_starts_counting_anew() -> None:
    assert consecutive_deaths(4, lived_seconds=STEADY_SECONDS - 1) == 5
    assert consecutive_deaths(4, lived_seconds=STEADY_SECONDS) == 1
