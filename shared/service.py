"""One process of one service: what starts, in which order, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import uvicorn
from faststream.specification import AsyncAPI

from shared.db.migrations import wait_until_migrated
from shared.db.pool import Database
from shared.db.schemas import SCHEMAS
from shared.db.unit_of_work import UnitOfWork
from shared.heartbeat import Heartbeat
from shared.http_server import BoundedHttp
from shared.messaging.asyncapi import document, page
from shared.messaging.broker import kafka_broker
from shared.messaging.consumer import Consumer
from shared.messaging.publisher import Publisher
from shared.outbox.pruning import Pruning
from shared.outbox.relay import Relay, RelaySettings
from shared.scheduling import MESSAGES_PRUNING, ScheduledWork
from shared.settings import ServiceSettings
from shared.telemetry import metrics
from shared.telemetry.health import Health
from shared.telemetry.http import AsgiApp, operations_app
from shared.telemetry.logging import start_logging
from shared.telemetry.tracing import SHUTDOWN_MILLIS, start_tracing

log = logging.getLogger(__name__)

LONGEST_RESTART_SECONDS = 10.0
CLOSE_SECONDS = 5.0
LARGEST_SOCKET_MESSAGE_BYTES = 64 * 1024

Background = Callable[[], Awaitable[None]]
Wire = Callable[[AsyncExitStack], Awaitable[AsgiApp | None]]


class Service:
    """The kernel of a service, made once in its `app.py`.

    Nothing connects before `run`. The process serves HTTP at once and waits for PostgreSQL and Kafka in the background,
    so that it starts, and says what it waits for, while they are away.
    """

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        start_logging(name, settings.instance, settings.log_level)
        self._tracing = start_tracing(name, settings.instance, settings.otlp_endpoint)
        self.database = Database.of(settings, application_name=name, max_connections=settings.postgres_connections)
        self.unit_of_work = UnitOfWork(self.database, source=f"/mediabus/{name}", schema=SCHEMAS[name])
        self.broker = kafka_broker(
            settings.kafka_bootstrap,
            client_id=f"{name}-{settings.instance}",
            drain_seconds=settings.drain_seconds,
            # Not "faststream": that logger brings its own handler and would write past ours.
            logger=logging.getLogger("shared.messaging.faststream"),
        )
        self.publisher = Publisher(self.broker, self.unit_of_work.source)
        self.consumer = Consumer(
            name,
            self.unit_of_work,
            self.broker,
            drain_seconds=settings.drain_seconds,
            session_timeout_seconds=settings.kafka_session_timeout_seconds,
        )
        pruning = Pruning(
            self.database,
            outbox_kept_seconds=settings.outbox_kept_seconds,
            inbox_kept_seconds=settings.inbox_kept_seconds,
        )
        self.scheduled = ScheduledWork(name, self.unit_of_work)
        self.scheduled.on(MESSAGES_PRUNING, pruning.sweep)
        self.relay = Relay(
            self.database.session_dsn,
            self.publisher.send,
            RelaySettings(),
            application_name=name,
        )
        self.unit_of_work.relay = self.relay
        self.health = Health(
            stuck=[self.consumer.stuck],
            checks={"postgresql": self.database.ping, "kafka": self._ping_kafka},
            details=self._details,
        )
        self._heartbeat = Heartbeat(
            name,
            settings.instance,
            every_seconds=settings.heartbeat_seconds,
            database=self.database,
            publisher=self.publisher,
            consumer=self.consumer,
            relay=self.relay,
            health=self.health,
        )
        self._states: dict[str, Callable[[], Any]] = {}
        self._backgrounds: list[tuple[str, Background]] = []

    # --- wiring ---------------------------------------------------------------------------------------------------

    def background(self, task: Background, name: str | None = None) -> None:
        """Run a function for as long as the process lives; when it fails it is logged and started again."""
        self._backgrounds.append((name or str(getattr(task, "__qualname__", repr(task))), task))

    def tell(self, name: str, state: Callable[[], Any]) -> None:
        """Have readiness tell of one more part, beside what is consumed."""
        self._states[name] = state

    def operations(self) -> AsgiApp:
        """The operator's pages as an ASGI application."""
        spec = AsyncAPI(self.broker, title=self.name, version="0.1.0")
        return operations_app(
            self.health,
            lambda: document(spec, self.consumer.handlers.values()),
            lambda: page(spec, self.consumer.handlers.values()),
        )

    # --- life -----------------------------------------------------------------------------------------------------

    def run(self, wire: Wire) -> None:
        """Serve until SIGTERM or SIGINT, then stop in order; returns when everything has ended.

        `wire` runs first, inside the loop: it opens what the service owns on the stack (closed again after the last
        handler and request), registers handlers and background tasks, and returns the HTTP application, or None for
        the operator's pages alone.
        """
        loop_factory = uvicorn.Config(self.operations(), loop="uvloop", log_config=None).get_loop_factory()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self._live(wire))

    def _server(self, http_app: AsgiApp) -> uvicorn.Server:
        config = uvicorn.Config(
            http_app,
            host=self.settings.http_host,
            port=self.settings.http_port,
            loop="uvloop",
            http=BoundedHttp,
            ws_max_size=LARGEST_SOCKET_MESSAGE_BYTES,
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            # Whose X-Forwarded-For is believed; an address that anyone could write would defeat the login limits.
            forwarded_allow_ips=self.settings.trusted_proxies,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(self.settings.drain_seconds),
            backlog=4096,
        )
        return _Server(config)

    async def _live(self, wire: Wire) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stopping.set)
        async with AsyncExitStack() as stack:
            server = self._server(await wire(stack) or self.operations())
            self.scheduled.register(self.consumer)
            self.consumer.subscribe()
            await self._serve(server, stopping)
        await self._close()

    async def _serve(self, server: uvicorn.Server, stopping: asyncio.Event) -> None:
        serving = asyncio.create_task(server.serve())
        tasks = [
            asyncio.create_task(self._keep_running(name, task))
            for name, task in [
                ("loop watch", self.health.watch_loop),
                ("relay", self._relay_when_connected),
                ("heartbeat", self._heartbeat.run),
                *self._backgrounds,
            ]
        ]
        consuming = asyncio.create_task(self._consume())
        stop_wanted = asyncio.create_task(stopping.wait())
        await asyncio.wait({stop_wanted, serving}, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        await self._stop(server, serving, consuming, tasks)
        stop_wanted.cancel()

    async def _consume(self) -> None:
        """Begin to consume, however long it takes; nobody else would notice that it had failed."""
        delay_seconds = 0.2
        while True:
            try:
                await self.database.wait_until_available()
                await wait_until_migrated(self.database, self.name)
                await self.consumer.start()
            except Exception:
                log.exception("could not begin to consume, trying again")
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 2, LONGEST_RESTART_SECONDS)
            else:
                return

    async def _relay_when_connected(self) -> None:
        while not self.consumer.connected:  # noqa: ASYNC110 -- start-up only, and it may take minutes
            await asyncio.sleep(0.05)
        await self.relay.run()

    async def _stop(
        self,
        server: uvicorn.Server,
        serving: asyncio.Task[None],
        consuming: asyncio.Task[None],
        tasks: list[asyncio.Task[None]],
    ) -> None:
        """Requests and handlers first, then the relay and the rest.

        What the outbox still holds is published by the relay that leads next.
        """
        self.health.draining = True
        server.should_exit = True
        consuming.cancel()
        await asyncio.gather(serving, self.consumer.drain(), return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(consuming, *tasks, return_exceptions=True)
        await self._heartbeat.farewell()

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.broker.stop()
        except TimeoutError:
            # The group finds out by the session timeout; nothing that took effect is uncommitted.
            log.warning("Kafka did not let go in time")
        await self.database.close()
        await asyncio.to_thread(self._tracing.force_flush, SHUTDOWN_MILLIS)
        self._tracing.shutdown()
        log.info("stopped")

    async def _keep_running(self, name: str, task: Background) -> None:
        delay_seconds = 0.2
        while True:
            started_at = time.monotonic()
            try:
                await task()
            except Exception:
                metrics.background_restarts_total.labels(name).inc()
                log.exception("background task failed, starting it again", extra={"task": name})
            if time.monotonic() - started_at > LONGEST_RESTART_SECONDS:
                delay_seconds = 0.2
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, LONGEST_RESTART_SECONDS)

    def _details(self) -> dict[str, Any]:
        return {"consumer": self.consumer.state(), **{name: state() for name, state in self._states.items()}}

    async def _ping_kafka(self) -> None:
        if not self.consumer.ready:
            raise ConnectionError("not connected yet")
        if not await self.broker.ping(timeout=1.5):
            raise ConnectionError("no answer from Kafka")


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: one order of stopping holds for HTTP and Kafka."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
