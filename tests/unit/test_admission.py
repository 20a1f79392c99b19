"""Admission: bounded, first come first served, and nothing is lost when waiters give up."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_api.admission import Admission
from ingest_api.problem_details import Problem
from shared.testing.waiting import eventually


def admission(in_flight: int = 2, in_flight_bytes: int = 100, waiting: int = 10, turn_seconds: float = 5) -> Admission:
    return Admission(in_flight=in_flight, in_flight_bytes=in_flight_bytes, waiting=waiting, turn_seconds=turn_seconds)


class Visitor:
    """Enters, says so, and stays until told to leave."""

    def __init__(self, gate: Admission, size_bytes: int = 1) -> None:
        self.inside = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(gate, size_bytes))

    async def _visit(self, gate: Admission, size_bytes: int) -> None:
        async with gate.enter(size_bytes):
            self.inside = True
            await self._leave.wait()
        self.inside = False

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def test_who_comes_first_goes_first() -> None:
    gate = admission(in_flight=2)
    visitors = [Visitor(gate) for _ in range(4)]
    await eventually(lambda: visitors[0].inside and visitors[1].inside)
    assert gate.waiting == 2
    await visitors[1].leave()
    await eventually(lambda: visitors[2].inside)
    assert not visitors[3].inside
    await visitors[0].leave()
    await eventually(lambda: visitors[3].inside)
    await visitors[2].leave()
    await visitors[3].leave()


async def test_bytes_are_bounded_too_and_nobody_overtakes() -> None:
    gate = admission(in_flight=10, in_flight_bytes=100)
    large, larger, small = Visitor(gate, 60), Visitor(gate, 50), Visitor(gate, 10)
    await eventually(lambda: large.inside and gate.waiting == 2)
    assert not small.inside
    await large.leave()
    await eventually(lambda: larger.inside and small.inside)
    await larger.leave()
    await small.leave()


async def test_what_is_larger_than_all_there_is_enters_alone() -> None:
    gate = admission(in_flight_bytes=100)
    giant, other = Visitor(gate, 10**9), Visitor(gate, 1)
    await eventually(lambda: giant.inside and gate.waiting == 1)
    await giant.leave()
    await eventually(lambda: other.inside)
    await other.leave()


async def test_a_full_queue_refuses_at_once() -> None:
    gate = admission(in_flight=1, waiting=1)
    inside, waiting = Visitor(gate), Visitor(gate)
    await eventually(lambda: inside.inside and gate.waiting == 1)
    with pytest.raises(Problem) as refused:
        async with gate.enter(1):
            raise AssertionError("there is no room")
    assert (refused.value.status, refused.value.code) == (429, "too_many_uploads")
    assert int(refused.value.headers["Retry-After"]) >= 1
    await inside.leave()
    await eventually(lambda: waiting.inside)
    await waiting.leave()


async def test_no_turn_in_time_is_503_and_leaves_the_queue() -> None:
    gate = admission(in_flight=1, turn_seconds=0.05)
    inside = Visitor(gate)
    await eventually(lambda: inside.inside)
    with pytest.raises(Problem) as refused:
        async with gate.enter(1):
            raise AssertionError("there is no room")
    assert refused.value.status == 503
    assert gate.waiting == 0
    await inside.leave()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "give up"]), st.integers(0, 6)), max_size=40))
async def test_room_is_never_lost_or_doubled(steps: list[tuple[str, int]]) -> None:
    gate = admission(in_flight=2, in_flight_bytes=7, waiting=100)
    visitors: list[Visitor] = []
    for step, number in steps:
        if step == "come":
            visitors.append(Visitor(gate, number))
        elif visitors:
            visitor = visitors.pop(number % len(visitors))
            if step == "give up" or not visitor.inside:
                visitor.task.cancel()
                await asyncio.gather(visitor.task, return_exceptions=True)
            else:
                await visitor.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(visitor.inside for visitor in visitors) <= 2
    for visitor in visitors:
        visitor.task.cancel()
    await asyncio.gather(*(visitor.task for visitor in visitors), return_exceptions=True)
    alone = Visitor(gate, 7)
    await eventually(lambda: alone.inside)
    await alone.leave()
