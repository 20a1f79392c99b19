"""Every schedule, run now: whoever owes an answer gives it, from the HTTP call to the counts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cleanup_scheduler.catalogue import DEFINITIONS
from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.api_client import Api, signed_in
from tests.system import bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack

PATH = "/api/admin/schedules"
PRESENT = ("ingest-api", "image-processor", "s3-syncer", "reconciler", "cleanup-scheduler")


async def ended(api: Api, name: str) -> dict[str, Any]:
    started = await api.http.post(f"{PATH}/{name}/run")
    assert started.status_code == 202, started.text

    async def run() -> dict[str, Any] | None:
        found: dict[str, Any] = (await api.http.get(started.headers["location"])).json()
        return found if found["endedAt"] else None

    found: dict[str, Any] = await eventually(run, within_seconds=60, every_seconds=0.1, why=f"{name} has ended")
    return found


async def test_all_who_owe_an_answer_give_it(
    databases: TestDatabases, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path: Path
) -> None:
    environment = {**bucket_environment(object_store_server), "MEDIABUS_ABSENT_SERVICES": '["face-embedder"]'}
    async with system_of_its_own(databases, kafka_server, tmp_path, environment) as system:
        await system.make_superadmin()
        await system.start_all(*PRESENT)
        async with signed_in(system, system.services[0].base_url) as api:

            async def is_told() -> bool:
                return len((await api.http.get(PATH)).json()["schedules"]) == len(DEFINITIONS)

            await eventually(is_told, why="the clock tells of every schedule")
            runs = await asyncio.gather(*(ended(api, name) for name in DEFINITIONS))
    outcomes = {run["schedule"]: run["status"] for run in runs}
    # Nobody here looks for faces.
    assert outcomes == {**dict.fromkeys(DEFINITIONS, "done"), "consents.expiry": "skipped"}, runs
    answered = {run["schedule"]: {answer["service"] for answer in run["answers"]} for run in runs}
    assert answered["messages.pruning"] == set(PRESENT)
    assert answered["jobs.retention"] == set(PRESENT) - {"image-processor"}
    assert all(answer["error"] is None for run in runs for answer in run["answers"])
