"""One medium's work with its own attempts: errors of a file are told from the absence of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from s3_syncer import errors
from s3_syncer.jobs import Medium, Outcome, Removal
from s3_syncer.outages import Outages, in_attempts
from s3_syncer.transfers import Order, Transfers
from shared.messaging.retry import Failure, RetryPolicy
from shared.storage.errors import StoreRefused, StoreUnavailable


class OneMedium:
    """Works on one medium at a time per slot; the slots are this process's."""

    def __init__(self, transfers: Transfers, retries: RetryPolicy, *, in_flight: int) -> None:
        self._transfers = transfers
        self._retries = retries
        self._outages = Outages(transfers.check)
        self._slots = asyncio.Semaphore(in_flight)

    async def work(self, order: Order, medium: Medium) -> Outcome:
        """What became of the medium, after up to 5 attempts.

        Raises Postponed when the bucket is away, and InfrastructureUnavailable when the disk is: no file's attempts are
        used up by that.
        """
        outcome = await in_attempts(lambda: self.attempt(order, medium), self._retries, what=str(medium.media_id))
        if isinstance(outcome, Failure):
            return Outcome.failed(medium, outcome.code, outcome.detail)
        return outcome

    async def attempt(self, order: Order, medium: Medium) -> Outcome:
        """One attempt. Raises like `work`, and the error of the file."""
        async with self._outages.told_apart(), self._slots:
            return await self._transfers.carry_out(order, medium)

    async def remove(self, removals: Sequence[Removal]) -> None:
        """Raises Postponed or InfrastructureUnavailable when the store is away."""
        try:
            for removal in removals:
                await self._transfers.remove(removal)
        except (StoreUnavailable, StoreRefused) as error:
            await self._outages.require_stores()
            raise errors.bucket_away(str(error)) from error
