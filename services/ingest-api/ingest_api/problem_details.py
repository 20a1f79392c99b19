"""Errors as RFC 9457 problem details: what fails under /api, /admin and /media answers application/problem+json."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from ingest_api.secret_paths import without_secrets
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry.tracing import current_trace_id

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 3

CODES: Mapping[str, str] = MappingProxyType(
    {
        # the request
        "bad_request": "The request is malformed",
        "invalid_request": "Some fields are missing or wrong",
        "invalid_cursor": "The cursor is not one that this list gave out",
        "not_found": "There is nothing at this address",
        "method_not_allowed": "This address does not know the method",
        "conflict": "The request does not fit what is there",
        "precondition_failed": "What was to be changed is no longer what the caller saw",
        "too_large": "The request is larger than the limit",
        "unsupported_media_type": "The type of the content is not supported",
        "too_many_requests": "Too many requests",
        # who is asking
        "not_signed_in": "Sign in first",
        "wrong_credentials": "The e-mail address or the password is wrong",
        "forbidden": "The role does not allow this",
        "cross_origin": "The call did not come from this site",
        "too_many_attempts": "Too many failed attempts to sign in",
        # accounts and API keys
        "email_taken": "The e-mail address belongs to another account",
        "last_superadmin": "The last superadmin can't be removed or demoted",
        "role_too_high": "The role exceeds that of the account",
        # uploads and jobs
        "too_slow": "The request arrived too slowly",
        "empty_file": "The file is empty",
        "broken_archive": "The archive, or this file of it, can't be unpacked",
        "no_picture": "None of the files is a picture that can be taken",
        "idempotency_conflict": "The Idempotency-Key was used for other content",
        "too_many_uploads": "Too many uploads are in flight",
        "disk_full": "There is no room left for the file",
        "job_not_retryable": "The job can't be retried",
        # deleting and restoring
        "not_deleted": "The medium is not deleted",
        "deletion_begun": "The medium goes for good",
        "files_gone": "The files of the medium are in no store any more",
        "confirmation_needed": "So many at once have to be confirmed by their number",
        "range_not_satisfiable": "The file has no such bytes",
        # products
        "weight_taken": "Another variant of the product has this weight",
        "product_busy": "Too many changes of this product wait",
        "files_differ": "The stored files are not what the records tell",
        "storage_failed": "The files could not be stored or removed",
        # repairs
        "approval_needed": "A person has to approve this first",
        # faces
        "search_off": "Faces can't be looked for at this event",
        "consent_needed": "The person who is looked for has to agree first",
        "no_face": "There is no face on the picture",
        "pin_needed": "The gallery opens with its PIN",
        "wrong_pin": "The PIN is wrong",
        # this side
        "service_unavailable": "Something this service needs is away",
        "internal_error": "Something went wrong on our side",
    }
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


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, named as the caller wrote it."""

    field: str
    message: str


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
            raise ValueError(f"{code} is no known problem: add it to ingest_api.problem_details.CODES")
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
        body["errors"] = [{"field": error.field, "message": error.message} for error in problem.errors]
    return body


_MISSING_FIELD = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_MISSING_PARAMETER = re.compile(r"Missing required (?:query|header|cookie|path) parameter '(?P<field>[^']+)'")


def _field_errors(error: ValidationException) -> list[FieldError]:
    entries: Sequence[Any] = error.extra if isinstance(error.extra, list) else []
    found = [_field_error(entry) for entry in entries if isinstance(entry, Mapping)]
    if not found and (missing := _MISSING_PARAMETER.search(error.detail)):
        found.append(FieldError(missing["field"], "is missing"))
    return found


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    key, message = str(entry.get("key", "")), str(entry.get("message", "is not valid"))
    key = "" if key == "data" else key
    if missing := _MISSING_FIELD.search(message):
        return FieldError(f"{key}.{missing['field']}" if key else missing["field"], "is missing")
    # An absent body shows as the KeyError of the handler's parameter.
    return FieldError(key or "body", "is missing" if message in {"Field required", "'data'"} else message)


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
