"""Signing in and out, and finding out who makes a request."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest_api.account_changes import signed_out_everywhere
from ingest_api.accounts import (
    ApiKeyText,
    Principal,
    Role,
    StoredCredentials,
    User,
    new_secret,
    normalised_email,
    secret_hash,
)
from ingest_api.passwords import Passwords
from ingest_api.problem_details import Problem, retry_after
from ingest_api.rate_limit import LoginLimits
from ingest_api.repositories.accounts import AccountRepository, FoundPrincipal
from ingest_api.sessions import SessionCookie, SessionPolicy
from shared.db.batches import RemoveSome, remove_in_batches
from shared.db.pool import Database
from shared.messaging.errors import InfrastructureUnavailable

log = logging.getLogger(__name__)

WRONG_PAIR = "There is no account with this e-mail address and password. Check both and try again."
TICKET_SECONDS = 30.0
SWEEP_SECONDS = 600.0
SWEPT_AT_ONCE = 500


class SignInSettings(BaseSettings):
    """What of signing in depends on the place where it runs; environment variables with the prefix MEDIABUS_."""

    model_config = SettingsConfigDict(env_prefix="MEDIABUS_", frozen=True)

    cookie_secure: bool = Field(default=False, description="true behind TLS: the session cookie is Secure")
    public_origins: frozenset[str] = Field(
        default=frozenset(), description="JSON list of this site's origins where a proxy rewrites Host"
    )
    session_idle_seconds: float = Field(default=12 * 3600.0, gt=0)
    session_lifetime_seconds: float = Field(default=7 * 24 * 3600.0, gt=0)
    login_window_seconds: float = Field(default=900.0, gt=0)
    login_attempts_per_account_and_address: int = Field(default=10, ge=1)
    login_attempts_per_address: int = Field(default=40, ge=1)
    login_attempts_per_account: int = Field(default=200, ge=1)
    principal_cache_seconds: float = Field(
        default=5.0, ge=0, description="how long another replica may still admit a session or key that was revoked"
    )

    @property
    def session_policy(self) -> SessionPolicy:
        return SessionPolicy(self.session_idle_seconds, self.session_lifetime_seconds)

    @property
    def login_limits(self) -> LoginLimits:
        return LoginLimits(
            self.login_window_seconds,
            self.login_attempts_per_account_and_address,
            self.login_attempts_per_address,
            self.login_attempts_per_account,
        )


@dataclass(slots=True)
class _CacheEntry:
    lookup: asyncio.Task[FoundPrincipal | None]
    fresh_until: float


class PrincipalCache:
    """Remembers principals for a few seconds, and has many requests that ask at once share one lookup.

    Keys are hashes of the tokens. Who is not found is not remembered.
    """

    def __init__(self, seconds: float, *, most_entries: int = 10_000) -> None:
        self._seconds = seconds
        self._most_entries = most_entries
        self._entries: dict[bytes, _CacheEntry] = {}

    async def get(self, key: bytes, find: Callable[[], Awaitable[FoundPrincipal | None]]) -> Principal | None:
        entry = self._entries.get(key)
        if entry is None or entry.fresh_until <= time.monotonic():
            entry = self._look_up(key, find)
        # Shielded: a request that is cut off must not take the answer from the others.
        found = await asyncio.shield(entry.lookup)
        return None if found is None else found.principal

    def forget(self) -> None:
        """Have everyone looked up anew: something was revoked or changed."""
        self._entries.clear()

    def _look_up(self, key: bytes, find: Callable[[], Awaitable[FoundPrincipal | None]]) -> _CacheEntry:
        async def run() -> FoundPrincipal | None:
            found = await find()
            if found is not None:
                entry.fresh_until = time.monotonic() + min(self._seconds, found.seconds_left)
            return found

        def done(lookup: asyncio.Task[FoundPrincipal | None]) -> None:
            failed = lookup.cancelled() or lookup.exception() is not None
            if (failed or lookup.result() is None) and self._entries.get(key) is entry:
                del self._entries[key]

        entry = _CacheEntry(asyncio.create_task(run()), float("inf"))
        entry.lookup.add_done_callback(done)
        if len(self._entries) >= self._most_entries:
            self._entries.pop(next(iter(self._entries)))
        self._entries[key] = entry
        return entry


class SignIn:
    """The ways in: password to session, session token, API key or ticket to principal."""

    def __init__(self, database: Database, passwords: Passwords, settings: SignInSettings) -> None:
        self.database = database
        self.passwords = passwords
        self.settings = settings
        self.policy = settings.session_policy
        self.cookie = SessionCookie(settings.cookie_secure)
        self._limits = settings.login_limits
        self._cache = PrincipalCache(settings.principal_cache_seconds)

    async def log_in(self, email: str, password: str, address: str) -> tuple[User, str]:
        """Begin a session and return its account and token.

        Raises Problem 401 in the same words, after the same work, whether the account exists or not, and 429 after too
        many failed attempts. `address` is the client's.
        """
        # What is no address can have no account; it is counted and refused like an unknown one.
        account = normalised_email(email) or email.strip().lower()[:254].replace("\x00", "")
        address = counted_address(address)
        await self.admit(account, address)
        async with self.database.connection() as connection:
            credentials = await AccountRepository(connection).credentials(account)
        verdict = await self.passwords.verify(credentials.password_hash if credentials else None, password)
        if credentials is None or not verdict.right:
            log.info("sign-in refused", extra={"address": address})
            raise Problem(401, "wrong_credentials", WRONG_PAIR)
        token = await self._begin_session(credentials, verdict.new_hash, account, address)
        log.info("signed in", extra={"user_id": str(credentials.user.id), "address": address})
        return credentials.user, token

    async def log_out(self, token: str) -> None:
        """End the session of the token, if there is one."""
        async with self.database.connection() as connection:
            await AccountRepository(connection).end_session(token)
        self.forget()

    async def log_out_everywhere(self, principal: Principal) -> None:
        """End all sessions of the account; its API keys stay."""
        async with self.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            # An API key can call this without end: only what did something is worth a line.
            if await accounts.end_sessions_of(principal.user_id):
                await accounts.note(signed_out_everywhere(principal.user_id, principal.email), principal)
        self.forget()

    async def by_session(self, token: str) -> Principal | None:
        """Whose session it is; its use postpones its end."""

        async def find() -> FoundPrincipal | None:
            async with self.database.connection() as connection:
                accounts = AccountRepository(connection)
                found = await accounts.find_session(token, self.policy)
                if found is not None and found.untouched:
                    await accounts.touch_session(token)
                return found

        return await self._cache.get(secret_hash(f"session {token}"), find)

    async def by_api_key(self, text: str) -> Principal | None:
        """For whom the key acts."""
        key = ApiKeyText.parse(text)
        if key is None:
            return None

        async def find() -> FoundPrincipal | None:
            async with self.database.connection() as connection:
                accounts = AccountRepository(connection)
                row = await accounts.find_api_key(key.id)
                if row is None or not hmac.compare_digest(row[1], secret_hash(key.secret)):
                    return None
                if row[0].untouched:
                    await accounts.touch_api_key(key.id)
                return row[0]

        return await self._cache.get(secret_hash(f"key {key}"), find)

    async def by_ticket(self, token: str) -> Principal | None:
        """Whose ticket it was; it is used up."""
        async with self.database.connection() as connection:
            return await AccountRepository(connection).use_ticket(token)

    async def issue_ticket(self, principal: Principal) -> str:
        """A ticket that opens one WebSocket within 30 seconds; it ends with what the principal stands on.

        Raises Problem 401 if that has ended already.
        """
        token = new_secret()
        async with self.database.connection() as connection:
            if not await AccountRepository(connection).add_ticket(token, principal, TICKET_SECONDS):
                raise Problem(401, "not_signed_in", "The session or API key has just ended: sign in again.")
        return token

    async def still_admits(self, principal: Principal, needed: Role) -> bool:
        """Whether what the principal stands on goes on, with the needed role; asking is no use that keeps it alive."""
        async with self.database.connection() as connection:
            standing = await AccountRepository(connection).standing(principal, self.policy)
        return standing is not None and standing.role.includes(needed)

    def forget(self) -> None:
        """Have every principal looked up anew; to be called after revoking or changing any."""
        self._cache.forget()

    async def sweep(self) -> None:
        """Remove what has ended, every ten minutes; returns only by cancellation."""
        while True:
            try:
                await self.sweep_once()
            except InfrastructureUnavailable as error:
                log.warning("could not sweep accounts", extra={"detail": str(error)})
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep_once(self) -> None:
        """In short transactions: people sign in meanwhile."""
        removals: tuple[RemoveSome, ...] = (
            lambda connection: AccountRepository(connection).remove_old_attempts(
                self._limits.window_seconds, SWEPT_AT_ONCE
            ),
            lambda connection: AccountRepository(connection).remove_ended_sessions(
                self.policy.idle_seconds, SWEPT_AT_ONCE
            ),
            lambda connection: AccountRepository(connection).remove_ended_tickets(SWEPT_AT_ONCE),
        )
        for remove in removals:
            await remove_in_batches(self.database, SWEPT_AT_ONCE, remove)

    async def admit(self, account: str, address: str) -> None:
        """Take note of an attempt to get in; raises Problem 429 after too many, which are not checked any more.

        Recorded, then counted: of many at once each sees those before it, so no more than the limit pass.
        """
        async with self.database.connection() as connection:
            accounts = AccountRepository(connection)
            attempt_id = await accounts.record_attempt(account, address)
            limits = self._limits
            attempts = await accounts.recent_attempts(account, address, limits.window_seconds, limits.rows_needed)
            wait_seconds = limits.wait_seconds(attempts)
            if wait_seconds is None:
                return
            # An attempt that was not checked must not prolong the wait.
            await accounts.remove_attempt(attempt_id)
        log.warning("too many attempts to sign in", extra={"address": address})
        minutes = max(1, round(wait_seconds / 60))
        detail = f"Wait about {minutes} minute{'s' if minutes > 1 else ''} before the next attempt."
        raise Problem(429, "too_many_attempts", detail, retry_after(wait_seconds))

    async def forgive(self, account: str, address: str) -> None:
        """Whoever got in now did not guess before."""
        async with self.database.connection() as connection:
            await AccountRepository(connection).forgive_attempts(account, address)

    async def _begin_session(
        self, credentials: StoredCredentials, new_hash: str | None, account: str, address: str
    ) -> str:
        token = new_secret()
        async with self.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            if not await accounts.add_session(token, credentials, self.policy, new_hash=new_hash):
                raise Problem(401, "wrong_credentials", WRONG_PAIR)
            await accounts.forgive_attempts(account, address)
        return token


def counted_address(text: str) -> str:
    """The address under which attempts are counted; `::` where the server could not tell, e.g. on a Unix socket.

    Of IPv6 the network of 64 bits: whoever has one has all its addresses, and a new one for each attempt.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "::"
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False).network_address)
