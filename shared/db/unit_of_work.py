"""State and outgoing events in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.db.pool import Database, PooledConnection
from shared.events import Event
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.outbox.outgoing import QUERIES, OutgoingMessage, append


class Transaction:
    """An open transaction and the events that leave with it.

    Repositories are made from `connection`; they never make one.
    """

    def __init__(self, connection: PooledConnection[Any], source: str) -> None:
        self.connection = connection
        self._source = source
        self.outgoing: list[OutgoingMessage] = []

    def publish(self, *events: Event) -> None:
        """Have events published, in this order, once the transaction has committed."""
        self.outgoing.extend(OutgoingMessage.of(event, self._source) for event in events)


class UnitOfWork:
    """Begins transactions for one service.

    `source` is the CloudEvents source of what it publishes, `schema` its slice of the database.
    """

    def __init__(self, database: Database, *, source: str, schema: str) -> None:
        self.database = database
        self.source = source
        self.schema = schema

    @asynccontextmanager
    async def begin(self, delivery: Delivery | None = None) -> AsyncIterator[Transaction]:
        """Commit at the end of the block, roll back on any error.

        With a delivery, its inbox row is claimed first: a second delivery of the same message raises AlreadyHandled and
        the block does not run. Two at once are serialised by the row's unique key: the later one waits for the earlier
        one's commit. Raises InfrastructureUnavailable when PostgreSQL is away, even in the middle; whether the commit
        took effect is then unknown, and the claim tells at the next delivery.
        """
        async with self.database.connection() as connection, connection.transaction():
            if delivery is not None and not await claim(connection, delivery):
                raise AlreadyHandled
            transaction = Transaction(connection, self.source)
            yield transaction
            if transaction.outgoing:
                await append(connection, transaction.outgoing, self.schema)

    async def is_handled(self, delivery: Delivery) -> bool:
        """Whether the inbox holds the delivery: a cheap look before costly work, no replacement for the claim."""
        async with self.database.connection() as connection:
            return await is_claimed(connection, delivery)


async def is_claimed(connection: PooledConnection[Any], delivery: Delivery) -> bool:
    """Whether a committed transaction, or this one, has claimed the delivery."""
    return bool(
        await connection.fetchval(QUERIES["is_claimed"], delivery.consumer, delivery.envelope.source, delivery.claim)
    )


async def claim(connection: PooledConnection[Any], delivery: Delivery, suffix: str = "") -> bool:
    """Whether this transaction is the first to claim the delivery."""
    claimed = await connection.fetchval(
        QUERIES["claim"], delivery.consumer, delivery.envelope.source, delivery.claim + suffix
    )
    return bool(claimed)
