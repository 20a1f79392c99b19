"""The API's description: /docs for people, /docs/openapi.json for programs; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from ingest_api.field_faults import FAULTS
from ingest_api.pages.page import render_page
from ingest_api.pages.policy import PAGE_HEADERS
from ingest_api.problem_details import CODES, MEDIA_TYPE

DESCRIPTION = (
    "Mediabus takes in pictures, makes their variants and keeps them. Errors are problem details (RFC 9457); times are "
    "RFC 3339 in UTC; lists take `limit` and an opaque `cursor`."
)
_METHODS = ("get", "post", "put", "patch", "delete")
_ALL_METHODS = (*_METHODS, "head")

_TEXT: Mapping[str, str] = {"type": "string"}
PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Match on `code`; `traceId` finds the request in the logs.",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "code": {"type": "string", "enum": list(CODES)},
        "traceId": _TEXT,
        "reason": {"type": "string", "description": "Of a conflict: a stable name of what is in the way."},
        "step": {"type": "string", "description": "Which part of a longer work failed, such as copy_to_bucket."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": _TEXT,
                    "message": _TEXT,
                    "code": {"type": "string", "enum": sorted(FAULTS)},
                    "values": {"type": "object", "description": "What belongs to the code, such as the limit."},
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    summary: str
    description: str


def openapi_config(cookie_name: str) -> OpenAPIConfig:
    """For Litestar(openapi_config=…); operations that anyone may call say `security=[{}]` in their handlers."""
    return OpenAPIConfig(
        title="Mediabus",
        version=version("mediabus-ingest-api"),
        description=DESCRIPTION,
        use_handler_docstrings=True,
        security=[{"session": []}, {"apiKey": []}],
        components=Components(
            security_schemes={
                "session": SecurityScheme(
                    type="apiKey",
                    security_scheme_in="cookie",
                    name=cookie_name,
                    description="Set by POST /api/auth/login. What changes something also needs a same-origin Origin.",
                ),
                "apiKey": SecurityScheme(
                    type="http", scheme="bearer", description="A key made by POST /api/admin/api-keys."
                ),
                "webhookToken": SecurityScheme(
                    type="http", scheme="bearer", description="The token that the store was given for its webhook."
                ),
            }
        ),
        openapi_router=Router("/docs", route_handlers=[], include_in_schema=False, response_headers=PAGE_HEADERS),
        render_plugins=[OperationsPage(), OpenApiDocument(path="/openapi.json")],
    )


class OpenApiDocument(JsonRenderPlugin):
    """The description as JSON, with the errors that there really are."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, with_problems(openapi_schema))


def with_problems(openapi_schema: Mapping[str, Any]) -> dict[str, Any]:
    """The description with problem details as every operation's error, in place of the framework's own."""
    components = openapi_schema.get("components", {})
    schemas = {**components.get("schemas", {}), "Problem": PROBLEM}
    paths = {
        path: {name: _with_problem(part) if name in _ALL_METHODS else part for name, part in item.items()}
        for path, item in openapi_schema.get("paths", {}).items()
    }
    return {**openapi_schema, "paths": paths, "components": {**components, "schemas": schemas}}


def _with_problem(operation: Mapping[str, Any]) -> dict[str, Any]:
    answers = {status: answer for status, answer in operation["responses"].items() if int(status) < 400}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {**operation, "responses": {**answers, "default": {"description": "Refused", "content": content}}}


class OperationsPage(OpenAPIRenderPlugin):
    """A plain page of all operations and error codes."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        groups: dict[str, list[Operation]] = {}
        for tag, operation in operations(openapi_schema):
            groups.setdefault(tag, []).append(operation)
        return render_page(request, "docs.html", groups=groups, codes=CODES, info=openapi_schema["info"]).encode()


def operations(openapi_schema: Mapping[str, Any]) -> Iterator[tuple[str, Operation]]:
    """Every operation of a schema with its first tag."""
    for path, item in openapi_schema.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                described = item[method]
                tag = (described.get("tags") or ["Other"])[0]
                summary, description = described.get("summary") or "", described.get("description") or ""
                yield tag, Operation(method.upper(), path, summary, description)
