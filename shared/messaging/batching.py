"""Messages that wait at the same time take effect in one transaction, each of them once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import Event
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, InfrastructureUnavailable, Postponed, TransientError, decisive
from shared.telemetry.tracing import trace_headers

E = TypeVar("E", bound=Event)

MOST_MESSAGES = 200
"""In one transaction. A topic with batched handlers takes so many more before it is paused."""
TRANSACTION_SECONDS = 20.0
TURNS_SECONDS = 40.0
"""From the beginning of a batch: no part of it is begun later, so it is over TRANSACTION_SECONDS after that."""
WAITED_SECONDS = 120.0
"""Who has waited longer for a batch is in none: it comes again later, and those behind it have their turn."""


@dataclass(frozen=True, slots=True)
class Joined(Generic[E]):
    """One message of a batch, with the W3C headers of its handling: what follows from it is published with them."""

    event: E
    delivery: Delivery
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[E]):
    """`since` is a time of the loop."""

    joined: Joined[E]
    done: asyncio.Future[bool]
    since: float


class Batching(Generic[E]):
    """Hands messages that wait at the same time to one function, in a transaction that has claimed them all.

    The handlers that call `join` are registered with `batched=True`: they wait without keeping others from running.
    While a batch is under way the next one gathers, so batches are as large as it takes to keep up, and a message that
    comes alone does not wait. One runs at a time: messages whose effects touch the same rows do not wait for each
    other's locks, as long as one `Batching` takes them all.

    **A message has the same fate as alone**: one that was handled before is left out; where the function fails the
    batch is tried again in halves, until the message that can't be handled fails by itself. A batch that runs out of
    time is tried again one by one, for halves would wait again and again for the same lock: the message that is late by
    itself uses an attempt up. Those that have no turn within `turns_seconds`, and those that have waited for more than
    `waited_seconds` for a batch, come again later and use none.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        handle: Callable[[Transaction, Sequence[Joined[E]]], Awaitable[None]],
        *,
        transaction_seconds: float = TRANSACTION_SECONDS,
        turns_seconds: float = TURNS_SECONDS,
        waited_seconds: float = WAITED_SECONDS,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._handle = handle
        self._transaction_seconds = transaction_seconds
        self._turns_seconds = turns_seconds
        self._waited_seconds = waited_seconds
        self._waiting: deque[_Waiting[E]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def join(self, event: E, delivery: Delivery) -> None:
        """Return when the message's effect is committed.

        Raises AlreadyHandled, or what handling it raised. Who stops waiting does not stop a batch that has begun.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(_Waiting(Joined(event, delivery, trace_headers()), done, loop.time()))
        if self._running is None:
            # With a context of its own: the trace of the first message is not that of the others.
            self._running = asyncio.create_task(self._run(), context=Context())
        if not await done:
            raise AlreadyHandled

    async def _run(self) -> None:
        taken: list[_Waiting[E]] = []
        try:
            while self._waiting:
                # Those that came in the same turn of the loop are in.
                await asyncio.sleep(0)
                now = asyncio.get_running_loop().time()
                self._send_away(now - self._waited_seconds)
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_MESSAGES))]
                await self._attempt(taken, now + self._turns_seconds)
        finally:
            self._running = None
            for one in (*taken, *self._waiting):
                one.done.cancel()
            self._waiting.clear()

    def _send_away(self, since: float) -> None:
        """Those that have waited since before then."""
        late: list[_Waiting[E]] = []
        while self._waiting and self._waiting[0].since < since:
            late.append(self._waiting.popleft())
        _fail(late, Postponed("batch_deadline", f"it was in no batch within {self._waited_seconds:g} seconds"))

    async def _attempt(self, part: Sequence[_Waiting[E]], turns_until: float) -> None:
        """Settle each of them that somebody still waits for; `turns_until` is a time of the loop."""
        batch = [one for one in part if not one.done.done()]
        if not batch:
            return
        if asyncio.get_running_loop().time() >= turns_until:
            _fail(batch, Postponed("batch_deadline", f"it had no turn within {self._turns_seconds:g} seconds"))
            return
        try:
            is_new = await self._commit([one.joined for one in batch])
        except Exception as error:
            await self._divide(batch, error, turns_until)
        else:
            for one, new in zip(batch, is_new, strict=True):
                if not one.done.done():
                    one.done.set_result(new)

    async def _divide(self, batch: Sequence[_Waiting[E]], error: Exception, turns_until: float) -> None:
        reason = decisive(error)
        is_late = isinstance(reason, TimeoutError)
        if len(batch) == 1 and is_late:
            late = TransientError("batch_deadline", f"not done within {self._transaction_seconds:g} seconds")
            _fail(batch, late)
        elif len(batch) == 1 or isinstance(reason, InfrastructureUnavailable):
            _fail(batch, error)
        else:
            size = 1 if is_late else len(batch) // 2
            for start in range(0, len(batch), size):
                await self._attempt(batch[start : start + size], turns_until)

    async def _commit(self, batch: Sequence[Joined[E]]) -> list[bool]:
        """Which of them took effect now; the others had before."""
        deliveries = [joined.delivery for joined in batch]
        async with (
            asyncio.timeout(self._transaction_seconds),
            self._unit_of_work.begin_many(deliveries) as (transaction, is_new),
        ):
            if new := [joined for joined, is_one in zip(batch, is_new, strict=True) if is_one]:
                await self._handle(transaction, new)
        return is_new


def _fail(batch: Sequence[_Waiting[E]], error: Exception) -> None:
    for one in batch:
        if not one.done.done():
            one.done.set_exception(error)
