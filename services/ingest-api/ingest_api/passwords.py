"""Hashing and checking passwords with argon2id, off the event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from ingest_api.problem_details import Problem, retry_after

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """The cost of one hash: about a tenth of a second of one core and `memory_kib` while it runs."""

    time_cost: int = 2
    memory_kib: int = 64 * 1024
    parallelism: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password was right; `new_hash` replaces a stored hash of other parameters."""

    right: bool
    new_hash: str | None = None


class Passwords:
    """Argon2id in a few threads: signing in never takes all cores or unbounded memory from uploads.

    At most `waiting` callers wait, each at most `deadline_seconds`; beyond that Problem 503 tells them to come back.
    """

    def __init__(
        self,
        parameters: Argon2Parameters | None = None,
        *,
        threads: int = 2,
        waiting: int = 64,
        deadline_seconds: float = 10.0,
    ) -> None:
        cost = parameters or Argon2Parameters()
        self._hasher = PasswordHasher(
            time_cost=cost.time_cost, memory_cost=cost.memory_kib, parallelism=cost.parallelism
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._most_waiting = waiting
        self._deadline_seconds = deadline_seconds
        # Checked where there is no account, so that its answer takes as long as one for a wrong password.
        self._decoy = self._hasher.hash(secrets.token_urlsafe(16))

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored_hash: str | None, password: str) -> Verdict:
        """Check a password against a stored hash; without one the answer is no, after as much work."""
        if stored_hash is None:
            await self._run(lambda: self._check(self._decoy, password))
            return Verdict(False)
        return await self._run(lambda: self._check(stored_hash, password))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, stored_hash: str, password: str) -> Verdict:
        try:
            self._hasher.verify(stored_hash, password)
        except VerifyMismatchError:
            return Verdict(False)
        renew = self._hasher.check_needs_rehash(stored_hash)
        return Verdict(True, self._hasher.hash(password) if renew else None)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise _busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._deadline_seconds), self._free:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise _busy() from error
        finally:
            self._waiting -= 1


def _busy() -> Problem:
    return Problem(503, "service_unavailable", "Too many are signing in right now; try again shortly.", retry_after(5))
