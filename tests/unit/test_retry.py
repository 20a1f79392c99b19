"""What follows a failed attempt, by tables and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.errors import PermanentError, Postponed, TransientError
from shared.messaging.retry import (
    PROCESSING_RETRIES,
    S3_RETRIES,
    DeadLetter,
    Postpone,
    Retry,
    RetryPolicy,
    next_attempt,
)


def test_a_dependency_may_be_away_for_days() -> None:
    decision = next_attempt(Postponed("bucket_away", "no answer"), 1, PROCESSING_RETRIES, postponed=5_000, spread=0.0)
    assert isinstance(decision, Postpone)
    assert decision.delay_seconds == 60.0


PERMANENT = PermanentError("image_corrupt", "not a picture")
TRANSIENT = TransientError("busy", "come back")


@pytest.mark.parametrize(
    ("error", "attempt", "policy", "expected"),
    [
        (PERMANENT, 1, PROCESSING_RETRIES, "dead"),
        (TRANSIENT, 1, PROCESSING_RETRIES, (2, 2.0)),
        (TRANSIENT, 2, PROCESSING_RETRIES, (3, 4.0)),
        (TRANSIENT, 3, PROCESSING_RETRIES, "dead"),
        (ValueError("a bug"), 1, PROCESSING_RETRIES, (2, 2.0)),
        (ValueError("a bug"), 3, PROCESSING_RETRIES, "dead"),
        (TRANSIENT, 4, S3_RETRIES, (5, 16.0)),
        (TRANSIENT, 5, S3_RETRIES, "dead"),
        (TRANSIENT, 9, RetryPolicy(attempts=20), (10, 300.0)),
    ],
)
def test_decisions(error: Exception, attempt: int, policy: RetryPolicy, expected: object) -> None:
    decision = next_attempt(error, attempt, policy, spread=0.0)
    match decision:
        case DeadLetter():
            assert expected == "dead"
        case Retry():
            assert expected == (decision.next_attempt, decision.delay_seconds)
        case Postpone():
            pytest.fail("nothing asked for a postponement")
    assert decision.failure.attempt == attempt


def test_reasons_are_kept() -> None:
    decision = next_attempt(PERMANENT, 1, PROCESSING_RETRIES)
    assert (decision.failure.code, decision.failure.detail) == ("image_corrupt", "not a picture")
    unexpected = next_attempt(KeyError("x"), 1, PROCESSING_RETRIES).failure
    assert unexpected.code == "unexpected_error"
    assert "KeyError" in unexpected.detail


@given(postponed=st.integers(0, 500), attempt=st.integers(1, 3), spread=st.floats(-1, 1))
def test_postponing_never_uses_up_an_attempt_nor_ends(postponed: int, attempt: int, spread: float) -> None:
    away = Postponed("bucket_away", "gone")
    decision = next_attempt(away, attempt, PROCESSING_RETRIES, postponed=postponed, spread=spread)
    assert isinstance(decision, Postpone)
    assert decision.failure.attempt == attempt
    assert decision.postponed == postponed + 1
    assert 0 < decision.delay_seconds <= 60.0 * 1.2


@given(attempt=st.integers(1, 1000), spread=st.floats(-1, 1))
def test_delays_grow_and_are_bounded(attempt: int, spread: float) -> None:
    policy = RetryPolicy(attempts=2000)
    assert policy.delay_seconds(attempt, 0.0) <= policy.delay_seconds(attempt + 1, 0.0)
    assert 0 < policy.delay_seconds(attempt, spread) <= policy.longest_delay_seconds * 1.2
