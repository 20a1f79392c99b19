"""One medium's work with its own attempts: errors of a file are told from the absence of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from s3_syncer.jobs import Medium, Outcome, Removal
from s3_syncer.outages import Outages, in_attempts
from s3_syncer.transfers import Order, Transfers
from shared.messaging.retry import Failure, RetryPolicy

REMOVAL_RETRIES = RetryPolicy(attempts=3, first_delay_seconds=0.1)
"""Short, for the results of other files wait meanwhile; what is left is removed later."""


class NotRemoved(Exception):
    """A store that answers does not let a file go."""

    def __init__(self, removal: Removal, failure: Failure) -> None:
        super().__init__(f"{removal.key!r} stays in {removal.store}: {failure.code}: {failure.detail}")


class OneMedium:
    """Works on one medium at a time per slot; the slots are this process's."""

    def __init__(self, transfers: Transfers, retries: RetryPolicy, *, in_flight: int) -> None:
        self._transfers = transfers
        self._retries = retries
        self._outages = Outages(transfers.check)
        self._slots = asyncio.Semaphore(in_flight)

    async def work(self, order: Order, medium: Medium, stop: asyncio.Event) -> Outcome:
        """What became of the medium, after up to 5 attempts.

        Raises Postponed when the bucket is away, and InfrastructureUnavailable when the disk is: no file's attempts are
        used up by that. Raises Stopped instead of making a further attempt once `stop` is set.
        """
        outcome = await in_attempts(
            lambda: self.attempt(order, medium, stop), self._retries, what=str(medium.media_id), stop=stop
        )
        if isinstance(outcome, Failure):
            return Outcome.failed(medium, outcome.code, outcome.detail)
        return outcome

    async def attempt(self, order: Order, medium: Medium, stop: asyncio.Event | None = None) -> Outcome:
        """One attempt. Raises like `work`, and the error of the file."""
        async with self._outages.told_apart(stop), self._slots:
            return await self._transfers.carry_out(order, medium)

    async def remove(self, removals: Sequence[Removal]) -> None:
        """Raises NotRemoved, and Postponed or InfrastructureUnavailable when a store is away."""
        for removal in removals:
            failure = await in_attempts(partial(self._remove, removal), REMOVAL_RETRIES, what=removal.key)
            if failure is not None:
                raise NotRemoved(removal, failure)

    async def _remove(self, removal: Removal) -> None:
        async with self._outages.told_apart():
            await self._transfers.remove(removal)
