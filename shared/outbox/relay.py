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
from opentelemetry.trace import SpanKind

from shared.db import pool
from shared.db.unavailability import is_unavailable
from shared.messaging.errors import InfrastructureUnavailable
from shared.outbox.outgoing import QUERIES, channel_of
from shared.telemetry import metrics
from shared.telemetry.tracing import span, trace_headers

log = logging.getLogger(__name__)

PRUNE_ROWS = 5_000
LONGEST_BACKOFF_SECONDS = 5.0


class Sender(Protocol):
    """Puts one message into Kafka and returns when every in-sync replica has it."""

    def __call__(self, *, topic: str, key: bytes, value: bytes, headers: Mapping[str, str]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class RelaySettings:
    batch_rows: int = 500
    poll_seconds: float = 1.0
    """How late a row is found if its NOTIFY was lost, and how often a follower tries to lead."""
    publish_seconds: float = 15.0
    """Deadline of one message's acknowledgement; the row stays unsent and is tried again."""
    prune_every_seconds: float = 60.0
    outbox_kept_seconds: float = 24 * 3600.0
    inbox_kept_seconds: float = 14 * 24 * 3600.0


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


class Relay:
    """Publishes outbox rows with a key and acks=all, then marks them sent.

    Rows are read by "unsent, oldest first" and never by "id greater than the last": a transaction with a lower id may
    commit later. A crash between publishing and marking publishes again; consumers' inboxes make that harmless.
    """

    def __init__(self, dsn: str, send: Sender, settings: RelaySettings, *, application_name: str) -> None:
        self._dsn = dsn
        self._send = send
        self._settings = settings
        self._application_name = application_name
        self._wake = asyncio.Event()
        self._pruned_at = 0.0

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
                metrics.relay_leads.set(0)
            if time.monotonic() - started_at > LONGEST_BACKOFF_SECONDS:
                delay_seconds = 0.1
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, LONGEST_BACKOFF_SECONDS)

    async def _serve(self) -> None:
        # Lock, reading and marking share one connection: when it breaks, the lock is gone and so is the power to mark
        # rows, so two relays can never both believe that they lead.
        connection = await pool.connect(self._dsn, application_name=f"{self._application_name}-relay")
        try:
            schema = await connection.fetchval(QUERIES["schema"])
            await connection.add_listener(channel_of(schema), lambda *_: self._wake.set())
            # Asked again and again: a statement that waits for the lock would hold back vacuum all the while.
            while not await connection.fetchval(QUERIES["try_lead"]):  # noqa: ASYNC110
                await asyncio.sleep(self._settings.poll_seconds)
            metrics.relay_leads.set(1)
            log.info("relay leads", extra={"schema": schema})
            await self._lead(connection)
        finally:
            connection.terminate()

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(QUERIES["forget_marks_in_a_crash"])
        sent: list[int] = []
        while True:
            self._wake.clear()
            rows, next_due_seconds = await self._turn(connection, sent)
            await self._housekeeping(connection)
            sent = await self._publish(rows)
            if len(sent) < len(rows):
                await connection.execute(QUERIES["mark_sent"], sent)
                sent = []
                await asyncio.sleep(self._settings.poll_seconds)
            elif not rows:
                await self._wait(next_due_seconds)

    async def _turn(self, connection: asyncpg.Connection[Any], sent: Sequence[int]) -> tuple[list[_Row], float | None]:
        """Mark what was sent, and read what is next; with the seconds until the next delayed row is due, if any is."""
        records = await connection.fetch(QUERIES["turn"], self._settings.batch_rows, sent)
        rows = [_Row(*columns) for _, *columns in records if columns[0] is not None]
        return rows, records[0]["next_due_seconds"]

    async def _wait(self, next_due_seconds: float | None) -> None:
        """Until a NOTIFY, the next due time or the poll interval, whichever comes first."""
        timeout_seconds = self._settings.poll_seconds
        if next_due_seconds is not None:
            timeout_seconds = min(max(next_due_seconds, 0.0), timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _publish(self, rows: Sequence[_Row]) -> list[int]:
        """Publish rows and return the ids that Kafka acknowledged.

        Rows of one key in one topic go one after the other, and the first failure stops its key: what follows must not
        overtake. Different keys go at once.
        """
        chains: dict[tuple[str, str], list[_Row]] = {}
        for row in rows:
            chains.setdefault((row.topic, row.key), []).append(row)
        results = await asyncio.gather(*(self._publish_chain(chain) for chain in chains.values()))
        return [row_id for sent in results for row_id in sent]

    async def _publish_chain(self, chain: Sequence[_Row]) -> list[int]:
        sent: list[int] = []
        for row in chain:
            try:
                await self._publish_one(row)
            except Exception as error:
                log.warning("could not publish, will try again", extra={"topic": row.topic, "detail": repr(error)})
                break
            sent.append(row.id)
        return sent

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

    async def _housekeeping(self, connection: asyncpg.Connection[Any]) -> None:
        if time.monotonic() - self._pruned_at < self._settings.prune_every_seconds:
            return
        self._pruned_at = time.monotonic()
        await connection.execute(QUERIES["prune_outbox"], self._settings.outbox_kept_seconds, PRUNE_ROWS)
        await connection.execute(QUERIES["prune_inbox"], self._settings.inbox_kept_seconds, PRUNE_ROWS)
        backlog = await connection.fetchrow(QUERIES["backlog"])
        if backlog is not None:
            metrics.outbox_unsent.set(backlog["unsent"])
            metrics.outbox_oldest_seconds.set(backlog["oldest_seconds"])
