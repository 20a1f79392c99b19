"""The operator's pages of every service: /health/live, /health/ready, /metrics, /asyncapi."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.telemetry.health import Health

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS = ("/health/live", "/health/ready", "/metrics", "/asyncapi", "/asyncapi.json")


def operations_app(health: Health, asyncapi_json: Callable[[], str], asyncapi_html: Callable[[], str]) -> AsgiApp:
    """An ASGI application with nothing but the operator's pages; anything else is 404."""

    async def respond(path: str) -> tuple[int, str, bytes]:
        match path:
            case "/health/live":
                good, body = health.live()
                return (200 if good else 503), "application/json", json.dumps(body).encode()
            case "/health/ready":
                good, body = await health.ready()
                return (200 if good else 503), "application/json", json.dumps(body).encode()
            case "/metrics":
                health.details()
                return 200, CONTENT_TYPE_LATEST, generate_latest()
            case "/asyncapi.json":
                return 200, "application/json", asyncapi_json().encode()
            case "/asyncapi":
                return 200, "text/html; charset=utf-8", asyncapi_html().encode()
            case _:
                problem = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": f"no page at {path}"}
                return 404, "application/problem+json", json.dumps(problem).encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_type, body = await respond(scope["path"])
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
