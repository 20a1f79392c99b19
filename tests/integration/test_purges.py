"""The ledger of deleted media, what it says is due, and purges: on PostgreSQL, in a time that the tests set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cleanup_scheduler.catalogue import DEFINITIONS
from cleanup_scheduler.due_media import DueMedia
from cleanup_scheduler.firing import Firing
from cleanup_scheduler.guard import Guard
from cleanup_scheduler.purging import Purging
from cleanup_scheduler.repositories.ledger import Ledger
from shared.events import (
    DecideOnScheduleRunV1,
    DeletionReason,
    DescribeDueMediaV1,
    Event,
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaPurgeTakenV1,
    MediaRestoredV1,
    MediaSettings,
    PurgeMediaV1,
    RunScheduleV1,
    ScheduleDueV1,
    ScheduleRunChangedV1,
)
from shared.identifiers import new_id
from shared.messaging.errors import AlreadyHandled, Postponed
from shared.settings_feed import SettingsFeed
from shared.testing.databases import TestDatabase, TestDatabases
from shared.testing.waiting import eventually
from tests.clock_world import USER, ClockWorld, clock_world, delivery_of, utc

pytestmark = pytest.mark.stack
PURGE = "media.purge"
NIGHT = "05-01T03:00"


class Purges:
    """The clock, its ledger, and what the owner of the media would tell."""

    def __init__(self, world: ClockWorld) -> None:
        self.world = world
        self.settings = MediaSettings()
        self.feed = SettingsFeed("unused", self.settings)
        self.feed.caught_up = True
        self.purging = self.with_guard(Guard(20, 0.10, 1000))
        self.firing: Firing

    def with_guard(self, guard: Guard) -> Purging:
        self.guard = guard
        self.purging = Purging(self.world.works[0], self.world.clock, self.feed, guard)
        return self.purging

    def set(self, **changes: Any) -> None:
        settings = self.settings.model_copy(update=changes)
        self.feed = SettingsFeed("unused", settings)
        self.feed.caught_up = True
        self.with_guard(self.guard)

    # --- what the owner tells -------------------------------------------------------------------------------------

    async def uploaded(self, how_many: int) -> None:
        async with self.world.works[0].begin() as transaction:
            for _ in range(how_many):
                await Ledger(transaction.connection).know_uploaded(new_id())

    async def deleted(self, at: str, media_id: UUID | None = None, version: int = 1, size_bytes: int = 1000) -> UUID:
        event = MediaDeletedV1(
            media_id=media_id or new_id(),
            version=version,
            revision=1,
            entity_type="product",
            size_bytes=size_bytes,
            files=5,
            deleted_at=utc(at),
            deleted_by=USER,
        )
        async with self.world.works[0].begin() as transaction:
            await Ledger(transaction.connection).know_deleted([event])
        return event.media_id

    async def restored(self, media_id: UUID, version: int) -> None:
        event = MediaRestoredV1(media_id=media_id, version=version, restored_at=utc(NIGHT), restored_by=USER)
        async with self.world.works[0].begin() as transaction:
            await Ledger(transaction.connection).know_restored(event)

    async def taken(self, command: dict[str, Any], begun: Sequence[UUID], passed_over: Sequence[UUID] = ()) -> None:
        event = MediaPurgeTakenV1(
            purge_id=UUID(command["purge_id"]),
            run_id=UUID(command["run_id"]),
            begun=tuple(begun),
            passed_over=tuple(passed_over),
            taken_at=self.world.clock.now(),
        )
        await self.purging.taken(event, delivery_of(event))

    async def gone(self, command: dict[str, Any], media_id: UUID) -> None:
        begun = MediaDeletionBegunV1(
            deletion_id=new_id(),
            media_id=media_id,
            version=9,
            revision=1,
            keeps_bucket=False,
            reason=DeletionReason.RETENTION,
            purge_id=UUID(command["purge_id"]),
            begun_by=None,
            begun_at=utc(NIGHT),
        )
        async with self.world.works[0].begin() as transaction:
            await Ledger(transaction.connection).know_going([begun])
            await self.purging.completed(transaction, [completion(media_id, begun.purge_id)])

    # --- the night ------------------------------------------------------------------------------------------------

    async def night(self, moment: str = NIGHT) -> dict[str, Any]:
        """Fire the purge of a night, and send what it commands; how its run stands."""
        await self.world.at(self.firing, moment)
        event = ScheduleDueV1.model_validate((await self.world.told(ScheduleDueV1))[-1])
        assert event.name == PURGE
        await self.purging.begin(event, delivery_of(event))
        await self.send()
        return await self.world.last_run(PURGE)

    async def send(self) -> None:
        while await self.purging.turn():
            pass

    async def commands(self) -> list[dict[str, Any]]:
        return await self.world.told(PurgeMediaV1)

    async def commanded(self) -> list[UUID]:
        return [UUID(medium["media_id"]) for command in await self.commands() for medium in command["media"]]

    async def decide(self, run: dict[str, Any], decision: Any) -> dict[str, Any]:
        command = DecideOnScheduleRunV1(
            run_id=UUID(run["run_id"]), name=PURGE, decision=decision, decided_by=USER, decided_at=utc(NIGHT)
        )
        await self.purging.decide(command, delivery_of(command))
        await self.send()
        return await self.world.last_run(PURGE)

    async def due(self, at: str, days: int | None = None, limit: int = 100) -> dict[str, Any]:
        question = DescribeDueMediaV1(
            question_id=new_id(), at=utc(at), retention_days=days, limit=limit, answer_by=datetime.now(UTC)
        )
        described = DueMedia(self.world.works[0], self.feed, self.guard, publisher=None)  # type: ignore[arg-type]
        body = (await described.described(question)).body
        assert body is not None
        return body


@pytest.fixture(scope="module")
async def module_database(databases: TestDatabases) -> AsyncIterator[TestDatabase]:
    made = await databases.create()
    yield made
    await databases.drop(made)


@pytest.fixture
async def purges(module_database: TestDatabase) -> AsyncIterator[Purges]:
    async with clock_world(module_database.dsn("cleanup-scheduler")) as world:
        made = Purges(world)
        made.firing = await world.begin("04-30T12:00", DEFINITIONS[PURGE])
        yield made


async def test_a_night_takes_what_was_deleted_long_enough_ago(purges: Purges) -> None:
    old = [await purges.deleted("03-01T10:00"), await purges.deleted("04-01T03:00")]
    young = await purges.deleted("04-01T03:00:01")
    run = await purges.night()
    assert (run["status"], run["owing"]) == ("running", ["ingest-api"])
    (command,) = await purges.commands()
    assert [UUID(medium["media_id"]) for medium in command["media"]] == old
    assert command["media"][1]["deleted_at"] == "2026-04-01T03:00:00Z"
    await purges.taken(command, old)
    await purges.gone(command, old[0])
    assert (await purges.world.last_run(PURGE))["status"] == "running"
    await purges.gone(command, old[1])
    ended = await purges.world.last_run(PURGE)
    assert (ended["status"], ended["counts"]) == ("done", {"media": 2, "passed_over": 0, "bytes": 2000})
    again = await purges.night("05-02T03:00")
    assert await purges.commanded() == [*old, young]
    assert again["status"] == "running"


async def test_no_more_is_commanded_than_may_be_on_its_way(purges: Purges, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_PURGED_AT_ONCE", 2), ("BATCHES_AT_ONCE", 1), ("MOST_OUTSTANDING", 4)):
        monkeypatch.setattr(f"cleanup_scheduler.purging.{name}", value)
    media = [await purges.deleted(f"03-0{day}T10:00") for day in range(1, 8)]
    await purges.night()
    assert await purges.commanded() == media[:4]
    first, second = await purges.commands()
    await purges.taken(first, media[:1], passed_over=media[1:2])
    await purges.send()
    assert len(await purges.commands()) == 2, "three are on their way: no room for a whole command"
    await purges.gone(first, media[0])
    await purges.send()
    assert await purges.commanded() == media[:6], "what was passed over makes room too"
    await purges.taken(second, media[2:4])
    await purges.gone(second, media[2])
    await purges.send()
    assert len(await purges.commands()) == 3
    await purges.gone(second, media[3])
    await purges.send()
    assert await purges.commanded() == media
    _, _, third, fourth = await purges.commands()
    for command, going in ((third, media[4:6]), (fourth, media[6:])):
        await purges.taken(command, going)
        for medium in going:
            await purges.gone(command, medium)
    await purges.send()
    ended = await purges.world.last_run(PURGE)
    assert (ended["status"], ended["counts"]["media"], ended["counts"]["passed_over"]) == ("done", 6, 1)
    await purges.night("05-02T03:00")
    assert await purges.commanded() == [*media, media[1]], "it is still deleted, as far as is known"


async def test_what_is_on_its_way_is_bounded_over_all_runs(purges: Purges, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_PURGED_AT_ONCE", 2), ("MOST_OUTSTANDING", 5)):
        monkeypatch.setattr(f"cleanup_scheduler.purging.{name}", value)
    for day in (1, 2, 3):
        await purges.deleted(f"03-0{day}T10:00")
    await purges.night()
    assert len(await purges.commanded()) == 3, "all of the first run are on their way"
    for day in (4, 5, 6):
        await purges.deleted(f"03-0{day}T10:00")
    await run_now(purges)
    assert len(await purges.commanded()) == 5, "the second run gets the room that the first has left"


async def test_who_tells_of_purges_at_once_does_not_wait_in_a_circle(purges: Purges) -> None:
    """One has been passed over for another deletion, which ends together with one of the same purge."""
    passed, begun = sorted([await purges.deleted("03-01T10:00"), await purges.deleted("03-02T10:00")])
    await purges.night()
    (command,) = await purges.commands()
    work = purges.world.works[0]
    both = [completion(passed, None), completion(begun, UUID(command["purge_id"]))]

    async def complete() -> None:
        async with work.begin() as transaction:
            await purges.purging.completed(transaction, both)

    async with work.database.connection() as holder, holder.transaction():
        await holder.execute("SELECT FROM media WHERE media_id = $1 FOR UPDATE", begun)
        completing = asyncio.create_task(complete())
        await eventually(lambda: waiting(purges, 1), why="the completion waits for the second of its media")
        taking = asyncio.create_task(purges.taken(command, [begun], passed_over=[passed]))
        await eventually(lambda: waiting(purges, 2), why="the answer waits for the completion")
    await asyncio.gather(completing, taking)
    assert (await purges.world.last_run(PURGE))["counts"] == {"media": 1, "passed_over": 1, "bytes": 1000}


def completion(media_id: UUID, purge_id: UUID | None) -> MediaDeletionCompletedV1:
    return MediaDeletionCompletedV1(
        deletion_id=new_id(),
        media_id=media_id,
        version=9,
        removed_files=5,
        removed_bytes=1000,
        kept_files=0,
        kept_bytes=0,
        purge_id=purge_id,
        completed_at=utc(NIGHT),
    )


async def waiting(purges: Purges, how_many: int) -> bool:
    """Whether so many transactions of this database wait for a lock."""
    sql = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return len(await purges.world.rows(sql)) == how_many


async def test_a_night_with_nothing_to_do_is_done_at_once(purges: Purges) -> None:
    await purges.deleted("04-20T10:00")
    assert (await purges.night())["status"] == "done"
    assert await purges.commands() == []


async def test_what_is_told_late_or_twice_is_passed_over(purges: Purges) -> None:
    medium = await purges.deleted("03-01T10:00", version=1)
    await purges.restored(medium, version=2)
    await purges.deleted("03-01T10:00", medium, version=1)
    assert (await purges.due(NIGHT))["media"] == 0
    await purges.deleted("03-02T10:00", medium, version=3)
    await purges.restored(medium, version=2)
    assert (await purges.due(NIGHT))["media"] == 1


async def test_what_will_go_is_told_before_for_any_moment_and_retention(purges: Purges) -> None:
    await purges.uploaded(100)
    first = await purges.deleted("03-01T10:00", size_bytes=1)
    await purges.deleted("03-20T10:00", size_bytes=10)
    await purges.deleted("04-20T10:00", size_bytes=100)
    tonight = await purges.due(NIGHT, limit=1)
    assert (tonight["media"], tonight["files"], tonight["bytes"], tonight["liveMedia"]) == (2, 10, 11, 100)
    assert (tonight["retentionDays"], tonight["needsApprovalBecause"]) == (30, None)
    assert [item["mediaId"] for item in tonight["items"]] == [str(first)]
    assert (await purges.due("05-20T10:00"))["bytes"] == 111
    assert (await purges.due(NIGHT, days=7))["bytes"] == 111
    assert (await purges.due(NIGHT, days=60))["bytes"] == 1
    assert await purges.commands() == []


async def test_batches_are_small_and_the_run_ends_with_the_last(purges: Purges) -> None:
    media = [await purges.deleted("03-01T10:00") for _ in range(120)]
    purges.with_guard(Guard(1000, 1.0, 1000))
    await purges.night()
    commands = await purges.commands()
    assert sorted(len(command["media"]) for command in commands) == [20, 100]
    assert set(await purges.commanded()) == set(media)
    for command in commands:
        begun = [UUID(medium["media_id"]) for medium in command["media"]]
        # Told of in another order than it happened: the topics of the two facts are read side by side.
        for media_id in begun:
            await purges.gone(command, media_id)
        await purges.taken(command, begun)
    assert (await purges.world.last_run(PURGE))["counts"] == {"media": 120, "passed_over": 0, "bytes": 120_000}


async def test_what_was_restored_meanwhile_is_passed_over_and_due_when_it_is_deleted_again(purges: Purges) -> None:
    medium = await purges.deleted("03-01T10:00")
    await purges.night()
    (command,) = await purges.commands()
    await purges.restored(medium, version=2)
    await purges.taken(command, [], [medium])
    ended = await purges.world.last_run(PURGE)
    assert (ended["status"], ended["counts"]) == ("done", {"media": 0, "passed_over": 1, "bytes": 0})
    await purges.deleted("05-01T10:00", medium, version=3)
    await purges.night("05-02T03:00")
    assert len(await purges.commands()) == 1
    await purges.night("06-01T03:00")
    assert await purges.commanded() == [medium, medium]


async def test_a_command_that_was_lost_is_sent_again_by_the_next_night(purges: Purges) -> None:
    medium = await purges.deleted("03-01T10:00")
    await purges.night()
    await purges.night("05-02T03:00")
    assert await purges.commanded() == [medium, medium]


async def test_a_lost_command_is_made_up_for_though_its_run_is_forgotten(purges: Purges) -> None:
    medium = await purges.deleted("03-01T10:00")
    await purges.night()
    await purges.world.rows("DELETE FROM runs RETURNING 1")
    await purges.night("05-02T03:00")
    assert await purges.commanded() == [medium, medium]


async def test_above_the_guard_nothing_goes_until_somebody_approves(purges: Purges) -> None:
    await purges.uploaded(50)
    media = {await purges.deleted("03-01T10:00") for _ in range(21)}
    run = await purges.night()
    assert run["status"] == "waiting_for_approval"
    assert run["needs_approval_because"] == "21 media would go for good, beside 50 that are not deleted"
    assert (await purges.due(NIGHT))["needsApprovalBecause"] == run["needs_approval_because"]
    # No deadline ends it.
    await purges.world.at(purges.firing, "05-01T22:00")
    assert await purges.commands() == []
    approved = await purges.decide(run, "approve")
    assert (approved["status"], approved["decided_by"]) == ("running", str(USER))
    assert approved["answer_by"] == "2026-05-02T10:00:00Z"
    assert set(await purges.commanded()) == media
    assert (await purges.decide(run, "refuse"))["status"] == "running"


async def test_what_was_refused_stays_and_comes_up_again_the_next_night(purges: Purges) -> None:
    for _ in range(21):
        await purges.deleted("03-01T10:00")
    refused = await purges.decide(await purges.night(), "refuse")
    assert (refused["status"], refused["owing"]) == ("refused", [])
    assert (await purges.decide(refused, "approve"))["status"] == "refused"
    second = await purges.night("05-02T03:00")
    third = await purges.night("05-03T03:00")
    assert second["status"] == third["status"] == "waiting_for_approval"
    told = [run for run in await purges.world.told(ScheduleRunChangedV1) if run["run_id"] == second["run_id"]][-1]
    assert (told["status"], told["detail"]) == (
        "refused",
        "not_approved: nobody approved it before the next run, which takes the same and more",
    )
    assert await purges.commands() == []


async def test_nothing_is_purged_where_that_is_switched_off_unless_a_person_asks(purges: Purges) -> None:
    medium = await purges.deleted("03-01T10:00")
    purges.set(auto_cleanup_enabled=False)
    night = await purges.night()
    assert (night["status"], night["detail"]) == ("skipped", "cleanup_off: autoCleanupEnabled is false")
    await run_now(purges)
    assert await purges.commanded() == [medium]


async def run_now(purges: Purges) -> None:
    command = RunScheduleV1(run_id=new_id(), name=PURGE, requested_by=USER, requested_at=purges.world.clock.now())
    await purges.world.commands.run_now(command, delivery_of(command))
    event = ScheduleDueV1.model_validate((await purges.world.told(ScheduleDueV1))[-1])
    assert event.run_id == command.run_id
    await purges.purging.begin(event, delivery_of(event))
    await purges.send()


async def test_nothing_goes_by_settings_that_were_not_read(purges: Purges) -> None:
    await purges.deleted("03-01T10:00")
    purges.feed.caught_up = False
    with pytest.raises(Postponed):
        await purges.night()
    assert await purges.commands() == []


async def test_a_due_time_that_comes_twice_plans_once(purges: Purges) -> None:
    await purges.deleted("03-01T10:00")
    await purges.world.at(purges.firing, NIGHT)
    event: Event = ScheduleDueV1.model_validate((await purges.world.told(ScheduleDueV1))[-1])
    assert isinstance(event, ScheduleDueV1)
    delivery = delivery_of(event)
    await purges.purging.begin(event, delivery)
    with pytest.raises(AlreadyHandled):
        await purges.purging.begin(event, delivery)
    await purges.send()
    assert len(await purges.commands()) == 1


async def test_a_purge_that_is_not_answered_in_time_is_open_and_ends_all_the_same(purges: Purges) -> None:
    medium = await purges.deleted("03-01T10:00")
    await purges.night()
    purges.world.clock.moment += timedelta(hours=12)
    await purges.firing.turn()
    assert (await purges.world.last_run(PURGE))["status"] == "open"
    (command,) = await purges.commands()
    await purges.taken(command, [medium])
    await purges.gone(command, medium)
    assert (await purges.world.last_run(PURGE))["status"] == "done"
