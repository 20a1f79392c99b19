"""`mediabus stack`: the embedded stack of this clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from deploy.cli.output import Shown, facts_table, print_json_line, print_problem, print_shown, rows_table
from deploy.cli.problems import ExitCode
from deploy.local.stack_folder import REPOSITORY, StackFolder

MODULE: Final = "deploy.local"

stack = typer.Typer(help="The embedded stack of this clone: everything on this machine.", no_args_is_help=True)

StackAsJson = Annotated[bool, typer.Option("--json", help="Print how it stands then, as JSON.")]


@stack.command()
def start(as_json: StackAsJson = False) -> None:
    """Start everything in the background; returns when it is ready."""
    _run("start", as_json=as_json)


@stack.command()
def stop(as_json: StackAsJson = False) -> None:
    """Stop everything in order; data stays."""
    _run("stop", as_json=as_json)


@stack.command()
def status(as_json: StackAsJson = False) -> None:
    """Show what runs. The exit code is 3 where nothing does."""
    standing = _standing()
    _show(standing, as_json=as_json)
    if not standing["running"]:
        raise typer.Exit(ExitCode.NOT_REACHED)


def _run(command: str, *, as_json: bool) -> None:
    """As `python -m deploy.local`; what it says on the way goes to stderr where stdout is for JSON."""
    done = subprocess.run(
        [sys.executable, "-m", MODULE, command],
        cwd=REPOSITORY,
        env=os.environ,
        stdout=sys.stderr.fileno() if as_json else None,
        check=False,
    )
    if done.returncode:
        print_problem(f"the stack did not {command}: it says above why")
        raise typer.Exit(ExitCode.REFUSED)
    if as_json:
        _show(_standing(), as_json=True)


def _standing() -> dict[str, Any]:
    """Without the passwords that `stack.json` has."""
    folder = StackFolder.configured()
    pid = folder.supervisor_pid()
    told: dict[str, Any] = {}
    if pid is not None and folder.stack_file.exists():
        told = json.loads(folder.stack_file.read_text())
    return {
        "folder": os.fspath(folder.root),
        "running": pid is not None,
        "ready": bool(told),
        "supervisorPid": pid,
        "baseUrl": told.get("baseUrl"),
        "superadminEmail": (told.get("superadmin") or {}).get("email"),
        "jaegerUrl": (told.get("jaeger") or {}).get("queryUrl"),
        "services": {name: {"pid": one["pid"]} for name, one in told.get("services", {}).items()},
    }


def _show(standing: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json_line(standing)
    else:
        print_shown(stack_facts(standing))


def stack_facts(standing: dict[str, Any]) -> Sequence[Shown]:
    if not standing["running"]:
        return [f"No stack runs in {standing['folder']}."]
    facts = {
        "site": standing["baseUrl"],
        "superadmin": standing["superadminEmail"] and f"{standing['superadminEmail']}, password in stack.json",
        "traces": standing["jaegerUrl"],
        "supervisor": str(standing["supervisorPid"]),
    }
    rows = [(name, str(one["pid"])) for name, one in standing["services"].items()]
    title = f"Stack in {standing['folder']}, {'ready' if standing['ready'] else 'not ready'}"
    return [facts_table(title, facts), *([rows_table("Services", ("service", "pid"), rows)] if rows else [])]
