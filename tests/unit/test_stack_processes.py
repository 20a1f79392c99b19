"""Processes of the stack: what is ended, what is left alone, what stays bounded. Real processes, no servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from deploy.local import proc
from deploy.local.errors import StackError
from deploy.local.left_behind import end_what_was_left
from deploy.local.log_following import follow
from deploy.local.ports import free_port, is_free, remembered_ports
from deploy.local.processes import (
    LOCK_NAME,
    FolderLock,
    ManagedProcess,
    ProcessSpec,
    base_environment,
    bound_log,
    end_recorded,
    run_to_end,
    tail,
)
from deploy.local.stack_folder import StackFolder
from shared.testing.waiting import eventually

SLEEPING = (sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)
PARENT_OF_ONE = (
    sys.executable,
    "-c",
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
    " start_new_session=True); print(child.pid, flush=True); child.wait()",
)


def spec(folder: Path, command: tuple[str, ...], stop_timeout_seconds: float = 5.0) -> ProcessSpec:
    return ProcessSpec(
        name="program",
        command=command,
        log_path=folder / "program.log",
        record_path=folder / "process.json",
        environment={},
        working_folder=folder,
        stop_timeout_seconds=stop_timeout_seconds,
    )


async def started(folder: Path, command: tuple[str, ...], stop_timeout_seconds: float = 20.0) -> ManagedProcess:
    process = ManagedProcess(spec(folder, command, stop_timeout_seconds))
    process.start()

    async def speaks() -> bool:
        return bool(process.last_log_lines())

    await eventually(speaks, why="the program speaks")
    return process


async def test_stops_with_its_signal_and_forgets_the_record(tmp_path: Path) -> None:
    process = await started(tmp_path, SLEEPING)
    assert await process.stop() == -signal.SIGTERM
    assert not (tmp_path / "process.json").exists()


async def test_kills_what_does_not_stop_in_time(tmp_path: Path) -> None:
    process = await started(tmp_path, STUBBORN, stop_timeout_seconds=0.2)
    assert await process.stop() == -signal.SIGKILL


async def test_ends_what_a_crashed_program_left_behind(tmp_path: Path) -> None:
    process = await started(tmp_path, PARENT_OF_ONE)
    child = int(process.last_log_lines()[0])
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert proc.start_time_ticks(child) is not None
    await process.stop()
    assert proc.start_time_ticks(child) is None


async def test_refuses_a_folder_whose_program_runs_under_a_living_parent(tmp_path: Path) -> None:
    process = await started(tmp_path, SLEEPING)
    with pytest.raises(StackError, match=f"in use: python.* runs there with pid {process.pid}"):
        await end_recorded(tmp_path / "process.json")
    assert process.running
    await process.stop()


async def test_ends_the_program_of_a_dead_parent_and_leaves_a_stranger_with_its_pid_alone(tmp_path: Path) -> None:
    record_path = tmp_path / "process.json"
    process = await started(tmp_path, SLEEPING)
    record = json.loads(record_path.read_text())

    orphan = {**record, "parentStartTimeTicks": record["parentStartTimeTicks"] + 1}
    stranger = {**orphan, "startTimeTicks": record["startTimeTicks"] + 1, "mark": "another"}
    record_path.write_text(json.dumps(stranger))
    assert not await end_recorded(record_path)
    assert process.running

    record_path.write_text(json.dumps(orphan))
    assert await end_recorded(record_path)
    assert await process.wait() == -signal.SIGTERM


async def test_a_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from tests.unit.test_stack_processes import SLEEPING, started
        process = asyncio.run(started(Path(sys.argv[1]), SLEEPING))
        print(process.pid, flush=True)
        os._exit(0)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)  # noqa: ASYNC221
    pid = int(done.stdout)

    async def gone() -> bool:
        return proc.start_time_ticks(pid) is None

    await eventually(gone, why="the program is gone")


async def test_a_folder_is_locked_for_one(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    await first.acquire(timeout_seconds=1)
    with pytest.raises(StackError, match="in use by another server"):
        await second.acquire(timeout_seconds=0)
    first.release()
    await second.acquire(timeout_seconds=1)
    second.release()


async def test_who_stops_waiting_for_a_folder_leaves_nothing_open(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    await first.acquire(timeout_seconds=1)
    waiting = asyncio.create_task(second.acquire(timeout_seconds=60))
    await eventually(lambda: times_open(tmp_path / LOCK_NAME) == 2, why="the second one waits")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert times_open(tmp_path / LOCK_NAME) == 1
    first.release()


def times_open(path: Path) -> int:
    """How often this process has the file open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += descriptor.readlink() == path
    return count


async def test_a_folder_stays_locked_for_what_a_program_has_started_in_it_and_its_pid_is_told(tmp_path: Path) -> None:
    lock, later = FolderLock(tmp_path), FolderLock(tmp_path)
    await lock.acquire(timeout_seconds=1)
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    told = run_to_end(
        ["/bin/sh", "-c", script],
        name="a script",
        environment=base_environment(),
        timeout_seconds=30,
        kept_descriptors=(lock.descriptor,),
    )
    lock.release()
    assert later.is_held()
    # What the shell has made is a shell as well until it runs the program.
    await eventually(lambda: proc.command_line(int(told))[:1] == ["sleep"], why="the program has begun")
    with pytest.raises(StackError, match=rf"sleep \(pid {told.strip()}\).* end them with `kill {told.strip()}`"):
        await later.acquire(timeout_seconds=0)
    os.kill(int(told), signal.SIGKILL)
    await later.acquire(timeout_seconds=20)
    later.release()
    assert not later.is_held()
    assert not FolderLock(tmp_path / "no such folder").is_held()


async def test_what_a_killed_supervisor_has_left_is_ended_whichever_part_it_is_of(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    record_path = folder.data("postgres.restoring") / "process.json"
    record_path.parent.mkdir(parents=True)
    process = await started(record_path.parent, SLEEPING)
    record = json.loads(record_path.read_text())
    record_path.write_text(json.dumps({**record, "parentStartTimeTicks": record["parentStartTimeTicks"] + 1}))
    await end_what_was_left(folder)
    assert await process.wait() == -signal.SIGTERM


def test_ports_are_remembered_and_free(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = remembered_ports(path, ["one", "two"])
    assert remembered_ports(path, ["two", "three"])["two"] == first["two"]
    assert remembered_ports(path, ["one"])["one"] == first["one"]
    assert all(is_free(port) for port in first.values())
    assert free_port(taken=first.values()) not in first.values()


def test_no_other_process_chooses_a_port_before_it_is_used(tmp_path: Path) -> None:
    path, ours = tmp_path / "ports.json", free_port()
    path.write_text(json.dumps({"one": ours}))
    script = (
        "import pathlib, sys; from deploy.local.ports import remembered_ports;"
        "print(remembered_ports(pathlib.Path(sys.argv[1]), ['one'])['one'])"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) != ours
    assert is_free(ours)
    assert remembered_ports(path, ["one"]) == {"one": int(done.stdout)}, "what was claimed by the dead is free"


def test_a_log_and_its_predecessor_stay_bounded(tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("old\n" * 100)
    bound_log(path, limit_bytes=1000)
    assert len(path.read_text()) == 400
    bound_log(path, limit_bytes=100)
    assert path.read_text() == ""
    assert tail(tmp_path / "some.log.1", 1) == ["old"]


def test_following_shows_what_is_there_then_what_is_added_and_survives_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("one\ntwo\n")
    lines = follow({"some": path}, first_lines=1)
    assert next(lines) == "some | two"
    assert next(lines) is None
    with path.open("a") as log:
        log.write("three\nunfinis")
    assert next(lines) == "some | three"
    assert next(lines) is None
    path.write_text("new\n")
    assert next(lines) == "some | new"
