"""Who gets the next free worker."""

from __future__ import annotations

import asyncio

import pytest

from shared.worker_pool.turns import Turns, Urgency


async def begun(turns: Turns[str], urgency: Urgency) -> asyncio.Task[str]:
    task = asyncio.create_task(turns.get(urgency))
    await asyncio.sleep(0)
    return task


async def test_the_urgent_go_before_those_who_came_earlier() -> None:
    turns: Turns[str] = Turns()
    tasks = [await begun(turns, urgency) for urgency in reversed(Urgency) for _ in range(2)]
    order: list[int] = []
    for number, task in enumerate([*tasks[4:], *tasks[2:4], *tasks[:2]]):
        task.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
    for number in range(6):
        turns.put(f"worker {number}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_who_does_not_wait_any_more_is_passed_over() -> None:
    turns: Turns[str] = Turns()
    gone, there = await begun(turns, Urgency.AT_ONCE), await begun(turns, Urgency.AT_ONCE)
    gone.cancel()
    await asyncio.sleep(0)
    turns.put("worker")
    assert await there == "worker"


async def test_a_worker_given_in_the_moment_of_cancelling_is_not_lost() -> None:
    turns: Turns[str] = Turns()
    task = await begun(turns, Urgency.SOON)
    turns.put("worker")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await turns.get(Urgency.AT_ONCE) == "worker"


async def test_nobody_gets_one_after_the_refusal() -> None:
    turns: Turns[str] = Turns()
    waiting = [await begun(turns, urgency) for urgency in Urgency]
    turns.refuse(RuntimeError("closed"))
    turns.put("worker")
    for answer in await asyncio.gather(*waiting, turns.get(Urgency.AT_ONCE), return_exceptions=True):
        assert isinstance(answer, RuntimeError)
