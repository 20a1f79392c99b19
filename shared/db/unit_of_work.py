"""State and outgoing events in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

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

    def publish(self, *events: Event, trace: Mapping[str, str] | None = None) -> None:
        """Have events published, in this order, once the transaction has committed.

        `trace` are W3C headers of what they follow from, where that is not the current span.
        """
        self.outgoing.extend(OutgoingMessage.of(event, self._source, trace) for event in events)


class Waking(Protocol):
    """The relay of this process."""

    @property
    def leads(self) -> bool: ...

    def wake(self) -> None: ...


class UnitOfWork:
    """Begins transactions for one service.

    `source` is the CloudEvents source of what it publishes, `schema` its slice of the database. Where the relay of this
    process leads, it is woken here. **A transaction with a NOTIFY waits at its commit for every other one that has
    one**, in all of the server's databases, with the disk and all: who needs none sends none.
    """

    def __init__(self, database: Database, *, source: str, schema: str) -> None:
        self.database = database
        self.source = source
        self.schema = schema
        self.relay: Waking | None = None

    @asynccontextmanager
    async def begin(self, delivery: Delivery | None = None) -> AsyncIterator[Transaction]:
        """Commit at the end of the block, roll back on any error.

        With a delivery, its inbox row is claimed first: a second delivery of the same message raises AlreadyHandled and
        the block does not run. Two at once are serialised by the row's unique key: the later one waits for the earlier
        one's commit. Raises InfrastructureUnavailable when PostgreSQL is away, even in the middle; whether the commit
        took effect is then unknown, and the claim tells at the next delivery.
        """
        async with self.database.connection() as connection, self._committed(connection) as transaction:
            if delivery is not None and not await claim(connection, delivery):
                raise AlreadyHandled
            yield transaction

    @asynccontextmanager
    async def begin_many(self, deliveries: Sequence[Delivery]) -> AsyncIterator[tuple[Transaction, list[bool]]]:
        """The same for several deliveries at once, with which of them are claimed now.

        The others were handled before. Of one message that is there twice the first delivery claims it.
        """
        async with self.database.connection() as connection, self._committed(connection) as transaction:
            yield transaction, await claim_many(connection, deliveries)

    @asynccontextmanager
    async def _committed(self, connection: PooledConnection[Any]) -> AsyncIterator[Transaction]:
        """With what is published in it, of which the relay is told."""
        # Should it lose the lead just now, the next one finds the rows by itself.
        leading = self.relay if self.relay is not None and self.relay.leads else None
        transaction = Transaction(connection, self.source)
        async with connection.transaction():
            yield transaction
            if transaction.outgoing:
                await append(connection, transaction.outgoing, self.schema, notifies=leading is None)
        if transaction.outgoing and leading is not None:
            leading.wake()

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


async def claim_many(connection: PooledConnection[Any], deliveries: Sequence[Delivery]) -> list[bool]:
    """For each delivery whether this transaction is the first to claim it."""
    keys = [(delivery.consumer, delivery.envelope.source, delivery.claim) for delivery in deliveries]
    columns = [list(column) for column in zip(*keys, strict=True)]
    claimed = {tuple(row) for row in await connection.fetch(QUERIES["claim_many"], *columns)}
    is_new = []
    for key in keys:
        is_new.append(key in claimed)
        claimed.discard(key)
    return is_new
