"""Litestar with what it leaves out: HEAD and OPTIONS at every address, and handshakes that are refused in HTTP."""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import HttpMethod, Litestar
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import (
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Method,
    Receive,
    Scope,
    Send,
    WebSocketScope,
)
from litestar.utils import normalize_path

from ingest_api.handshakes import answering_in_http, remember_refusal
from ingest_api.problem_details import allowed_methods

_METHODS: Final[tuple[Method, ...]] = tuple(method.value for method in HttpMethod)


class Application(Litestar):
    def __init__(self, **options: Any) -> None:
        super().__init__(after_exception=[remember_refusal], **options)

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        # Litestar's types tell the scopes of HTTP and of WebSockets apart no better than this.
        if scope["type"] == ScopeType.WEBSOCKET:
            of_socket = cast(WebSocketScope, scope)
            await super().__call__(of_socket, receive, answering_in_http(of_socket, cast(Send, send)))
            return
        of_http = cast(HTTPScope, scope)
        method = of_http["method"] if scope["type"] == ScopeType.HTTP else None
        if method == HttpMethod.HEAD:
            await self._head(of_http, cast(Receive, receive), cast(Send, send))
        elif method == HttpMethod.OPTIONS:
            await self._options(of_http, cast(Receive, receive), cast(Send, send))
        else:
            await super().__call__(scope, receive, send)

    async def _head(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """What GET would answer, without its body, unless the address has a HEAD of its own."""
        known = self._known_methods(scope["path"])
        if HttpMethod.HEAD in known or HttpMethod.GET not in known:
            await super().__call__(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy, because the server goes on asking the request's own scope which method it was.
        as_get: HTTPScope = {**scope, "method": HttpMethod.GET.value}
        try:
            await super().__call__(as_get, receive, send_head)
        finally:
            scope["path_template"] = as_get.get("path_template", "unknown")

    async def _options(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Which methods there are; Litestar's own answer names those of one handler of several."""
        known = self._known_methods(scope["path"])
        if not known:
            await super().__call__(scope, receive, send)
            return
        headers = [(b"allow", allowed_methods(known).encode())]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _known_methods(self, path: str) -> set[str]:
        """None at an address that there is not."""
        return {method for method in _METHODS if self._is_known(normalize_path(path), method)}

    def _is_known(self, path: str, method: Method) -> bool:
        try:
            self.asgi_router.handle_routing(path=path, method=method)
        except HTTPException:
            return False
        return True
