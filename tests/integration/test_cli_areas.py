"""What the command line shows of each area of a running API, and how changes end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from typer.testing import Result

from deploy.cli.settings import value_like
from shared.events import (
    ProcessImageV1,
    ReconcileRunChangedV1,
    ReconcileScope,
    RunCounts,
    RunStatus,
    SyncJobChangedV1,
    SyncJobStatus,
    SyncOperation,
    SyncResult,
)
from shared.identifiers import new_id
from tests.cli_world import as_superadmin, lines_of, mediabus
from tests.ingest_site import PICTURE, IngestSite
from tests.outcomes import failed, processed, stored

pytestmark = pytest.mark.stack

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOSTILE = "\x9b31m\u202egnp[red]evil"
Told: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
def run(cli_site: IngestSite) -> Callable[..., Coroutine[Any, Any, Result]]:
    async def run(*arguments: str, exit_code: int = 0, typed: str | None = None) -> Result:
        result = await mediabus(*arguments, env=as_superadmin(cli_site), typed=typed)
        assert result.exit_code == exit_code, result.output
        return result

    return run


@pytest.fixture
def told(run: Callable[..., Coroutine[Any, Any, Result]]) -> Told:
    """The API's answer, as --json prints it."""

    async def told(*arguments: str, **options: Any) -> Any:
        return json.loads((await run(*arguments, "--json", **options)).stdout)

    return told


Run: TypeAlias = Callable[..., Coroutine[Any, Any, Result]]


async def commanded(site: IngestSite, **options: Any) -> ProcessImageV1:
    """Upload, and give the command that follows."""
    await site.uploaded(**options)
    newest = "SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id DESC LIMIT 1"
    return ProcessImageV1.model_validate_json(await site.rows.fetchval(newest))


async def test_media_are_found_shown_deleted_and_restored(cli_site: IngestSite, run: Run, told: Told) -> None:
    command = await commanded(cli_site, filename="[red]evil.jpg", entityType="shelf")
    await cli_site.handlers.deliver(processed(command))
    medium = str(command.media_id)
    listed = await run("media", "list", "--entity-type", "shelf", "--storage", "local_only", "--status", "completed")
    assert medium in listed.stdout
    shown = await run("media", "show", medium)
    for word in ("1280 × 960", command.sha256, "image/webp", "[red]evil"):
        assert word in shown.stdout
    assert (await told("media", "list", "-q", "evil"))["media"][0]["id"] == medium
    assert (await told("media", "list", "-q", "nothing like it"))["media"] == []

    assert "media restore" in (await run("media", "delete", medium, "--soft")).stdout
    await run("media", "show", medium, exit_code=1)
    assert medium in (await run("media", "list", "--deleted")).stdout
    assert (await told("media", "restore", medium))["id"] == medium
    timeline = (await run("media", "timeline", medium)).stdout
    assert [word in timeline for word in ("uploaded", "rendered", "deleted", "restored")] == [True] * 4
    assert "deletions list" in (await run("media", "delete", medium, "--hard")).stdout
    assert "deletion_begun" not in (await run("media", "restore", medium, exit_code=1)).stdout


async def test_all_that_a_list_has_are_deleted_and_restored(cli_site: IngestSite, run: Run, told: Told) -> None:
    for number in range(3):
        await cli_site.uploaded(entityType="pile", filename=f"pile-{number}.jpg")
    which = ("--entity-type", "pile", "-q", "pile-")
    assert "3 media match: --confirm 3" in (await run("media", "delete-all", *which, "--soft")).stdout
    await run("media", "delete-all", *which, "--soft", "--confirm", "2", exit_code=1)
    await run("media", "delete-all", "--soft", exit_code=1)
    job = (await told("media", "delete-all", *which, "--soft", "--confirm", "3"))["jobId"]
    while await cli_site.bulk_deletions.work_page():
        pass
    assert (await told("jobs", "show", job))["completed"] == 3
    assert (await told("media", "list", "--entity-type", "pile"))["media"] == []
    assert "jobs watch" in (await run("media", "restore-all", "--entity-type", "pile")).stdout
    while await cli_site.bulk_deletions.work_page():
        pass
    assert len((await told("media", "list", "--entity-type", "pile", "--before", "2999-01-01"))["media"]) == 3


async def test_a_job_about_many_is_cancelled(cli_site: IngestSite, run: Run, told: Told) -> None:
    for _ in range(2):
        await cli_site.uploaded(entityType="mistake")
    begun = await run("media", "delete-all", "--entity-type", "mistake", "--soft", "--confirm", "2")
    job = begun.stdout.split()[-1]
    assert f"mediabus jobs cancel {job}" in begun.stdout
    assert "0 of 2 media" in (await run("jobs", "cancel", job)).stdout
    assert (await told("jobs", "cancel", job))["status"] == "cancelled", "cancelling twice is cancelling once"
    assert not await cli_site.bulk_deletions.work_page()
    watched = (await run("jobs", "watch", job, exit_code=4)).stdout
    assert "cancelled: Cancelled: 0 of 2 media" in " ".join(watched.split())
    assert "0 of 2, 0 failed, 2 cancelled" in " ".join(watched.split())
    assert len((await told("media", "list", "--entity-type", "mistake"))["media"]) == 2
    await run("jobs", "cancel", str(new_id()), exit_code=1)


async def test_a_storage_job_takes_what_a_list_has(cli_site: IngestSite, run: Run, told: Told) -> None:
    await cli_site.handlers.deliver(processed(await commanded(cli_site, filename="moved-1.jpg", entityType="moved")))
    await cli_site.uploaded(filename="moved-2.jpg", entityType="moved")
    which = ("--entity-type", "moved", "-q", "moved-")
    await run("sync", "start", "hard_delete", *which, "--status", "failed", exit_code=1)
    job = (await told("sync", "start", "hard_delete", *which))["jobId"]
    assert (await told("sync", "show", job))["totalFiles"] == 1, "the other one is not stored yet"
    assert (await told("sync", "cancel", job))["success"]


async def test_lists_go_on_behind_a_page(cli_site: IngestSite, run: Run, told: Told) -> None:
    for _ in range(2):
        await cli_site.uploaded(entityType="paged")
    first = await told("media", "list", "--entity-type", "paged", "--limit", "1")
    title = (await run("media", "list", "--entity-type", "paged", "--limit", "1")).stdout
    assert f"--cursor {first['nextCursor']}" in title
    second = await told("media", "list", "--entity-type", "paged", "--cursor", first["nextCursor"])
    assert len(second["media"]) == 1
    assert second["media"][0]["id"] != first["media"][0]["id"]


async def test_a_file_comes_down(
    cli_site: IngestSite, run: Run, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = await commanded(cli_site, filename="name.jpg", entityType="shelf")
    variant = stored(command, "640", b"six hundred and forty")
    await cli_site.stores.disk.put_bytes(stored(command, "original", PICTURE, command.mime_type).key, PICTURE)
    await cli_site.stores.disk.put_bytes(variant.key, b"six hundred and forty")
    await cli_site.handlers.deliver(processed(command, original=PICTURE))
    monkeypatch.chdir(tmp_path)
    medium = str(command.media_id)
    down = await told("media", "download", medium)
    assert (down["path"], (tmp_path / "name.jpg").read_bytes()) == ("name.jpg", PICTURE)
    refused = await run("media", "download", medium, exit_code=4)
    assert "--force replaces it" in refused.stderr
    await run("media", "download", medium, "--force")
    small = await told("media", "download", medium, "--variant", "640")
    assert small["path"] == "name-640.webp"
    assert small["sizeBytes"] == len(b"six hundred and forty")
    assert (await run("media", "download", medium, "--variant", "640", "-o", "-")).stdout == "six hundred and forty"
    await run("media", "download", medium, "--variant", "none", exit_code=1)
    await run("media", "download", medium, "-o", "no/folder/here", exit_code=4)
    assert len(await asyncio.to_thread(os.listdir, tmp_path)) == 2, "nothing unfinished stays"


async def test_jobs_are_watched_to_their_end(cli_site: IngestSite, run: Run, told: Told) -> None:
    command = await commanded(cli_site)
    job = str(command.job_id)
    assert job in (await run("jobs", "list", "--status", "waiting")).stdout
    watching = asyncio.create_task(run("jobs", "watch", job, "--json"))
    await cli_site.handlers.deliver(processed(command))
    states = [one["status"] for one in lines_of(await watching)]
    assert states[-1] == "completed"
    assert len(states) == len(set(states)), "a line for each change"
    assert str(command.media_id) in (await run("jobs", "watch", job)).stdout

    ill = await commanded(cli_site)
    late = await run("jobs", "watch", str(ill.job_id), "--timeout", "0", exit_code=4)
    assert "it goes on" in late.stderr
    await cli_site.handlers.deliver(failed(ill))
    assert "image_truncated: It ends too early." in (await run("jobs", "watch", str(ill.job_id), exit_code=4)).stdout
    assert (await told("jobs", "retry", str(ill.job_id)))["status"] == "waiting"
    assert "The job can't be retried" in (await run("jobs", "retry", job, exit_code=1)).stderr
    await run("jobs", "show", str(new_id()), exit_code=1)


async def test_of_many_pictures_those_that_failed_are_named(cli_site: IngestSite, run: Run) -> None:
    files = [("file", ("a.jpg", PICTURE)), ("file", ("b.txt", b"no picture " * 40))]
    accepted = await cli_site.api.post("/api/admin/media/bulk", files=files, data={"entityType": "product"})
    shown = (await run("jobs", "show", accepted.json()["jobId"])).stdout
    for word in ("0 of 2, 1 failed", "b.txt", "unsupported_media_type"):
        assert word in shown


def sync_fact(site: IngestSite, job_id: UUID, version: int, **changes: Any) -> SyncJobChangedV1:
    values: dict[str, Any] = {
        "job_id": job_id,
        "parent_job_id": None,
        "is_parent": True,
        "batch_index": None,
        "batch_size": 10,
        "version": version,
        "operation": SyncOperation.HARD_DELETE,
        "status": SyncJobStatus.ACTIVE,
        "total_files": 20,
        "processed_files": 0,
        "failed_files": 0,
        "total_bytes": 1000,
        "moved_bytes": 0,
        "requested_by": site.user_id,
        "created_at": NOW,
        "started_at": NOW,
    }
    return SyncJobChangedV1(**{**values, **changes})


async def test_storage_jobs_are_started_watched_and_tried_again(cli_site: IngestSite, run: Run, told: Told) -> None:
    medium = (await cli_site.uploaded())["mediaId"]
    job = (await told("sync", "start", "hard_delete", medium))["jobId"]
    assert job in (await run("sync", "list")).stdout
    child: dict[str, Any] = {"is_parent": False, "parent_job_id": UUID(job), "batch_index": 0, "batch_size": 10}
    child_id = new_id()
    await cli_site.handlers.deliver(sync_fact(cli_site, UUID(job), 1))
    await cli_site.handlers.deliver(
        sync_fact(cli_site, child_id, 1, **child, processed_files=5, moved_bytes=100, total_files=10)
    )
    shown = (await run("sync", "show", job)).stdout
    for word in ("5 of 20", "100 bytes of 1.0 kB", "Batches", str(child_id)):
        assert word in shown
    assert "1 batches" in (await run("sync", "list")).stdout
    watching = asyncio.create_task(run("sync", "watch", job, exit_code=4))
    lost = SyncResult.model_validate(
        {"media_id": medium, "status": "failed", "bytes_moved": 0, "code": "files_gone", "detail": "It is not there."}
    )
    ended = {"processed_files": 19, "failed_files": 1, "finished_at": NOW}
    await cli_site.handlers.deliver(
        sync_fact(
            cli_site, child_id, 2, **child, **ended, total_files=20, status=SyncJobStatus.FAILED, recent_results=(lost,)
        )
    )
    await cli_site.handlers.deliver(sync_fact(cli_site, UUID(job), 2, **ended, status=SyncJobStatus.COMPLETED))
    for word in ("19 of 20, 1 failed", "files_gone", "It is not there.", medium):
        assert word in (await watching).stdout
    assert "409" not in (await run("sync", "cancel", job, exit_code=1)).stdout
    again = await told("sync", "retry", job)
    assert again["jobId"] != job
    waiting = await run("sync", "start", "hard_delete", medium, "--wait", "--timeout", "0", exit_code=4)
    assert "Storage job" in waiting.stdout
    assert (await told("sync", "cancel", again["jobId"]))["success"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("sync", "start", "hard_delete"),
        ("sync", "start", "hard_delete", str(new_id()), "--everything"),
        ("sync", "start", "everything", "--everything"),
        ("settings", "set", "s3Enabled"),
        ("users", "change", "somebody"),
        ("events", "change", str(new_id())),
        ("fix",),
        ("fix", str(new_id()), "--media", "--remove-orphaned"),
        ("upload", ".",),
        ("media", "list", "--limit", "201"),
        ("media", "list", "--storage", "nowhere"),
    ],
)  # fmt: skip
async def test_wrong_use_asks_nothing(run: Run, arguments: tuple[str, ...]) -> None:
    await run(*arguments, exit_code=2)


async def test_settings_are_shown_set_and_remembered(run: Run, told: Told) -> None:
    assert "softDeleteRetentionDays" in (await run("settings", "show")).stdout
    changed = await told("settings", "set", "softDeleteRetentionDays=41", "deleteMode=soft", "s3PublicUrl=null")
    assert (changed["softDeleteRetentionDays"], changed["s3PublicUrl"]) == (41, None)
    wrong = await run("settings", "set", "softDeleteRetentionDays=0", exit_code=1)
    assert "softDeleteRetentionDays: " in wrong.stderr
    assert "is no setting" in (await run("settings", "set", "s3Enabledd=true", exit_code=1)).stderr
    assert "softDeleteRetentionDays: 30 → 41" in (await run("settings", "history")).stdout
    assert "not configured" in (await run("settings", "test-s3", exit_code=4)).stdout


async def test_an_entity_type_is_written_as_it_is_read(run: Run, told: Told, tmp_path: Path) -> None:
    present = await told("settings", "entity-type", "show", "poster")
    assert "large" in (await run("settings", "entity-type", "show", "poster")).stdout
    file = tmp_path / "poster.json"
    file.write_text(json.dumps(present | {"watermark": {"text": "© [red]"}}))
    changed = await told("settings", "entity-type", "set", "poster", str(file))
    assert (changed["version"], changed["watermark"]["text"]) == (1, "© [red]")
    assert "© [red]" in (await run("settings", "entity-type", "show", "poster")).stdout
    again = await told("settings", "entity-type", "set", "poster", "-", typed=json.dumps(present))
    assert again["watermark"] is None
    file.write_text("{")
    await run("settings", "entity-type", "set", "poster", str(file), exit_code=2)


@pytest.mark.parametrize(
    ("present", "text", "value"),
    [
        (30, "31", 31),
        (True, "false", False),
        ("bucket", "123", "123"),
        ("a", "null", None),
        (None, "http://s", "http://s"),
    ],
)
def test_a_value_is_read_like_the_one_it_replaces(present: Any, text: str, value: Any) -> None:
    assert value_like(present, text) == value


async def test_accounts_are_kept(run: Run, told: Told) -> None:
    password = "a long enough pass phrase"
    added = await run(
        "users", "add", "New.One@example.test", "--role", "photographer", typed=f"{password}\n{password}\n"
    )
    assert password not in added.output
    user = next(one for one in (await told("users", "list"))["users"] if one["email"] == "new.one@example.test")
    assert "photographer" in (await run("users", "list")).stdout
    assert (await told("users", "change", "new.one@EXAMPLE.test", "--role", "admin"))["role"] == "admin"
    short = await run("users", "change", user["id"], "--password-stdin", typed="short\n", exit_code=1)
    assert "password: " in short.stderr
    assert (
        "There is no account nobody@example.test"
        in (await run("users", "remove", "nobody@example.test", exit_code=1)).stderr
    )
    assert "is removed" in (await run("users", "remove", user["id"])).stdout
    assert user["id"] not in (await run("users", "list")).stdout


async def test_keys_are_shown_once(cli_site: IngestSite, run: Run, told: Told) -> None:
    made = await told("keys", "add", "gateway", "--role", "admin", "--ends", "2100-01-01T00:00+00:00")
    assert made["expiresAt"].startswith("2100-01-01")
    assert made["key"] not in (await run("keys", "list")).output
    by_key = await mediabus("whoami", env={"MEDIABUS_URL": cli_site.base_url, "MEDIABUS_API_KEY": made["key"]})
    assert by_key.exit_code == 0
    assert "is revoked" in (await run("keys", "revoke", made["id"])).stdout
    revoked = await mediabus("whoami", env={"MEDIABUS_URL": cli_site.base_url, "MEDIABUS_API_KEY": made["key"]})
    assert revoked.exit_code == 3
    assert (await run("keys", "revoke", str(new_id()), exit_code=1)).stdout == ""
    shown = await run("keys", "add", "script", "--role", "photographer")
    assert "never again" in shown.stdout


async def test_events_are_made_changed_and_deleted(run: Run, told: Told, tmp_path: Path) -> None:
    consent = tmp_path / "consent.txt"
    consent.write_text("You agree.")
    made = await told("events", "add", HOSTILE, "--consent", str(consent))
    event = made["uuid"]
    assert (made["name"], made["consent_text"], made["face_search_enabled"]) == (HOSTILE, "You agree.", True)
    shown = await run("events", "show", event)
    for result in (shown, await run("events", "list"), await run("events", "list", "--json")):
        assert not {"\x9b", "\x1b", "\u202e"} & set(result.output)
    assert made["s3_prefix"] in shown.stdout
    changed = await told("events", "change", event, "--name", "Wedding", "--no-search", "--ends", "2100-01-01")
    assert (changed["name"], changed["face_search_enabled"], changed["consent_text"]) == (
        "Wedding",
        False,
        "You agree.",
    )
    assert (await told("events", "photos", event, "--status", "failed"))["photos"] == []
    assert "can't be looked for" in (await run("events", "people", event, exit_code=1)).stderr
    await run("events", "change", event, "--search")
    assert (await told("events", "people", event))["people"] == []
    assert "It is deleted" in (await run("events", "remove", event)).stdout
    await run("events", "show", event, exit_code=1)


async def test_runs_tell_what_waits_for_whom(cli_site: IngestSite, run: Run) -> None:
    run_id, product = new_id(), new_id()

    def fact(version: int, status: RunStatus, **changes: Any) -> ReconcileRunChangedV1:
        values: dict[str, Any] = {
            "run_id": run_id,
            "plan_id": run_id,
            "scope": ReconcileScope(kind="product", product_id=product),
            "remove_orphaned": True,
            "recreate_missing": False,
            "counts": RunCounts(orphaned=1200),
            "requested_by": None,
            "requested_at": NOW,
            "changed_at": NOW,
        }
        return ReconcileRunChangedV1(version=version, status=status, **values | changes)

    await cli_site.handlers.deliver(fact(1, RunStatus.COMPARING))
    watching = asyncio.create_task(run("runs", "watch", str(run_id)))
    await cli_site.handlers.deliver(fact(2, RunStatus.AWAITING_APPROVAL, needs_approval_because="1,200 files would go"))
    watched = (await watching).stdout
    for word in ("awaiting approval", "1,200 files would go", "orphaned 1,200", f"mediabus plans approve {run_id}"):
        assert word in watched
    await cli_site.handlers.deliver(fact(3, RunStatus.FAILED, error="The bucket went away."))
    assert "The bucket went away." in (await run("runs", "watch", str(run_id), exit_code=4)).stdout
    assert str(run_id) in (await run("runs", "list")).stdout


async def test_operations(cli_site: IngestSite, run: Run, told: Told) -> None:
    assert (await told("services", exit_code=4))["services"], "none of them runs beside this one"
    assert "not seen" in (await run("services", exit_code=4)).stdout
    await run("settings", "set", "hybridPendingBelow=7")
    assert "hybridPendingBelow" in (await run("audit", "--area", "settings")).stdout
    assert (await told("dead-letters", "list", "--state", "open"))["deadLetters"] == []
    await run("dead-letters", "replay", str(new_id()), exit_code=1)
