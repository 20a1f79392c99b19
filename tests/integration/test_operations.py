"""How services fare: what their processes tell, and what is shown of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka_server import KafkaServer
from shared.events import HeartbeatV1
from shared.messaging.topics import OPS_EVENTS, SERVICES, ensure_topics
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.ingest_site import IngestSite, running_site
from tests.integration.scheduled_site import with_one_schedule
from tests.system import system_of_its_own

pytestmark = pytest.mark.stack

PATH = "/api/admin/ops"


@pytest.fixture(scope="module")
async def running(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    folder = tmp_path_factory.mktemp("site") / "media"
    async with running_site(database, folder, jaeger_url="https://traces.example.test/") as made:
        yield made
    await databases.drop(database)


@pytest.fixture
async def site(running: IngestSite) -> IngestSite:
    await running.rows.execute("TRUNCATE replicas")
    return running


async def beat(
    site: IngestSite, instance: str = "a-1", ago_seconds: float = 0, now: datetime | None = None, **changes: Any
) -> None:
    """`now` orders several words however long it takes to tell them."""
    now = now or datetime.now(UTC)
    values: dict[str, Any] = {
        "service": "s3-syncer",
        "instance": instance,
        "version": "0.1.0",
        "started_at": now - timedelta(hours=1),
        "told_at": now - timedelta(seconds=ago_seconds),
        "every_seconds": 10,
        "is_ready": True,
        "lag_messages": {"sync.jobs": 2},
    }
    assert await site.handlers.deliver(HeartbeatV1(**{**values, **changes}))


async def shown(site: IngestSite) -> dict[str, Any]:
    services = (await site.api.get(f"{PATH}/services")).json()["services"]
    assert [one["service"] for one in services] == list(SERVICES)
    syncer: dict[str, Any] = next(one for one in services if one["service"] == "s3-syncer")
    return syncer


async def test_a_service_is_the_sum_of_its_replicas(site: IngestSite) -> None:
    assert (await shown(site))["status"] == "not_seen"
    await beat(site, "a-1", outbox_waiting=7)
    await beat(site, "b-2", lag_messages={"sync.jobs": 3, "sync.batches": 1})
    syncer = await shown(site)
    assert (syncer["status"], syncer["outboxWaiting"]) == ("ready", 7)
    assert syncer["lagMessages"] == {"sync.batches": 1, "sync.jobs": 5}
    assert [(one["instance"], one["status"], one["version"]) for one in syncer["replicas"]] == [
        ("a-1", "ready", "0.1.0"),
        ("b-2", "ready", "0.1.0"),
    ]


async def test_who_is_silent_is_not_seen_and_who_says_farewell_is_gone(site: IngestSite) -> None:
    await beat(site, "a-1", ago_seconds=20)
    await beat(site, "b-2", ago_seconds=31)
    await beat(site, "c-3", ago_seconds=601)
    syncer = await shown(site)
    assert syncer["status"] == "degraded"
    assert {one["instance"]: one["status"] for one in syncer["replicas"]} == {"a-1": "ready", "b-2": "not_seen"}
    assert syncer["lagMessages"] == {"sync.jobs": 2}, "of those that are seen"
    await beat(site, "b-2", is_stopping=True)
    assert (await shown(site))["status"] == "ready"


async def test_a_word_that_comes_behind_a_farewell_brings_nobody_back(site: IngestSite) -> None:
    now = datetime.now(UTC)
    await beat(site, "a-1", now=now)
    await beat(site, "b-2", ago_seconds=5, now=now, is_stopping=True)
    await beat(site, "b-2", ago_seconds=8, now=now)
    assert [one["instance"] for one in (await shown(site))["replicas"]] == ["a-1"]
    # A farewell that comes late takes nobody away who was heard since: a process under the same name.
    await beat(site, "b-2", ago_seconds=2, now=now)
    await beat(site, "b-2", ago_seconds=5, now=now, is_stopping=True)
    assert [one["instance"] for one in (await shown(site))["replicas"]] == ["a-1", "b-2"]


async def test_the_newest_word_counts_and_says_why_a_replica_is_not_ready(site: IngestSite) -> None:
    now = datetime.now(UTC)
    await beat(site, now=now, is_ready=False, problems={"kafka": "no answer"})
    await beat(site, ago_seconds=5, now=now)
    syncer = await shown(site)
    assert syncer["status"] == "not_ready"
    assert syncer["replicas"][0]["problems"] == {"kafka": "no answer"}


async def test_who_did_what_is_one_list_newest_first(site: IngestSite) -> None:
    await with_one_schedule(site)
    medium = (await site.uploaded())["mediaId"]
    await site.api.patch("/api/admin/media/settings", json={"softDeleteRetentionDays": 9})
    await site.api.post("/api/admin/schedules/media.purge/run")
    await site.api.delete(f"/api/admin/media/{medium}", params={"hard": "true"})
    await site.api.post("/api/admin/media/delete", json={"mediaIds": [medium]})

    async def page(**query: Any) -> tuple[list[dict[str, Any]], str | None]:
        answer = await site.api.get(f"{PATH}/audit", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["entries"], answer.json()["nextCursor"]

    entries, end = await page()
    assert [(one["area"], one["action"]) for one in entries] == [
        ("selections", "delete"),
        ("deletions", "delete_for_good"),
        ("schedules", "run"),
        ("settings", "changed"),
    ]
    assert end is None
    assert {one["doneBy"] for one in entries} == {str(site.user_id)}
    assert {one["email"] for one in entries} == {f"{site.user_id}@example.test"}
    assert [one["subject"] for one in entries[1:]] == [medium, "media.purge", "media"]
    assert entries[3]["detail"]["after"] == {"softDeleteRetentionDays": 9}
    first, cursor = await page(limit=3)
    rest, end = await page(limit=3, cursor=cursor)
    assert (first + rest, end) == (entries, None)
    assert (await page(area="schedules"))[0] == [entries[2]]


async def test_links_lead_to_where_people_see_more(site: IngestSite) -> None:
    assert (await site.api.get(f"{PATH}/links")).json() == {
        "jaeger": "https://traces.example.test",
        "grafana": None,
        "trace": "https://traces.example.test/trace/{traceId}",
    }


async def test_a_process_tells_how_it_fares_and_that_it_ends(
    databases: TestDatabases, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    await ensure_topics(kafka_server.bootstrap)
    environment = {"MEDIABUS_HEARTBEAT_SECONDS": "0.5", "MEDIABUS_INSTANCE": f"clock-{tmp_path.name}"}
    async with (
        system_of_its_own(databases, kafka_server, tmp_path, environment) as system,
        Bus(kafka_server.bootstrap, OPS_EVENTS) as bus,
    ):

        def told(**wanted: bool) -> list[dict[str, Any]]:
            beats = [one for one in bus.told("ops.heartbeat.v1") if one["instance"] == f"clock-{tmp_path.name}"]
            return [one for one in beats if wanted.items() <= one.items()]

        clock = await system.started("cleanup-scheduler")
        ready = await eventually(lambda: told(is_ready=True), why="it tells that it is ready")
        assert (ready[0]["service"], ready[0]["problems"]) == ("cleanup-scheduler", {})
        assert "media.events" in ready[0]["lag_messages"]
        assert ready[0]["version"] == "0.1.0"
        await eventually(lambda: len(told(is_ready=True)) > 1, why="it tells so again")
        assert await clock.stop() == 0
        await eventually(lambda: told(is_stopping=True), why="it says farewell")
