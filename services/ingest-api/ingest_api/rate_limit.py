"""How many failed attempts to sign in are borne, from one address and for one account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A recorded attempt that matches the one at hand by account, by address, or by both."""

    same_account: bool
    same_address: bool
    age_seconds: float


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """Failed attempts within the window, the one at hand included.

    Guessing one account's password from one address ends soonest. The limit of an account over all addresses is far
    higher: it stops guessing from many addresses, while a single stranger can't lock its owner out.
    """

    window_seconds: float = 900.0
    per_account_and_address: int = 10
    per_address: int = 40
    per_account: int = 200

    @property
    def rows_needed(self) -> int:
        return 2 * (self.per_account_and_address + self.per_address + self.per_account)

    def wait_seconds(self, attempts: Sequence[LoginAttempt]) -> float | None:
        """How long to wait before the next attempt, or None if this one, which is among `attempts`, is admitted."""
        recent = [attempt for attempt in attempts if attempt.age_seconds < self.window_seconds]
        both = [attempt.age_seconds for attempt in recent if attempt.same_account and attempt.same_address]
        address = [attempt.age_seconds for attempt in recent if attempt.same_address]
        account = [attempt.age_seconds for attempt in recent if attempt.same_account]
        waits = [
            self._wait(both, self.per_account_and_address),
            self._wait(address, self.per_address),
            self._wait(account, self.per_account),
        ]
        longest = max((wait for wait in waits if wait is not None), default=None)
        return None if longest is None else max(longest, 1.0)

    def _wait(self, ages_seconds: Sequence[float], limit: int) -> float | None:
        if len(ages_seconds) <= limit:
            return None
        # Room appears when the limit-th newest of the recorded attempts leaves the window.
        return self.window_seconds - sorted(ages_seconds)[limit]
