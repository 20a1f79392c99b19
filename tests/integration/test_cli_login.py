"""Signing in by the command line: what is kept, who wins, what is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from deploy.cli.login import _warn_of_open_road
from deploy.local.ports import free_port
from ingest_api.accounts import Role
from tests.cli_world import Environment, answering, as_superadmin, mediabus
from tests.ingest_site import IngestSite

pytestmark = pytest.mark.stack


class Person:
    """Somebody with a folder of their own for what is kept."""

    def __init__(self, site: IngestSite, folder: Path) -> None:
        self.file = folder / "mediabus" / "profile.json"
        self._site = site
        self._env: Environment = {"XDG_CONFIG_HOME": str(folder), "MEDIABUS_STACK_DIR": str(folder)}

    async def __call__(self, *arguments: str, typed: str | None = None, **env: str | None) -> Result:
        return await mediabus(*arguments, env=self._env | env, typed=typed)

    async def logged_in(self, password: str = "x") -> Result:
        email = f"{self._site.user_id}@example.test"
        return await self("login", self._site.base_url, "--email", email, typed=f"{password}\n")


@pytest.fixture
def person(cli_site: IngestSite, tmp_path: Path) -> Person:
    return Person(cli_site, tmp_path / "home")


async def test_a_password_begins_a_session_that_logout_ends(cli_site: IngestSite, person: Person) -> None:
    signed_in = await person.logged_in()
    assert signed_in.exit_code == 0, signed_in.output
    assert f"as {cli_site.user_id}@example.test" in signed_in.stdout
    assert (person.file.stat().st_mode & 0o777, person.file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert '"x"' not in person.file.read_text(), "the password is kept nowhere"
    known = await person("whoami")
    for word in (f"{cli_site.user_id}@example.test", "superadmin", cli_site.base_url, str(person.file.name)):
        assert word in known.stdout
    changed = await person("schedules", "pause", "nothing")
    assert (changed.exit_code, "nothing at this address" in changed.stderr) == (1, True), "a change is let through"
    kept = person.file.read_text()
    assert (await person("logout")).exit_code == 0
    assert not person.file.exists()
    person.file.write_text(kept)
    ended = await person("whoami")
    assert ended.exit_code == 3
    assert "mediabus login" in ended.stderr


async def test_a_wrong_password_keeps_what_was(cli_site: IngestSite, person: Person) -> None:
    wrong = await person.logged_in("y")
    assert wrong.exit_code == 1
    assert "There is no account with this e-mail address and password" in wrong.stderr
    assert not person.file.exists()
    asked = await person("login", typed=f"{cli_site.base_url}\n{cli_site.user_id}@example.test\nx\n")
    assert asked.exit_code == 0, asked.output
    kept = person.file.read_text()
    assert (await person.logged_in("y")).exit_code == 1
    assert person.file.read_text() == kept


async def test_a_key_is_kept_and_forgotten(cli_site: IngestSite, person: Person) -> None:
    key = await cli_site.key_of(Role.ADMIN)
    signed_in = await person("login", cli_site.base_url, "--key-stdin", "--json", typed=f"{key}\n")
    assert json.loads(signed_in.stdout)["user"]["role"] == "admin"
    assert key not in signed_in.output
    assert (await person("deletions", "list")).exit_code == 0
    logged_out = await person("logout")
    assert "until `mediabus keys revoke`" in logged_out.stdout
    assert (await person("logout", "--json")).stdout == "null\n"
    assert (await person("whoami")).exit_code == 3, "no embedded stack runs there"
    refused = await person("login", cli_site.base_url, "--key-stdin", typed="mb_wrong\n")
    assert (refused.exit_code, person.file.exists()) == (3, False)


async def test_variables_win_over_what_is_kept_and_that_over_the_stack(cli_site: IngestSite, person: Person) -> None:
    admin = await cli_site.key_of(Role.ADMIN)
    await person("login", cli_site.base_url, "--key-stdin", typed=f"{admin}\n")
    (person.file.parent.parent / "stack.json").write_text("{")
    assert json.loads((await person("whoami", "--json")).stdout)["user"]["role"] == "admin"
    by_variables = await person("whoami", "--json", **as_superadmin(cli_site))
    assert json.loads(by_variables.stdout)["user"]["role"] == "superadmin"
    anew = await person("login", "--key-stdin", typed=f"{admin}\n", **as_superadmin(cli_site))
    assert (anew.exit_code, "go before what is kept" in anew.stderr) == (0, True)
    person.file.write_text("[]")
    broken = await person("whoami")
    assert (broken.exit_code, "`mediabus login` writes it anew" in broken.stderr) == (3, True)


async def test_where_nobody_answers_nothing_is_kept(person: Person) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    away = await person("login", nowhere, "--email", "a@example.test", "--password-stdin", typed="x\n")
    assert (away.exit_code, "is not reached" in away.stderr, person.file.exists()) == (3, True, False)
    assert (await person("login", "media.example.org", "--key-stdin", typed="k\n")).exit_code == 3
    assert (await person("login", nowhere, "--key-stdin", "--email", "a@example.test")).exit_code == 2
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (env, _):
        url = env["MEDIABUS_URL"]
        assert url is not None
        foreign = await person("login", url, "--email", "a@example.test", "--password-stdin", typed="x\n")
    assert (foreign.exit_code, "without a session" in foreign.stderr) == (3, True)


async def test_what_is_forgotten_is_forgotten_though_the_server_is_away(person: Person) -> None:
    person.file.parent.mkdir(parents=True)
    nowhere = f"http://127.0.0.1:{free_port()}"
    person.file.write_text(json.dumps({"url": nowhere, "cookie": ["mediabus_session", "token"]}))
    out = await person("logout")
    assert (out.exit_code, "is not reached" in out.stdout, person.file.exists()) == (0, True, False)


def test_plain_http_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:1", "https://media.example.org"):
        _warn_of_open_road(url)
    assert capsys.readouterr().err == ""
    _warn_of_open_road("http://media.example.org")
    assert "plain HTTP" in capsys.readouterr().err
