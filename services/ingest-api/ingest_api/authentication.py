"""Every request gets its principal before its handler runs; guards say which role a route asks for."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from ingest_api.accounts import Principal, Role
from ingest_api.handshakes import HandshakeRefused
from ingest_api.problem_details import Problem
from ingest_api.same_origin import SAFE_METHODS, CallOrigin, call_origin
from ingest_api.sign_in import SignIn

SignedInRequest: TypeAlias = Request[Principal, str | None, State]
"""A request to a route behind `require`: `request.user` is its principal."""

OWN_TOKEN: Final = "own_token"
"""In a handler's `opt`: what it takes as a bearer token is no API key, and it looks at it itself."""

SIGNS_IN: Final = "signs_in"
"""In a handler's `opt`: it hands out sessions, so calls from foreign pages are refused even without a cookie."""


class AuthenticationMiddleware(ASGIMiddleware):
    """Sets `request.user` to the Principal, or None for nobody, from a bearer key, the session cookie or a ticket.

    A bearer key that is not valid is refused here; an ended session counts as none. `request.auth` is the session's
    token. Raises InfrastructureUnavailable when a principal must be looked up and PostgreSQL is away.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)
    exclude_opt_key = OWN_TOKEN

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
        scope["user"], scope["auth"] = await self._principal(connection)
        self._refuse_foreign(connection)
        await next_app(scope, receive, send)

    async def _principal(self, connection: ASGIConnection[Any, Any, Any, Any]) -> tuple[Principal | None, str | None]:
        if (authorization := connection.headers.get("authorization")) is not None:
            return await self._bearer(connection, authorization), None
        if connection.scope["type"] == ScopeType.WEBSOCKET and (ticket := connection.query_params.get("ticket")):
            return await self._sign_in.by_ticket(ticket), None
        token = connection.cookies.get(self._sign_in.cookie.name)
        if not token:
            return None, None
        principal = await self._sign_in.by_session(token)
        return principal, token if principal else None

    async def _bearer(self, connection: ASGIConnection[Any, Any, Any, Any], authorization: str) -> Principal:
        scheme, _, key = authorization.partition(" ")
        principal = await self._sign_in.by_api_key(key.strip()) if scheme.lower() == "bearer" else None
        if principal is None:
            raise refusal(
                connection, 401, "not_signed_in", "The API key is unknown, revoked or expired: send a valid one."
            )
        return principal

    def _refuse_foreign(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """A browser sends the cookie along whatever page makes the call; only pages of ours may act with it.

        Opening a WebSocket counts as acting, for browsers let any page open one and read what it says; but they always
        name the page's origin there, so a client that names none is no browser.
        """
        scope = connection.scope
        if scope["type"] == ScopeType.HTTP and scope["method"] in SAFE_METHODS:
            return
        by_cookie = scope["user"] is not None and scope["user"].kind == "session"
        signs_in = bool(connection.route_handler.opt.get(SIGNS_IN))
        if not by_cookie and not signs_in:
            return
        headers, ours = connection.headers, self._sign_in.settings.public_origins
        origin = call_origin(headers.get("origin"), headers.get("sec-fetch-site"), headers.get("host"), ours)
        may_be_unknown = signs_in or scope["type"] == ScopeType.WEBSOCKET
        if origin is CallOrigin.FOREIGN or (origin is CallOrigin.UNKNOWN and not may_be_unknown):
            detail = "A change made with the session cookie needs an Origin header that names this site."
            raise refusal(connection, 403, "cross_origin", detail)


class require:
    """A guard: 401 for nobody, 403 for a principal whose role does not include `role`."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        principal: Principal | None = connection.scope.get("user")
        if principal is None:
            raise refusal(connection, 401, "not_signed_in", "Sign in, or send an API key as a bearer token.")
        if not principal.may(self.role):
            detail = f"This needs the role {self.role} or a higher one; yours is {principal.role}."
            raise refusal(connection, 403, "forbidden", detail)


def refusal(connection: ASGIConnection[Any, Any, Any, Any], status: int, code: str, detail: str) -> Exception:
    """A Problem, as requests and handshakes each take it."""
    problem = Problem(status, code, detail, {"WWW-Authenticate": "Bearer"} if status == 401 else None)
    return HandshakeRefused(problem) if connection.scope["type"] == ScopeType.WEBSOCKET else problem
