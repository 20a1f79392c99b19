"""The connection pool of a service, under its own role and schema."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.db.unavailability import is_unavailable
from shared.messaging.errors import InfrastructureUnavailable
from shared.settings import PostgresSettings

log = logging.getLogger(__name__)

Connection = asyncpg.Connection
PooledConnection = asyncpg.pool.PoolConnectionProxy

ACQUIRE_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
LONGEST_RECONNECT_SECONDS = 5.0


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def _keep_session(_: asyncpg.Connection[Any]) -> None:
    """Spare the round trip that resets a session at every return to the pool.

    Nothing here changes a session: settings are set at connect, locks are of transactions, and LISTEN has connections
    of its own. A transaction left open is still rolled back, by the pool itself.
    """


CACHED_STATEMENTS = 100
KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
"""PostgreSQL finds out in 11 seconds that the other machine is gone, not after the two hours that TCP would take."""


async def connect(
    dsn: str,
    *,
    application_name: str,
    statement_seconds: float = STATEMENT_SECONDS,
    silence_seconds: float = 0.0,
) -> asyncpg.Connection[Any]:
    """One connection to the server itself, for LISTEN and for locks that live as long as the connection.

    `dsn` leads past any pooler. A statement without an answer within `statement_seconds` raises TimeoutError. After
    `silence_seconds` without a statement PostgreSQL ends the session; 0: never.
    """
    server_settings = {
        "application_name": application_name,
        "idle_session_timeout": str(int(silence_seconds * 1000)),
        **KEEPALIVES,
    }
    try:
        connection = await asyncpg.connect(
            dsn, timeout=ACQUIRE_SECONDS, command_timeout=statement_seconds, server_settings=server_settings
        )
        try:
            await _prepare(connection)
        except BaseException:
            # Nobody else knows of it: its session would stay for as long as this process.
            connection.terminate()
            raise
    except Exception as error:
        if is_unavailable(error) or isinstance(error, TimeoutError | OSError):
            raise InfrastructureUnavailable("postgresql", str(error)) from error
        raise
    return connection


def is_lost(connection: PooledConnection[Any]) -> bool:
    """Whether the connection is closed, or is not the borrower's any more."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool has taken it back already: its server did not even answer a cancellation.
        return True


class Database:
    """A bounded pool that says plainly when PostgreSQL is away.

    Connections are made when first needed, so a service starts, and waits, while its database is down. With a
    `session_dsn`, `dsn` is that of a PgBouncer in transaction mode: each transaction may run on another server
    connection than the one before, so nothing is left on any, neither settings nor prepared statements.
    """

    def __init__(
        self, dsn: str, *, application_name: str, max_connections: int = 10, session_dsn: str | None = None
    ) -> None:
        self.session_dsn = session_dsn or dsn
        """For `connect`: it leads to the server itself."""
        self.application_name = application_name
        self.dsn = dsn
        self._is_pooled = session_dsn is not None
        self._max_connections = max_connections
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @classmethod
    def of(cls, settings: PostgresSettings, *, application_name: str, max_connections: int = 10) -> Database:
        """The pool that the settings ask for."""
        session_dsn = settings.postgres_session_dsn
        return cls(
            settings.postgres_dsn.get_secret_value(),
            application_name=application_name,
            max_connections=max_connections,
            session_dsn=None if session_dsn is None else session_dsn.get_secret_value(),
        )

    @property
    def _server_settings(self) -> dict[str, str]:
        # PgBouncer refuses settings that it can't take from one server connection to the next; this one it can.
        name = {"application_name": self.application_name}
        return name if self._is_pooled else {**name, **KEEPALIVES}

    async def _opened(self) -> asyncpg.Pool[Any]:
        self._require_open()
        if self._pool is None:
            async with self._opening:
                self._require_open()
                if self._pool is None:
                    pool = await asyncpg.create_pool(
                        self.dsn,
                        min_size=1,
                        max_size=self._max_connections,
                        timeout=ACQUIRE_SECONDS,
                        command_timeout=STATEMENT_SECONDS,
                        max_inactive_connection_lifetime=60,
                        init=_prepare,
                        reset=_keep_session,
                        statement_cache_size=0 if self._is_pooled else CACHED_STATEMENTS,
                        server_settings=self._server_settings,
                    )
                    if self._closed:
                        pool.terminate()
                    self._require_open()
                    self._pool = pool
        return self._pool

    def _require_open(self) -> None:
        if self._closed:
            raise InfrastructureUnavailable("postgresql", "this process has closed its connections")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PooledConnection[Any]]:
        """A connection from the pool.

        Raises InfrastructureUnavailable when PostgreSQL is away, or when no connection was free within 5 seconds, be it
        at the start or in the middle of the block.
        """
        try:
            # One deadline for all of it: who waits while another opens the pool must not wait a second time.
            async with asyncio.timeout(ACQUIRE_SECONDS):
                pool = await self._opened()
                connection = await pool.acquire(timeout=ACQUIRE_SECONDS)
        except Exception as error:
            if is_unavailable(error) or isinstance(error, TimeoutError | OSError):
                raise InfrastructureUnavailable("postgresql", str(error) or "no connection in time") from error
            raise
        try:
            yield connection
        except InfrastructureUnavailable:
            raise
        except Exception as error:
            if is_unavailable(error) or is_lost(connection):
                raise InfrastructureUnavailable("postgresql", str(error)) from error
            if isinstance(error, TimeoutError):
                await self._require_an_answer(error)
            raise
        finally:
            await self._give_back(pool, connection)

    async def _require_an_answer(self, late: TimeoutError) -> None:
        """Tell a slow statement from a server that fell silent, e.g. behind a broken network.

        Raises InfrastructureUnavailable if no new connection is answered either.
        """
        try:
            connection = await asyncpg.connect(self.dsn, timeout=ACQUIRE_SECONDS, server_settings=self._server_settings)
        except Exception as error:
            raise InfrastructureUnavailable("postgresql", str(error)) from late
        try:
            await connection.execute("SELECT 1", timeout=ACQUIRE_SECONDS)
        except Exception:
            raise InfrastructureUnavailable("postgresql", "it does not answer") from late
        finally:
            connection.terminate()

    @staticmethod
    async def _give_back(pool: asyncpg.Pool[Any], connection: PooledConnection[Any]) -> None:
        try:
            await pool.release(connection, timeout=ACQUIRE_SECONDS)
        except Exception as error:
            # The pool has cut it and makes another. What the block committed must not seem to have failed.
            log.warning("a connection could not be reused", extra={"detail": repr(error)})

    async def ping(self) -> None:
        """Raises InfrastructureUnavailable unless a statement runs."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1")

    async def wait_until_available(self) -> None:
        """Return once a statement runs; backs off from 0.1 to 5 seconds, logging each time."""
        delay_seconds = 0.1
        while True:
            try:
                await self.ping()
            except InfrastructureUnavailable as error:
                log.warning("waiting for PostgreSQL", extra={"detail": str(error)})
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 2, LONGEST_RECONNECT_SECONDS)
            else:
                return

    async def close(self) -> None:
        """Close every connection; those still busy after 5 seconds are cut."""
        self._closed = True
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await asyncio.wait_for(pool.close(), timeout=ACQUIRE_SECONDS)
        except TimeoutError:
            pool.terminate()
