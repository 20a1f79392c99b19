"""Order within a key, parallelism between keys, bounds, cancellation."""

from __future__ import annotations

import asyncio

from shared.messaging.lanes import KeyedLanes


async def test_one_key_in_order_and_keys_side_by_side() -> None:
    crashes: list[BaseException] = []
    lanes = KeyedLanes(3, crashes.append)
    done: list[tuple[str, int]] = []
    running = 0
    most = 0

    async def work(key: str, number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range((number * 7) % 5):
            await asyncio.sleep(0)
        running -= 1
        done.append((key, number))

    for number in range(20):
        for key in "abcde":
            lanes.add(key, lambda key=key, number=number: work(key, number))  # type: ignore[misc]
    assert lanes.pending == 100
    assert await lanes.drained(20)
    assert lanes.pending == 0
    for key in "abcde":
        assert [number for k, number in done if k == key] == list(range(20))
    assert most == 3
    assert not crashes


async def test_a_crash_is_reported_and_the_lane_goes_on() -> None:
    crashes: list[BaseException] = []
    lanes = KeyedLanes(1, crashes.append)
    done: list[str] = []

    async def crash() -> None:
        raise RuntimeError("broken")

    async def work() -> None:
        done.append("done")

    lanes.add("k", crash)
    lanes.add("k", work)
    assert await lanes.drained(20)
    assert done == ["done"]
    assert [str(error) for error in crashes] == ["broken"]


async def test_cancelling_stops_what_runs_and_forgets_what_waits() -> None:
    lanes = KeyedLanes(1, lambda _: None)
    started = asyncio.Event()
    stopped: list[str] = []

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("hang")

    async def never() -> None:
        stopped.append("never")

    lanes.add("k", hang)
    lanes.add("k", never)
    lanes.add("other", never)
    await started.wait()
    assert not await lanes.drained(0.01)
    assert await lanes.cancel(20)
    assert stopped == ["hang"]
    assert lanes.pending == 0

    # and they work again afterwards
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    lanes.add("k", work)
    assert await lanes.drained(20)
    assert done == [1]
