"""Errors as RFC 9457 problem details: what fails under /api, /admin and /media answers application/problem+json."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap
from pydantic import ValidationError

from ingest_api.field_faults import WHOLE, from_msgspec, from_pydantic, missing
from ingest_api.field_faults import FieldError as FieldError
from ingest_api.secret_paths import without_secrets
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry.tracing import current_trace_id

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 3

CODES: Mapping[str, str] = MappingProxyType(
    tomllib.loads((Path(__file__).parent / "texts" / "en" / "problems.toml").read_text())["script"]
)
"""Every code an error may carry, with its title. Callers match on codes, so one never changes its meaning."""

_CODE_OF_STATUS: Mapping[int, str] = MappingProxyType(
    {
        401: "not_signed_in",
        403: "forbidden",
        404: "not_found",
        405: "method_not_allowed",
        409: "conflict",
        412: "precondition_failed",
        413: "too_large",
        415: "unsupported_media_type",
        422: "invalid_request",
        429: "too_many_requests",
        503: "service_unavailable",
        507: "disk_full",
    }
)


class Problem(Exception):
    """A refusal that its caller may read.

    `code` is one of CODES; `detail` says what was wrong, what was expected and what to do; `errors` name single fields,
    `members` are further facts that belong to the code.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Iterable[FieldError] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        if code not in CODES:
            raise ValueError(f"{code} is no known problem: add it to texts/*/problems.toml")
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = tuple(errors)
        self.members = dict(members or {})

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"


class InvalidFields(Problem):
    """422: the named fields are missing or wrong."""

    def __init__(self, *errors: FieldError) -> None:
        names = ", ".join(error.field for error in errors)
        super().__init__(422, "invalid_request", f"Correct the named fields and send again: {names}.", errors=errors)


class Conflict(Problem):
    """409 `conflict`: the request does not fit what there is now; `reason` is a stable name of what is in its way.

    Pages have words for each reason, in texts/*/failures.toml.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(409, "conflict", detail, members={"reason": reason})


def retry_after(seconds: float) -> dict[str, str]:
    """The header that tells a client when to come back; at least one second."""
    return {"Retry-After": str(max(1, round(seconds)))}


def allowed_methods(methods: Iterable[str]) -> str:
    """For the header Allow: what answers GET answers HEAD too, and every address OPTIONS."""
    known = {method for method in methods if method.isupper()} | {"OPTIONS"}
    return ", ".join(sorted(known | ({"HEAD"} if "GET" in known else set())))


def problem_response(request: Request[Any, Any, Any], problem: Problem) -> Response[dict[str, Any]]:
    """The answer for a problem."""
    body, headers = problem_body(problem, request.url.path), problem_headers(problem)
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def problem_headers(problem: Problem) -> dict[str, str]:
    """Those beside the media type."""
    return {"Cache-Control": "no-store", **problem.headers}


def problem_body(problem: Problem, path: str) -> dict[str, Any]:
    """The problem as JSON; it carries the trace id under which the logs tell more."""
    body: dict[str, Any] = {
        # Leads to the sentence about this code on the documentation page.
        "type": f"/docs#{problem.code}",
        "title": CODES[problem.code],
        "status": problem.status,
        "detail": problem.detail,
        "instance": path,
        "code": problem.code,
    }
    if trace_id := current_trace_id():
        body["traceId"] = trace_id
    body.update(problem.members)
    if problem.errors:
        body["errors"] = [error.record() for error in problem.errors]
    return body


_MISSING_PARAMETER = re.compile(r"Missing required (?:query|header|cookie|path) parameter '(?P<field>[^']+)'")


def _field_errors(error: ValidationException) -> list[FieldError]:
    if refused := _refused_by_pydantic(error):
        return [from_pydantic(found) for found in refused.errors(include_url=False, include_input=False)]
    entries: Sequence[Any] = error.extra if isinstance(error.extra, list) else []
    found = [_field_error(entry) for entry in entries if isinstance(entry, Mapping)]
    if not found and (absent := _MISSING_PARAMETER.search(error.detail)):
        found.append(missing(absent["field"]))
    return found


def _refused_by_pydantic(error: ValidationException) -> ValidationError | None:
    """What Litestar tells without its kinds and limits."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__
    return cause


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    key, message = str(entry.get("key", "")), str(entry.get("message", "is not valid"))
    key = "" if key == "data" else key
    # An absent body shows as the KeyError of the handler's parameter.
    return missing(key or WHOLE) if message in {"Field required", "'data'"} else from_msgspec(key, message)


def problem_of(error: Exception) -> Problem:
    """What the caller is told about any error; what it says of our own mistakes gives nothing away."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InfrastructureUnavailable):
        detail = f"This can't be answered while {error.dependency} is away. Nothing was changed; try again shortly."
        return Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS))
    if isinstance(error, RecursionError) and "deserializing" in str(error):
        return Problem(400, "bad_request", "The body is nested too deeply: send what the API's description shows.")
    if isinstance(error, ValidationException) and error.status_code == 400:
        errors = _field_errors(error)
        return InvalidFields(*errors) if errors else Problem(400, "bad_request", error.detail)
    if isinstance(error, HTTPException) and error.status_code < 500:
        code = _CODE_OF_STATUS.get(error.status_code, "bad_request")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers = {"Allow": allowed_methods(headers.get("allow", "").split(", "))}
        says_more = error.detail.casefold() != HTTPStatus(error.status_code).phrase.casefold()
        return Problem(error.status_code, code, error.detail if says_more else f"{CODES[code]}.", headers)
    if isinstance(error, HTTPException) and error.status_code == 503:
        return Problem(503, "service_unavailable", "Try again shortly.", retry_after(RETRY_AFTER_SECONDS))
    return Problem(500, "internal_error", "Try again; if it stays, report the trace id of this answer.")


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Answer with the problem and log what was not the caller's doing."""
    problem = problem_of(error)
    log_error(request, error, problem)
    return problem_response(request, problem)


def log_error(connection: ASGIConnection[Any, Any, Any, Any], error: Exception, problem: Problem) -> None:
    """Log unexpected errors with their traceback, refusals of ours with 5xx without; 4xx not at all."""
    method = connection.scope.get("method", "WEBSOCKET")
    path = without_secrets(connection.url.path)
    facts = {"method": method, "path": path, "code": problem.code, "detail": str(error)}
    if problem.code == "internal_error":
        log.error("request failed unexpectedly", extra=facts, exc_info=error)
    elif problem.status >= 500:
        log.warning("request refused", extra=facts)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: answer_error, HTTPException: answer_error}
"""For Litestar(exception_handlers=…): covers our problems, Litestar's own refusals and everything unexpected."""
