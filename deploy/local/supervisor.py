"""Starts the parts of a stack in order, keeps them running, and stops them the other way round."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from deploy.local.errors import StackError
from deploy.local.jaeger import JaegerServer
from deploy.local.kafka_server import KafkaServer
from deploy.local.left_behind import end_what_was_left
from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import is_free, remembered_ports
from deploy.local.postgres import SLOW_STATEMENT_MILLIS, PostgresServer
from deploy.local.processes import (
    RECORD_NAME,
    ManagedProcess,
    ProcessSpec,
    base_environment,
    bound_log,
    end_recorded,
    write_private,
)
from deploy.local.replaced_records import settle
from deploy.local.restarts import consecutive_deaths, restart_delay_seconds
from deploy.local.server import EmbeddedServer
from deploy.local.service_process import ServiceProcess
from deploy.local.stack_file import write_stack_file
from deploy.local.stack_folder import StackFolder
from deploy.local.stack_secrets import load_secrets
from deploy.local.topology import (
    BUCKET,
    DATABASE,
    INGEST_API,
    JAEGER,
    KAFKA,
    OBJECT_STORE,
    POSTGRES,
    REGION,
    Service,
    Site,
    Step,
    Topology,
)
from shared.db.schemas import SCHEMAS

READY_TIMEOUT_SECONDS = 300.0
"""Seconds are usual, and a machine that others keep busy takes minutes; what ends meanwhile is told at once."""
_STEP_TIMEOUT_SECONDS = 300.0
_START_ATTEMPTS = 3
_LOG_CHECK_SECONDS = 10.0
_SLOW_STATEMENT = "MEDIABUS_SLOW_STATEMENT_MILLIS"
_OURS = ("MEDIABUS_STACK_DIR", "MEDIABUS_CACHE_DIR", "MEDIABUS_JAEGER_BINARY", _SLOW_STATEMENT)

Report = Callable[[str], None]


class Supervisor:
    """One stack in one folder. `report` gets a line for everything a person watching should know."""

    def __init__(self, folder: StackFolder, topology: Topology, report: Report) -> None:
        self._folder = folder
        self._topology = topology
        self._began = time.monotonic()
        self._report_line = report
        self._parts: list[EmbeddedServer] = []
        self._services: dict[str, ServiceProcess] = {}
        self._site: Site | None = None

    @property
    def site(self) -> Site:
        if self._site is None:
            raise StackError("the stack was not prepared; call run()")
        return self._site

    async def run(self) -> None:
        """Start everything and keep it running until SIGINT, SIGTERM or SIGHUP; a second signal kills what is left.

        StackError when the folder is taken or something does not start; then nothing is left running.
        """
        with self._folder.supervised():
            self._folder.stack_file.unlink(missing_ok=True)
            with _stop_signals() as stops:
                supervision = asyncio.create_task(self._start_and_watch())
                first_stop = asyncio.create_task(stops.get())
                try:
                    await asyncio.wait({supervision, first_stop}, return_when=asyncio.FIRST_COMPLETED)
                    if not supervision.done():
                        self._report("stopping")
                finally:
                    first_stop.cancel()
                    await _cancel(supervision)
                    self._folder.stack_file.unlink(missing_ok=True)
                    await self._stop(stops)
            if not supervision.cancelled() and (error := supervision.exception()) is not None:
                raise error

    async def _start_and_watch(self) -> None:
        await self._start()
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                group.create_task(self._keep_running(part))
            group.create_task(self._bound_logs())

    async def _start(self) -> None:
        """Begin anew with other ports where strangers have taken some between their choice and their use."""
        for attempts_left in reversed(range(_START_ATTEMPTS)):
            try:
                await self._try_to_start()
            except StackError as error:
                await self._stop_in_order()
                taken = sorted(name for name, port in self._ports().items() if not is_free(port))
                if not taken or not attempts_left:
                    raise
                self._parts.clear()
                self._services.clear()
                self._report(
                    f"another program has taken the port of {', '.join(taken)} meanwhile; starting again with another",
                    f"    {_first_line(error)}",
                )
            else:
                return

    async def _try_to_start(self) -> None:
        # Before ports are looked at: what still runs after a supervisor was killed holds its own.
        await end_what_was_left(self._folder)
        settle(self._folder, self._report)
        self._prepare()
        try:
            await self._prepare_ground()
            async with asyncio.TaskGroup() as group:
                for service in self._topology.services:
                    group.create_task(self._start_service(service))
        except BaseExceptionGroup as failures:
            raise _first_stack_error(failures) from failures
        self._write_stack_file()
        if INGEST_API in self._services:
            self._report(f"sign in at {self.site.url(INGEST_API)} as {self.site.secrets.superadmin_email}")
        self._report(f"ready; where everything is, passwords too: {self._folder.stack_file}")

    def _ports(self) -> Mapping[str, int]:
        return self._site.ports if self._site is not None else {}

    def _prepare(self) -> None:
        folder = self._folder
        for path in (folder.media, folder.logs):
            path.mkdir(parents=True, exist_ok=True)
        loaded = load_secrets(folder.secrets, SCHEMAS.values())
        write_private(folder.role_passwords, json.dumps(loaded.role_passwords))
        ports = remembered_ports(folder.ports, self._topology.port_names())
        otlp = (
            f"http://127.0.0.1:{ports['jaeger-otlp']}" if JAEGER in ports else os.environ.get("MEDIABUS_OTLP_ENDPOINT")
        )
        self._site = Site(folder, ports, loaded, otlp)

    async def _prepare_ground(self) -> None:
        """Start the servers and run the steps, each as soon as what it needs is there."""
        if self._topology.servers:
            self._report(f"starting {', '.join(self._topology.servers)}; the first start of all also fetches Kafka")
        async with asyncio.TaskGroup() as group:
            tasks: dict[str, asyncio.Task[None]] = {}
            for server in self._topology.servers:
                tasks[server] = group.create_task(self._start_server(server))
            for step in self._topology.steps:
                needed = [tasks[name] for name in step.after]
                tasks[step.name] = group.create_task(self._run_step(step, needed))

    async def _start_server(self, name: str) -> None:
        server = self._server(name)
        self._parts.append(server)
        await server.start(READY_TIMEOUT_SECONDS)
        if isinstance(server, PostgresServer):
            await server.create_database(DATABASE)
        if isinstance(server, ObjectStoreServer):
            await server.create_bucket(BUCKET)
            if INGEST_API in self.site.ports:
                await server.tell_webhook(BUCKET)
        self._report(f"{name} is ready on 127.0.0.1:{server.port}")

    def _server(self, name: str) -> EmbeddedServer:
        site, data, log = self.site, self._folder.data(name), self._folder.log(name)
        ports, port = site.ports, site.ports[name]
        if name == POSTGRES:
            slow = int(os.environ.get(_SLOW_STATEMENT, SLOW_STATEMENT_MILLIS))
            password = site.secrets.postgres_admin_password
            return PostgresServer(data, port, password, log_path=log, slow_statement_millis=slow)
        if name == KAFKA:
            return KafkaServer(data, port, ports["kafka-controller"], log_path=log)
        if name == OBJECT_STORE:
            keys = (site.secrets.s3_access_key, site.secrets.s3_secret_key)
            return ObjectStoreServer(
                data,
                port,
                *keys,
                region=REGION,
                metrics_port=ports["object-store-metrics"],
                environment=site.notifications(data / "notifications"),
                log_path=log,
            )
        if name == JAEGER:
            further = (ports["jaeger-otlp-grpc"], ports["jaeger-query-grpc"], ports["jaeger-admin"])
            program = Path(os.environ["MEDIABUS_JAEGER_BINARY"])
            return JaegerServer(program, data, port, ports["jaeger-otlp"], further, log_path=log)
        raise StackError(f"the topology names a server {name} that the stack does not know")

    async def _run_step(self, step: Step, needed: Sequence[asyncio.Task[None]]) -> None:
        for task in needed:
            await task
        folder = self._folder.data(step.name)
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / RECORD_NAME
        await end_recorded(record)
        process = ManagedProcess(
            ProcessSpec(
                name=step.name,
                command=step.command,
                log_path=self._folder.log(step.name),
                record_path=record,
                environment=self._environment(step.environment(self.site)),
                working_folder=folder,
            )
        )
        process.start()
        try:
            code = await asyncio.wait_for(process.wait(), _STEP_TIMEOUT_SECONDS)
        except TimeoutError:
            raise StackError(f"{step.name} did not end within {_STEP_TIMEOUT_SECONDS:g} s") from None
        finally:
            await process.kill()
        lines = process.last_log_lines()
        if code != 0:
            raise StackError("\n".join([f"{step.name} failed with exit code {code}; the end of its log:", *lines]))
        self._report(lines[-1] if lines else f"{step.name} is done")

    async def _start_service(self, service: Service) -> None:
        process = ServiceProcess(
            service,
            self._folder.data(service.name),
            self.site.ports[service.name],
            self._environment(service.environment(self.site)),
            self._folder.log(service.name),
        )
        self._parts.append(process)
        self._services[service.name] = process
        await process.start(READY_TIMEOUT_SECONDS)
        self._report(f"{service.name} is ready on {self.site.url(service.name)}")

    def _environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """The caller's settings for tuning services, under the ones the stack itself decides."""
        exported = {name: value for name, value in os.environ.items() if name.startswith("MEDIABUS_")}
        kept = {name: value for name, value in exported.items() if name not in _OURS}
        return {**base_environment(), "PYTHONUNBUFFERED": "1", **kept, **own}

    async def _keep_running(self, part: EmbeddedServer) -> None:
        """Start a part again whenever it ends, each time in a row after a longer delay."""
        deaths = 0
        while True:
            began = time.monotonic()
            code = await part.process.wait()
            deaths = consecutive_deaths(deaths, time.monotonic() - began)
            delay_seconds = restart_delay_seconds(deaths)
            self._report(
                f"{part.name} ended with exit code {code}; starting it again in {delay_seconds:g} s. "
                f"The end of {part.log_path}:",
                *(f"    {line}" for line in part.process.last_log_lines()),
            )
            await asyncio.sleep(delay_seconds)
            try:
                await part.launch()
                # stack.json names the new process at once: it is what scripts signal and measure.
                self._write_stack_file()
                await part.wait_ready(READY_TIMEOUT_SECONDS)
            except StackError as error:
                self._report(str(error))
            else:
                self._report(f"{part.name} is ready again")

    async def _bound_logs(self) -> None:
        while True:
            for path in self._folder.logs.glob("*.log"):
                bound_log(path)
            await asyncio.sleep(_LOG_CHECK_SECONDS)

    async def _stop(self, stops: asyncio.Queue[signal.Signals]) -> None:
        """Stop services from the highest stage down, then the servers; one more signal kills all that is left."""
        stopping = asyncio.create_task(self._stop_in_order())
        impatience = asyncio.create_task(stops.get())
        await asyncio.wait({stopping, impatience}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            self._report("killing what is left")
            await _cancel(stopping)
            for part in self._parts:
                await part.kill()
        await _cancel(impatience)
        if not stopping.cancelled():
            await stopping

    async def _stop_in_order(self) -> None:
        stages = {service.name: service.stage for service in self._topology.services}
        ordered = sorted(self._parts, key=lambda part: stages.get(part.name, 0), reverse=True)
        for _, together in groupby(ordered, key=lambda part: stages.get(part.name, 0)):
            await asyncio.gather(*(self._stop_part(part) for part in together))

    async def _stop_part(self, part: EmbeddedServer) -> None:
        began = time.monotonic()
        if part.running:
            await part.stop()
            self._report(f"{part.name} stopped after {time.monotonic() - began:.1f} s")
        else:
            await part.kill()

    def _write_stack_file(self) -> None:
        write_stack_file(self.site, {name: part.pid for name, part in self._services.items() if part.pid is not None})

    def _report(self, *lines: str) -> None:
        elapsed = time.monotonic() - self._began
        for line in (f"[{elapsed:6.1f} s] {lines[0]}", *lines[1:]):
            self._report_line(line)


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Queue[signal.Signals]]:
    """Collect the signals that mean "stop" instead of dying of them."""
    arrived: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, arrived.put_nowait, number)
    try:
        yield arrived
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _first_line(error: StackError) -> str:
    return str(error).partition("\n")[0]


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _first_stack_error(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to tell of: the first that explains itself, with the others of the same kind below it."""
    explained, _ = failures.split(StackError)
    if explained is None:
        return failures
    texts: list[str] = []
    waiting: list[BaseException] = list(explained.exceptions)
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting = [*error.exceptions, *waiting]
        elif str(error) not in texts:
            texts.append(str(error))
    return StackError("\n".join(texts))
