"""One medium's work with its own attempts: errors of a file are told from the absence of a store."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from s3_syncer import errors
from s3_syncer.jobs import Medium, Outcome, Removal
from s3_syncer.transfers import Order, Transfers
from shared.messaging.errors import InfrastructureUnavailable, PermanentError, Postponed, TransientError
from shared.messaging.retry import Failure, RetryPolicy
from shared.storage.errors import InsufficientSpace, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

CHECK_AGAIN_SECONDS = 0.2


class OneMedium:
    """Works on one medium at a time per slot; the slots are this process's."""

    def __init__(self, transfers: Transfers, retries: RetryPolicy, *, in_flight: int) -> None:
        self._transfers = transfers
        self._retries = retries
        self._slots = asyncio.Semaphore(in_flight)

    async def work(self, order: Order, medium: Medium) -> Outcome:
        """What became of the medium, after up to 5 attempts.

        Raises Postponed when the bucket is away, and InfrastructureUnavailable when the disk is: no file's attempts are
        used up by that.
        """
        attempt = 1
        while True:
            try:
                return await self.attempt(order, medium)
            except (Postponed, InfrastructureUnavailable):
                raise
            except Exception as error:
                failure = Failure.of(error, attempt)
                if isinstance(error, PermanentError) or attempt >= self._retries.attempts:
                    return Outcome.failed(medium, failure.code, failure.detail)
                log.warning(
                    "a file failed, trying again",
                    extra={"media_id": str(medium.media_id), "attempt": attempt, "detail": failure.detail},
                )
                await asyncio.sleep(self._retries.delay_seconds(attempt, random.uniform(-1, 1)))
                attempt += 1

    async def attempt(self, order: Order, medium: Medium) -> Outcome:
        """One attempt. Raises like `work`, and the error of the file."""
        try:
            async with self._slots:
                return await self._transfers.carry_out(order, medium)
        except InsufficientSpace as error:
            # A full disk stops everything that is written here; a full bucket only what wants the bucket.
            if error.dependency == "disk":
                raise
            raise errors.bucket_away(str(error)) from error
        except (StoreUnavailable, StoreRefused) as error:
            await self._require_stores()
            raise FileError(error) from error

    async def remove(self, removals: Sequence[Removal]) -> None:
        """Raises Postponed or InfrastructureUnavailable when the store is away."""
        try:
            for removal in removals:
                await self._transfers.remove(removal)
        except (StoreUnavailable, StoreRefused) as error:
            await self._require_stores()
            raise errors.bucket_away(str(error)) from error

    async def _require_stores(self) -> None:
        """Return when both stores answer: then the error was the file's."""
        for delay_seconds in (CHECK_AGAIN_SECONDS, None):
            try:
                await self._transfers.check()
            except (StoreUnavailable, StoreRefused) as error:
                if delay_seconds is not None:
                    await asyncio.sleep(delay_seconds)
                    continue
                if isinstance(error, StoreUnavailable) and error.dependency == "disk":
                    raise
                raise errors.bucket_away(str(error)) from error
            else:
                return


class FileError(TransientError):
    """A store that answers could not do this one thing."""

    def __init__(self, cause: StoreUnavailable | StoreRefused) -> None:
        super().__init__(cause.code if isinstance(cause, StoreRefused) else "store_error", str(cause))
