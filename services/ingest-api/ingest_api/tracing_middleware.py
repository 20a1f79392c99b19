"""A span around every request, in the trace that the caller's headers name if they do."""

from __future__ import annotations

from opentelemetry.trace import SpanKind, Status, StatusCode

from ingest_api.secret_paths import without_secrets
from shared.telemetry.http import AsgiApp, Receive, Scope, Send
from shared.telemetry.tracing import span

_CONTEXT_HEADERS = {b"traceparent", b"tracestate"}


def traced(app: AsgiApp) -> AsgiApp:
    """The same application with a server span per HTTP request; WebSockets get one per message instead."""

    async def with_span(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        method = scope["method"]
        headers = {
            name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONTEXT_HEADERS
        }
        attributes = {"http.request.method": method, "url.path": without_secrets(scope["path"])}
        with span(method, SpanKind.SERVER, attributes, parent_headers=headers) as current:

            async def send_and_note(message: Scope) -> None:
                if message["type"] == "http.response.start":
                    current.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        current.set_status(Status(StatusCode.ERROR))
                await send(message)

            await app(scope, receive, send_and_note)
            # Which route it was is known only now.
            current.update_name(f"{method} {scope.get('path_template', 'unknown')}")

    return with_span
