"""Schedules over HTTP: what is shown, what is refused, and what the clock is asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from deploy.local.kafka_server import KafkaServer
from ingest_api.accounts import Role
from shared.events import (
    ChangeScheduleV1,
    DecideOnScheduleRunV1,
    RunScheduleV1,
    ScheduleRunStatus,
    WorkAnswer,
)
from shared.identifiers import new_id
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.api_client import signed_in
from tests.ingest_site import PICTURE, IngestSite, running_site
from tests.integration.scheduled_site import NEXT, tell, tell_run, with_one_schedule
from tests.system import system_of_its_own

pytestmark = pytest.mark.stack

PATH = "/api/admin/schedules"


@pytest.fixture(scope="module")
async def running(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[IngestSite]:
    database = await databases.create()
    async with running_site(database, tmp_path_factory.mktemp("site") / "media") as made:
        yield made
    await databases.drop(database)


@pytest.fixture
async def site(running: IngestSite) -> IngestSite:
    """Of which cleanup-scheduler has told one schedule, and nothing else."""
    return await with_one_schedule(running)


async def commands(site: IngestSite, event_type: str) -> list[dict[str, Any]]:
    sql = "SELECT payload FROM outbox WHERE headers->>'ce_type' = $1 ORDER BY id"
    return [json.loads(row["payload"]) for row in await site.rows.fetch(sql, event_type)]


def wrong_fields(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


async def test_schedules_are_listed_with_their_next_firings_and_last_run(site: IngestSite) -> None:
    done = WorkAnswer(service="ingest-api", counts={"media": 3}, ended_at=NEXT)
    run_id = await tell_run(
        site, ScheduleRunStatus.OPEN, counts={"media": 3}, answers=(done,), owing=("reconciler",), missed=2
    )
    await tell(site, version=2, next_due_at=NEXT + timedelta(days=1))
    await tell(site, version=1, cron="0 5 * * *")
    (schedule,) = (await site.api.get(PATH)).json()["schedules"]
    assert (schedule["cron"], schedule["timeZone"], schedule["missed"]) == ("0 3 * * *", "UTC", "run_once")
    assert schedule["nextFirings"] == ["2030-03-30T03:00:00Z", "2030-03-31T03:00:00Z", "2030-04-01T03:00:00Z"]
    run = schedule["lastRun"]
    assert (run["id"], run["status"], run["missed"]) == (str(run_id), "open", 2)
    assert (run["counts"], run["owing"]) == ({"media": 3}, ["reconciler"])
    assert run["answers"][0] == {
        "service": "ingest-api",
        "counts": {"media": 3},
        "error": None,
        "endedAt": "2030-03-29T03:00:00Z",
    }
    assert (await site.api.get(f"{PATH}/media.purge")).json() == schedule


async def test_a_change_is_shown_at_once_commanded_and_on_record(site: IngestSite) -> None:
    changes = {"cron": "30 2 * * *", "timeZone": "Europe/Berlin", "missed": "skip"}
    asked_at = datetime.now(UTC)
    answer = await site.api.patch(f"{PATH}/media.purge", json=changes)
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert (changed["cron"], changed["timeZone"], changed["missed"]) == ("30 2 * * *", "Europe/Berlin", "skip")
    assert len(changed["nextFirings"]) == 3
    first = datetime.fromisoformat(changed["nextFirings"][0])
    # In the night in which clocks are set back there is an hour more between two firings.
    assert asked_at < first <= datetime.now(UTC) + timedelta(hours=25)
    (command,) = await commands(site, ChangeScheduleV1.event_type)
    assert (command["cron"], command["time_zone"], command["missed"]) == ("30 2 * * *", "Europe/Berlin", "skip")
    assert (command["is_paused"], command["requested_by"]) == (None, str(site.user_id))
    paused = (await site.api.patch(f"{PATH}/media.purge", json={"paused": True})).json()
    assert (paused["paused"], paused["nextFirings"]) == (True, [])
    assert (await site.api.patch(f"{PATH}/media.purge", json={})).status_code == 200
    audit = (await site.api.get(f"{PATH}/media.purge/audit", params={"limit": 1})).json()
    assert [one["changes"] for one in audit["requests"]] == [{"paused": True}]
    further = await site.api.get(f"{PATH}/media.purge/audit", params={"cursor": audit["nextCursor"]})
    assert [one["changes"] for one in further.json()["requests"]] == [changes]
    assert len(await commands(site, ChangeScheduleV1.event_type)) == 2


@pytest.mark.parametrize(
    ("body", "field", "help_text"),
    [
        ({"cron": "at noon"}, "cron", "such as `0 3 * * *`"),
        ({"cron": "0 25 * * *"}, "cron", "the field for the hour"),
        ({"cron": "0 3 31 2 *"}, "cron", "day of month"),
        ({"timeZone": "Europe/Berln"}, "timeZone", "did you mean Europe/Berlin"),
    ],
)
async def test_what_can_not_be_timed_is_refused_with_help(
    site: IngestSite, body: dict[str, Any], field: str, help_text: str
) -> None:
    wrong = wrong_fields(await site.api.patch(f"{PATH}/media.purge", json=body))
    assert set(wrong) == {field}
    assert help_text in wrong[field]
    assert await commands(site, ChangeScheduleV1.event_type) == []


async def test_a_run_can_be_asked_for_and_followed(site: IngestSite) -> None:
    answer = await site.api.post(f"{PATH}/media.purge/run")
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["trigger"], run["status"], run["requestedBy"]) == ("person", "running", str(site.user_id))
    assert answer.headers["location"] == f"{PATH}/runs/{run['id']}"
    (command,) = await commands(site, RunScheduleV1.event_type)
    assert command["run_id"] == run["id"]
    await tell_run(site, ScheduleRunStatus.DONE, run_id=UUID(run["id"]), counts={"media": 1})
    assert (await site.api.get(answer.headers["location"])).json()["counts"] == {"media": 1}


async def test_runs_are_listed_newest_first_page_by_page(site: IngestSite) -> None:
    # Of one millisecond they would be in no particular order.
    *ids, other = [str(one) for one in sorted(new_id() for _ in range(4))]
    for run_id in ids:
        await tell_run(site, ScheduleRunStatus.DONE, run_id=UUID(run_id))
    await tell_run(site, ScheduleRunStatus.DONE, name="jobs.retention", run_id=UUID(other))
    assert [run["id"] for run in (await site.api.get(f"{PATH}/runs")).json()["runs"]] == [other, *reversed(ids)]
    page = (await site.api.get(f"{PATH}/media.purge/runs", params={"limit": 2})).json()
    rest = await site.api.get(f"{PATH}/media.purge/runs", params={"cursor": page["nextCursor"]})
    assert [run["id"] for run in page["runs"] + rest.json()["runs"]] == list(reversed(ids))
    assert rest.json()["nextCursor"] is None


@pytest.mark.parametrize(("decision", "status"), [("approve", "running"), ("refuse", "refused")])
async def test_what_waits_is_decided_once(site: IngestSite, decision: str, status: str) -> None:
    run_id = await tell_run(site, ScheduleRunStatus.WAITING_FOR_APPROVAL, needs_approval_because="2000 media")
    answer = await site.api.post(f"{PATH}/runs/{run_id}/{decision}")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["decidedBy"]) == (status, str(site.user_id))
    (command,) = await commands(site, DecideOnScheduleRunV1.event_type)
    assert (command["run_id"], command["decision"]) == (str(run_id), decision)
    again = await site.api.post(f"{PATH}/runs/{run_id}/approve")
    assert again.status_code == 409
    assert len(await commands(site, DecideOnScheduleRunV1.event_type)) == 1
    (noted,) = (await site.api.get(f"{PATH}/media.purge/audit")).json()["requests"]
    assert (noted["request"], noted["runId"]) == (decision, str(run_id))


async def test_what_is_not_there_is_404(site: IngestSite) -> None:
    for method, path in [
        ("GET", f"{PATH}/nothing"),
        ("GET", f"{PATH}/nothing/runs"),
        ("POST", f"{PATH}/nothing/run"),
        ("GET", f"{PATH}/runs/{new_id()}"),
        ("POST", f"{PATH}/runs/{new_id()}/approve"),
    ]:
        assert (await site.api.request(method, path)).status_code == 404, path
    assert (await site.api.patch(f"{PATH}/nothing", json={"paused": True})).status_code == 404


async def test_admins_are_not_asked(site: IngestSite) -> None:
    headers = {"Authorization": f"Bearer {await site.key_of(Role.ADMIN)}"}
    assert (await site.api.get(PATH, headers=headers)).status_code == 403
    assert (await site.api.post(f"{PATH}/media.purge/run", headers=headers)).status_code == 403


async def test_the_clock_and_the_api_work_together(
    databases: TestDatabases, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    """A change, a run to its end, what is due, and a purge, over Kafka both ways."""
    absent = {"MEDIABUS_ABSENT_SERVICES": '["image-processor", "s3-syncer", "reconciler", "face-embedder"]'}
    async with system_of_its_own(databases, kafka_server, tmp_path, absent) as system, AsyncExitStack() as stack:
        await system.make_superadmin()
        await system.start_all("ingest-api", "cleanup-scheduler")
        api = await stack.enter_async_context(signed_in(system, system.services[0].base_url))

        async def listed() -> dict[str, Any]:
            answer = await api.http.get(PATH)
            return {one["name"]: one for one in answer.json()["schedules"]}

        async def all_are_listed() -> bool:
            return {"media.purge", "reconcile.nightly", "jobs.retention"} <= set(await listed())

        await eventually(all_are_listed, why="the clock tells of its schedules")
        # In Kolkata it is half an hour later or earlier at this minute: nothing comes due meanwhile.
        cron = f"{datetime.now(UTC).minute} * * * *"
        changed = await api.http.patch(f"{PATH}/jobs.retention", json={"cron": cron, "timeZone": "Asia/Kolkata"})
        assert changed.status_code == 200, changed.text

        async def is_changed() -> bool:
            rows = await system.rows("cleanup-scheduler", "SELECT cron FROM schedules WHERE name = 'jobs.retention'")
            return bool(rows[0]["cron"] == cron)

        await eventually(is_changed, why="the clock has changed the schedule")
        started = await api.http.post(f"{PATH}/jobs.retention/run")

        async def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = (await api.http.get(started.headers["location"])).json()
            return run if run["endedAt"] else None

        run = await eventually(ended, why="the run has ended")
        assert (run["status"], run["owing"]) == ("done", [])
        due = await api.http.get(f"{PATH}/due", params={"retentionDays": 0})
        assert due.status_code == 200, due.text
        assert (due.json()["media"], due.json()["items"], due.json()["retentionDays"]) == (0, [], 0)
        assert due.json()["at"] == (await listed())["media.purge"]["nextFirings"][0]

        media_id = UUID((await api.upload(PICTURE))["mediaId"])
        assert (await api.http.delete(f"/api/admin/media/{media_id}")).status_code == 200
        long_ago = datetime.now(UTC) - timedelta(days=40)

        async def is_due() -> bool:
            told = await api.http.get(f"{PATH}/due", params={"retentionDays": 0, "at": datetime.now(UTC).isoformat()})
            return [item["mediaId"] for item in told.json()["items"]] == [str(media_id)]

        await eventually(is_due, why="the clock knows of the deletion")
        # As if it had been deleted then: the shortest retention is a day.
        for service, key in (("ingest-api", "id"), ("cleanup-scheduler", "media_id")):
            await system.rows(service, f"UPDATE media SET deleted_at = $2 WHERE {key} = $1", media_id, long_ago)
        started = await api.http.post(f"{PATH}/media.purge/run")
        assert started.status_code == 202, started.text

        async def is_going() -> bool:
            rows = await system.rows("cleanup-scheduler", "SELECT state FROM media WHERE media_id = $1", media_id)
            taken = await system.rows("cleanup-scheduler", "SELECT begun FROM purges WHERE taken_at IS NOT NULL")
            return [row["state"] for row in rows] == ["going"] and [row["begun"] for row in taken] == [1]

        await eventually(is_going, why="its owner has begun to delete it for good")
