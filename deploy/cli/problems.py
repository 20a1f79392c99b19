"""How asking the API ends when it does not end well."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Beside 0, done, 2, wrong use, and 130, interrupted."""

    REFUSED = 1
    NOT_REACHED = 3
    NOT_WELL = 4
    """It was done and looked at, and something failed or differs."""


class NotReached(Exception):
    """There is no API at the address, or it does not know who asks; the text says what to do.

    `may_pass`: the same may be answered a little later. `refused_with`: the status with which something else than the
    API refused what was sent, such as a proxy before it.
    """

    def __init__(self, text: str, *, may_pass: bool = False, refused_with: int | None = None) -> None:
        super().__init__(text)
        self.may_pass = may_pass
        self.refused_with = refused_with


class Refused(Exception):
    """The API refused what was asked, with these problem details.

    `retry_after_seconds` is how long it wants to be left alone.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: str | None = None) -> None:
        super().__init__(problem["title"])
        self.status = status
        self.code = str(problem.get("code", ""))
        self.title = str(problem["title"])
        self.detail = str(problem.get("detail", ""))
        self.field_errors = [f"{error['field']}: {error['message']}" for error in problem.get("errors", ())]
        self.problem = problem
        is_seconds = retry_after is not None and retry_after.isascii() and retry_after.isdecimal()
        self.retry_after_seconds = float(retry_after) if retry_after is not None and is_seconds else None

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.title, self.detail, *self.field_errors) if line]
