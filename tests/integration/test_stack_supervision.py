"""The supervisor over dummy services: order, restarts, ports, and what is left of one that was killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.ports import free_port
from deploy.local.service_process import ServiceProcess
from deploy.local.stack_folder import StackFolder
from deploy.local.supervisor import Supervisor
from deploy.local.topology import Service, Site, Topology, python
from shared.testing.waiting import eventually
from tests.integration.dummy_stack import DUMMY, STOP_JOURNAL
from tests.integration.stack_commands import StackCommands, gone, until


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[StackCommands]:
    commands = StackCommands(tmp_path / "stack", servers="none")
    yield commands
    commands.stop()


def test_runs_once_per_folder_and_side_by_side_in_two(stack: StackCommands, tmp_path: Path) -> None:
    other = StackCommands(tmp_path / "other", servers="none")
    stack.start()
    try:
        refused = stack.run("up")
        assert refused.returncode == 1
        assert f"a stack runs already in {stack.folder.root}" in refused.stderr
        assert "MEDIABUS_STACK_DIR" in refused.stderr
        other.start()
        assert stack.ask("front")["pid"] == stack.service_pid("front")
        assert other.ask("front")["pid"] == other.service_pid("front")
        assert set(stack.facts()["services"]) == {"front", "worker"}
    finally:
        other.stop()
    assert stack.ask("front") is not None
    assert stack.run("status").returncode == 0
    assert other.run("status").returncode == 3


def test_background_services_yield_to_those_in_front_within_one_session(stack: StackCommands) -> None:
    stack.start()
    front, worker = stack.ask("front"), stack.ask("worker")
    assert front["nice"] == os.nice(0)
    assert worker["nice"] == min(19, os.nice(0) + 7)
    # Niceness counts only between members of one session where the kernel groups processes by session.
    assert front["session"] == worker["session"] == stack.folder.supervisor_pid()


def test_stops_in_order_and_takes_the_stack_file_away(stack: StackCommands) -> None:
    stack.start()
    assert stack.folder.stack_file.stat().st_mode & 0o777 == 0o600
    pids = stack.recorded_pids()
    stack.stop()
    stops = [line.split()[0] for line in (stack.folder.root / STOP_JOURNAL).read_text().splitlines()]
    assert stops == ["front", "worker"]
    assert not stack.folder.stack_file.exists()
    assert gone(pids)


def test_starts_a_crashed_service_again_after_growing_delays_and_shows_its_last_words(stack: StackCommands) -> None:
    stack.start()
    for crashes in (1, 2):
        stack.ask("worker", "/crash")
        until(lambda crashes=crashes: _times(stack, "worker is ready again") == crashes, "ready again")  # type: ignore[misc]
    journal = "\n".join(stack.journal())
    assert re.findall(r"worker ended with exit code 3; starting it again in ([\d.]+) s", journal) == ["0.5", "1"]
    assert "    the last words of a service" in journal
    assert stack.ask("worker")["pid"] == stack.service_pid("worker")


def _times(stack: StackCommands, words: str) -> int:
    return sum(words in line for line in stack.journal())


def test_remembers_its_ports_and_leaves_one_that_a_stranger_took(stack: StackCommands) -> None:
    stack.start()
    first = json.loads(stack.folder.ports.read_text())
    stack.stop()
    with socket.create_server(("127.0.0.1", first["worker"])):
        stack.start()
        second = json.loads(stack.folder.ports.read_text())
        assert second["front"] == first["front"]
        assert second["worker"] != first["worker"]
        assert stack.ask("worker") is not None


async def test_another_port_is_taken_where_a_stranger_takes_one_before_it_is_used(tmp_path: Path) -> None:
    folder, taken = StackFolder(tmp_path / "stack"), socket.socket()
    told: list[str] = []

    def environment(site: Site) -> dict[str, str]:
        """Called when all ports are chosen, and nobody listens yet."""
        if taken.getsockname()[1] == 0:
            taken.bind(("127.0.0.1", site.ports["front"]))
            taken.listen()
        return {"MEDIABUS_HTTP_PORT": str(site.ports["front"])}

    front = Service("front", python(DUMMY, "front", str(tmp_path / STOP_JOURNAL)), environment)
    supervisor = Supervisor(folder, Topology(servers=(), steps=(), services=(front,)), told.append)
    with taken:
        running = asyncio.create_task(supervisor.run())
        try:
            await eventually(folder.stack_file.exists, why="the stack is ready")
            assert supervisor.site.ports["front"] != taken.getsockname()[1]
            assert any("another program has taken the port of front" in line for line in told)
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_a_service_is_ready_when_it_answers_itself_and_not_when_another_does(tmp_path: Path) -> None:
    port = free_port()
    environment = {"MEDIABUS_HTTP_PORT": str(port), "PATH": os.environ["PATH"]}
    journal = str(tmp_path / STOP_JOURNAL)

    def service(name: str, *command: str) -> ServiceProcess:
        program = Service(name, python(*command), lambda site: environment)
        return ServiceProcess(program, tmp_path / name, port, environment, tmp_path / f"{name}.log")

    slow = service("slow", "-c", "import time; time.sleep(1)")
    stranger = service("stranger", DUMMY, "stranger", journal)
    await slow.launch()
    await stranger.start()
    try:
        with pytest.raises(StackError, match="slow ended with exit code 0 before it was ready"):
            await slow.wait_ready(20)
    finally:
        await stranger.stop()


def test_starts_again_after_its_supervisor_was_killed(stack: StackCommands) -> None:
    stack.start()
    pids = stack.recorded_pids()
    supervisor = stack.folder.supervisor_pid()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: gone(pids), "the services die with their supervisor")
    assert stack.run("status").returncode == 3
    assert stack.folder.stack_file.exists()
    stack.start()
    assert stack.ask("front")["pid"] == stack.service_pid("front")


def test_wipes_its_own_folder_and_no_other(stack: StackCommands, tmp_path: Path) -> None:
    stack.start()
    assert stack.run("wipe", "--yes").returncode == 0
    assert not stack.folder.root.exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter.txt").write_text("keep me")
    refused = StackCommands(precious, servers="none").run("wipe", "--yes")
    assert refused.returncode == 1
    assert (precious / "letter.txt").exists()
