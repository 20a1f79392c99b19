"""Accounts, sessions, API keys, tickets and attempts to sign in, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ingest_api.account_changes import AccountChange
from ingest_api.accounts import (
    ApiKey,
    ApiKeyText,
    Credential,
    Principal,
    Role,
    Standing,
    StoredCredentials,
    User,
    secret_hash,
)
from ingest_api.rate_limit import LoginAttempt
from ingest_api.sessions import SessionPolicy
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.identifiers import new_id

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "accounts.sql")


@dataclass(frozen=True, slots=True)
class RemovedUser:
    """What an account was; `api_keys` went with it."""

    email: str
    role: Role
    api_keys: int


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """What an API key was; `made_by` is its maker's e-mail address."""

    name: str
    role: Role
    made_by: str


@dataclass(frozen=True, slots=True)
class FoundPrincipal:
    """A principal and for how long what was read stays true; `untouched` says that its use is yet to be noted."""

    principal: Principal
    seconds_left: float
    untouched: bool


class AccountRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any] | asyncpg.Connection[Any]) -> None:
        self._connection = connection

    # accounts

    async def credentials(self, email: str) -> StoredCredentials | None:
        row = await self._connection.fetchrow(QUERIES["user_credentials"], email)
        return None if row is None else StoredCredentials(_user(row), row["password_hash"])

    async def user(self, user_id: UUID) -> User | None:
        row = await self._connection.fetchrow(QUERIES["user"], user_id)
        return None if row is None else _user(row)

    async def lock_user(self, user_id: UUID) -> User | None:
        """The account as it stays until this transaction ends, but for what that changes."""
        row = await self._connection.fetchrow(QUERIES["lock_user"], user_id)
        return None if row is None else _user(row)

    async def emails(self, user_ids: Collection[UUID]) -> dict[UUID, str]:
        """The addresses of those that there are."""
        rows = await self._connection.fetch(QUERIES["emails"], list(user_ids))
        return {row["id"]: row["email"] for row in rows}

    async def users(self, after: UUID | None, limit: int) -> list[User]:
        """Newest first."""
        return [_user(row) for row in await self._connection.fetch(QUERIES["list_users"], after, limit)]

    async def add_user(self, user_id: UUID, email: str, role: Role, password_hash: str) -> User | None:
        """The new account, or None if the address is taken."""
        row = await self._connection.fetchrow(QUERIES["add_user"], user_id, email, role, password_hash)
        return None if row is None else _user(row)

    async def change_user(
        self, user_id: UUID, *, email: str | None, role: Role | None, password_hash: str | None
    ) -> User | None:
        """Change what is not None; None if there is no such account. Raises EmailTaken."""
        try:
            row = await self._connection.fetchrow(QUERIES["change_user"], user_id, email, role, password_hash)
        except asyncpg.UniqueViolationError as error:
            raise EmailTaken(email) from error
        return None if row is None else _user(row)

    async def remove_user(self, user_id: UUID) -> RemovedUser | None:
        """Remove an account with its sessions, API keys and tickets; None if there was none."""
        row = await self._connection.fetchrow(QUERIES["remove_user"], user_id)
        return None if row is None else RemovedUser(row["email"], Role(row["role"]), row["api_keys"])

    async def lock_superadmins(self) -> set[UUID]:
        """The superadmins, none of whom changes before this transaction ends."""
        return {row["id"] for row in await self._connection.fetch(QUERIES["lock_superadmins"])}

    async def lock_first_superadmin(self) -> str | None:
        """A superadmin's address if there is one; two that ask at once go one after the other."""
        await self._connection.execute(QUERIES["lock_first_superadmin"])
        email: str | None = await self._connection.fetchval(QUERIES["any_superadmin"])
        return email

    # sessions and tickets

    async def add_session(
        self, token: str, credentials: StoredCredentials, policy: SessionPolicy, *, new_hash: str | None
    ) -> bool:
        """Begin a session; False if the account or its password changed since the credentials were read.

        Runs in a transaction. `new_hash` replaces the hash that the password was checked against.
        """
        user_id, known_hash = credentials.user.id, credentials.password_hash
        begun = await self._connection.fetchval(
            QUERIES["add_session"], secret_hash(token), user_id, known_hash, policy.lifetime_seconds
        )
        if not begun:
            return False
        if new_hash is not None:
            await self._connection.execute(QUERIES["replace_password_hash"], user_id, known_hash, new_hash)
        await self._connection.execute(QUERIES["end_oldest_sessions"], user_id, policy.kept_per_account)
        return True

    async def find_session(self, token: str, policy: SessionPolicy) -> FoundPrincipal | None:
        row = await self._connection.fetchrow(
            QUERIES["session_principal"], secret_hash(token), policy.idle_seconds, policy.touch_seconds
        )
        if row is None:
            return None
        credential = Credential(session_hash=secret_hash(token))
        principal = Principal(row["user_id"], row["email"], Role(row["role"]), "session", credential)
        return FoundPrincipal(principal, row["seconds_left"], row["untouched"])

    async def touch_session(self, token: str) -> None:
        await self._connection.execute(QUERIES["touch_session"], secret_hash(token))

    async def end_session(self, token: str) -> None:
        await self._connection.execute(QUERIES["end_session"], secret_hash(token))

    async def end_sessions_of(self, user_id: UUID) -> int:
        """End every session and ticket of an account; how many sessions they were.

        Runs after the change that calls for it, in its transaction.
        """
        ended = await self._connection.fetch(QUERIES["end_sessions_of"], user_id)
        await self._connection.execute(QUERIES["end_tickets_of"], user_id)
        return len(ended)

    async def add_ticket(self, token: str, principal: Principal, lifetime_seconds: float) -> bool:
        """False if what the principal stands on has ended meanwhile."""
        credential = principal.credential
        try:
            await self._connection.execute(
                QUERIES["add_ticket"],
                secret_hash(token),
                principal.user_id,
                principal.role,
                credential.session_hash,
                credential.api_key_id,
                lifetime_seconds,
            )
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def use_ticket(self, token: str) -> Principal | None:
        """Whose ticket it was; nobody can use it again."""
        row = await self._connection.fetchrow(QUERIES["use_ticket"], secret_hash(token))
        if row is None:
            return None
        role = Role(row["role"]).at_most(Role(row["user_role"]))
        return Principal(
            row["user_id"], row["email"], role, "ticket", Credential(row["session_hash"], row["api_key_id"])
        )

    async def standing(self, principal: Principal, policy: SessionPolicy) -> Standing | None:
        """What the principal is by now; None once what it stands on has ended."""
        credential = principal.credential
        row = await self._connection.fetchrow(
            QUERIES["standing"],
            principal.user_id,
            credential.session_hash,
            credential.api_key_id,
            policy.idle_seconds,
        )
        if row is None:
            return None
        return Standing(Role(row["role"]).at_most(Role(row["user_role"])), row["key_ends_at"])

    # API keys

    async def add_api_key(
        self, key: ApiKeyText, *, name: str, role: Role, created_by: UUID, expires_at: datetime | None
    ) -> None:
        await self._connection.execute(
            QUERIES["add_api_key"], key.id, secret_hash(key.secret), name, role, created_by, expires_at
        )

    async def api_keys(self, after: UUID | None, created_by: UUID | None, limit: int) -> list[ApiKey]:
        """Newest first; of everyone without `created_by`."""
        rows = await self._connection.fetch(QUERIES["list_api_keys"], after, created_by, limit)
        return [ApiKey(**{**row, "role": Role(row["role"])}) for row in rows]

    async def remove_api_key(self, key_id: UUID, created_by: UUID | None) -> RemovedKey | None:
        """None if there was no such key, of that maker if one is given."""
        row = await self._connection.fetchrow(QUERIES["remove_api_key"], key_id, created_by)
        return None if row is None else RemovedKey(row["name"], Role(row["role"]), row["made_by"])

    async def find_api_key(self, key_id: UUID) -> tuple[FoundPrincipal, bytes] | None:
        """Whom the key acts for, and the hash that its secret must have."""
        row = await self._connection.fetchrow(QUERIES["api_key_principal"], key_id)
        if row is None:
            return None
        role = Role(row["role"]).at_most(Role(row["user_role"]))
        principal = Principal(row["user_id"], row["email"], role, "api_key", Credential(api_key_id=key_id))
        seconds_left = float("inf") if row["seconds_left"] is None else row["seconds_left"]
        return FoundPrincipal(principal, seconds_left, row["untouched"]), row["secret_hash"]

    async def touch_api_key(self, key_id: UUID) -> None:
        await self._connection.execute(QUERIES["touch_api_key"], key_id)

    # who did what

    async def note(self, change: AccountChange, done_by: Principal) -> None:
        """For the list of who did what; runs in the transaction of the change."""
        key_id = done_by.credential.api_key_id
        by_key = {} if key_id is None else {"byApiKey": str(key_id)}
        await self._connection.execute(
            QUERIES["note_change"],
            new_id(),
            change.area,
            change.action,
            change.subject_id,
            {**change.detail, **by_key},
            done_by.user_id,
        )

    # attempts to sign in

    async def record_attempt(self, email: str, address: str) -> int:
        attempt_id: int = await self._connection.fetchval(QUERIES["record_attempt"], email, address)
        return attempt_id

    async def recent_attempts(self, email: str, address: str, window_seconds: float, rows: int) -> list[LoginAttempt]:
        """The newest attempts for the account or from the address."""
        found = await self._connection.fetch(QUERIES["recent_attempts"], email, address, window_seconds, rows)
        return [LoginAttempt(**row) for row in found]

    async def remove_attempt(self, attempt_id: int) -> None:
        await self._connection.execute(QUERIES["remove_attempt"], attempt_id)

    async def forgive_attempts(self, email: str, address: str) -> None:
        """Forget the attempts for the account from the address: its owner has signed in there."""
        await self._connection.execute(QUERIES["forgive_attempts"], email, address)

    # what is over; each removes at most `limit` and says how many

    async def remove_old_attempts(self, window_seconds: float, limit: int) -> int:
        """Attempts that no longer count."""
        return await self._remove("remove_old_attempts", window_seconds, limit)

    async def remove_ended_sessions(self, idle_seconds: float, limit: int) -> int:
        """Sessions that are at their end, or were idle for too long."""
        return await self._remove("remove_ended_sessions", idle_seconds, limit)

    async def remove_ended_tickets(self, limit: int) -> int:
        return await self._remove("remove_ended_tickets", limit)

    async def remove_old_changes(self, kept_seconds: float, limit: int) -> int:
        """Records of what people did to accounts and API keys."""
        return await self._remove("remove_old_changes", kept_seconds, limit)

    async def _remove(self, query: str, *values: object) -> int:
        return affected_rows(await self._connection.execute(QUERIES[query], *values))


class EmailTaken(Exception):
    """Another account has this e-mail address."""


def _user(row: asyncpg.Record) -> User:
    return User(row["id"], row["email"], Role(row["role"]), row["created_at"], row["updated_at"])
