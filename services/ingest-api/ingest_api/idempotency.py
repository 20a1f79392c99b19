"""What an Idempotency-Key stands for: one account's first use of it, and the content that came with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ingest_api.problem_details import FieldError, InvalidFields, Problem

KEY_MAX_CHARACTERS: Final = 255


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """A key, and the SHA-256 of the content that a repeated call has to come with."""

    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FirstUse:
    """What a key stands for since its first use."""

    sha256: str
    job_id: UUID
    media_id: UUID


def check_key(key: str | None) -> None:
    """Raises InvalidFields."""
    if key is not None and not (0 < len(key) <= KEY_MAX_CHARACTERS and key.isprintable()):
        detail = f"must have 1 to {KEY_MAX_CHARACTERS} printable characters"
        raise InvalidFields(FieldError("Idempotency-Key", detail))


def require_same(first: FirstUse, sha256: str) -> None:
    """Raises Problem 409 when a key is used again with other content than at first."""
    if first.sha256 != sha256:
        detail = "This Idempotency-Key stands for other content: use a new key for each new upload."
        raise Problem(409, "idempotency_conflict", detail)
