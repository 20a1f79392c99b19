"""A bounded pool of worker processes, used from asyncio.

Why not a library: the pool has to survive the death of any worker at any moment, also an idle one (pebble gives up the
whole pool then; `concurrent.futures` always does), stop one order without touching the others, and never fork a process
that already runs threads and an event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.messaging.errors import InfrastructureUnavailable, MessageError, PermanentError
from shared.seeing_through import to_its_end
from shared.worker_pool.turns import Turns, Urgency
from shared.worker_pool.worker import FRAME, Order

W = TypeVar("W")
A = TypeVar("A")

_log = logging.getLogger(__name__)

_REAP_DEADLINE_SECONDS: Final = 10.0
_RESPAWN_BACKOFF_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
_STARVED_BELOW: Final = 0.5
_LARGEST_ANSWER_BYTES: Final = 4 * 2**20
_PASSED_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
_ALLOCATOR: Final = {
    # Keep up to 64 MiB between orders instead of taking the same pages from the kernel anew for each of them, which
    # is 6 % of the time; above that memory goes back, so a worker stays as small as its usual order.
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}
_DISK_FULL: Final = ("ENOSPC", "EDQUOT", "EROFS")


@dataclass(frozen=True, slots=True)
class WorkerPoolSettings:
    """`time_limit_seconds` is the wall time of one order, `wait_limit_seconds` that of waiting for a free worker.

    `memory_limit_bytes` is per worker, its libraries' data included. `niceness` is added to the parent's own. A worker
    is replaced after `orders_per_worker` orders (0: never).
    """

    workers: int = len(os.sched_getaffinity(0))
    time_limit_seconds: float = 60.0
    wait_limit_seconds: float = 600.0
    start_limit_seconds: float = 60.0
    memory_limit_bytes: int = 1536 * 2**20
    niceness: int = 5
    orders_per_worker: int = 1000

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"a pool needs at least 1 worker, not {self.workers}")


@dataclass(frozen=True, slots=True)
class WorkerProgram:
    """The module that calls `shared.worker_pool.worker.serve`, and its own arguments.

    Of the service's environment it gets the `passed` variables, beside those without which no program runs.
    """

    module: str
    arguments: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerFailures(Protocol):
    """How the ways in which an order can fail are told, each with a code of the service's own."""

    def time_limit(self, limit_seconds: float) -> MessageError: ...
    def memory_limit(self, limit_bytes: int) -> MessageError: ...
    def starved(self, limit_seconds: float, cpu_seconds: float) -> MessageError: ...
    def worker_died(self, how: str) -> MessageError: ...
    def input_output(self, detail: str) -> MessageError: ...
    def unforeseen(self, summary: str) -> MessageError: ...
    def no_worker(self, waited_seconds: float) -> MessageError: ...
    def pool_closed(self) -> MessageError: ...


class _InputOutput(BaseModel):
    model_config = ConfigDict(frozen=True)
    errno_name: str
    detail: str


class _Refused(BaseModel):
    model_config = ConfigDict(frozen=True)
    code: str
    detail: str


class _Bug(BaseModel):
    model_config = ConfigDict(frozen=True)
    summary: str
    traceback: str


class _Answer(BaseModel, Generic[A]):
    """What a worker may say; anything else it sends is refused here."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    done: A | None = None
    refused: _Refused | None = None
    out_of_memory: bool = False
    input_output: _InputOutput | None = None
    bug: _Bug | None = None


class _Worker:
    """One worker process and the socket to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.orders = 0
        self.usable = True
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, program: WorkerProgram, settings: WorkerPoolSettings, failures: WorkerFailures) -> Self:
        """Start a process and wait until it is warm. Raises `worker_died` where it does not get there."""
        ours, theirs = socket.socketpair()
        with ExitStack() as unfinished:
            unfinished.callback(ours.close)
            process = _spawned(theirs, program, settings)
            unfinished.callback(_end_at_once, process)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LARGEST_ANSWER_BYTES)
            unfinished.pop_all()
        worker = cls(process, reader, writer)
        try:
            async with asyncio.timeout(settings.start_limit_seconds):
                await worker._receive()
        except BaseException as error:
            worker.kill()
            how = await worker.reap()
            if isinstance(error, TimeoutError | asyncio.IncompleteReadError | ConnectionError):
                raise failures.worker_died(f"while starting, {how}") from error
            raise
        return worker

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def give(self, order: Order) -> bool:
        """Give it one order; false when it does not take it, because it died while idle."""
        payload = pickle.dumps(order)
        try:
            self._writer.write(FRAME.pack(len(payload)) + payload)
            await self._writer.drain()
            await self._receive()
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        self.orders += 1
        return True

    async def answer(self) -> bytes:
        """What came of the order. Raises IncompleteReadError or ConnectionError when the process dies."""
        return await self._receive()

    def cpu_seconds(self) -> float:
        """User and system time the process has used; 0 when it is gone."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.process.kill()
        self.dismiss()

    def dismiss(self) -> None:
        """Let the process end by itself: a closed socket is its sign to go."""
        self.usable = False
        self._writer.close()

    async def reap(self) -> str:
        """Wait for the process to be gone; how it ended, in words."""
        try:
            async with asyncio.timeout(_REAP_DEADLINE_SECONDS):
                while self.process.poll() is None:  # noqa: ASYNC110 - nothing else tells of its end
                    await asyncio.sleep(0.002)
        except TimeoutError:
            self.process.kill()
            return f"process {self.process.pid} did not end within {_REAP_DEADLINE_SECONDS:g} s"
        code = self.process.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def _receive(self) -> bytes:
        (length,) = FRAME.unpack(await self._reader.readexactly(FRAME.size))
        if length > _LARGEST_ANSWER_BYTES:
            raise ConnectionError(f"the worker announced an answer of {length} bytes")
        return await self._reader.readexactly(length)


class WorkerPool(Generic[W, A]):
    """Has orders done in `settings.workers` processes; use it as `async with WorkerPool(...) as pool`.

    An order is anything that can be pickled; an answer is what the worker returned, validated as `answer`. Callers
    beyond the number of workers wait: the more urgent first, each in the order they came. Bound their number where they
    come from.
    """

    def __init__(
        self, program: WorkerProgram, answer: type[A], failures: WorkerFailures, settings: WorkerPoolSettings
    ) -> None:
        self._program = program
        self._answers: TypeAdapter[_Answer[A]] = TypeAdapter(_Answer[answer])  # type: ignore[valid-type]
        self._failures = failures
        self._settings = settings
        self._idle: Turns[_Worker] = Turns()
        self._workers: set[_Worker] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._closing = False
        self._waiting = 0
        self._active = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def waiting(self) -> int:
        """Orders waiting for a worker."""
        return self._waiting

    @property
    def active(self) -> int:
        """Orders being done."""
        return self._active

    @property
    def worker_pids(self) -> frozenset[int]:
        """The processes that live; fewer than `settings.workers` while one is being replaced."""
        return frozenset(worker.process.pid for worker in self._workers if worker.alive)

    async def __aenter__(self) -> Self:
        starts = (self._start() for _ in range(self._settings.workers))
        try:
            results = await asyncio.gather(*starts, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        except BaseException:
            await self.close(deadline_seconds=0)
            raise
        for worker in self._workers:
            self._idle.put(worker)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(deadline_seconds=self._settings.time_limit_seconds if error is None else 0)

    async def close(self, deadline_seconds: float) -> None:
        """Take no more orders, finish those that run, and end every process; those past the deadline are killed."""
        self._closing = True
        self._idle.refuse(self._failures.pool_closed())
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._quiet.wait()
        except TimeoutError:
            _log.warning("killing %d workers whose orders did not end within %g s", self._active, deadline_seconds)
        finally:
            # Also for a caller that is cancelled meanwhile: nobody else would.
            await to_its_end(self._end_workers())

    async def _end_workers(self) -> None:
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*(worker.reap() for worker in self._workers))
        self._workers.clear()

    async def run(
        self, order: W, on_started: Callable[[], None] | None = None, urgency: Urgency = Urgency.AT_ONCE
    ) -> A:
        """Have one order done; `on_started` is called once, when a worker takes it.

        Raises PermanentError (what the worker refused), what the failures say of the time and memory limits, a dead
        worker, a file that could not be read, a pool that is closed or has no free worker in time, and
        InfrastructureUnavailable (the disk is full). Cancelling it kills the worker that is at it.
        """
        for _ in range(self._settings.workers + 1):
            async with self._worker(urgency) as worker:
                answer = await self._ask(worker, order, on_started)
                if answer is None or answer.out_of_memory:
                    worker.kill()
            if answer is not None:
                return self._outcome(answer)
        raise self._failures.worker_died("one after another before taking the order")

    async def _start(self) -> _Worker:
        """A worker that is ready, and that `close` ends from here on."""
        worker = await _Worker.start(self._program, self._settings, self._failures)
        self._workers.add(worker)
        return worker

    @asynccontextmanager
    async def _worker(self, urgency: Urgency) -> AsyncIterator[_Worker]:
        worker = await self._free_worker(urgency)
        self._active += 1
        self._quiet.clear()
        try:
            yield worker
        finally:
            if worker.usable and not self._worn_out(worker):
                self._idle.put(worker)
            else:
                self._replace(worker)
            self._active -= 1
            if self._active == 0:
                self._quiet.set()

    async def _free_worker(self, urgency: Urgency) -> _Worker:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.wait_limit_seconds):
                while True:
                    worker = await self._idle.get(urgency)
                    if worker.alive:
                        return worker
                    self._replace(worker)
        except TimeoutError:
            raise self._failures.no_worker(self._settings.wait_limit_seconds) from None
        finally:
            self._waiting -= 1

    async def _ask(self, worker: _Worker, work: W, on_started: Callable[[], None] | None) -> _Answer[A] | None:
        """None when the worker turns out to have died while idle: nothing happened to the order yet."""
        limit_seconds = self._settings.time_limit_seconds
        cpu_before_seconds = worker.cpu_seconds()
        order = Order(work, cores_are_idle=self._active < self._settings.workers)
        try:
            async with asyncio.timeout(limit_seconds):
                if not await worker.give(order):
                    return None
                if on_started is not None:
                    on_started()
                return self._answers.validate_json(await worker.answer())
        except TimeoutError:
            cpu_seconds = worker.cpu_seconds() - cpu_before_seconds
            worker.kill()
            if cpu_seconds < limit_seconds * _STARVED_BELOW:
                raise self._failures.starved(limit_seconds, cpu_seconds) from None
            raise self._failures.time_limit(limit_seconds) from None
        except (asyncio.IncompleteReadError, ConnectionError, ValidationError) as error:
            worker.kill()
            raise self._failures.worker_died(await worker.reap()) from error
        except asyncio.CancelledError:
            worker.kill()
            raise

    def _outcome(self, answer: _Answer[A]) -> A:
        if answer.done is not None:
            return answer.done
        if answer.refused is not None:
            raise PermanentError(answer.refused.code, answer.refused.detail)
        if answer.out_of_memory:
            raise self._failures.memory_limit(self._settings.memory_limit_bytes)
        if answer.input_output is not None:
            if answer.input_output.errno_name in _DISK_FULL:
                raise InfrastructureUnavailable("disk", answer.input_output.detail)
            raise self._failures.input_output(answer.input_output.detail)
        if answer.bug is not None:
            _log.error("an order failed in a way that was not foreseen\n%s", answer.bug.traceback)
            raise self._failures.unforeseen(answer.bug.summary)
        raise self._failures.worker_died("it sent an empty answer")

    def _worn_out(self, worker: _Worker) -> bool:
        return 0 < self._settings.orders_per_worker <= worker.orders

    def _replace(self, worker: _Worker) -> None:
        worker.dismiss()
        if self._closing:
            return
        task = asyncio.create_task(self._respawn(worker))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _respawn(self, old: _Worker) -> None:
        _log.info("replacing worker %d after %d orders: %s", old.process.pid, old.orders, await old.reap())
        self._workers.discard(old)
        for backoff_seconds in chain(_RESPAWN_BACKOFF_SECONDS, repeat(_RESPAWN_BACKOFF_SECONDS[-1])):
            try:
                worker = await self._start()
            except (OSError, MessageError) as error:
                _log.error("no worker could be started, trying again in %g s: %s", backoff_seconds, error)
                await asyncio.sleep(backoff_seconds)
            else:
                self._idle.put(worker)
                return


def _spawned(
    connection: socket.socket, program: WorkerProgram, settings: WorkerPoolSettings
) -> subprocess.Popen[bytes]:
    """The process, to which the connection belongs from now on."""
    with connection:
        arguments = (connection.fileno(), os.getpid(), settings.memory_limit_bytes, settings.niceness)
        # The worker dies with the *thread* that starts it, so this must be the event loop's own thread. Its own
        # process group keeps a Ctrl-C in the terminal from it, and it stays in the session, where nice counts.
        return subprocess.Popen(  # a few ms, at start and when a worker died
            [sys.executable, "-m", program.module, *map(str, arguments), *program.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(connection.fileno(),),
            process_group=0,
            env=_bare_environment(program),
        )


def _end_at_once(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _bare_environment(program: WorkerProgram) -> dict[str, str]:
    """No secret of the service reaches a process that handles strangers' bytes."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in (*_PASSED_ENVIRONMENT, *program.passed) or name.startswith(("PYTHON", "MALLOC_", "PILLOW_"))
    }
    return {**_ALLOCATOR, **passed, **program.environment}
