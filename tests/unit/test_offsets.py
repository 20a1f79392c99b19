"""Only what is done and contiguous is committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.offsets import OffsetLedger


def test_nothing_to_commit_before_anything_is_done() -> None:
    ledger = OffsetLedger()
    assert ledger.position is None
    ledger.take(7)
    assert ledger.to_commit() is None
    assert ledger.position == 7


def test_a_gap_holds_the_position_back() -> None:
    ledger = OffsetLedger()
    for offset in (10, 11, 12):
        ledger.take(offset)
    ledger.finish(11)
    ledger.finish(12)
    assert ledger.to_commit() is None
    assert ledger.unfinished == 1
    ledger.finish(10)
    assert ledger.to_commit() == 13
    ledger.committed(13)
    assert ledger.to_commit() is None


def test_finishing_what_was_never_taken_is_an_error() -> None:
    with pytest.raises(KeyError, match="never taken"):
        OffsetLedger().finish(3)


@given(
    offsets=st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True).map(sorted),
    order=st.randoms(use_true_random=False),
)
def test_position_is_behind_every_unfinished_message(offsets: list[int], order: object) -> None:
    ledger = OffsetLedger()
    for offset in offsets:
        ledger.take(offset)
    finishing = offsets.copy()
    order.shuffle(finishing)  # type: ignore[attr-defined]
    done: set[int] = set()
    for offset in finishing:
        ledger.finish(offset)
        done.add(offset)
        position = ledger.to_commit()
        unfinished = [taken for taken in offsets if taken not in done]
        if position is not None:
            assert all(taken >= position for taken in unfinished)
            assert all(taken in done for taken in offsets if taken < position)
    assert ledger.to_commit() == offsets[-1] + 1
    assert ledger.unfinished == 0
