"""The relay: publishes what the outbox holds, in order per key, from one process of a service at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from opentelemetry.trace import SpanKind

from shared.db import pool
from shared.db.unavailability import is_unavailable
from shared.messaging.errors import InfrastructureUnavailable
from shared.outbox.outgoing import QUERIES, channel_of
from shared.telemetry import metrics
from shared.telemetry.tracing import span, trace_headers

log = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS = 5.0
PATIENCE_SECONDS = 0.5
"""How long the next batch waits for this one; what takes longer goes on beside it."""
MOST_BATCHES = 4
"""How many batches of rows may be on their way to Kafka: with Kafka away, memory stays bounded."""
MOST_SET_ASIDE = 2_000
FORGOTTEN_SECONDS = 60.0
_FAULTS_OF_TOPICS = (UnknownTopicOrPartitionError, TopicAuthorizationFailedError)


class Sender(Protocol):
    """Puts one message into Kafka and returns when every in-sync replica has it."""

    def __call__(self, *, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class RelaySettings:
    batch_rows: int = 500
    poll_seconds: float = 1.0
    """How late a row is found if its NOTIFY was lost, and how often a follower tries to lead."""
    turn_seconds: float = 0.01
    """From the beginning of one turn to that of the next, at least; a row that finds the relay idle does not wait."""
    publish_seconds: float = 20.0
    """Deadline of one message's acknowledgement; the row stays unsent and is tried again. The producer's own is
    shorter, and its error tells what is wrong."""
    statement_seconds: float = 10.0
    """Deadline of one statement: a connection that went silent is given up."""
    silence_seconds: float = 30.0
    """After so long without a word PostgreSQL ends the leader's session, and with it its lock."""
    measure_every_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    topic: str
    key: str
    headers: Mapping[str, str]
    payload: bytes
    traceparent: str | None
    tracestate: str | None
    ready_at: datetime


@dataclass(frozen=True, slots=True)
class _Chain:
    """Unsent rows of one key in one topic, in order."""

    topic: str
    key: str
    rows: list[_Row]

    @property
    def name(self) -> str:
        # No topic's name holds a slash, so no chain is called like a topic or like another chain.
        return f"{self.topic}/{self.key}"


@dataclass(frozen=True, slots=True)
class _Outcome:
    sent: list[int]
    error: Exception | None


class _Held:
    """Keys, or whole topics, that failed and wait before they are tried again, each longer than the last time."""

    def __init__(self, first_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._entries: dict[str, tuple[float, float]] = {}

    def hold(self, name: str) -> None:
        _, last_seconds = self._entries.get(name, (0.0, self._first_seconds / 2))
        seconds = min(last_seconds * 2, LONGEST_BACKOFF_SECONDS)
        self._entries[name] = (time.monotonic() + seconds, seconds)

    def release(self, *names: str) -> None:
        for name in names:
            self._entries.pop(name, None)

    def active(self) -> list[str]:
        now = time.monotonic()
        # An entry outlives its time a little, so that the next failure is known to be the next.
        self._entries = {name: entry for name, entry in self._entries.items() if entry[0] + FORGOTTEN_SECONDS > now}
        return [name for name, (until, _) in self._entries.items() if until > now]


class Relay:
    """Publishes outbox rows with a key and acks=all, then marks them sent.

    Rows are read by "unsent, oldest first" and never by "id greater than the last": a transaction with a lower id may
    commit later. A crash between publishing and marking publishes again; consumers' inboxes make that harmless. A row
    that can't be published holds up its own key and nothing else.
    """

    def __init__(self, dsn: str, send: Sender, settings: RelaySettings, *, application_name: str) -> None:
        self._dsn = dsn
        self._send = send
        self._settings = settings
        self._application_name = application_name
        self._wake = asyncio.Event()
        self.leads = False
        """Whether this process is the one that publishes, so that `wake` does what a NOTIFY would."""
        self._chains: dict[asyncio.Task[_Outcome], _Chain] = {}
        self._held = _Held(settings.poll_seconds)
        self._measured_at = float("-inf")

    async def run(self) -> None:
        """Lead whenever the lock is free; returns only by cancellation."""
        delay_seconds = 0.1
        while True:
            started_at = time.monotonic()
            try:
                await self._serve()
            except (InfrastructureUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if isinstance(error, asyncpg.PostgresError) and not is_unavailable(error):
                    raise
                log.warning("relay lost PostgreSQL", extra={"detail": str(error)})
            finally:
                self.leads = False
                for gauge in (metrics.relay_leads, metrics.outbox_unsent, metrics.outbox_oldest_seconds):
                    gauge.set(0)
            if time.monotonic() - started_at > LONGEST_BACKOFF_SECONDS:
                delay_seconds = 0.1
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, LONGEST_BACKOFF_SECONDS)

    def wake(self) -> None:
        """Have rows that are committed published at once, if this relay leads."""
        self._wake.set()

    async def _serve(self) -> None:
        # Lock, reading and marking share one connection: when it breaks, the lock is gone and so is the power to mark
        # rows, so two relays can never both believe that they lead. Where a network swallows the connection without a
        # word, both ends give it up within seconds: the leader by the deadline of its statement, PostgreSQL by the
        # session's silence. What the old leader still publishes meanwhile are the oldest rows in order, so that a
        # consumer sees the first copy of each in order all the same.
        connection = await pool.connect(
            self._dsn,
            application_name=f"{self._application_name}-relay",
            statement_seconds=self._settings.statement_seconds,
            silence_seconds=self._settings.silence_seconds,
        )
        try:
            schema = await connection.fetchval(QUERIES["schema"])
            await connection.add_listener(channel_of(schema), lambda *_: self._wake.set())
            # Asked again and again: a statement that waits for the lock would hold back vacuum all the while.
            while not await connection.fetchval(QUERIES["try_lead"]):  # noqa: ASYNC110
                await asyncio.sleep(self._settings.poll_seconds)
            metrics.relay_leads.set(1)
            self.leads = True
            log.info("relay leads", extra={"schema": schema})
            await self._lead(connection)
        finally:
            connection.terminate()

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(QUERIES["set_up_session"])
        try:
            while True:
                began_at = time.monotonic()
                self._wake.clear()
                rows, next_due_seconds = await self._turn(connection, self._settle())
                await self._measure(connection)
                if rows:
                    # Most chains end at once and are marked together; those that do not end are left to go on.
                    await asyncio.wait(self._start(rows), timeout=PATIENCE_SECONDS)
                else:
                    await self._wait(next_due_seconds)
                # Under load, what is written meanwhile shares the next turn's round trip and the broker's batches.
                await asyncio.sleep(max(began_at + self._settings.turn_seconds - time.monotonic(), 0.0))
        finally:
            chains, self._chains = self._chains, {}
            for task in chains:
                task.cancel()
            await asyncio.gather(*chains, return_exceptions=True)

    async def _turn(self, connection: asyncpg.Connection[Any], sent: Sequence[int]) -> tuple[list[_Row], float | None]:
        """Mark what was sent, and read the oldest rows of keys that are neither being published nor held.

        With the seconds until the next delayed row is due, if any is.
        """
        set_aside = [*self._held.active(), *(chain.name for chain in self._chains.values())]
        in_hand = sum(len(chain.rows) for chain in self._chains.values())
        is_full = in_hand >= MOST_BATCHES * self._settings.batch_rows or len(set_aside) >= MOST_SET_ASIDE
        limit = 0 if is_full else self._settings.batch_rows
        records = await connection.fetch(QUERIES["turn"], limit, sent, set_aside)
        rows = [_Row(*columns) for _, *columns in records if columns[0] is not None]
        return rows, records[0]["next_due_seconds"]

    async def _wait(self, next_due_seconds: float | None) -> None:
        """Until a NOTIFY, the end of a chain, the next due time or the poll interval, whichever comes first."""
        timeout_seconds = self._settings.poll_seconds
        if next_due_seconds is not None:
            timeout_seconds = min(next_due_seconds, timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _start(self, rows: Sequence[_Row]) -> list[asyncio.Task[_Outcome]]:
        """Publish rows of one key in one topic one after the other, and different keys at once."""
        chains: dict[tuple[str, str], _Chain] = {}
        for row in rows:
            chains.setdefault((row.topic, row.key), _Chain(row.topic, row.key, [])).rows.append(row)
        started = []
        for chain in chains.values():
            task = asyncio.create_task(self._publish_chain(chain))
            task.add_done_callback(lambda _: self._wake.set())
            self._chains[task] = chain
            started.append(task)
        return started

    def _settle(self) -> list[int]:
        """What Kafka acknowledged since the last time, to be marked; the keys of what failed are held.

        A chain keeps its key from being read until it has ended, so no row is published by two chains.
        """
        sent: list[int] = []
        for task in [task for task in self._chains if task.done()]:
            chain = self._chains.pop(task)
            outcome = task.result()
            sent += outcome.sent
            if outcome.error is None:
                self._held.release(chain.name, chain.topic)
            else:
                self._held.hold(chain.topic if isinstance(outcome.error, _FAULTS_OF_TOPICS) else chain.name)
        return sent

    async def _publish_chain(self, chain: _Chain) -> _Outcome:
        """Publish in order; the first failure ends the chain: what follows must not overtake."""
        sent: list[int] = []
        for row in chain.rows:
            try:
                await self._publish_one(row)
            except Exception as error:
                log.warning(
                    "could not publish, will try again",
                    extra={"topic": row.topic, "outbox_id": row.id, "detail": repr(error)},
                )
                return _Outcome(sent, error)
            sent.append(row.id)
        return _Outcome(sent, None)

    async def _publish_one(self, row: _Row) -> None:
        stored = {"traceparent": row.traceparent, "tracestate": row.tracestate}
        with span(
            f"publish {row.topic}",
            SpanKind.PRODUCER,
            {"messaging.system": "kafka", "messaging.destination.name": row.topic},
            # The stored context is the parent: the relay's own must never replace it.
            parent_headers={name: value for name, value in stored.items() if value},
        ):
            headers = {**row.headers, **trace_headers()}
            async with asyncio.timeout(self._settings.publish_seconds):
                await self._send(topic=row.topic, key=row.key.encode(), value=row.payload, headers=headers)
        metrics.outbox_published_total.labels(row.topic).inc()
        metrics.outbox_publish_seconds.observe(max((datetime.now(UTC) - row.ready_at).total_seconds(), 0.0))

    async def _measure(self, connection: asyncpg.Connection[Any]) -> None:
        if time.monotonic() - self._measured_at < self._settings.measure_every_seconds:
            return
        self._measured_at = time.monotonic()
        backlog = await connection.fetchrow(QUERIES["backlog"])
        if backlog is not None:
            metrics.outbox_unsent.set(backlog["unsent"])
            metrics.outbox_oldest_seconds.set(backlog["oldest_seconds"])
