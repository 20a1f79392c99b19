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

from ingest_api.problem_details import CODES
from ingest_api.rendering import PAGE_HEADERS, render_page

DESCRIPTION = (
    "Mediabus takes in pictures, makes their variants and keeps them. Errors are problem details (RFC 9457); times are "
    "RFC 3339 in UTC; lists take `limit` and an opaque `cursor`."
)
_METHODS = ("get", "post", "put", "patch", "delete")


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
            }
        ),
        openapi_router=Router("/docs", route_handlers=[], include_in_schema=False, response_headers=PAGE_HEADERS),
        render_plugins=[OperationsPage(), JsonRenderPlugin(path="/openapi.json")],
    )


class OperationsPage(OpenAPIRenderPlugin):
    """A plain page of all operations and error codes."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        groups: dict[str, list[Operation]] = {}
        for tag, operation in operations(openapi_schema):
            groups.setdefault(tag, []).append(operation)
        page = render_page("docs.html", groups=groups, codes=CODES, info=openapi_schema["info"])
        return page.encode()


def operations(openapi_schema: Mapping[str, Any]) -> Iterator[tuple[str, Operation]]:
    """Every operation of a schema with its first tag."""
    for path, item in openapi_schema.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                described = item[method]
                tag = (described.get("tags") or ["Other"])[0]
                summary, description = described.get("summary") or "", described.get("description") or ""
                yield tag, Operation(method.upper(), path, summary, description)
