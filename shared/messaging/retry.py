"""What happens after a failed attempt: a value, computed by a pure function."""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.messaging.errors import MessageError, PermanentError, Postponed
from shared.messaging.plain_text import plain_text

MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    `attempts` counts the first one. The delay before attempt n+1 is `first_delay_seconds * factor ** (n - 1)`, at most
    `longest_delay_seconds`, then spread by ± `jitter` so that what failed together does not come back together.
    """

    attempts: int = 3
    first_delay_seconds: float = 2.0
    factor: float = 2.0
    longest_delay_seconds: float = 300.0
    jitter: float = 0.2

    def delay_seconds(self, attempt: int, spread: float) -> float:
        """The delay after the given failed attempt (from 1); `spread` is in -1..1."""
        # Bounded, or the power of a large attempt overflows: a dependency may be away for days.
        doublings = min(attempt - 1, MOST_DOUBLINGS)
        delay = min(self.first_delay_seconds * self.factor**doublings, self.longest_delay_seconds)
        return float(delay * (1 + self.jitter * spread))


PROCESSING_RETRIES = RetryPolicy(attempts=3, first_delay_seconds=2.0)
S3_RETRIES = RetryPolicy(attempts=5, first_delay_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, in the words that the sender and the operator read."""

    code: str
    detail: str
    attempt: int

    @classmethod
    def of(cls, error: BaseException, attempt: int) -> Failure:
        if isinstance(error, MessageError):
            return cls(plain_text(error.code), plain_text(error.detail), attempt)
        return cls("unexpected_error", plain_text(f"{type(error).__name__}: {error}"), attempt)


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay_seconds`, as attempt number `next_attempt`."""

    failure: Failure
    next_attempt: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Postpone:
    """Try again after `delay_seconds` as the same attempt; `postponed` counts how often that happened."""

    failure: Failure
    postponed: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Never try again by itself; a person may replay it."""

    failure: Failure


Decision = Retry | Postpone | DeadLetter

POSTPONEMENT = RetryPolicy(first_delay_seconds=2.0, longest_delay_seconds=60.0)


def next_attempt(
    error: BaseException, attempt: int, policy: RetryPolicy, *, postponed: int = 0, spread: float | None = None
) -> Decision:
    """Decide what follows a failed attempt (from 1) that was postponed `postponed` times.

    An unexpected exception counts as transient: it uses up an attempt, and after the last one a person reads it.
    """
    failure = Failure.of(error, attempt)
    drawn = random.uniform(-1, 1) if spread is None else spread
    if isinstance(error, Postponed):
        return Postpone(failure, postponed + 1, POSTPONEMENT.delay_seconds(postponed + 1, drawn))
    if isinstance(error, PermanentError) or attempt >= policy.attempts:
        return DeadLetter(failure)
    return Retry(failure, attempt + 1, policy.delay_seconds(attempt, drawn))
