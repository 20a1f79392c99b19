"""Who may do what: roles, principals, password policy, the format of API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID


class Role(StrEnum):
    """What an account or key may do; each role includes those below it."""

    SUPERADMIN = "superadmin"
    ADMIN = "admin"
    PHOTOGRAPHER = "photographer"
    GUEST = "guest"

    def includes(self, other: Role) -> bool:
        """Whether whoever holds this role may do what the other allows."""
        return _RANK[self] >= _RANK[other]

    def at_most(self, ceiling: Role) -> Role:
        """The lower of the two."""
        return self if ceiling.includes(self) else ceiling


_RANK = {Role.GUEST: 0, Role.PHOTOGRAPHER: 1, Role.ADMIN: 2, Role.SUPERADMIN: 3}

ACCOUNT_ROLES = (Role.SUPERADMIN, Role.ADMIN, Role.PHOTOGRAPHER)
"""The roles of accounts and API keys; guests have a gallery link instead of either."""

PrincipalKind = Literal["session", "api_key", "ticket"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a principal stands on; a ticket stands on what it was made with."""

    session_hash: bytes | None = field(default=None, repr=False)
    api_key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    An API key acts for the account that made it, with the lower of the two roles. A ticket opens one WebSocket.
    """

    user_id: UUID
    email: str
    role: Role
    kind: PrincipalKind
    credential: Credential = Credential()

    def may(self, role: Role) -> bool:
        return self.role.includes(role)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a principal is by now: its role, and when the API key ends that it stands on, if that has an end."""

    role: Role
    key_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str
    role: Role
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCredentials:
    """An account with what a password is checked against."""

    user: User
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key after it was shown; its secret is not."""

    id: UUID
    name: str
    role: Role
    created_by: UUID
    created_by_email: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


EMAIL_MAX_CHARACTERS = 254
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)*")


def normalised_email(text: str) -> str | None:
    """The address as it is stored and compared, or None if it is no e-mail address."""
    email = unicodedata.normalize("NFC", text.strip()).lower()
    return email if len(email) <= EMAIL_MAX_CHARACTERS and _EMAIL.fullmatch(email) else None


PASSWORD_MIN_CHARACTERS = 8
PASSWORD_MAX_CHARACTERS = 256
PASSWORD_MIN_DISTINCT_CHARACTERS = 5
_GUESSED_RUNS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiopasdfghjklzxcvbnm")
_GUESSED_WORDS = frozenset({"password", "passwort", "qwerty", "welcome", "letmein", "changeme", "mediabus", "admin"})


def password_fault(password: str, email: str) -> str | None:
    """Why a new password is refused, or None: long enough, and not what is guessed first.

    Length counts more than kinds of characters, so none of those is asked for.
    """
    if len(password) < PASSWORD_MIN_CHARACTERS:
        return f"must have at least {PASSWORD_MIN_CHARACTERS} characters"
    if len(password) > PASSWORD_MAX_CHARACTERS:
        return f"must have at most {PASSWORD_MAX_CHARACTERS} characters"
    folded = password.casefold()
    if len(set(folded)) < PASSWORD_MIN_DISTINCT_CHARACTERS:
        return f"must have at least {PASSWORD_MIN_DISTINCT_CHARACTERS} different characters"
    word = re.sub(r"[^a-z]", "", folded)
    if folded in email or email in folded or word == re.sub(r"[^a-z]", "", email.partition("@")[0]):
        return "must not be made of the e-mail address"
    if word in _GUESSED_WORDS or any(folded in run for run in _GUESSED_RUNS):
        return "is among the first that are guessed: choose another"
    return None


def secret_hash(secret: str) -> bytes:
    """What is stored in place of a random secret. The 256 random bits make salt and slowness needless."""
    return hashlib.sha256(secret.encode()).digest()


def new_secret() -> str:
    """256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(32)


API_KEY_PREFIX = "mb"


@dataclass(frozen=True, slots=True)
class ApiKeyText:
    """The parts of a key as its holder sends it: `mb_<id>_<secret>`.

    The id finds the row without revealing anything; the prefix lets secret scanners recognise a leaked key.
    """

    id: UUID
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{API_KEY_PREFIX}_{self.id.hex}_{self.secret}"

    @classmethod
    def parse(cls, text: str) -> ApiKeyText | None:
        """The parts, or None if the text is no key of ours."""
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != API_KEY_PREFIX or re.fullmatch(r"[0-9a-f]{32}", key_id) is None or not 32 <= len(secret) <= 64:
            return None
        return cls(UUID(hex=key_id), secret)
