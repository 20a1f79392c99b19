"""Asking again where that may help, for as long as it is worth it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from deploy.cli.problems import NotReached, Refused

T = TypeVar("T")

_TOO_MANY, _AWAY = 429, 503


class Interrupted(Exception):
    """Somebody wants it to end."""


@dataclass(frozen=True, slots=True)
class Patience:
    """At most so many attempts; between them as long as the server says, else ever longer with jitter.

    Nobody is waited for longer than `longest_seconds` at once.
    """

    attempts: int = 8
    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def seconds(self, attempt: int, wanted_seconds: float | None) -> float:
        """After the attempt of this number, counted from 1."""
        if wanted_seconds is not None:
            return min(wanted_seconds, self.longest_seconds)
        grown = min(self.first_seconds * 2.0 ** (attempt - 1), self.longest_seconds)
        return grown * random.uniform(0.5, 1.0)


PATIENCE: Final = Patience()


def patiently(ask: Callable[[], T], stop: threading.Event, patience: Patience = PATIENCE) -> T:
    """For what may be asked twice. Raises what the last attempt did, and Interrupted once `stop` is set."""
    attempt = 1
    while True:
        if stop.is_set():
            raise Interrupted
        try:
            return ask()
        except Refused as refusal:
            if refusal.status not in {_TOO_MANY, _AWAY} or attempt == patience.attempts:
                raise
            wait_seconds = patience.seconds(attempt, refusal.retry_after_seconds)
        except NotReached as error:
            if not error.may_pass or attempt == patience.attempts:
                raise
            wait_seconds = patience.seconds(attempt, None)
        stop.wait(wait_seconds)
        attempt += 1
