"""One program run and watched: started tied to its parent's life, stopped in time, killed with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import proc
from deploy.local.errors import StackError
from shared.storage.atomic_file import sync_directory

RECORD_NAME = "process.json"
"""In the data folder of a part: who runs there."""

LOCK_NAME = "folder.lock"
"""Beside it: open in every process that works there."""

_LAUNCHER = Path(__file__).with_name("launch.py")
_MARK_NAME = "MEDIABUS_PROCESS_MARK"
_POLL_SECONDS = 0.02
_LOG_LIMIT_BYTES = 8 * 1024 * 1024
_KILL_TIMEOUT_SECONDS = 10.0
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Identity:
    """Who a program runs as; the default is whoever we are.

    `namespace_uid` and `namespace_gid` are ids inside a user namespace of its own, -1 for none. `prefix` is a command
    that changes to another account and runs what follows it. The program's files belong to `owner_uid`.
    """

    namespace_uid: int = -1
    namespace_gid: int = -1
    prefix: tuple[str, ...] = ()
    owner_uid: int = -1
    owner_gid: int = -1


OURSELVES = Identity()


@dataclass(frozen=True)
class ProcessSpec:
    """What to run and how to end it.

    `record_path` keeps who runs, so that a later start can end what an unclean death left behind.
    `parent_death_signal` is what the kernel sends when the supervising process dies without stopping this one.
    """

    name: str
    command: Sequence[str]
    log_path: Path
    record_path: Path
    environment: Mapping[str, str]
    working_folder: Path
    niceness: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_seconds: float = 15.0
    parent_death_signal: signal.Signals = signal.SIGKILL
    identity: Identity = OURSELVES


class ManagedProcess:
    """One run of a `ProcessSpec`. Not tied to an event loop: it may be started in one and stopped in another."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self._popen: subprocess.Popen[bytes] | None = None
        self._mark = ""

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen is not None else None

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs and before it ran."""
        return self._popen.poll() if self._popen is not None else None

    def start(self, kept_descriptors: Sequence[int] = ()) -> None:
        """Start the program; `kept_descriptors` stay open in it and in what it starts."""
        if self.running:
            raise StackError(f"{self.spec.name} runs already with pid {self.pid}; stop it before starting it again")
        spec = self.spec
        spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        bound_log(spec.log_path)
        self._mark = uuid.uuid4().hex
        with spec.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [*_launcher(spec.identity, spec.parent_death_signal, spec.niceness), *spec.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec.working_folder,
                env={**spec.environment, _MARK_NAME: self._mark},
                # A group of its own keeps a terminal's Ctrl-C from ending everything at once; the session stays the
                # supervisor's, because where autogroups exist niceness counts only between members of one session.
                process_group=0,
                pass_fds=tuple(kept_descriptors),
            )
        self._write_record()

    async def wait(self) -> int:
        """Wait until the program ended; the exit code, negative for a signal. The caller sets the deadline."""
        while (code := self.exit_code) is None:
            if self._popen is None:
                raise StackError(f"{self.spec.name} was never started")
            await asyncio.sleep(_POLL_SECONDS)
        return code

    async def stop(self) -> int | None:
        """Ask the program to end, kill it when it takes longer than its stop timeout; its exit code."""
        if self._popen is None:
            return None
        if self.running:
            self._popen.send_signal(self.spec.stop_signal)
            try:
                await asyncio.wait_for(self.wait(), self.spec.stop_timeout_seconds)
            except TimeoutError:
                await self.kill()
        await self._end_left_behind()
        _remove(self.spec.record_path)
        return self.exit_code

    async def kill(self) -> int | None:
        """End the program and all it started with SIGKILL, and wait until they are gone."""
        if self._popen is None:
            return None
        members = [self._popen.pid, *proc.descendants(self._popen.pid)] if self.running else []
        if self.running:
            self._popen.kill()
        await _end_processes(members, signal.SIGKILL, _KILL_TIMEOUT_SECONDS, reap=self._popen)
        await self._end_left_behind()
        _remove(self.spec.record_path)
        return self.exit_code

    def last_log_lines(self, count: int = 15) -> list[str]:
        return tail(self.spec.log_path, count)

    async def _end_left_behind(self) -> None:
        """End what the program started and left: pool workers of a parent that crashed."""
        await _end_processes(_marked(self._mark), signal.SIGKILL, _KILL_TIMEOUT_SECONDS)

    def _write_record(self) -> None:
        assert self._popen is not None
        record = {
            "pid": self._popen.pid,
            "startTimeTicks": proc.start_time_ticks(self._popen.pid),
            "parentPid": os.getpid(),
            "parentStartTimeTicks": proc.start_time_ticks(os.getpid()),
            "bootId": proc.boot_id(),
            "program": Path(self.spec.command[0]).name,
            "mark": self._mark,
        }
        # It tells of this boot alone: a power cut makes it void anyway.
        write_private(self.spec.record_path, json.dumps(record), is_durable=False)


async def end_recorded(record_path: Path, timeout_seconds: float = 5.0) -> bool:
    """End what an unclean death left running, gently and then by force; True when there was something to end.

    A process counts only if its start time and its program match, so a stranger that got the pid is left alone.
    StackError when the program runs and whoever started it lives: then nothing was left behind, it is in use.
    """
    record = _read_record(record_path)
    leader = _living(record, "pid", "startTimeTicks")
    parent = _living(record, "parentPid", "parentStartTimeTicks")
    if leader is not None and parent is not None:
        raise StackError(
            f"{record_path.parent} is in use: {record['program']} runs there with pid {leader}, started by "
            f"pid {parent}; stop that one, or use another folder"
        )
    members = _recorded_processes(record)
    await _end_processes(members, signal.SIGTERM, timeout_seconds)
    _remove(record_path)
    return bool(members)


def _living(record: dict[str, object], pid_name: str, ticks_name: str) -> int | None:
    """The recorded pid, if the process that had it then has it still."""
    pid, ticks = record.get(pid_name), record.get(ticks_name)
    return pid if isinstance(pid, int) and ticks is not None and proc.start_time_ticks(pid) == ticks else None


def _read_record(path: Path) -> dict[str, object]:
    """What the last start wrote; nothing when there was none, it was cut short, or the machine was started anew."""
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.get("bootId") == proc.boot_id() else {}


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _recorded_processes(record: dict[str, object]) -> list[int]:
    members = _marked(str(record.get("mark", "")))
    leader = _living(record, "pid", "startTimeTicks")
    if leader is not None and record.get("program") in {Path(part).name for part in proc.command_line(leader)}:
        members += [leader, *proc.descendants(leader)]
    return sorted(set(members) - {os.getpid()})


def _marked(mark: str) -> list[int]:
    """Processes whose environment holds the mark that one start of a program gave it."""
    if not mark:
        return []
    return [pid for pid in proc.all_pids() if proc.environment_contains(pid, f"{_MARK_NAME}={mark}")]


async def _end_processes(
    pids: Sequence[int], first: signal.Signals, timeout_seconds: float, reap: subprocess.Popen[bytes] | None = None
) -> None:
    """Send `first`, after the timeout SIGKILL, and wait until all are gone."""
    started = {pid: ticks for pid in pids if (ticks := proc.start_time_ticks(pid)) is not None}

    def left() -> list[int]:
        living = [pid for pid, ticks in started.items() if proc.start_time_ticks(pid) == ticks]
        # Our own child is gone when it was waited for: its first thread may end before the others.
        return living or ([reap.pid] if reap is not None and reap.poll() is None else [])

    for number, limit_seconds in ((first, timeout_seconds), (signal.SIGKILL, _KILL_TIMEOUT_SECONDS)):
        for pid in left():
            proc.send_signal(pid, number)
        deadline = time.monotonic() + limit_seconds
        while left():
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return
    raise StackError(f"processes {left()} did not end after SIGKILL; look at their state with `ps -o pid,stat,wchan`")


class FolderLock:
    """An exclusive lock on a data folder that lasts as long as any process that inherited it.

    The lock is held by an open file which the server inherits: it goes when the last of the server's processes is
    gone, not when the process that started it is. Without it a second server on the same files would destroy them.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            raise StackError(f"{self._path} is not locked")
        return self._descriptor

    async def acquire(self, timeout_seconds: float) -> None:
        """StackError that names who works in the folder, when they don't end in time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout_seconds
        try:
            while not _locked(descriptor):
                if time.monotonic() > deadline:
                    raise StackError(self._in_use(timeout_seconds))
                await asyncio.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Whether anybody works in the folder, as far as a moment tells."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _locked(descriptor)
        finally:
            os.close(descriptor)

    def _in_use(self, waited_seconds: float) -> str:
        pids = [pid for pid in proc.pids_with_open(self._path) if pid != os.getpid()]
        programs = ", ".join(f"{' '.join(proc.command_line(pid)[:1])} (pid {pid})" for pid in pids)
        todo = f"end them with `kill {' '.join(map(str, pids))}`" if pids else "stop that one"
        return (
            f"{self._path.parent} is in use by another server{f': {programs}' if pids else ''}, which did not end "
            f"within {waited_seconds:g} s; {todo}, or use another folder"
        )

    def release(self) -> None:
        """Close our own hold; the lock stays while a server that inherited it lives."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def wait_until(
    probe: Callable[[], Awaitable[bool]], process: ManagedProcess, timeout_seconds: float, poll_seconds: float = 0.05
) -> None:
    """Ask `probe` until it says yes; StackError with the log's last lines when the program ends or time runs out."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        if not process.running:
            raise StackError(_with_log(process, f"ended with exit code {process.exit_code} before it was ready"))
        if await probe():
            return
        if time.monotonic() > deadline:
            raise StackError(_with_log(process, f"was not ready after {timeout_seconds:g} s"))
        await asyncio.sleep(poll_seconds)


def _with_log(process: ManagedProcess, what: str) -> str:
    lines = "\n".join(f"    {line}" for line in process.last_log_lines())
    return f"{process.spec.name} {what}; the end of {process.spec.log_path}:\n{lines}"


def run_to_end(
    command: Sequence[str],
    *,
    name: str,
    environment: Mapping[str, str],
    identity: Identity = OURSELVES,
    timeout_seconds: float,
    kept_descriptors: Sequence[int] = (),
) -> str:
    """Run a short program and give its output; StackError with the output when it fails.

    `kept_descriptors` stay open in it and in what it starts: the lock of the folder in which it writes.
    """
    try:
        done = subprocess.run(
            [*_launcher(identity, signal.SIGKILL, niceness=0), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            timeout=timeout_seconds,
            check=False,
            pass_fds=tuple(kept_descriptors),
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{name} did not end within {timeout_seconds:g} s: {' '.join(command)}") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise StackError(f"{name} failed with exit code {done.returncode}: {' '.join(command)}\n{output[-4000:]}")
    return output


def _launcher(identity: Identity, parent_death_signal: signal.Signals, niceness: int) -> list[str]:
    launcher = [*identity.prefix, sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
    numbers = (int(parent_death_signal), niceness, identity.namespace_uid, identity.namespace_gid)
    return [*launcher, *map(str, numbers)]


def base_environment() -> dict[str, str]:
    """What every program gets of our own environment: paths and language, nothing that configures a server."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "JAVA_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ}


def bound_log(path: Path, limit_bytes: int = _LOG_LIMIT_BYTES) -> None:
    """Keep a log and its predecessor under the limit each.

    The writer keeps its open file, so the content is copied away and the file cut to nothing. Lines written between
    the two are lost, which a local log can bear.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > limit_bytes:
            shutil.copyfile(path, path.with_suffix(path.suffix + ".1"))
            os.truncate(path, 0)


def tail(path: Path, count: int, end_byte: int | None = None) -> list[str]:
    """The last lines of a log, or of its part before `end_byte`; none when there is no log."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END) if end_byte is None else end_byte
            begin = log.seek(max(0, end - _TAIL_BYTES))
            return log.read(end - begin).decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def write_private(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Write a file that only its owner may read, whole or not at all, whatever is killed.

    `is_durable`: when this returns, a power cut leaves it as it is, too. The bytes come first, else it could bear its
    name with none of them; then the name, else the next step could outlive it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if is_durable:
        sync_directory(path.parent)
