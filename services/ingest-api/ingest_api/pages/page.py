"""How a controller answers with a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from litestar import Controller, MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from ingest_api.accounts import Principal
from ingest_api.catalogue import Records
from ingest_api.pages.navigation import current_entry, entries_for
from ingest_api.pages.policy import PAGE_HEADERS
from ingest_api.pages.rendering import render
from ingest_api.pages.texts import preferred_language
from ingest_api.problem_details import Problem, log_error, problem_of
from shared.telemetry.tracing import current_trace_id

LANGUAGE_COOKIE: Final = "mediabus_language"
FRAGMENT_PARAMETER: Final = "fragment"

AnyRequest = Request[Any, Any, Any]


def language_of(request: AnyRequest) -> str:
    return preferred_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))


def page_answer(
    request: AnyRequest, template: str, headers: Mapping[str, str] = PAGE_HEADERS, status: int = 200, **context: Any
) -> Response[str]:
    """The page in the visitor's language, or the part of it that `?fragment=` names.

    Templates also get `principal` (None for nobody), `path` and the menu. Raises Problem 404 for a fragment that the
    page has not.
    """
    html = render_page(request, template, **context)
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=dict(headers))


def render_page(request: AnyRequest, template: str, **context: Any) -> str:
    """What `page_answer` answers with."""
    fragment = request.query_params.get(FRAGMENT_PARAMETER)
    html = render(language_of(request), template, fragment, {**_frame(request), **context})
    if html is None:
        raise Problem(404, "not_found", "The page has no part of this name.")
    return html


def _frame(request: AnyRequest) -> dict[str, Any]:
    """What the layout needs on every page."""
    principal: Principal | None = request.scope.get("user")
    path = request.url.path
    return {
        "principal": principal,
        "path": path,
        "menu": entries_for(principal.role) if principal else [],
        "current": current_entry(path),
    }


def answer_page_error(request: AnyRequest, error: Exception) -> Response[Any]:
    """Lead to the sign-in page who is not signed in; tell everything else on a page."""
    problem = problem_of(error)
    log_error(request, error, problem)
    asks_for_part = FRAGMENT_PARAMETER in request.query_params
    if problem.status == 401 and request.method == "GET" and not asks_for_part:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return Redirect(f"/login?next={quote(here, safe='')}", status_code=303, headers={"Cache-Control": "no-store"})
    headers = {**PAGE_HEADERS, **problem.headers}
    context = {"problem": problem, "trace_id": current_trace_id(), **_frame(request)}
    html = render(language_of(request), "problem.html", "problem" if asks_for_part else None, context)
    return Response(html, status_code=problem.status, media_type=MediaType.HTML, headers=headers)


class Pages:
    """What pages need beside their data: the addresses of files, and from where pictures may come.

    `headers` are asked for each page, since the bucket may move.
    """

    def __init__(self, records: Records, headers: Callable[[], Mapping[str, str]]) -> None:
        self.records = records
        self._headers = headers

    def answer(
        self,
        request: AnyRequest,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response[str]:
        """`page_answer` with pictures from wherever the media are; `headers` go before those of all pages."""
        return page_answer(request, template, {**self._headers(), **(headers or {})}, status, **context)


class PageController(Controller):
    """A controller whose answers, errors included, are pages."""

    include_in_schema = False
    exception_handlers = {Exception: answer_page_error, HTTPException: answer_page_error}  # noqa: RUF012
