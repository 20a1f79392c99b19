"""What the command line makes of answers of services that need more than a test has, and of hostile ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from ingest_api.controllers.dead_letters import DeadLetterAnswer, DeadLetterList, PayloadAnswer, WholeDeadLetterAnswer
from ingest_api.controllers.faces import FaceSyncAnswer, FaceSyncStarted, MatchAnswer, SearchAnswer
from ingest_api.controllers.reconcile import (
    DecisionAnswer,
    PlanAnswer,
    PlanGroupAnswer,
    PlanItemAnswer,
    PlanSummaryAnswer,
    ProductsSyncAnswer,
    ProductSyncAnswer,
    RunAnswer,
    UnderWay,
)
from shared.events import FaceSyncStatus, RunStatus
from shared.identifiers import new_id
from tests.cli_world import Call, lines_of, mediabus, scripted

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[red]evil[/red]\r\n"
PRODUCT = new_id()


def run_answer(status: RunStatus, **changes: Any) -> RunAnswer:
    values: dict[str, Any] = {
        "id": new_id(),
        "plan_id": new_id(),
        "scope": "product",
        "product_id": PRODUCT,
        "status": status,
        "remove_orphaned": True,
        "recreate_missing": False,
        "counts": {"orphaned": 2},
        "result": None,
        "needs_approval_because": None,
        "error": None,
        "requested_by": None,
        "decided_by": None,
        "requested_at": NOW,
        "changed_at": NOW,
        "decisions": [DecisionAnswer("start", None, NOW)],
    }
    return RunAnswer(**values | changes)


async def answered(answer: Any, *arguments: str, status: int = 200) -> tuple[Result, list[Call]]:
    """The command, and what it asked, where everything is answered so."""
    async with scripted(lambda _: (status, {}, msgspec.to_builtins(answer))) as (env, calls):
        return await mediabus(*arguments, env=env), calls


def is_plain(text: str) -> bool:
    return all(sign == "\n" or sign.isprintable() for sign in text)


async def test_a_check_tells_what_differs_by_its_exit_code() -> None:
    clean = ProductSyncAnswer(PRODUCT, [], [], ["products/a"], [])
    result, calls = await answered(clean, "check", str(PRODUCT))
    assert (result.exit_code, calls[0].path) == (0, f"/admin/products/{PRODUCT}/images/sync/check")
    differing = ProductSyncAnswer(PRODUCT, ["products/orphan"], ["products/missing"], [], ["products/broken: why"])
    result, _ = await answered(differing, "check", str(PRODUCT))
    assert result.exit_code == 4
    for word in ("orphaned", "products/orphan", "products/missing", "products/broken: why"):
        assert word in result.stdout
    every = ProductsSyncAnswer(1, 3, 1, 1, 0, 1, [differing])
    result, calls = await answered(every, "check")
    assert (result.exit_code, calls[0].path) == (4, "/admin/products/sync/check-all")
    assert "products/orphan" in result.stdout
    report = new_id()
    cut = ProductsSyncAnswer(1, 3, 0, 0, 3, 0, [], truncated=True, report_id=report, parts=2)
    result, _ = await answered(cut, "check")
    assert f"/admin/reconcile/reports/{report}" in result.stdout


async def test_a_fix_is_done_at_once_or_planned() -> None:
    done, calls = await answered(ProductSyncAnswer(PRODUCT, [], [], [], []), "fix", str(PRODUCT), "--remove-orphaned")
    assert (done.exit_code, json.loads(calls[0].body)) == (0, {"removeOrphaned": True, "recreateMissing": False})
    broken = ProductSyncAnswer(PRODUCT, [], [], [], ["products/broken: why"])
    failed, _ = await answered(broken, "fix", str(PRODUCT), "--remove-orphaned")
    assert (failed.exit_code, "products/broken: why" in failed.stdout) == (4, True)
    goes_on = UnderWay(True, PRODUCT, "executing", "The fix goes on.")
    later, calls = await answered(goes_on, "fix", "--recreate-missing", status=202)
    assert calls[0].path == "/admin/products/sync/sync-all"
    assert f"mediabus runs watch {PRODUCT}" in later.stdout
    waiting = run_answer(RunStatus.AWAITING_APPROVAL)
    planned, calls = await answered(waiting, "fix", str(PRODUCT), "--remove-orphaned", "--plan")
    wanted = {"scope": "product", "productId": str(PRODUCT), "approve": False}
    assert json.loads(calls[0].body) == wanted | {"removeOrphaned": True, "recreateMissing": False}
    assert f"mediabus plans approve {waiting.plan_id}" in planned.stdout


@pytest.mark.parametrize("decision", ["approve", "discard", "undo"])
async def test_plans_are_decided(decision: str) -> None:
    run = run_answer(RunStatus.COMPLETED)
    result, calls = await answered(run, "plans", decision, str(run.plan_id))
    assert (calls[0].method, calls[0].path) == ("POST", f"/admin/reconcile/plans/{run.plan_id}/{decision}")
    assert "completed" in result.stdout


async def test_a_plan_is_read_before_it_is_approved() -> None:
    item = PlanItemAnswer(new_id(), "remove", "orphaned", HOSTILE, "bucket", 2_000_000, "planned", None, None)
    group = PlanGroupAnswer("remove", "orphaned", "bucket", "planned", 2, 2_000_000)
    summary = PlanSummaryAnswer([group], [], False)
    plan = PlanAnswer(run_answer(RunStatus.AWAITING_APPROVAL), [item], 7, summary)
    result, _ = await answered(plan, "plans", "show", str(new_id()))
    for word in ("2.0 MB", "2,000,000", "--after 7", "[red]evil[/red]"):
        assert word in result.stdout
    assert is_plain(result.output)


async def test_faces_are_indexed_and_found(tmp_path: Path) -> None:
    event, task = new_id(), new_id()
    progress = FaceSyncAnswer(
        task_id=task,
        event_id=7,
        event_uuid=event,
        s3_prefix="events/7/previews/",
        total_found=9,
        new_photos=8,
        skipped=1,
        processed=8,
        failed=0,
        no_face=2,
        originals_missing=0,
        previews_made=0,
        status=FaceSyncStatus.COMPLETED,
        message="Successfully synced 8 new photos",
        eta=None,
        requested_at=NOW,
        finished_at=NOW,
    )

    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        if call.method == "POST":
            return 200, {}, msgspec.to_builtins(FaceSyncStarted(task, 7, "events/7/previews/", "Sync task started"))
        return 200, {}, {**msgspec.to_builtins(progress), "s3_prefix": "events/7/previews/"}

    async with scripted(script) as (env, calls):
        started = await mediabus("faces", "sync", str(event), env=env)
        assert f"mediabus faces watch {task}" in started.stdout
        assert json.loads(calls[-1].body) == {"event_uuid": str(event), "s3_prefix": "events/7/previews/"}
        waited = await mediabus("faces", "sync", str(event), "--prefix", "events/7/previews/a", "--wait", env=env)
        assert (waited.exit_code, "Successfully synced 8 new photos" in waited.stdout) == (0, True)
        watched = await mediabus("faces", "watch", str(task), "--json", env=env)
        assert [line["status"] for line in lines_of(watched)] == ["completed"]

    selfie = tmp_path / "selfie.jpg"
    selfie.write_bytes(b"a face")
    match = MatchAnswer(new_id(), HOSTILE, None, None, 0.87654, [0, 0, 1, 1], 0.9)
    found = SearchAnswer([match], new_id(), 2, 0, "lite", 0.4, "more")
    arguments = ("faces", "search", str(event), str(selfie), "--consent-version", "3", "--threshold", "0.5")
    result, calls = await answered(found, *arguments)
    for word in ("0.877", "further ones", "2 faces on the picture"):
        assert word in result.stdout
    assert is_plain(result.output)
    for part in (b"a face", str(event).encode(), b'name="consent_version"\r\n\r\n3', b'name="threshold"\r\n\r\n0.5'):
        assert part in calls[0].body


async def test_dead_letters_are_looked_into_and_settled() -> None:
    values: dict[str, Any] = {
        "id": new_id(),
        "service": "image-processor",
        "state": "open",
        "topic": "image.process",
        "partition": 0,
        "offset": 12,
        "key": HOSTILE,
        "type": "image.process.v1",
        "event_id": None,
        "code": "unexpected",
        "detail": HOSTILE,
        "attempts": 3,
        "trace_id": None,
        "dead_lettered_at": NOW,
        "replay_of": None,
        "replayed_as": None,
        "settled_at": None,
        "settled_by": None,
    }
    listed, _ = await answered(DeadLetterList([DeadLetterAnswer(**values)], None), "dead-letters", "list")
    whole = WholeDeadLetterAnswer(
        **values, headers={HOSTILE: HOSTILE}, payload=PayloadAnswer("text", HOSTILE, 90, True)
    )
    shown, _ = await answered(whole, "dead-letters", "show", str(values["id"]))
    for result in (listed, shown):
        assert "[red]evil[/red]" in result.stdout
        assert is_plain(result.output)
    assert "the beginning of it" in shown.stdout
    for what in ("replay", "drop"):
        settled, calls = await answered(DeadLetterAnswer(**values), "dead-letters", what, str(values["id"]))
        assert settled.exit_code == 0
        assert (calls[0].method, calls[0].path) == ("POST", f"/api/admin/ops/dead-letters/{values['id']}/{what}")


async def test_a_hostile_server_steers_no_terminal() -> None:
    medium = {
        "id": HOSTILE,
        "filename": HOSTILE,
        "entityType": HOSTILE,
        "entityId": HOSTILE,
        "storageStatus": HOSTILE,
        "sizeBytes": 1,
        "createdAt": NOW.isoformat(),
        "deletedAt": None,
    }
    media = {"media": [medium], "nextCursor": HOSTILE}
    problem = {"title": HOSTILE, "detail": HOSTILE, "errors": [{"field": HOSTILE, "message": HOSTILE}]}
    for answer, status, arguments in [
        (media, 200, ("media", "list")),
        (media, 200, ("media", "list", "--json")),
        (problem, 422, ("media", "list")),
        (problem, 401, ("media", "list")),
        ({"user": {"email": HOSTILE, "role": HOSTILE, "id": HOSTILE}}, 200, ("whoami",)),
        ({"media": HOSTILE}, 200, ("media", "list")),
    ]:
        result, _ = await answered(answer, *arguments, status=status)
        assert is_plain(result.output), arguments
        assert "Traceback" not in result.output


async def test_a_screen_shows_how_it_goes_on(tmp_path: Path) -> None:
    """Bars and tables that are drawn anew; what they show of the API steers nothing either."""
    states = iter(["waiting", "active", "completed"])

    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        if call.method == "POST":
            return 202, {}, {"jobId": "job-1", "mediaId": "medium-1"}
        if call.path == "/api/auth/me":
            return 200, {}, {"user": {"id": "1", "email": "a@example.test", "role": "admin"}}
        status = next(states, "completed")
        return (
            200,
            {},
            {"jobId": HOSTILE, "status": status, "progress": 50, "attempts": 1, "result": None, "error": None},
        )

    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"a picture")
    async with scripted(script) as (env, _):
        screen = env | {"FORCE_COLOR": "1", "XDG_STATE_HOME": str(tmp_path)}
        watched = await mediabus("jobs", "watch", str(new_id()), env=screen)
        sent = await mediabus("upload", str(picture), "--entity-type", "product", "--wait", env=screen)
    assert watched.exit_code == 0, watched.output
    for word in ("waiting", "active", "completed", "[red]evil[/red]"):
        assert word in watched.stdout
    assert not any(sequence in watched.output for sequence in ("\x1b]0", "\x1b[2J\x9b", "\x9b", "\u202e"))
    assert sent.exit_code == 0, sent.output
    for word in ("sent", "9/9 bytes", "processed", "1/1", "1 completed (9 bytes"):
        assert word in sent.stdout


@pytest.mark.parametrize(
    ("filename", "written"),
    [
        ("../../.bashrc", "_.._.bashrc"),
        ("/etc/passwd", "_etc_passwd"),
        (".ssh", "ssh"),
        ("a\x1b[2J\n.jpg", "a_[2J_.jpg"),
        ("..", "id"),
        ("C:\\x.jpg", "C:_x.jpg"),
    ],
)
async def test_a_download_lands_in_this_folder(
    filename: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    result, _ = await answered({"id": "id", "filename": filename, "variants": []}, "media", "download", str(new_id()))
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "below").iterdir()] == [written]
    assert is_plain(result.output)
