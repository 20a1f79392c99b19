"""When a purge waits for a person."""

from __future__ import annotations

import pytest

from cleanup_scheduler.guard import Guard

GUARD = Guard(media=20, share=0.10, most_media=1000)


@pytest.mark.parametrize(
    ("due", "live", "waits"),
    [
        (0, 0, False),
        (20, 0, False),
        (21, 0, True),
        (21, 209, True),
        (21, 210, False),
        (1000, 10_000, False),
        (1001, 10_000_000, True),
    ],
)
def test_much_at_once_waits_for_approval(due: int, live: int, waits: bool) -> None:
    assert (GUARD.objection(due, live) is not None) is waits
