"""Errors of a file told from the absence of a store, and the attempts that a file has."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from s3_syncer import errors
from shared.messaging.errors import InfrastructureUnavailable, PermanentError, Postponed, TransientError
from shared.messaging.retry import Failure, RetryPolicy
from shared.storage.errors import InsufficientSpace, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_AGAIN_SECONDS = 0.2


class FileError(TransientError):
    """A store that answers could not do this one thing."""

    def __init__(self, cause: StoreUnavailable | StoreRefused) -> None:
        super().__init__(cause.code if isinstance(cause, StoreRefused) else "store_error", str(cause))


class Stopped(Exception):
    """Nobody wants the work any more: it failed, and neither was it tried again nor was it asked why."""


class Outages:
    """`check` returns when both stores answer, and raises StoreUnavailable or StoreRefused otherwise."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check

    @asynccontextmanager
    async def told_apart(self, stop: asyncio.Event | None = None) -> AsyncIterator[None]:
        """Turn what a store raises in the block into the error of the file, or into what says that a store is away.

        Raises FileError; Postponed when the bucket is away, full or refuses the credentials; InfrastructureUnavailable
        when the disk is away or full. Everything else passes. Raises Stopped when `stop` is set before it is known.
        """
        try:
            yield
        except InsufficientSpace as error:
            # A full disk stops everything that is written here; a full bucket only what wants the bucket.
            if error.dependency == "disk":
                raise
            raise errors.bucket_away(str(error)) from error
        except (StoreUnavailable, StoreRefused) as error:
            await self.require_stores(stop)
            raise FileError(error) from error

    async def require_stores(self, stop: asyncio.Event | None = None) -> None:
        """Return when both stores answer: then an error was the file's."""
        for delay_seconds in (CHECK_AGAIN_SECONDS, None):
            if stop is not None and stop.is_set():
                raise Stopped
            try:
                await self._check()
            except (StoreUnavailable, StoreRefused) as error:
                if delay_seconds is not None:
                    await asyncio.sleep(delay_seconds)
                    continue
                if isinstance(error, StoreUnavailable) and error.dependency == "disk":
                    raise
                raise errors.bucket_away(str(error)) from error
            else:
                return


async def in_attempts(
    work: Callable[[], Awaitable[T]], retries: RetryPolicy, *, what: str, stop: asyncio.Event | None = None
) -> T | Failure:
    """The outcome of the work, or why its last attempt failed; a PermanentError has no second one.

    Raises Postponed and InfrastructureUnavailable at once: no attempt is used up by that. Raises Stopped instead of
    making a further attempt once `stop` is set. `what` names it in the log.
    """
    stop = stop or asyncio.Event()
    attempt = 1
    while True:
        try:
            return await work()
        except (Postponed, InfrastructureUnavailable, Stopped):
            raise
        except Exception as error:
            failure = Failure.of(error, attempt)
            if isinstance(error, PermanentError) or attempt >= retries.attempts:
                return failure
            log.warning(
                "a file failed, trying again", extra={"file": what, "attempt": attempt, "detail": failure.detail}
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(retries.delay_seconds(attempt, random.uniform(-1, 1))):
                    await stop.wait()
            if stop.is_set():
                raise Stopped from error
            attempt += 1
