"""Why a WebSocket is not opened, told by the HTTP answer to its handshake."""

from __future__ import annotations

import json
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.types import Message, Scope, Send, WebSocketScope

from ingest_api.problem_details import MEDIA_TYPE, Problem, log_error, problem_body, problem_headers, problem_of

_REFUSED_BY: Final = "ingest_api.refused_by"
_EXTENSION: Final = "websocket.http.response"
_CLOSE_CODES: Final = 4000
"""Close codes of our own are these plus the status of HTTP."""


class HandshakeRefused(WebSocketException):
    """A Problem before the socket is open; servers that can't answer a handshake so close it with 4000 + status."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(code=_CLOSE_CODES + problem.status, detail=problem.detail)
        self.problem = problem


async def remember_refusal(error: Exception, scope: Scope) -> None:
    """Litestar tells the client of a failed WebSocket no more than a code; this keeps why, for `answering_in_http`."""
    if scope["type"] == ScopeType.WEBSOCKET:
        scope[_REFUSED_BY] = error  # type: ignore[typeddict-unknown-key]


def answering_in_http(scope: WebSocketScope, send: Send) -> Send:
    """A `send` that turns the closing of a socket which an error kept from opening into that error's HTTP answer."""
    is_open = False

    async def answer(message: Message) -> None:
        nonlocal is_open
        is_open = is_open or message["type"] == "websocket.accept"
        error: Any = scope.get(_REFUSED_BY)
        if message["type"] != "websocket.close" or error is None:
            await send(message)
            return
        problem = error.problem if isinstance(error, HandshakeRefused) else problem_of(error)
        if not isinstance(error, WebSocketException):
            log_error(ASGIConnection(scope), error, problem)
        if is_open or _EXTENSION not in (scope.get("extensions") or {}):
            await send(message)
            return
        body = json.dumps(problem_body(problem, scope["path"])).encode()
        named = {"Content-Type": MEDIA_TYPE, **problem_headers(problem)}
        headers = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        await _send_raw(send, {"type": f"{_EXTENSION}.start", "status": problem.status, "headers": headers})
        await _send_raw(send, {"type": f"{_EXTENSION}.body", "body": body, "more_body": False})

    return answer


async def _send_raw(send: Any, message: dict[str, Any]) -> None:
    """Litestar's types don't know the messages of the extension."""
    await send(message)
