"""Whole outages: Kafka away, PostgreSQL away, processes killed at the worst moment. Everything ends completed once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.ports import free_port
from deploy.local.postgres import PostgresServer
from shared.messaging.topics import ensure_topics
from shared.testing.databases import TestDatabases
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.files_on_disk import files_below
from tests.running_service import RunningService
from tests.system import System, running_system

pytestmark = [pytest.mark.stack, pytest.mark.fault]


@dataclass
class Breakable:
    """A system on servers of its own, which may be killed."""

    system: System
    postgres: PostgresServer
    kafka: KafkaServer
    ingest: RunningService
    processor: RunningService
    api: Api

    async def repair(self) -> None:
        for server in (self.postgres, self.kafka):
            if not server.running:
                await server.start()
        for service in (self.ingest, self.processor):
            if not service.running:
                service.start()
        await asyncio.gather(self.ingest.wait_until_ready(), self.processor.wait_until_ready())

    def staged_files(self) -> list[str]:
        return sorted(path.name for path in files_below(self.system.media_root / "staging"))

    async def assert_nothing_is_staged(self) -> None:
        """Staged files go behind what is told of their pictures."""
        await eventually(lambda: self.staged_files() == [], why="nothing is staged")

    async def unsent(self) -> int:
        rows = await self.system.rows("ingest-api", "SELECT count(*) AS n FROM outbox WHERE sent_at IS NULL")
        return int(rows[0]["n"])

    async def nothing_is_unsent(self) -> bool:
        return await self.unsent() == 0

    async def completed_once(self, accepted: list[dict[str, str]], within_seconds: float = 120) -> None:
        await self.api.all_completed([entry["jobId"] for entry in accepted], within_seconds)
        media = [entry["mediaId"] for entry in accepted]
        rows = await self.system.rows(
            "image-processor", "SELECT count(*) AS n FROM images WHERE media_id = ANY($1::uuid[])", media
        )
        assert rows[0]["n"] == len(media)
        notices = await self.system.rows(
            "ingest-api",
            "SELECT count(*) AS n FROM notices WHERE type = 'media:processed' AND media_id = ANY($1::uuid[])",
            media,
        )
        assert notices[0]["n"] == len(media)


@pytest.fixture(scope="module")
async def system_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Breakable]:
    folder = tmp_path_factory.mktemp("breakable")
    postgres = PostgresServer(folder / "postgres", free_port())
    kafka = KafkaServer(folder / "kafka", free_port())
    try:
        await asyncio.gather(postgres.start(), kafka.start())
        await ensure_topics(kafka.bootstrap)
        database = await (await TestDatabases.prepare(postgres.admin_dsn)).create()
        system = System(database, kafka.bootstrap, folder / "media", folder)
        async with running_system(system):
            await system.make_superadmin()
            ingest, processor = system.service("ingest-api"), system.service("image-processor")
            for service in (ingest, processor):
                service.start()
            await asyncio.gather(ingest.wait_until_ready(), processor.wait_until_ready())
            async with signed_in(system, ingest.base_url) as api:
                yield Breakable(system, postgres, kafka, ingest, processor, api)
    finally:
        for server in (kafka, postgres):
            if server.running:
                await server.stop()


@pytest.fixture
async def breakable(system_of_its_own: Breakable) -> Breakable:
    """Whole again, whatever the test before left broken."""
    await system_of_its_own.repair()
    return system_of_its_own


def pictures(count: int, width_px: int = 640, height_px: int = 480) -> list[bytes]:
    return [photo_jpeg(width_px, height_px, seed=number) for number in range(count)]


async def test_uploads_are_accepted_while_kafka_is_away_and_run_when_it_is_back(breakable: Breakable) -> None:
    await breakable.kafka.kill()
    accepted = [await breakable.api.upload(content) for content in pictures(6)]
    jobs = [await breakable.api.job(entry["jobId"]) for entry in accepted]
    assert {job["status"] for job in jobs} == {"waiting"}
    async with httpx.AsyncClient() as client:
        live = await client.get(f"{breakable.processor.base_url}/health/live", timeout=30)
        ready = await client.get(f"{breakable.processor.base_url}/health/ready", timeout=30)
    assert live.status_code == 200, "a restart would not bring Kafka back"
    assert ready.status_code == 503
    await breakable.kafka.start()
    await breakable.completed_once(accepted)
    await breakable.assert_nothing_is_staged()


async def test_uploads_are_refused_while_postgresql_is_away_and_leave_no_file(breakable: Breakable) -> None:
    before = await breakable.api.upload(pictures(1)[0])
    await breakable.api.ended(before["jobId"])
    await breakable.postgres.kill()
    answers = await asyncio.gather(*(breakable.api.post(content) for content in pictures(4)))
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"].startswith("application/problem+json")
    await breakable.assert_nothing_is_staged()
    await breakable.postgres.start()

    async def accepted_again() -> dict[str, str] | None:
        answer = await breakable.api.post(pictures(1)[0])
        return answer.json() if answer.status_code == 202 else None

    accepted = await eventually(accepted_again, within_seconds=60, every_seconds=0.5, why="uploads are taken again")
    await breakable.completed_once([before, accepted])


async def test_postgresql_killed_while_pictures_are_in_hand_uses_up_no_attempt(breakable: Breakable) -> None:
    accepted = [await breakable.api.upload(content) for content in pictures(12, 1600, 1200)]
    first = accepted[0]["mediaId"]
    await eventually(
        lambda: breakable.system.rows("image-processor", "SELECT 1 FROM images WHERE media_id = $1::uuid", first),
        within_seconds=60,
        why="work is under way",
    )
    await breakable.postgres.kill()
    await asyncio.sleep(3)  # the outage itself: long enough for what is in hand to run into it
    await breakable.postgres.start()
    await breakable.completed_once(accepted)
    attempts = await breakable.system.rows(
        "image-processor",
        "SELECT max(attempt) AS most FROM images WHERE media_id = ANY($1::uuid[])",
        [entry["mediaId"] for entry in accepted],
    )
    assert attempts[0]["most"] == 1


async def test_kafka_killed_again_and_again_under_load(breakable: Breakable) -> None:
    accepted: list[dict[str, str]] = []
    for _ in range(3):
        accepted += [await breakable.api.upload(content) for content in pictures(5)]
        await breakable.kafka.kill()
        accepted += [await breakable.api.upload(content) for content in pictures(3)]
        await breakable.kafka.start()
    await breakable.completed_once(accepted, within_seconds=180)


async def test_relay_killed_between_commit_and_publish(breakable: Breakable) -> None:
    """What was committed and not published is published by the process that follows."""
    await eventually(breakable.nothing_is_unsent, why="what others wrote is published")
    await breakable.kafka.kill()  # so that nothing leaves before the kill
    accepted = [await breakable.api.upload(content) for content in pictures(5)]
    assert await breakable.unsent() == 2 * len(accepted)
    breakable.ingest.signal(signal.SIGKILL)
    await eventually(lambda: not breakable.ingest.running, why="ingest-api is dead")
    await breakable.kafka.start()
    breakable.ingest.start()
    await breakable.ingest.wait_until_ready()
    await breakable.completed_once(accepted)
    await eventually(breakable.nothing_is_unsent, why="all is published")


async def test_every_process_is_killed_in_turn_under_load(breakable: Breakable) -> None:
    accepted: list[dict[str, str]] = []
    for round_number in range(2):
        for service in (breakable.processor, breakable.ingest):
            accepted += [await breakable.api.upload(content) for content in pictures(4, 1200, 900)]
            service.signal(signal.SIGKILL)
            await eventually(_dead(service), why="it is dead")
            service.start()
            await service.wait_until_ready()
        assert round_number < 2
    await breakable.completed_once(accepted, within_seconds=180)
    await breakable.assert_nothing_is_staged()


def _dead(service: RunningService) -> Callable[[], bool]:
    return lambda: not service.running
