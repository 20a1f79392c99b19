"""Due times, their runs and what people ask of the clock: on PostgreSQL, in a time that the tests set."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from cleanup_scheduler.retention import Retention
from shared.events import (
    ChangeScheduleV1,
    MissedFirings,
    RunScheduleV1,
    ScheduleChangedV1,
    ScheduleDueV1,
    ScheduleRunChangedV1,
)
from shared.identifiers import new_id
from shared.messaging.errors import PermanentError
from shared.testing.databases import TestDatabase, TestDatabases
from shared.testing.waiting import eventually
from tests.clock_world import USER, ClockWorld, clock_world, definition, delivery_of, utc

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def module_database(databases: TestDatabases) -> AsyncIterator[TestDatabase]:
    made = await databases.create()
    yield made
    await databases.drop(made)


@pytest.fixture
async def world(module_database: TestDatabase) -> AsyncIterator[ClockWorld]:
    async with clock_world(module_database.dsn("cleanup-scheduler")) as made:
        yield made


# --- due times --------------------------------------------------------------------------------------------------------


async def test_a_month_of_nights_is_fired_night_by_night(world: ClockWorld) -> None:
    firing = await world.begin("05-01T12:00", definition("purge", "0 3 * * *"))
    turns = await world.live(firing, "06-01T12:00")
    assert await world.fired("purge") == [
        *(f"05-{day:02}T03:00+00:00" for day in range(2, 32)),
        "06-01T03:00+00:00",
    ]
    # Once per due time and once per deadline of its answers: nobody looked in between.
    assert turns <= 2 * 31 + 2


async def test_nights_in_which_clocks_change(world: ClockWorld) -> None:
    world.time_zone = "Europe/Berlin"
    firing = await world.begin("03-27T12:00", definition("early", "30 2 * * *"), definition("hourly", "15 * * * *"))
    await world.live(firing, "03-30T12:00")
    assert await world.fired("early") == ["03-28T02:30+01:00", "03-29T03:00+02:00", "03-30T02:30+02:00"]
    assert len(await world.fired("hourly")) == 72
    await world.at(firing, "10-24T10:00")
    before = len(await world.fired("early")), len(await world.fired("hourly"))
    await world.live(firing, "10-26T11:59")
    assert (await world.fired("early"))[before[0] :] == ["10-25T02:30+02:00", "10-26T02:30+01:00"]
    assert len(await world.fired("hourly")) - before[1] == 50


async def test_after_a_long_stop_the_latest_is_made_up_for_or_skipped(world: ClockWorld) -> None:
    firing = await world.begin(
        "05-01T12:00",
        definition("purge", "0 3 * * *"),
        definition("hourly", "15 * * * *", missed=MissedFirings.SKIP),
    )
    await world.at(firing, "05-05T12:00", "05-05T12:10")
    assert await world.fired("purge") == ["05-05T03:00+00:00"]
    assert await world.fired("hourly") == []
    made_up, skipped = await world.last_run("purge"), await world.last_run("hourly")
    assert (made_up["status"], made_up["missed"]) == ("running", 3)
    assert (skipped["status"], skipped["missed"], skipped["due_at"]) == ("skipped", 95, "2026-05-05T11:15:00Z")
    assert "missed due times are skipped" in skipped["detail"]
    await world.at(firing, "05-05T12:15")
    assert await world.fired("hourly") == ["05-05T12:15+00:00"]


async def test_a_clock_that_is_set_back_fires_nothing_twice(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("hourly", "15 * * * *"))
    await world.at(firing, "05-01T00:15", "05-01T01:15", "05-01T00:10", "05-01T00:15", "05-01T00:20", "05-01T01:15")
    assert await world.fired("hourly") == ["05-01T00:15+00:00", "05-01T01:15+00:00"]
    await world.at(firing, "05-01T02:15")
    assert (await world.fired("hourly"))[2:] == ["05-01T02:15+00:00"]


async def test_a_clock_that_was_wrong_for_a_while_does_not_stop_the_nights(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("purge", "0 3 * * *"))
    await world.at(firing, "05-01T03:00", "12-01T12:00", "05-01T12:00", "05-02T02:59")
    assert await world.fired("purge") == ["05-01T03:00+00:00", "12-01T03:00+00:00"]
    await world.at(firing, "05-02T03:00", "05-02T03:01")
    assert (await world.fired("purge"))[2:] == ["05-02T03:00+00:00"]
    # And what was fired too early is not fired again when its time comes.
    await world.at(firing, "11-30T12:00", "12-01T03:00", "12-02T03:00")
    assert (await world.fired("purge"))[3:] == ["11-30T03:00+00:00", "12-02T03:00+00:00"]


async def test_many_looks_at_once_fire_once(world: ClockWorld) -> None:
    await world.begin("05-01T00:00", definition("a", "0 * * * *"), definition("b", "0 * * * *"))
    replicas = [world.replica(number % 2) for number in range(8)]
    for hour in range(1, 9):
        world.clock.moment = utc(f"05-01T{hour:02}:00")
        await asyncio.gather(*(replica.turn() for replica in replicas))
    due = Counter((one["name"], one["due_at"]) for one in await world.told(ScheduleDueV1))
    assert len(due) == 16
    assert set(due.values()) == {1}


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_clock_does_no_due_time_is_told_twice(world: ClockWorld, seed: int) -> None:
    """Jumps in both directions, stops, and two replicas of which one is sometimes behind."""
    dice = random.Random(seed)
    await world.begin("05-01T00:00", definition("hourly", "15 * * * *"), definition("purge", "0 3 * * *"))
    replicas = [world.replica(0), world.replica(1)]
    for _ in range(30):
        step = dice.choice([timedelta(minutes=dice.uniform(0, 90)), timedelta(days=dice.uniform(-3, 3))])
        world.clock.moment += step
        await asyncio.gather(*(replica.turn() for replica in dice.sample(replicas, dice.randint(1, 2))))
    due = Counter((one["name"], one["due_at"]) for one in await world.told(ScheduleDueV1))
    assert due
    assert set(due.values()) == {1}


# --- runs -------------------------------------------------------------------------------------------------------------


async def test_a_run_ends_when_all_have_answered(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *", "a", "b"))
    await world.at(firing, "05-01T03:00")
    (due,) = await world.told(ScheduleDueV1)
    run = await world.last_run("cleaning")
    assert (run["run_id"], run["status"], run["owing"]) == (due["run_id"], "running", ["a", "b"])
    await world.answer(run, "a", rows=3)
    await world.answer(run, "a", rows=400)
    world.clock.moment = utc("05-01T03:01")
    await world.answer(run, "b", rows=4, files=1)
    ended = await world.last_run("cleaning")
    assert (ended["status"], ended["owing"], ended["counts"]) == ("done", [], {"rows": 7, "files": 1})
    assert (ended["started_at"], ended["ended_at"]) == ("2026-05-01T03:00:00Z", "2026-05-01T03:01:00Z")
    assert [answer["service"] for answer in ended["answers"]] == ["a", "b"]


async def test_a_run_that_is_not_answered_is_left_open_and_takes_late_answers(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *", "a", "b"))
    await world.at(firing, "05-01T03:00")
    run = await world.last_run("cleaning")
    await world.answer(run, "a", rows=3)
    await world.at(firing, "05-01T03:59")
    assert (await world.last_run("cleaning"))["status"] == "running"
    await world.at(firing, "05-01T04:00")
    left = await world.last_run("cleaning")
    assert (left["status"], left["owing"], left["counts"]) == ("open", ["b"], {"rows": 3})
    await world.answer(run, "b", "no disk", rows=1)
    late = await world.last_run("cleaning")
    assert (late["status"], late["owing"], late["counts"]) == ("failed", [], {"rows": 4})
    assert [answer["error"] for answer in late["answers"]] == [None, "no disk"]


async def test_nobody_waits_for_services_that_are_not_run_here(world: ClockWorld) -> None:
    await world.begin("05-01T00:00", definition("one", "0 3 * * *", "a", "b"), definition("none", "0 3 * * *", "b"))
    firing = world.replica(absent=frozenset({"b"}))
    await world.at(firing, "05-01T03:00")
    assert (await world.last_run("one"))["owing"] == ["a"]
    nobody = await world.last_run("none")
    assert (nobody["status"], nobody["owing"]) == ("skipped", [])
    assert await world.fired("none") == []


async def test_answers_of_unknown_runs_change_nothing(world: ClockWorld) -> None:
    await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    await world.answer({"run_id": str(new_id()), "name": "cleaning"}, "worker", rows=1)
    assert await world.told(ScheduleRunChangedV1) == []


async def test_runs_are_forgotten_after_a_while(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    for day in ("05-01", "05-02"):
        await world.at(firing, f"{day}T03:00")
        await world.answer(await world.last_run("cleaning"), "worker", rows=1)
    world.clock.moment = utc("05-11T03:01")
    assert await Retention(world.works[0], world.clock, 9.5 * 24 * 3600).sweep() == {"schedule_runs": 1}
    (kept,) = await world.rows("SELECT due_at FROM runs")
    assert kept["due_at"] == utc("05-02T03:00")


# --- what people ask --------------------------------------------------------------------------------------------------


async def change(world: ClockWorld, name: str = "cleaning", **changes: Any) -> None:
    command = ChangeScheduleV1(
        change_id=new_id(), name=name, requested_by=USER, requested_at=world.clock.now(), **changes
    )
    await world.commands.change(command, delivery_of(command))


async def run_now(world: ClockWorld, name: str = "cleaning") -> UUID:
    command = RunScheduleV1(run_id=new_id(), name=name, requested_by=USER, requested_at=world.clock.now())
    await world.commands.run_now(command, delivery_of(command))
    await world.commands.run_now(command, delivery_of(command))
    return command.run_id


async def test_a_changed_schedule_comes_at_its_new_time_and_survives_restarts(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    await change(world, cron="30 2 * * *", time_zone="Europe/Berlin", missed=MissedFirings.SKIP)
    told = (await world.told(ScheduleChangedV1))[-1]
    assert (told["cron"], told["time_zone"], told["missed"]) == ("30 2 * * *", "Europe/Berlin", "skip")
    assert told["next_due_at"] == "2026-05-01T00:30:00Z"
    # A version that defines it otherwise leaves alone what somebody set, and changes what nobody did.
    world.definitions = {
        "cleaning": definition("cleaning", "0 5 * * *"),
        "other": definition("other", "0 6 * * *"),
    }
    firing = world.replica()
    await firing.arrange()
    await firing.arrange()
    await world.at(firing, "05-01T00:30", "05-01T03:00", "05-01T05:00", "05-01T06:00")
    assert await world.fired("cleaning") == ["05-01T00:30+00:00"]
    assert await world.fired("other") == ["05-01T06:00+00:00"]
    world.definitions["other"] = definition("other", "0 7 * * *")
    world.clock.moment = utc("05-01T12:00")
    firing = world.replica()
    await firing.arrange()
    await world.at(firing, "05-02T06:00", "05-02T07:00")
    assert (await world.fired("other"))[1:] == ["05-02T07:00+00:00"]


async def test_what_is_paused_waits_and_makes_up_for_nothing(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    await change(world, is_paused=True)
    assert (await world.told(ScheduleChangedV1))[-1]["is_paused"] is True
    await world.at(firing, "05-01T03:00", "05-02T03:00")
    run_id = await run_now(world)
    (due,) = await world.told(ScheduleDueV1)
    assert (due["run_id"], due["due_at"]) == (str(run_id), "2026-05-02T03:00:00Z")
    await world.at(firing, "05-02T12:00")
    await change(world, is_paused=False)
    await world.at(firing, "05-02T12:01", "05-03T03:00")
    assert await world.fired("cleaning") == ["05-02T03:00+00:00", "05-03T03:00+00:00"]


async def test_a_run_now_is_recorded_with_who_asked_and_leaves_due_times_alone(world: ClockWorld) -> None:
    firing = await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    await world.at(firing, "05-01T03:00")
    await run_now(world)
    run = await world.last_run("cleaning")
    assert (run["trigger"], run["requested_by"], run["status"]) == ("person", str(USER), "running")
    await world.answer(run, "worker", rows=2)
    assert (await world.last_run("cleaning"))["counts"] == {"rows": 2}
    assert len(await world.told(ScheduleDueV1)) == 2
    await world.at(firing, "05-02T03:00")
    assert len(await world.told(ScheduleDueV1)) == 3


async def test_what_does_not_exist_or_cannot_be_timed_is_refused(world: ClockWorld) -> None:
    await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    with pytest.raises(PermanentError, match="there is no schedule"):
        await run_now(world, "nothing")
    with pytest.raises(PermanentError, match="there is no schedule"):
        await change(world, "nothing", cron="0 4 * * *")
    with pytest.raises(PermanentError, match="five fields"):
        await change(world, cron="at noon")
    with pytest.raises(PermanentError, match="IANA"):
        await change(world, time_zone="Mars/Olympus")


async def test_a_sleeping_clock_hears_of_changes(world: ClockWorld) -> None:
    """Though nothing is due for a day: it listens."""
    await world.begin("05-01T00:00", definition("cleaning", "0 3 * * *"))
    firing = world.replica(1)
    tasks = [asyncio.create_task(firing.listen()), asyncio.create_task(firing.run())]
    try:
        await change(world, cron="0 1 * * *")
        world.clock.moment = utc("05-01T01:00")
        await change(world, missed=MissedFirings.SKIP)

        async def is_fired() -> bool:
            return await world.fired("cleaning") == ["05-01T01:00+00:00"]

        await eventually(is_fired, why="the clock heard of the change")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
