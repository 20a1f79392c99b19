"""File tasks of s3-syncer as a process: steps carried out once, in order, or taken back, on real stores and Kafka."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import FileAt, FilePlace, FileStep, RunFileTaskV1
from shared.identifiers import new_id
from shared.messaging.topics import SYNC_EVENTS, dead_letter_topic
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.running_service import RunningService
from tests.sync_world import BUCKET, SyncWorld
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack
KILL_SEEDS = int(os.environ.get("MEDIABUS_KILL_SEEDS", "2"))


@pytest.fixture(scope="module")
async def system(
    databases: TestDatabases,
    kafka_server: KafkaServer,
    object_store_server: ObjectStoreServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("file-tasks")
    environment = {
        **bucket_environment(object_store_server),
        "MEDIABUS_FILE_RETRY_SECONDS": "0.02",
        "MEDIABUS_SCOPE_HOLD_SECONDS": "2",
        "MEDIABUS_KAFKA_SESSION_TIMEOUT_SECONDS": "2",
    }
    async with system_of_its_own(databases, kafka_server, folder, environment) as made:
        yield made


@pytest.fixture(scope="module")
async def syncer(system: System) -> RunningService:
    return await system.started("s3-syncer")


class Tasks:
    """Asks for tasks of one scope and looks at the files on its own."""

    def __init__(self, world: SyncWorld) -> None:
        self.world = world
        self.scope = str(new_id())
        self.folder = f"products/{self.scope}/250g/hero-card"
        self._chance = random.Random(7)

    def key(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def at(self, name: str, place: FilePlace = FilePlace.BUCKET) -> FileAt:
        return FileAt(place=place, key=self.key(name))

    async def put(self, name: str, place: FilePlace = FilePlace.BUCKET, size_bytes: int = 3000) -> bytes:
        content = self._chance.randbytes(size_bytes)
        await self.put_bytes(name, content, place)
        return content

    async def put_bytes(self, name: str, content: bytes, place: FilePlace = FilePlace.BUCKET) -> None:
        if place is FilePlace.BUCKET:
            await self.world.client.put_object(Bucket=BUCKET, Key=self.key(name), Body=content)
            return
        path = self.world.disk / self.key(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    async def content(self, name: str, place: FilePlace = FilePlace.BUCKET) -> bytes | None:
        key = self.key(name)
        return await self.world.in_bucket(key) if place is FilePlace.BUCKET else self.world.on_disk(key)

    def copy(self, source: str, target: str, **options: Any) -> FileStep:
        places = {"source_place": FilePlace.BUCKET, "target_place": FilePlace.BUCKET} | options
        source_at = self.at(source, places.pop("source_place"))
        target_at = self.at(target, places.pop("target_place"))
        return FileStep(kind="copy", source=source_at, target=target_at, **places)

    def remove(self, name: str, place: FilePlace = FilePlace.BUCKET, **guard: Any) -> FileStep:
        return FileStep(kind="remove", target=self.at(name, place), **guard)

    def command(self, *steps: FileStep, is_atomic: bool = True) -> RunFileTaskV1:
        return RunFileTaskV1(
            task_id=new_id(), scope=self.scope, steps=steps, is_atomic=is_atomic, requested_at=datetime.now(UTC)
        )

    def answers(self, task_id: UUID) -> list[dict[str, Any]]:
        told = self.world.bus.seen(UUID(self.scope), "sync.file-task-ended.v1")
        return [fact for fact in told if fact["task_id"] == str(task_id)]

    async def ended(self, task_id: UUID, within_seconds: float = 60) -> dict[str, Any]:
        found = await eventually(lambda: self.answers(task_id), within_seconds=within_seconds, why="the task ends")
        answer: dict[str, Any] = found[0]
        return answer

    async def run(self, *steps: FileStep, is_atomic: bool = True) -> dict[str, Any]:
        command = self.command(*steps, is_atomic=is_atomic)
        await self.world.bus.send(command)
        return await self.ended(command.task_id)

    async def nothing_is_set_aside(self) -> bool:
        listed = await self.world.client.list_objects_v2(Bucket=BUCKET, Prefix="set-aside/")
        on_disk = [path for path in (self.world.disk / "set-aside").rglob("*") if path.is_file()]
        return not listed.get("Contents") and not on_disk


def statuses(answer: dict[str, Any]) -> list[str]:
    return [result["status"] for result in answer["results"]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
async def tasks(system: System, syncer: RunningService, object_store_server: ObjectStoreServer) -> AsyncIterator[Tasks]:
    if not syncer.running:
        syncer.start()
        await syncer.wait_until_ready()
    async with (
        Bus(system.kafka_bootstrap, SYNC_EVENTS, dead_letter_topic("s3-syncer")) as bus,
        object_store_server.client() as client,
    ):
        yield Tasks(SyncWorld(system, bus, client))


async def test_a_staged_file_goes_to_bucket_and_disk(tasks: Tasks) -> None:
    content = await tasks.put("staged", FilePlace.DISK, 400_000)
    digest = sha256(content)
    arriving = {"source_place": FilePlace.STAGING, "sha256": digest}
    steps = (
        tasks.copy("staged", "a.jpg", **arriving),
        tasks.copy("staged", "a.jpg", target_place=FilePlace.DISK, **arriving),
        tasks.remove("staged", FilePlace.STAGING, sha256=digest),
    )
    answer = await tasks.run(*steps)
    assert (answer["succeeded"], statuses(answer), answer["scope"]) == (True, ["done"] * 3, tasks.scope)
    assert [result["sha256"] for result in answer["results"][:2]] == [digest, digest]
    assert answer["results"][0]["size_bytes"] == len(content)
    head = await tasks.world.client.head_object(Bucket=BUCKET, Key=tasks.key("a.jpg"))
    assert (head["ContentType"], head["Metadata"]) == ("image/jpeg", {"sha256": digest})
    assert head["ETag"].strip('"') == answer["results"][0]["etag"]
    assert await tasks.content("a.jpg") == await tasks.content("a.jpg", FilePlace.DISK) == content
    assert await tasks.content("staged", FilePlace.DISK) is None
    # The same work again finds it done, though the source is gone.
    again = await tasks.run(*steps)
    assert (again["succeeded"], statuses(again)) == (True, ["unchanged"] * 3)


async def test_a_conflict_takes_nothing_and_makes_nothing(tasks: Tasks) -> None:
    await tasks.put("old")
    other = await tasks.put("taken")
    answer = await tasks.run(tasks.copy("old", "new"), tasks.copy("old", "taken"))
    assert (answer["succeeded"], statuses(answer)) == (False, ["not_tried", "failed"])
    assert answer["results"][1]["code"] == "conflict"
    assert (await tasks.content("new"), await tasks.content("taken")) == (None, other)


async def test_a_failed_task_leaves_everything_as_it_was(tasks: Tasks) -> None:
    kept, replaced, removed = [await tasks.put(name) for name in ("kept", "replaced", "removed")]
    there = await tasks.put("there")
    await tasks.put_bytes("there-too", there)
    steps = (
        tasks.copy("kept", "made"),
        tasks.copy("there", "there-too"),
        tasks.copy("kept", "replaced", replaces=True),
        tasks.remove("removed"),
        # Fails for good only after all others were carried out: its source comes from none of them.
        tasks.copy("nowhere", "never"),
    )
    answer = await tasks.run(*steps)
    assert (answer["succeeded"], statuses(answer)) == (False, ["undone", "unchanged", "undone", "undone", "failed"])
    assert answer["results"][4]["code"] == "source_missing"
    contents = [await tasks.content(name) for name in ("kept", "made", "replaced", "removed", "there-too")]
    assert contents == [kept, None, replaced, removed, there]
    await eventually(tasks.nothing_is_set_aside, why="nothing is set aside")


async def test_steps_of_a_task_that_is_not_atomic_fail_alone(tasks: Tasks) -> None:
    content = await tasks.put("old")
    steps = (tasks.copy("nowhere", "a"), tasks.copy("old", "b"), tasks.copy("nowhere", "c", may_lack_source=True))
    answer = await tasks.run(*steps, is_atomic=False)
    assert (answer["succeeded"], statuses(answer)) == (False, ["failed", "done", "unchanged"])
    assert answer["results"][2]["code"] == "source_missing"
    assert await tasks.content("b") == content


async def test_only_what_is_meant_is_removed(tasks: Tasks) -> None:
    content = await tasks.put("a")
    listed = await tasks.world.client.head_object(Bucket=BUCKET, Key=tasks.key("a"))
    answer = await tasks.run(tasks.remove("a", sha256="0" * 64))
    assert (answer["succeeded"], answer["results"][0]["code"]) == (False, "changed")
    answer = await tasks.run(tasks.remove("a", etag="0" * 32))
    assert (answer["succeeded"], answer["results"][0]["code"]) == (False, "changed")
    assert await tasks.content("a") == content
    answer = await tasks.run(tasks.remove("a", sha256=sha256(content), etag=listed["ETag"].strip('"')))
    assert (answer["succeeded"], await tasks.content("a")) == (True, None)


async def test_only_what_is_meant_is_copied(tasks: Tasks) -> None:
    await tasks.put("a")
    head = await tasks.world.client.head_object(Bucket=BUCKET, Key=tasks.key("a"))
    answer = await tasks.run(tasks.copy("a", "b", etag="0" * 32))
    assert (answer["succeeded"], answer["results"][0]["code"]) == (False, "changed")
    assert await tasks.content("b") is None
    assert (await tasks.run(tasks.copy("a", "b", etag=head["ETag"].strip('"'))))["succeeded"]


async def test_damaged_bytes_are_not_passed_on(tasks: Tasks) -> None:
    await tasks.put("damaged")
    meant = {"sha256": sha256(b"what it should hold")}
    for options in ({}, {"target_place": FilePlace.DISK}):
        answer = await tasks.run(tasks.copy("damaged", "copy", **options, **meant))
        assert (answer["succeeded"], answer["results"][0]["code"]) == (False, "checksum_mismatch")
        assert await tasks.content("copy", options.get("target_place", FilePlace.BUCKET)) is None


async def test_a_key_that_the_store_refuses_fails_and_takes_the_others_back(tasks: Tasks) -> None:
    await tasks.put("old")
    answer = await tasks.run(tasks.copy("old", "new"), tasks.copy("old", "old/below"))
    assert (answer["succeeded"], statuses(answer)) == (False, ["undone", "failed"])
    assert await tasks.content("new") is None


async def test_a_task_that_comes_again_is_answered_again_and_not_done_again(tasks: Tasks) -> None:
    content = await tasks.put("old")
    command = tasks.command(tasks.copy("old", "new"))
    event_id = new_id()
    await tasks.world.bus.send(command, event_id)
    first = await tasks.ended(command.task_id)
    await tasks.run(tasks.remove("new", sha256=sha256(content)))
    await tasks.world.bus.send(command, event_id)
    await tasks.world.bus.send(command)
    await eventually(lambda: len(tasks.answers(command.task_id)) == 2, why="it is answered again, once")
    assert tasks.answers(command.task_id) == [first, first]
    assert await tasks.content("new") is None


async def test_while_the_bucket_is_away_tasks_wait_in_their_order(
    tasks: Tasks, object_store_server: ObjectStoreServer
) -> None:
    content = await tasks.put("a")
    chain = [tasks.command(tasks.copy(name, following)) for name, following in ("ab", "bc", "cd")]
    await object_store_server.stop()
    try:
        for command in chain:
            await tasks.world.bus.send(command)
        await eventually(lambda: put_off(tasks), within_seconds=40, why="the tasks are put off")
        assert not any(tasks.answers(command.task_id) for command in chain)
    finally:
        await object_store_server.start()
    answers = [await tasks.ended(command.task_id, within_seconds=60) for command in chain]
    # Each copies what the one before it has made: out of order they would have failed.
    assert [statuses(answer) for answer in answers] == [["done"]] * 3
    assert await tasks.content("d") == content


async def put_off(tasks: Tasks) -> bool:
    rows = await tasks.world.rows(
        "SELECT 1 FROM outbox WHERE topic = 's3-syncer.retry' AND key = $1 AND headers ? 'mb_postponed'", tasks.scope
    )
    return bool(rows)


async def test_disk_tasks_go_on_while_the_bucket_is_away(tasks: Tasks, object_store_server: ObjectStoreServer) -> None:
    content = await tasks.put("a", FilePlace.DISK)
    on_disk = {"source_place": FilePlace.DISK, "target_place": FilePlace.DISK}
    await object_store_server.stop()
    try:
        answer = await tasks.run(tasks.copy("a", "b", **on_disk), tasks.remove("a", FilePlace.DISK))
    finally:
        await object_store_server.start()
    assert answer["succeeded"]
    assert (await tasks.content("a", FilePlace.DISK), await tasks.content("b", FilePlace.DISK)) == (None, content)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(1, 1 + KILL_SEEDS))
@pytest.mark.parametrize("fails", [False, True])
async def test_kill_9_in_the_middle_of_a_task(tasks: Tasks, syncer: RunningService, seed: int, fails: bool) -> None:
    """A move of many files ends wholly done or, where its last step fails, wholly as it was before."""
    chance = random.Random(seed)
    names = [f"{index}.jpg" for index in range(120)]
    contents = {name: await tasks.put(f"old/{name}", size_bytes=2000) for name in names}
    steps: list[FileStep] = [tasks.copy(f"old/{name}", f"new/{name}", sha256=sha256(contents[name])) for name in names]
    steps += [tasks.remove(f"old/{name}", sha256=sha256(contents[name])) for name in names]
    if fails:
        steps.append(tasks.copy("nowhere", "never"))
    command = tasks.command(*steps)
    await tasks.world.bus.send(command)
    for _ in range(3):
        if tasks.answers(command.task_id):
            break
        await asyncio.sleep(chance.uniform(0.05, 1.2))  # the moment of death is what the seed chooses
        syncer.kill()
        syncer.start()
        await syncer.wait_until_ready()
    answer = await tasks.ended(command.task_id, within_seconds=60)
    assert answer["succeeded"] is not fails
    await assert_all(tasks, names, contents, present="old" if fails else "new", absent="new" if fails else "old")
    await eventually(tasks.nothing_is_set_aside, why="nothing is set aside")


async def assert_all(
    tasks: Tasks, names: Sequence[str], contents: dict[str, bytes], *, present: str, absent: str
) -> None:
    for name in names:
        assert await tasks.content(f"{present}/{name}") == contents[name]
        assert await tasks.content(f"{absent}/{name}") is None


async def test_a_full_task_of_500_steps(tasks: Tasks) -> None:
    names = [f"{index}.jpg" for index in range(250)]
    await asyncio.gather(*(tasks.put(f"old/{name}", size_bytes=500) for name in names))
    steps = [tasks.copy(f"old/{name}", f"new/{name}") for name in names]
    steps += [tasks.remove(f"old/{name}") for name in names]
    answer = await tasks.run(*steps)
    assert (answer["succeeded"], set(statuses(answer))) == (True, {"done"})
