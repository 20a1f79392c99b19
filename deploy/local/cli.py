"""The commands of the embedded stack."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.local import proc
from deploy.local.errors import StackError
from deploy.local.http_probe import http_status
from deploy.local.log_following import follow, known_logs
from deploy.local.processes import RECORD_NAME
from deploy.local.stack_folder import REPOSITORY, StackFolder
from deploy.local.stack_secrets import load_secrets
from deploy.local.topology import DATABASE, POSTGRES, Topology
from shared.db.schemas import SCHEMAS, role_of

_START_TIMEOUT_SECONDS = 3600.0
"""Beyond all deadlines of the supervisor: it says itself what does not start."""
_STOP_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.1


def main(arguments: Sequence[str], topology: Topology, module: str) -> int:
    """Carry out one command; `module` is what `python -m` must run to get here with this topology."""
    options = _parser(module).parse_args(arguments)
    folder = StackFolder.configured()
    try:
        match options.command:
            case "up":
                _up(folder, topology)
            case "start":
                _start(folder, module)
            case "stop":
                _stop(folder)
            case "status":
                return _status(folder, topology)
            case "logs":
                _logs(folder, options.names, options.lines, following=not options.no_follow)
            case "psql":
                _psql(folder, options.service, options.arguments)
            case "wipe":
                _wipe(folder, confirmed=options.yes)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser(module: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description="The whole system on this machine. Data lies in .mediabus, or where MEDIABUS_STACK_DIR says.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything and stay in the foreground until Ctrl-C")
    commands.add_parser("start", help="start everything in the background; returns when it is ready")
    commands.add_parser("stop", help="stop everything in order")
    commands.add_parser("status", help="show what runs; exit code 3 when nothing does")
    logs = commands.add_parser("logs", help="show and follow the logs")
    logs.add_argument("names", nargs="*", help="parts to show; all without a name")
    logs.add_argument("-n", "--lines", type=int, default=20, help="lines of each log to begin with")
    logs.add_argument("--no-follow", action="store_true", help="end after the lines that are there")
    psql = commands.add_parser("psql", help="open psql on the stack's database, as superuser or as a service")
    psql.add_argument("--service", choices=sorted(SCHEMAS), help="connect with this service's role")
    psql.add_argument("arguments", nargs="*", help="what psql gets, after --")
    wipe = commands.add_parser("wipe", help="stop everything and remove data, logs, ports and passwords")
    wipe.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _up(folder: StackFolder, topology: Topology) -> None:
    # Imported here: it loads the clients of every server, which the other commands need not wait for.
    from deploy.local.supervisor import Supervisor

    asyncio.run(Supervisor(folder, topology, lambda line: print(line, flush=True)).run())


def _start(folder: StackFolder, module: str) -> None:
    # Taking the folder for a moment tells whether it is free, and what is left of a dead supervisor is not believed.
    with folder.supervised():
        folder.stack_file.unlink(missing_ok=True)
    folder.logs.mkdir(parents=True, exist_ok=True)
    log_path = folder.log("supervisor")
    log_path.unlink(missing_ok=True)
    # Appending, so that the log may be cut while it is written.
    with log_path.open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", module, "up"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            # A session of its own outlives the terminal, and holds everything the stack starts.
            start_new_session=True,
        )
    lines = follow({"": log_path}, first_lines=1000)
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    try:
        while not folder.stack_file.exists() and supervisor.poll() is None and time.monotonic() < deadline:
            _print_waiting(lines)
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        supervisor.terminate()
        raise
    _print_waiting(lines)
    if not folder.stack_file.exists():
        supervisor.terminate()
        raise StackError(f"the stack did not start; its own log is {log_path}")
    # It goes on without us: nothing here waits for it.
    supervisor.returncode = 0


def _print_waiting(lines: Iterator[str | None]) -> None:
    while (line := next(lines)) is not None:
        print(line, flush=True)


def _stop(folder: StackFolder) -> None:
    pid = folder.supervisor_pid()
    if pid is None:
        print(f"no stack runs in {folder.root}")
        return
    proc.send_signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while folder.supervisor_pid() == pid:
        if time.monotonic() > deadline:
            raise StackError(f"the supervisor (pid {pid}) did not end within {_STOP_TIMEOUT_SECONDS:g} s; see its log")
        time.sleep(_POLL_SECONDS)
    print(f"the stack in {folder.root} is stopped")


def _status(folder: StackFolder, topology: Topology) -> int:
    pid = folder.supervisor_pid()
    if pid is None:
        print(f"no stack runs in {folder.root}")
        return 3
    print(f"stack in {folder.root}, supervisor pid {pid}, {'ready' if folder.stack_file.exists() else 'not ready'}")
    ports: dict[str, int] = json.loads(folder.ports.read_text())
    services = {service.name for service in topology.services}
    print(f"{'part':18}{'state':12}{'pid':>8}{'port':>8}{'memory':>10}")
    for name in (*topology.servers, *(service.name for service in topology.services)):
        process = _recorded_pid(folder.data(name) / RECORD_NAME)
        state = "down" if process is None else "up"
        if process is not None and name in services:
            ready = asyncio.run(http_status(ports[name], "/health/ready")) == 200
            state = "ready" if ready else "not ready"
        memory_mib = sum(map(proc.resident_bytes, (process, *proc.descendants(process)))) >> 20 if process else 0
        print(f"{name:18}{state:12}{process or '-':>8}{ports[name]:>8}{memory_mib:>6} MiB")
    return 0


def _recorded_pid(record_path: Path) -> int | None:
    try:
        record = json.loads(record_path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(record["pid"])
    return pid if proc.start_time_ticks(pid) == record["startTimeTicks"] else None


def _logs(folder: StackFolder, names: Sequence[str], first_lines: int, *, following: bool) -> None:
    known = known_logs(folder.logs)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise StackError(f"there is no log of {', '.join(unknown)}; there are logs of {', '.join(known) or 'nothing'}")
    for line in follow({name: known[name] for name in names or known}, first_lines):
        if line is not None:
            print(line, flush=True)
        elif following:
            time.sleep(_POLL_SECONDS)
        else:
            return


def _psql(folder: StackFolder, service: str | None, arguments: Sequence[str]) -> None:
    from deploy.local.postgres import ADMIN_USER, binaries_folder

    if folder.supervisor_pid() is None:
        raise StackError(f"no stack runs in {folder.root}: start one with `make stack-start`")
    known = load_secrets(folder.secrets, SCHEMAS.values())
    user, password = ADMIN_USER, known.postgres_admin_password
    if service is not None:
        user, password = role_of(SCHEMAS[service]), known.role_passwords[SCHEMAS[service]]
    port = json.loads(folder.ports.read_text())[POSTGRES]
    psql = str(binaries_folder() / "psql")
    connection = ["--host", "127.0.0.1", "--port", str(port), "--username", user, "--dbname", DATABASE]
    os.execve(psql, [psql, *connection, *arguments], {**os.environ, "PGPASSWORD": password})


def _wipe(folder: StackFolder, *, confirmed: bool) -> None:
    if not folder.root.exists():
        print(f"there is nothing in {folder.root}")
        return
    # A folder named by mistake must not be removed with what somebody keeps in it.
    if any(folder.root.iterdir()) and not folder.secrets.exists():
        raise StackError(
            f"{folder.root} holds no stack: it has no {folder.secrets.name}; remove it yourself if you mean it"
        )
    if not confirmed and input(f"Remove all data in {folder.root}? [y/N] ").strip().lower() != "y":
        raise StackError("nothing was removed")
    _stop(folder)
    shutil.rmtree(folder.root)
    print(f"removed {folder.root}")
