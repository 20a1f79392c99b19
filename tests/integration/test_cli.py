"""The command line against a running API: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from deploy.cli.schedules import moment_option
from deploy.local.ports import free_port
from ingest_api.accounts import Role
from ingest_api.controllers.schedules import DueMediaAnswer, DueMediumAnswer
from shared.events import DeletionReason, ScheduleRunStatus, WorkAnswer
from shared.identifiers import new_id
from tests.cli_world import Environment, Run, answering, as_superadmin, mediabus
from tests.ingest_site import IngestSite
from tests.integration.scheduled_site import NEXT, tell_run, with_one_schedule

pytestmark = pytest.mark.stack

PATH = "/api/admin/schedules"


@pytest.fixture
async def site(cli_site: IngestSite) -> IngestSite:
    return await with_one_schedule(cli_site)


@pytest.fixture
def run(site: IngestSite) -> Run:
    async def run(*arguments: str) -> Result:
        return await mediabus(*arguments, env=as_superadmin(site))

    return run


async def asked(run: Run, *arguments: str) -> Any:
    """What the API answered, as `--json` prints it."""
    result = await run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


async def test_schedules_are_listed_and_shown(site: IngestSite, run: Run) -> None:
    done = WorkAnswer(service="ingest-api", counts={"media": 3}, ended_at=NEXT)
    await tell_run(site, ScheduleRunStatus.OPEN, counts={"media": 3}, answers=(done,), owing=("reconciler",))
    listed = await run("schedules", "list")
    assert listed.exit_code == 0
    due = NEXT.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    for word in ("media.purge", "0 3 * * *", "run_once", due, "open"):
        assert word in listed.stdout
    shown = await run("schedules", "show", "media.purge")
    assert shown.exit_code == 0
    for word in (due, "media 3", "have not answered", "reconciler", "ingest-api"):
        assert word in shown.stdout


async def test_json_is_the_answer_as_it_is(site: IngestSite, run: Run) -> None:
    listed = await run("schedules", "list", "--json")
    assert listed.stdout == (await site.api.get(PATH)).text + "\n"
    assert (await asked(run, "schedules", "show", "media.purge"))["name"] == "media.purge"
    assert await asked(run, "schedules", "runs") == {"runs": [], "nextCursor": None}
    assert await asked(run, "deletions", "list") == {"deletions": [], "nextCursor": None}


async def test_a_schedule_is_paused_resumed_and_set(site: IngestSite, run: Run) -> None:
    assert (await asked(run, "schedules", "pause", "media.purge"))["nextFirings"] == []
    assert "paused" in (await run("schedules", "list")).stdout
    assert len((await asked(run, "schedules", "resume", "media.purge"))["nextFirings"]) == 3
    options = ("--cron", "30 2 * * *", "--time-zone", "Europe/Berlin", "--missed", "skip")
    changed = await asked(run, "schedules", "set", "media.purge", *options)
    assert (changed["cron"], changed["timeZone"], changed["missed"]) == ("30 2 * * *", "Europe/Berlin", "skip")
    kept = await asked(run, "schedules", "set", "media.purge", "--missed", "run_once")
    assert (kept["cron"], kept["timeZone"], kept["missed"]) == ("30 2 * * *", "Europe/Berlin", "run_once")


async def test_a_run_is_started_and_found_in_the_history(site: IngestSite, run: Run) -> None:
    started = await asked(run, "schedules", "run", "media.purge")
    assert (started["trigger"], started["requestedBy"]) == ("person", str(site.user_id))
    other = str(await tell_run(site, ScheduleRunStatus.DONE, name="jobs.retention", counts={"jobs": 7000, "people": 0}))
    history = await run("schedules", "runs")
    assert history.exit_code == 0
    assert history.stdout.index(other) < history.stdout.index(started["id"])
    assert "jobs 7,000" in history.stdout
    assert "people" not in history.stdout
    assert [one["id"] for one in (await asked(run, "schedules", "runs", "--limit", "1"))["runs"]] == [other]
    own = await asked(run, "schedules", "runs", "--name", "media.purge")
    assert [one["id"] for one in own["runs"]] == [started["id"]]


@pytest.mark.parametrize(("decision", "status"), [("approve", "running"), ("refuse", "refused")])
async def test_a_run_that_waits_is_decided_once(site: IngestSite, run: Run, decision: str, status: str) -> None:
    run_id = str(await tell_run(site, ScheduleRunStatus.WAITING_FOR_APPROVAL, needs_approval_because="2000 media"))
    assert "2000 media" in (await run("schedules", "show", "media.purge")).stdout
    decided = await run("schedules", decision, run_id)
    assert decided.exit_code == 0
    assert status in decided.stdout
    again = await run("schedules", "approve", run_id)
    assert again.exit_code == 1
    assert f"The run is {status}" in again.stderr


async def test_what_is_deleted_for_good_says_who_is_waited_for(site: IngestSite, run: Run) -> None:
    media_id = (await site.uploaded())["mediaId"]
    deleted = await site.api.delete(f"/api/admin/media/{media_id}", params={"hard": "true"})
    assert deleted.is_success, deleted.text
    listed = await run("deletions", "list", "--status", "processing")
    assert listed.exit_code == 0
    for word in (media_id, "processing", DeletionReason.REQUESTED.value, "image-processor"):
        assert word in listed.stdout
    assert await asked(run, "deletions", "list", "--status", "completed") == {"deletions": [], "nextCursor": None}


async def test_what_the_api_refuses_is_told_in_its_words(site: IngestSite, run: Run) -> None:
    wrong = await run("schedules", "set", "media.purge", "--cron", "0 25 * * *", "--json")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    (told,) = (await site.api.patch(f"{PATH}/media.purge", json={"cron": "0 25 * * *"})).json()["errors"]
    assert wrong.stderr.splitlines() == [
        "error: Some fields are missing or wrong",
        "Correct the named fields and send again: cron.",
        f"cron: {told['message']}",
    ]
    nothing = await run("schedules", "show", "not/here")
    assert nothing.exit_code == 1
    assert nothing.stderr.startswith("error: There is nothing at this address")


async def test_an_admins_key_is_refused(site: IngestSite) -> None:
    key = await site.key_of(Role.ADMIN)
    result = await mediabus("schedules", "list", env={"MEDIABUS_URL": site.base_url, "MEDIABUS_API_KEY": key})
    assert result.exit_code == 1
    assert "This needs the role superadmin" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("schedules", "set", "media.purge"),
        ("schedules", "set", "media.purge", "--missed", "often"),
        ("schedules", "runs", "--limit", "0"),
        ("schedules", "approve", "tonight"),
        ("schedules", "due", "--at", "tonight"),
        ("schedules", "show"),
        ("schedules", "show", "due"),
        ("schedules", "run", ""),
        ("schedules", "runs", "--name", "runs"),
        ("schedules", "forget"),
    ],
)
async def test_wrong_use_asks_nothing(arguments: tuple[str, ...]) -> None:
    """Nobody listens: what asked would end with 3."""
    env: Environment = {"MEDIABUS_URL": f"http://127.0.0.1:{free_port()}", "MEDIABUS_API_KEY": "key"}
    assert (await mediabus(*arguments, env=env)).exit_code == 2


async def test_without_variables_it_is_the_embedded_stack(site: IngestSite, tmp_path: Path) -> None:
    env: Environment = {"MEDIABUS_STACK_DIR": str(tmp_path)}
    before = await mediabus("schedules", "list", env=env)
    assert before.exit_code == 3
    assert "make stack-start" in before.stderr
    superadmin = {"email": f"{site.user_id}@example.test", "password": "x"}
    stack_file = tmp_path / "stack.json"
    stack_file.write_text(json.dumps({"baseUrl": site.base_url, "superadmin": superadmin}))
    assert (await mediabus("schedules", "pause", "media.purge", env=env)).exit_code == 0
    assert await site.count("sessions") == 0, "the session is ended behind the command"
    stack_file.write_text(json.dumps({"baseUrl": site.base_url, "superadmin": superadmin | {"password": "y"}}))
    wrong = await mediabus("schedules", "list", env=env)
    assert wrong.exit_code == 3
    assert "does not know who asks" in wrong.stderr
    stack_file.write_text(json.dumps({"baseUrl": None, "superadmin": superadmin}))
    assert "runs without ingest-api" in (await mediabus("schedules", "list", env=env)).stderr
    stack_file.write_text("{")
    assert (await mediabus("schedules", "list", env=env)).exit_code == 3


async def test_who_is_not_known_or_not_there_is_3(site: IngestSite) -> None:
    url, key = site.base_url, site.key
    for address, who, words in [
        (url, "mb_unknown", "does not know who asks"),
        (url, "schl\u00fcssel", "is no API key"),
        (url, None, "MEDIABUS_API_KEY is not set"),
        (None, key, "MEDIABUS_URL is not set"),
        ("media.example.org", key, "is no address"),
        ("http://localhost:port", key, "is no address"),
        (f"http://127.0.0.1:{free_port()}", key, "is not reached"),
    ]:
        result = await mediabus("schedules", "list", env={"MEDIABUS_URL": address, "MEDIABUS_API_KEY": who})
        assert result.exit_code == 3, words
        assert words in result.stderr
        assert key not in result.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not Mediabus' API"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n{}", "not Mediabus' API"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "can't show"),
        (b"", "did not answer"),
    ],
)
async def test_what_is_not_the_api_is_3(answer: bytes, words: str) -> None:
    async with answering(answer) as (env, _):
        result = await mediabus("schedules", "list", env=env)
    assert result.exit_code == 3
    assert words in result.stderr


async def test_what_is_due_is_shown_with_why_it_would_wait() -> None:
    medium = DueMediumAnswer(new_id(), NEXT, 3, 4_500_000)
    due = DueMediaAnswer(NEXT, 30, True, 1200, 3600, 5_000_000_000, 10_000, "more than 1000 [media]", [medium])
    body = msgspec.json.encode(due)
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (env, asked_for):
        result = await mediabus("schedules", "due", "--at", "2030-03-29T03:00+01:00", env=env)
        assert (await mediabus("schedules", "due", "--json", env=env)).stdout == body.decode() + "\n"
    assert result.exit_code == 0, result.stderr
    for word in ("1,200, beside 10,000", "5,000,000,000", "more than 1000 [media]", str(medium.media_id), "4,500,000"):
        assert word in result.stdout
    assert asked_for == [f"GET {PATH}/due?at=2030-03-29T02%3A00%3A00%2B00%3A00 HTTP/1.1", f"GET {PATH}/due HTTP/1.1"]


def test_a_time_without_offset_is_of_this_machine() -> None:
    assert moment_option("2030-03-29T03:00+01:00") == datetime(2030, 3, 29, 2, tzinfo=UTC)
    assert moment_option("2030-03-29") == datetime(2030, 3, 29).astimezone()


async def test_the_program_ends_with_the_exit_code(site: IngestSite) -> None:
    """As a script meets it: a process of its own."""
    environment = os.environ | {"MEDIABUS_URL": site.base_url, "MEDIABUS_API_KEY": site.key}

    async def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    helped = await ended("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Exit codes: 0 done; 1 refused" in helped.stdout
    unknown = await ended("schedules", "show", "nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "error: There is nothing at this address" in unknown.stderr
