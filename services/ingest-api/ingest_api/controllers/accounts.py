"""Signing in and out, accounts, API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from pydantic import AwareDatetime, BaseModel, Field, SecretStr, StringConstraints

from ingest_api.account_changes import account_added, account_changed, account_removed, key_made, key_revoked
from ingest_api.accounts import (
    EMAIL_MAX_CHARACTERS,
    ApiKey,
    ApiKeyText,
    Principal,
    Role,
    Standing,
    User,
    new_secret,
    normalised_email,
    password_fault,
)
from ingest_api.authentication import SIGNS_IN, SignedInRequest, require
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.accounts import AccountRepository, EmailTaken
from ingest_api.sign_in import TICKET_SECONDS, SignIn
from shared.identifiers import new_id

NO_STORE = {"Cache-Control": "no-store"}
SMALL_BODY_BYTES = 64 * 1024
LATEST_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC)
"""Later ones have no representation in some time zones."""

AccountRole = Literal["superadmin", "admin", "photographer"]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class LoginBody(BaseModel):
    email: str = Field(max_length=1024)
    password: SecretStr = Field(max_length=1024)


class NewUserBody(BaseModel):
    email: str = Field(max_length=EMAIL_MAX_CHARACTERS)
    password: SecretStr
    role: AccountRole


class UserPatchBody(BaseModel):
    email: str | None = Field(default=None, max_length=EMAIL_MAX_CHARACTERS)
    password: SecretStr | None = None
    role: AccountRole | None = None


class NewApiKeyBody(BaseModel):
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
    role: AccountRole
    expiresAt: AwareDatetime | None = None


class SignedIn(msgspec.Struct):
    """Who is signed in."""

    id: UUID
    email: str
    role: str


class SignedInAnswer(msgspec.Struct):
    user: SignedIn


class TicketAnswer(msgspec.Struct, rename="camel"):
    ticket: str
    expires_in_seconds: float


class UserAnswer(msgspec.Struct, rename="camel"):
    id: UUID
    email: str
    role: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, user: User) -> UserAnswer:
        return cls(user.id, user.email, user.role, user.created_at, user.updated_at)


class UserList(msgspec.Struct, rename="camel"):
    users: list[UserAnswer]
    next_cursor: str | None


class NewApiKeyAnswer(msgspec.Struct, rename="camel"):
    id: UUID
    key: str
    """Shown here and never again."""
    name: str
    role: str
    expires_at: datetime | None


class ApiKeyAnswer(msgspec.Struct, rename="camel"):
    id: UUID
    name: str
    role: str
    created_by: UUID
    created_by_email: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyAnswer:
        return cls(
            key.id,
            key.name,
            key.role,
            key.created_by,
            key.created_by_email,
            key.created_at,
            key.expires_at,
            key.last_used_at,
        )


class ApiKeyList(msgspec.Struct, rename="camel"):
    api_keys: list[ApiKeyAnswer]
    next_cursor: str | None


def client_address(request: Request[Any, Any, Any]) -> str:
    return request.client.host if request.client else ""


def _signed_in(account: User | Principal) -> SignedInAnswer:
    user_id = account.id if isinstance(account, User) else account.user_id
    return SignedInAnswer(SignedIn(user_id, account.email, account.role))


class SignInController(Controller):
    """Sessions, and who one is."""

    path = "/api/auth"
    tags = ("Sign-in",)
    request_max_body_size = SMALL_BODY_BYTES

    @post("/login", summary="Sign in", status_code=200, opt={SIGNS_IN: True}, security=[{}])
    async def log_in(
        self, data: JSONBody[LoginBody], request: Request[Any, Any, Any], sign_in: NamedDependency[SignIn]
    ) -> Response[SignedInAnswer]:
        """Begin a session; its cookie comes with the answer.

        A wrong pair is 401 in the same words whether the account exists or not, and 429 after too many.
        """
        user, token = await sign_in.log_in(data.email, data.password.get_secret_value(), client_address(request))
        cookie = sign_in.cookie.holding(token, sign_in.policy.lifetime_seconds)
        return Response(_signed_in(user), cookies=[cookie], headers=NO_STORE)

    @post("/logout", summary="Sign out", status_code=204, security=[{}])
    async def log_out(self, request: Request[Any, str | None, Any], sign_in: NamedDependency[SignIn]) -> Response[None]:
        """End the session of the cookie; without one nothing happens."""
        if request.auth is not None:
            await sign_in.log_out(request.auth)
        return Response(None, status_code=204, cookies=[sign_in.cookie.cleared()])

    @post("/logout-everywhere", summary="Sign out everywhere", status_code=204, guards=[require(Role.GUEST)])
    async def log_out_everywhere(self, request: SignedInRequest, sign_in: NamedDependency[SignIn]) -> Response[None]:
        """End every session of the account, this one included; its API keys stay."""
        await sign_in.log_out_everywhere(request.user)
        return Response(None, status_code=204, cookies=[sign_in.cookie.cleared()])

    @get("/me", summary="Who is signed in", guards=[require(Role.GUEST)])
    async def me(self, request: SignedInRequest) -> Response[SignedInAnswer]:
        """The account, with the role that this session or key has."""
        return Response(_signed_in(request.user), headers=NO_STORE)

    @post("/ticket", summary="Make a WebSocket ticket", status_code=201, guards=[require(Role.PHOTOGRAPHER)])
    async def issue_ticket(self, request: SignedInRequest, sign_in: NamedDependency[SignIn]) -> Response[TicketAnswer]:
        """A ticket for `/api/ws?ticket=…`, usable once, for clients that can send neither cookie nor header there."""
        ticket = await sign_in.issue_ticket(request.user)
        return Response(TicketAnswer(ticket, TICKET_SECONDS), status_code=201, headers=NO_STORE)


class UserController(Controller):
    """Accounts; for superadmins."""

    path = "/api/admin/users"
    tags = ("Accounts",)
    request_max_body_size = SMALL_BODY_BYTES
    guards = (require(Role.SUPERADMIN),)

    @post(summary="Add an account")
    async def add(
        self, request: SignedInRequest, data: JSONBody[NewUserBody], sign_in: NamedDependency[SignIn]
    ) -> UserAnswer:
        """201; 409 if the e-mail address belongs to another account."""
        email = _valid_email(data.email)
        password_hash = await sign_in.passwords.hash(_valid_password(data.password, email))
        async with sign_in.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            user = await accounts.add_user(new_id(), email, Role(data.role), password_hash)
            if user is None:
                raise _email_taken()
            await accounts.note(account_added(user), request.user)
        return UserAnswer.of(user)

    @get(summary="List accounts")
    async def list_users(
        self, sign_in: NamedDependency[SignIn], limit: Limit = DEFAULT_LIMIT, cursor: FromQuery[str | None] = None
    ) -> UserList:
        """Newest first; `nextCursor` is null on the last page."""
        async with sign_in.database.connection() as connection:
            users = await AccountRepository(connection).users(id_of(cursor), limit + 1)
        return UserList([UserAnswer.of(user) for user in users[:limit]], cursor_behind(users, limit))

    @get("/{user_id:uuid}", summary="Read an account")
    async def read(self, user_id: FromPath[UUID], sign_in: NamedDependency[SignIn]) -> UserAnswer:
        async with sign_in.database.connection() as connection:
            user = await AccountRepository(connection).user(user_id)
        return UserAnswer.of(_found_user(user))

    @patch("/{user_id:uuid}", summary="Change an account")
    async def change(
        self,
        request: SignedInRequest,
        user_id: FromPath[UUID],
        data: JSONBody[UserPatchBody],
        sign_in: NamedDependency[SignIn],
    ) -> UserAnswer:
        """Change what is given. A new password or role ends the account's sessions.

        409 if it would leave no superadmin, or if the e-mail address belongs to another account.
        """
        if data.email is None and data.password is None and data.role is None:
            raise InvalidFields(FieldError("body", "must have at least one of email, password and role"))
        email = None if data.email is None else _valid_email(data.email)
        password_hash = await self._new_hash(user_id, data, email, sign_in)
        role = None if data.role is None else Role(data.role)
        async with sign_in.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            if role is not None and role is not Role.SUPERADMIN:
                await _keep_a_superadmin(accounts, user_id)
            before = _found_user(await accounts.lock_user(user_id))
            try:
                changed = await accounts.change_user(user_id, email=email, role=role, password_hash=password_hash)
            except EmailTaken as error:
                raise _email_taken() from error
            user = _found_user(changed)
            await accounts.note(account_changed(before, user, has_new_password=password_hash is not None), request.user)
            if role is not None or password_hash is not None:
                await accounts.end_sessions_of(user_id)
        sign_in.forget()
        return UserAnswer.of(user)

    @delete("/{user_id:uuid}", summary="Remove an account")
    async def remove(self, request: SignedInRequest, user_id: FromPath[UUID], sign_in: NamedDependency[SignIn]) -> None:
        """Remove an account with its sessions and API keys; what it uploaded stays. 409 for the last superadmin."""
        async with sign_in.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            await _keep_a_superadmin(accounts, user_id)
            removed = await accounts.remove_user(user_id)
            if removed is None:
                raise _no_such_user()
            await accounts.note(account_removed(user_id, removed.email, removed.role, removed.api_keys), request.user)
        sign_in.forget()

    async def _new_hash(self, user_id: UUID, data: UserPatchBody, email: str | None, sign_in: SignIn) -> str | None:
        if data.password is None:
            return None
        async with sign_in.database.connection() as connection:
            user = _found_user(await AccountRepository(connection).user(user_id))
        return await sign_in.passwords.hash(_valid_password(data.password, email or user.email))


class ApiKeyController(Controller):
    """API keys for gateways and scripts; for admins, each seeing their own and superadmins all."""

    path = "/api/admin/api-keys"
    tags = ("API keys",)
    request_max_body_size = SMALL_BODY_BYTES
    guards = (require(Role.ADMIN),)

    @post(summary="Make an API key")
    async def make(
        self, data: JSONBody[NewApiKeyBody], request: SignedInRequest, sign_in: NamedDependency[SignIn]
    ) -> Response[NewApiKeyAnswer]:
        """The key is in this answer and can't be shown again. 403 if its role exceeds that of its maker.

        It acts for its maker's account, with the lower of the two roles at the time of each call. One that is made with
        a key that ends can't outlive that: without `expiresAt` it ends at the same time, a later one is 422.
        """
        role = Role(data.role)
        if not request.user.may(role):
            detail = f"A key's role can be at most that of its maker, {request.user.role}; asked for was {role}."
            raise Problem(403, "role_too_high", detail)
        if data.expiresAt is not None and data.expiresAt <= datetime.now(UTC):
            raise InvalidFields(FieldError("expiresAt", "must lie in the future"))
        if data.expiresAt is not None and data.expiresAt > LATEST_EXPIRY:
            raise InvalidFields(FieldError("expiresAt", "must lie before the year 9999: leave it out for no end"))
        key = ApiKeyText(new_id(), new_secret())
        async with sign_in.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            # Asked for here, since the principal may be a remembered one: a revoked key must not leave a good one.
            standing = await accounts.standing(request.user, sign_in.policy)
            if standing is None:
                raise Problem(401, "not_signed_in", "The session or API key has just ended: sign in again.")
            expires_at = _end_of_new_key(standing, data.expiresAt)
            await accounts.add_api_key(
                key, name=data.name, role=role, created_by=request.user.user_id, expires_at=expires_at
            )
            await accounts.note(key_made(key.id, data.name, role, expires_at), request.user)
        answer = NewApiKeyAnswer(key.id, str(key), data.name, role, expires_at)
        return Response(answer, status_code=201, headers=NO_STORE)

    @get(summary="List API keys")
    async def list_keys(
        self,
        request: SignedInRequest,
        sign_in: NamedDependency[SignIn],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> ApiKeyList:
        """Newest first, without the keys themselves; `nextCursor` is null on the last page."""
        async with sign_in.database.connection() as connection:
            keys = await AccountRepository(connection).api_keys(id_of(cursor), _own(request.user), limit + 1)
        return ApiKeyList([ApiKeyAnswer.of(key) for key in keys[:limit]], cursor_behind(keys, limit))

    @delete("/{key_id:uuid}", summary="Revoke an API key")
    async def revoke(self, key_id: FromPath[UUID], request: SignedInRequest, sign_in: NamedDependency[SignIn]) -> None:
        """The key is refused from now on, by other replicas within seconds."""
        async with sign_in.database.connection() as connection, connection.transaction():
            accounts = AccountRepository(connection)
            removed = await accounts.remove_api_key(key_id, _own(request.user))
            if removed is None:
                raise Problem(404, "not_found", "There is no such API key among those that you may revoke.")
            await accounts.note(key_revoked(key_id, removed.name, removed.role, removed.made_by), request.user)
        sign_in.forget()


def _end_of_new_key(maker: Standing, asked_for: datetime | None) -> datetime | None:
    """When the key is to end: at the time asked for, but not after the key that makes it. Raises InvalidFields."""
    latest = maker.key_ends_at
    if latest is None:
        return asked_for
    if asked_for is not None and asked_for > latest:
        end = latest.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        raise InvalidFields(FieldError("expiresAt", f"must not lie after {end}, when the key that makes it ends"))
    return asked_for or latest


def _own(principal: Principal) -> UUID | None:
    """Whose keys a principal sees: its own, or everyone's (None)."""
    return None if principal.may(Role.SUPERADMIN) else principal.user_id


def _valid_email(text: str) -> str:
    email = normalised_email(text)
    if email is None:
        raise InvalidFields(FieldError("email", "must be an e-mail address such as name@example.org"))
    return email


def _valid_password(secret: SecretStr, email: str) -> str:
    password = secret.get_secret_value()
    if fault := password_fault(password, email):
        raise InvalidFields(FieldError("password", fault))
    return password


async def _keep_a_superadmin(accounts: AccountRepository, leaving: UUID) -> None:
    """Raise Problem 409 if the account is the only superadmin; none of them changes until the transaction ends."""
    if await accounts.lock_superadmins() == {leaving}:
        raise Problem(409, "last_superadmin", "Make another account superadmin first.")


def _found_user(user: User | None) -> User:
    if user is None:
        raise _no_such_user()
    return user


def _no_such_user() -> Problem:
    return Problem(404, "not_found", "There is no account with this id.")


def _email_taken() -> Problem:
    return Problem(409, "email_taken", "Choose another e-mail address, or change the account that has this one.")
