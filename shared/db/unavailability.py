"""Telling an absent database from a failed statement."""

from __future__ import annotations

import asyncpg

_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # not provisioned yet
    asyncpg.InvalidCatalogNameError,
    # trouble of its own disk
    asyncpg.PostgresIOError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    ConnectionError,
)


def is_unavailable(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL itself is away, so that no attempt of a message may be used up."""
    if isinstance(error, _AWAY):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg reports a connection that broke under it as an interface error with one of these texts
        text = str(error)
        return any(sign in text for sign in ("connection is closed", "connection was closed", "pool is clos"))
    return False
