"""Uploads by the command line: what is sent, what is not sent twice, and how it ends."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from deploy.cli import patience
from shared.events import ProcessImageV1
from shared.testing.pictures import photo_jpeg
from shared.testing.waiting import eventually
from tests.cli_world import Call, Environment, as_superadmin, lines_of, mediabus, scripted
from tests.ingest_site import IngestSite
from tests.outcomes import failed, processed

pytestmark = pytest.mark.stack


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three pictures, of which one lies deeper, and what is none."""
    below = tmp_path / "album" / "below"
    below.mkdir(parents=True)
    # Other ones in each test, and the same in every run.
    seed = zlib.crc32(request.node.name.encode())
    for number, path in enumerate((below.parent / "a.jpg", below.parent / "B.JPEG", below / "c.png")):
        path.write_bytes(photo_jpeg(48, 32, seed=seed + number))
    (below.parent / "notes.txt").write_text("no picture")
    (below.parent / ".hidden.jpg").write_bytes(b"hidden")
    return below.parent


@pytest.fixture
def env(cli_site: IngestSite, tmp_path: Path) -> Environment:
    return as_superadmin(cli_site) | {"XDG_STATE_HOME": str(tmp_path / "state")}


async def uploaded(env: Environment, *arguments: str | Path) -> Result:
    words = [str(argument) for argument in arguments]
    return await mediabus("upload", *words, "--entity-type", "product", "--json", env=env)


async def test_pictures_of_a_folder_are_sent_once(cli_site: IngestSite, env: Environment, folder: Path) -> None:
    before = await cli_site.count("media")
    first = await uploaded(env, folder, folder / "a.jpg", "--parallel", "2", "--entity-id", "7")
    assert first.exit_code == 0, first.output
    *files, summary = lines_of(first)
    assert {Path(one["path"]).name: one["status"] for one in files} == dict.fromkeys(
        ("a.jpg", "B.JPEG", "c.png"), "sent"
    )
    assert (summary["sent"], summary["finished"], await cli_site.count("media")) == (3, True, before + 3)
    medium = (await cli_site.api.get(f"/api/admin/media/{files[0]['mediaId']}")).json()
    assert (medium["entityType"], medium["entityId"], medium["filename"]) == (
        "product",
        "7",
        Path(files[0]["path"]).name,
    )

    moved = await asyncio.to_thread(folder.rename, folder.with_name("moved"))
    (moved / "d.jpg").write_bytes(photo_jpeg(48, 32, seed=99))
    again = await uploaded(env, moved, "--entity-id", "7")
    *files_again, summary = lines_of(again)
    assert (summary["sent"], summary["already_sent"], await cli_site.count("media")) == (1, 3, before + 4)
    assert {one["mediaId"] for one in files} < {one["mediaId"] for one in files_again}
    other = await uploaded(env, moved / "a.jpg", "--entity-id", "8")
    assert lines_of(other)[0]["status"] == "sent", "for another thing it is another medium"


async def test_the_server_too_knows_what_was_sent(
    cli_site: IngestSite, env: Environment, folder: Path, tmp_path: Path
) -> None:
    """As after a break between its answer and our note of it."""
    first = lines_of(await uploaded(env, folder))
    elsewhere = lines_of(await uploaded(env | {"XDG_STATE_HOME": str(tmp_path / "other")}, folder))
    assert {one["mediaId"] for one in elsewhere[:-1]} == {one["mediaId"] for one in first[:-1]}
    (tmp_path / "file").write_text("")
    nowhere = await uploaded(env | {"XDG_STATE_HOME": str(tmp_path / "file")}, folder)
    assert (nowhere.exit_code, "can't be noted down" in nowhere.stderr) == (0, True)


async def test_what_is_gone_is_sent_anew(cli_site: IngestSite, env: Environment, folder: Path) -> None:
    picture = folder / "a.jpg"
    first = lines_of(await uploaded(env, picture))[0]
    assert (await cli_site.api.delete(f"/api/admin/media/{first['mediaId']}")).is_success
    second = lines_of(await uploaded(env, picture))[0]
    assert (second["status"], second["mediaId"] != first["mediaId"]) == ("sent", True)
    assert lines_of(await uploaded(env, picture))[0]["status"] == "already_sent"
    third = lines_of(await uploaded(env, picture, "--again"))[0]
    assert (third["status"], third["mediaId"] != second["mediaId"]) == ("sent", True)


async def test_what_is_refused_says_why_and_stops_nothing(env: Environment, folder: Path) -> None:
    (folder / "no\x1b[2Jpicture.jpg").write_text("a text, whatever its name says\n" * 40)
    (folder / "gone.jpg").symlink_to("nowhere")
    result = await uploaded(env, folder)
    assert result.exit_code == 4
    (refused,) = [one for one in lines_of(result) if one.get("status") == "refused"]
    assert refused["error"]["code"] == "unsupported_media_type"
    assert lines_of(result)[-1]["sent"] == 3
    human = await mediabus("upload", str(folder), "--entity-type", "product", env=env)
    assert human.exit_code == 4
    assert "no\\x1b[2Jpicture.jpg is refused: The type of the content is not supported." in human.stderr
    assert "3 already sent, 1 refused" in human.stdout
    assert "\x1b" not in human.output
    every = lines_of(await uploaded(env, folder, "--all"))[-1]
    assert every["refused"] == 2, "hidden files are passed over"


async def test_wait_tells_what_came_of_each(cli_site: IngestSite, env: Environment, folder: Path) -> None:
    await cli_site.rows.execute("DELETE FROM outbox")
    running = asyncio.create_task(uploaded(env, folder, "--wait"))
    rows: list[Any] = []

    async def commanded() -> bool:
        rows[:] = await cli_site.rows.fetch("SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id")
        return len(rows) == 3

    await eventually(commanded, within_seconds=60, why="three are sent")
    first, *others = (ProcessImageV1.model_validate_json(row["payload"]) for row in rows)
    await cli_site.handlers.deliver(failed(first))
    for command in others:
        await cli_site.handlers.deliver(processed(command))
    result = await running
    assert result.exit_code == 4
    *files, summary = lines_of(result)
    assert (summary["completed"], summary["failed"]) == (2, 1)
    (ill,) = [one for one in files if one["status"] == "failed"]
    assert (ill["jobId"], ill["error"]["code"]) == (str(first.job_id), "image_truncated")
    (folder / "e.jpg").write_bytes(photo_jpeg(48, 32, seed=4711))
    late = await uploaded(env, folder / "e.jpg", "--wait", "--timeout", "0")
    assert (late.exit_code, lines_of(late)[0]["status"]) == (4, "still_processed")


async def test_one_that_is_too_large_stops_no_other(env: Environment, folder: Path) -> None:
    """The API answers before it has read it, and so may a proxy before it, in words of its own."""
    with (folder / "big.jpg").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    result = await uploaded(env, folder)
    assert result.exit_code == 4, result.output
    (refused,) = [one for one in lines_of(result) if one.get("status") == "refused"]
    assert refused["error"]["code"] == "too_large"
    assert lines_of(result)[-1]["sent"] == 3

    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        if call.method == "GET":
            return ME
        return (413, {}, None) if len(call.body) > 100_000 else (202, {}, {"jobId": "j", "mediaId": "m"})

    async with scripted(script) as (other, _):
        proxied = await uploaded(other | {"XDG_STATE_HOME": env["XDG_STATE_HOME"]}, folder)
    assert (proxied.exit_code, lines_of(proxied)[-1]["sent"], lines_of(proxied)[-1]["refused"]) == (4, 3, 1)
    assert "answered 413" in proxied.stdout


ME: tuple[int, dict[str, str], Any] = (200, {}, {"user": {"id": "1", "email": "a@example.test", "role": "admin"}})


async def test_a_server_that_asks_for_time_gets_it(folder: Path, tmp_path: Path) -> None:
    refusals = iter([(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"})])

    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        if call.method == "GET":
            return ME
        if (refusal := next(refusals, None)) is not None:
            return *refusal, {"title": "Too many uploads are in flight", "status": refusal[0]}
        return 202, {}, {"jobId": "j", "mediaId": "m"}

    async with scripted(script) as (env, calls):
        result = await uploaded(env | {"XDG_STATE_HOME": str(tmp_path)}, folder / "a.jpg")
    assert (result.exit_code, lines_of(result)[0]["status"]) == (0, "sent")
    posts = [call for call in calls if call.method == "POST"]
    assert len({call.headers["idempotency-key"] for call in posts}) == 1
    content = (folder / "a.jpg").read_bytes()
    assert [content in call.body for call in posts] == [True] * 3


async def test_a_run_that_is_broken_off_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """Who asks is not known any more behind the first file."""
    taken = 0
    most = 1

    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        nonlocal taken
        if call.method == "GET":
            return ME
        if taken == most:
            return 401, {}, {"title": "Sign in first", "detail": "This key was revoked."}
        taken += 1
        return 202, {}, {"jobId": f"job-{taken}", "mediaId": f"medium-{taken}"}

    state: Environment = {"XDG_STATE_HOME": str(tmp_path)}
    async with scripted(script) as (env, calls):
        broken = await uploaded(env | state, folder, "--parallel", "1")
        assert (broken.exit_code, "This key was revoked" in broken.stderr) == (3, True)
        *files, summary = lines_of(broken)
        assert ([one["status"] for one in files], summary["finished"]) == (["sent"], False)
        journal = next((tmp_path / "mediabus" / "uploads").iterdir())
        assert journal.stat().st_mode & 0o777 == 0o600
        with journal.open("a") as opened:
            opened.write('{"key": "cut o')
        most = 3
        calls.clear()
        human = await mediabus("upload", str(folder), "--entity-type", "product", env=env | state)
        assert (human.exit_code, "2 sent, 1 already sent" in human.stdout) == (0, True)
        assert len([call for call in calls if call.method == "POST"]) == 2
        assert lines_of(await uploaded(env | state, folder))[-1]["already_sent"] == 3


async def test_who_breaks_off_the_waiting_is_told_what_was_sent(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        return ME if call.method == "GET" else (202, {}, {"jobId": "j", "mediaId": "m"})

    def press_ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.cli.uploading.Uploader.processed", press_ctrl_c)
    async with scripted(script) as (env, _):
        broken = await uploaded(env | {"XDG_STATE_HOME": str(tmp_path)}, folder, "--wait")
    *files, summary = lines_of(broken)
    assert (broken.exit_code, summary["sent"], summary["finished"]) == (130, 3, False)
    assert [one["status"] for one in files] == ["sent"] * 3


async def test_a_server_that_stays_away_ends_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.Patience, "seconds", lambda *_: 0.0)

    def script(call: Call) -> tuple[int, dict[str, str], Any]:
        return ME if call.path == "/api/auth/me" else (502, {}, None)

    async with scripted(script) as (env, calls):
        result = await uploaded(env | {"XDG_STATE_HOME": str(tmp_path)}, folder, "--parallel", "1")
    assert (result.exit_code, lines_of(result)) == (3, [json.loads(result.stdout)])
    assert len(calls) == 1 + patience.PATIENCE.attempts


async def test_nothing_to_send_is_well(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert lines_of(await uploaded(env, tmp_path / "empty"))[-1]["sent"] == 0
    assert (await uploaded(env, tmp_path / "missing")).exit_code == 2
    nobody = await uploaded(env | {"MEDIABUS_API_KEY": "mb_unknown"}, tmp_path / "empty")
    assert (nobody.exit_code, nobody.stdout) == (3, ""), "of what did not begin there is no summary"
