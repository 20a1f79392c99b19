"""All commands of `mediabus`: what each tells of itself, and how each ends where nobody answers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner, Result

from deploy.cli import patience
from deploy.cli.app import app
from deploy.local.ports import free_port
from deploy.local.stack_folder import StackFolder
from tests.cli_world import NOBODY

LOCAL = {"stack start", "stack stop", "stack status", "logout"}
"""They ask nobody."""
FURTHER = {
    "login": ["--key-stdin"],
    "fix": ["--remove-orphaned"],
    "sync start": [str(uuid.uuid4())],
    "events change": ["--name", "x"],
    "users add": ["--password-stdin"],
    "users change": ["--role", "admin"],
    "schedules set": ["--missed", "skip"],
}
"""What a command wants beside what the parser does."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from leaves(below, (*path, name))
    else:
        assert isinstance(command, TyperCommand)
        yield " ".join(path), command


COMMANDS = dict(leaves(get_command(app)))


def words_of(name: str, command: TyperCommand, file: Path, url: str) -> list[str]:
    """The least that the parser is content with."""
    words = name.split()
    for parameter in command.params:
        if parameter.required or (name, parameter.name) == ("login", "url"):
            if isinstance(parameter, TyperOption):
                words.append(parameter.opts[0])
            words.append(word_of(parameter, file, url))
    return [*words, *FURTHER.get(name, [])]


def word_of(parameter: Any, file: Path, url: str) -> str:
    words = {"operation": "delete_local", "role": "admin", "assignments": "s3Enabled=true", "url": url}
    files = dict.fromkeys(("paths", "selfie", "file"), str(file))
    return {**words, **files}.get(parameter.name, str(uuid.uuid4()))


def invoked(words: list[str], env: dict[str, str | None]) -> Result:
    return CliRunner().invoke(app, words, env={**NOBODY, **env}, input="typed\n", catch_exceptions=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_what_it_does_and_knows_json(name: str) -> None:
    command = COMMANDS[name]
    assert (command.help or "").strip().endswith((".", ".\n")), "a sentence about it"
    assert any("--json" in parameter.opts for parameter in command.params)
    for parameter in command.params:
        if isinstance(parameter, TyperOption):
            assert parameter.help, f"{parameter.opts[0]} is not explained"


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - LOCAL))
def test_where_nobody_answers_a_sentence_says_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience.Patience, "seconds", lambda *_: 0.0)
    file = tmp_path / "file.jpg"
    file.write_text(json.dumps({"variants": []}))
    url = f"http://127.0.0.1:{free_port()}"
    env: dict[str, str | None] = {"MEDIABUS_URL": url, "MEDIABUS_API_KEY": "key", "XDG_STATE_HOME": str(tmp_path)}
    result = invoked(words_of(name, COMMANDS[name], file, url), env)
    assert (result.exit_code, "is not reached" in result.stderr) == (3, True), result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("*.json")), "nothing is kept"


def test_the_exit_codes_are_told() -> None:
    said = " ".join(invoked(["--help"], {}).stdout.split())
    for words in ("0 done", "1 refused", "2 wrong use", "3 not reached", "4 done, but", "130 interrupted"):
        assert words in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As their scripts ask for it."""
    env: dict[str, str | None] = {
        "_MEDIABUS_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "mediabus settings ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": "mediabus settings ",
        "COMP_CWORD": "2",
    }
    result = CliRunner().invoke(app, [], prog_name="mediabus", env=env)
    for word in ("show", "set", "test-s3", "entity-type"):
        assert word in result.stdout


def test_the_stack_says_that_nothing_runs(tmp_path: Path) -> None:
    env: dict[str, str | None] = {"MEDIABUS_STACK_DIR": str(tmp_path)}
    told = invoked(["stack", "status", "--json"], env)
    assert (told.exit_code, json.loads(told.stdout)["running"]) == (3, False)
    human = invoked(["stack", "status"], env)
    assert (human.exit_code, "No stack runs" in human.stdout) == (3, True)


def test_a_stack_that_runs_is_told_of_without_its_passwords(tmp_path: Path) -> None:
    env: dict[str, str | None] = {"MEDIABUS_STACK_DIR": str(tmp_path)}
    told = {
        "baseUrl": "http://127.0.0.1:8000",
        "superadmin": {"email": "root@example.test", "password": "secret-1"},
        "postgres": {"password": "secret-2"},
        "jaeger": {"queryUrl": None},
        "services": {"ingest-api": {"pid": 4711, "metricsUrl": "", "healthUrl": ""}},
    }
    with StackFolder(tmp_path).supervised():
        (tmp_path / "stack.json").write_text(json.dumps(told))
        human, as_json = invoked(["stack", "status"], env), invoked(["stack", "status", "--json"], env)
    assert (human.exit_code, as_json.exit_code) == (0, 0)
    for word in ("ready", "http://127.0.0.1:8000", "ingest-api", "4711"):
        assert word in human.stdout
    assert json.loads(as_json.stdout)["services"] == {"ingest-api": {"pid": 4711}}
    assert "secret" not in human.output + as_json.output


def test_the_readme_names_commands_that_exist_and_every_group() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "cli" / "README.md").read_text()
    named = re.findall(r"^mediabus (?!-)(.+?)(?:  |$)", text, re.MULTILINE)
    for words in named:
        assert any(f"{words} ".startswith(f"{name} ") for name in COMMANDS), words
    assert {name.split()[0] for name in COMMANDS} <= set(re.findall(r"[a-z-]+", text)), "each is told of"
