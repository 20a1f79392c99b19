"""Places to work on syncs are never lost, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from face_embedder.runner import Runner
from shared.messaging.errors import InfrastructureUnavailable

SETTINGS: Any = SimpleNamespace(listings_at_once=2, task_hold_seconds=30.0)
TASK = SimpleNamespace(task_id=UUID(int=1))


class Work:
    """A unit of work whose connection may be cut at the commit."""

    database = SimpleNamespace(session_dsn="", application_name="tests")

    def __init__(self, *, is_cut: bool) -> None:
        self._is_cut = is_cut

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        yield SimpleNamespace(connection=None)
        if self._is_cut:
            raise InfrastructureUnavailable("postgresql", "cut at the commit")


class Listing:
    def __init__(self) -> None:
        self.listed = 0

    async def go_on(self, task: Any) -> None:
        self.listed += 1


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tasks that can be claimed."""
    tasks = [TASK] * 3

    class Tasks:
        def __init__(self, _: object) -> None:
            """There is no connection."""

        async def claim(self, _: float) -> Any:
            return tasks.pop() if tasks else None

    monkeypatch.setattr("face_embedder.runner.Tasks", Tasks)
    return tasks


def free_places(runner: Runner) -> int:
    return runner._places._value


async def test_a_claim_that_was_cut_at_the_commit_keeps_no_place(waiting: list[Any]) -> None:
    runner = Runner(Work(is_cut=True), Listing(), SETTINGS)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup):
        await runner.turn()
    assert free_places(runner) == SETTINGS.listings_at_once


async def test_places_are_free_again_when_all_is_listed(waiting: list[Any]) -> None:
    listing = Listing()
    runner = Runner(Work(is_cut=False), listing, SETTINGS)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        await runner.turn()
    assert (listing.listed, waiting) == (3, [])
    assert free_places(runner) == SETTINGS.listings_at_once


async def test_work_that_is_stopped_before_it_has_begun_keeps_no_place(waiting: list[Any]) -> None:
    runner = Runner(Work(is_cut=False), Listing(), SETTINGS)  # type: ignore[arg-type]

    async def broken_off() -> None:
        async with asyncio.TaskGroup() as group:
            await runner._begin_due(group)
            raise InfrastructureUnavailable("postgresql", "away")

    del waiting[1:]
    with pytest.raises(ExceptionGroup):
        await broken_off()
    await asyncio.sleep(0)
    assert free_places(runner) == SETTINGS.listings_at_once
