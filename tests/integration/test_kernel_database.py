"""The pool against a real PostgreSQL that goes away in every way: refused, cut, silent."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from shared.db import pool
from shared.db.listening import FIRST_BACKOFF_SECONDS, Listener
from shared.db.pool import Database
from shared.db.unavailability import is_unavailable
from shared.messaging.errors import InfrastructureUnavailable
from shared.testing.databases import TestDatabase
from shared.testing.silence import silenceable
from shared.testing.waiting import eventually

pytestmark = pytest.mark.stack


@pytest.fixture
def dsn(database: TestDatabase) -> str:
    return database.dsn("image-processor")


async def cut(database: TestDatabase, pid: int) -> None:
    connection = await asyncpg.connect(database.dsn("image-processor"))
    try:
        await connection.fetchval("SELECT pg_terminate_backend($1)", pid)
        await eventually(lambda: _gone(connection, pid), why="the session is gone")
    finally:
        await connection.close()


async def _gone(connection: asyncpg.Connection[Any], pid: int) -> bool:
    return not await connection.fetchval("SELECT true FROM pg_stat_activity WHERE pid = $1", pid)


async def test_a_session_that_is_cut_as_it_is_given_back_fails_nobody(database: TestDatabase, dsn: str) -> None:
    """What the block did is done: its commit was acknowledged."""
    bounded = Database(dsn, application_name="test", max_connections=1)
    try:
        async with bounded.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await cut(database, connection.get_server_pid())
        await bounded.ping()
    finally:
        await bounded.close()


async def test_a_server_that_falls_silent_is_away(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error ever arrives, so the statement's deadline has to tell, and it must not cost an attempt."""
    monkeypatch.setattr(pool, "STATEMENT_SECONDS", 1.0)
    async with silenceable(dsn) as (proxied, silence):
        database = Database(proxied, application_name="test", max_connections=2)
        try:
            await database.ping()

            async def ask_in_vain() -> None:
                async with asyncio.timeout(20), database.connection() as connection, connection.transaction():
                    silence.set()
                    await connection.execute("SELECT 1")

            # A server that answers may take its time to be connected with, before and after.
            with monkeypatch.context() as impatient:
                impatient.setattr(pool, "ACQUIRE_SECONDS", 1.0)
                with pytest.raises(InfrastructureUnavailable):
                    await ask_in_vain()
            silence.clear()
            await database.ping()
        finally:
            await database.close()


async def test_a_slow_statement_of_a_server_that_answers_is_no_outage(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held as an outage, a message whose statement never ends would hold its partition for ever."""
    monkeypatch.setattr(pool, "STATEMENT_SECONDS", 0.3)
    database = Database(dsn, application_name="test")
    try:
        with pytest.raises(TimeoutError):
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(5)")
    finally:
        await database.close()


async def test_all_who_wait_for_a_silent_server_are_refused_at_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one after the other, each with a deadline of its own."""
    async with silenceable(dsn) as (proxied, silence):
        silence.set()
        database = Database(proxied, application_name="test")
        with monkeypatch.context() as impatient:
            impatient.setattr(pool, "ACQUIRE_SECONDS", 0.5)
            started_at = time.monotonic()
            outcomes = await asyncio.gather(*(database.ping() for _ in range(100)), return_exceptions=True)
            assert time.monotonic() - started_at < 30, "one after the other would take 50 s"
        assert {type(outcome) for outcome in outcomes} == {InfrastructureUnavailable}
        silence.clear()
        await database.ping()
        await database.close()


async def test_a_closed_database_stays_closed(dsn: str) -> None:
    database = Database(dsn, application_name="test-closed")
    await database.ping()
    await database.close()
    with pytest.raises(InfrastructureUnavailable):
        await database.ping()


async def sessions_of(database: TestDatabase, application_name: str) -> int:
    connection = await asyncpg.connect(database.dsn("image-processor"))
    try:
        counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        return int(await connection.fetchval(counted, application_name))
    finally:
        await connection.close()


async def _none_of(database: TestDatabase, application_name: str) -> bool:
    return await sessions_of(database, application_name) == 0


async def test_connecting_that_is_cancelled_leaves_no_session(
    database: TestDatabase, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled when the session is there, and its owner has not heard of it."""
    kept: list[asyncpg.Connection[Any]] = []
    is_connected = asyncio.Event()

    async def never_ready(connection: asyncpg.Connection[Any]) -> None:
        kept.append(connection)
        is_connected.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(pool, "_prepare", never_ready)
    monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 30.0)
    connecting = asyncio.create_task(pool.connect(dsn, application_name="test-cancelled"))
    await eventually(is_connected.is_set, why="its session is there")
    assert await sessions_of(database, "test-cancelled") == 1
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert kept[0].is_closed()
    await eventually(lambda: _none_of(database, "test-cancelled"), why="its session has ended")


async def test_closing_while_it_opens_leaves_no_session(
    database: TestDatabase, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_connected, go_on = asyncio.Event(), asyncio.Event()

    async def slowly_ready(_: asyncpg.Connection[Any]) -> None:
        is_connected.set()
        await go_on.wait()

    monkeypatch.setattr(pool, "_prepare", slowly_ready)
    monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 30.0)
    opened = Database(dsn, application_name="test-closing")
    asking = asyncio.create_task(opened.ping())
    await eventually(is_connected.is_set, why="its first session is there")
    await opened.close()
    go_on.set()
    with pytest.raises(InfrastructureUnavailable):
        await asking
    await eventually(lambda: _none_of(database, "test-closing"), why="its session has ended")


async def test_a_domain_error_keeps_its_kind_when_the_session_is_lost(database: TestDatabase, dsn: str) -> None:
    class CommitInDoubt(InfrastructureUnavailable):
        pass

    bounded = Database(dsn, application_name="test", max_connections=1)

    async def lose_the_session() -> None:
        async with bounded.connection() as connection:
            connection.terminate()
            raise CommitInDoubt("postgresql", "nobody knows")

    try:
        with pytest.raises(CommitInDoubt):
            await lose_the_session()
    finally:
        await bounded.close()


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (asyncpg.InvalidCatalogNameError("no such database yet"), True),
        (asyncpg.PostgresIOError("could not write"), True),
        (asyncpg.AdminShutdownError("shutting down"), True),
        (asyncpg.IdleSessionTimeoutError("idle"), True),
        (asyncpg.QueryCanceledError("canceled"), False),
        (asyncpg.UniqueViolationError("twice"), False),
        (asyncpg.DeadlockDetectedError("deadlock"), False),
        (asyncpg.InterfaceError("another operation is in progress"), False),
    ],
)
def test_what_counts_as_an_absent_database(error: Exception, away: bool) -> None:
    assert is_unavailable(error) is away


async def test_a_listener_that_is_refused_backs_off(database: TestDatabase, dsn: str) -> None:
    refused_at: list[float] = []

    def refuse() -> None:
        refused_at.append(time.monotonic())
        raise OSError("refused at once")

    listener = Listener(dsn, "channel", application_name="test", hear=lambda _: None, caught_up=refuse)
    running = asyncio.create_task(listener.run())
    await eventually(lambda: len(refused_at) == 4, why="it has tried again and again")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    pauses_seconds = [later - earlier for earlier, later in pairwise(refused_at)]
    assert all(pause >= FIRST_BACKOFF_SECONDS * 2**number for number, pause in enumerate(pauses_seconds))
