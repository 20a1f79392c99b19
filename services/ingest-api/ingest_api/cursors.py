"""Opaque cursors: where a list goes on, in a form that callers can only hand back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from ingest_api.problem_details import Problem

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


class Identified(Protocol):
    @property
    def id(self) -> UUID: ...


def cursor_behind(found: Sequence[Identified], limit: int) -> str | None:
    """Where the list goes on behind its first `limit` rows, ordered by id; None if there are no more than those."""
    return encode_cursor(str(found[limit - 1].id)) if len(found) > limit else None


def cursor_of(after: UUID | None) -> str:
    """Where a list ordered by id goes on behind this one; empty at its beginning."""
    return "" if after is None else encode_cursor(str(after))


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, read: Callable[[str], T]) -> T:
    """What `read` makes of the position; Problem 400 unless it is one of ours. `read` raises ValueError otherwise."""
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return read(position)
    except (binascii.Error, ValueError) as error:
        raise Problem(400, "invalid_cursor", "Start again without a cursor, or send one that a list gave.") from error


def id_of(cursor: str | None) -> UUID | None:
    """The id after which a list ordered by id goes on."""
    return None if cursor is None else decode_cursor(cursor, UUID)
