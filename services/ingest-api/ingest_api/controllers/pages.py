"""Pages for people: sign in, look at recent pictures. Rendered here, without scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Controller, MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import FromQuery, QueryParameter, URLEncodedBody
from litestar.response import Redirect

from ingest_api.accounts import Principal, Role
from ingest_api.authentication import SIGNS_IN, SignedInRequest, require
from ingest_api.catalogue import Records
from ingest_api.controllers.accounts import SMALL_BODY_BYTES, client_address
from ingest_api.cursors import encode_cursor, id_of
from ingest_api.pictures import Picture, any_unfinished
from ingest_api.problem_details import CODES, log_error, problem_of
from ingest_api.rendering import PAGE_HEADERS, STYLESHEET, render_page
from ingest_api.repositories.pictures import PictureRepository
from ingest_api.sign_in import SignIn
from shared.telemetry.tracing import current_trace_id

PICTURES_PER_PAGE = 24
FIRST_PAGE = "/pictures"


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages need beside the accounts. `headers` carry the policy of what a page may load."""

    records: Records
    headers: Callable[[], Mapping[str, str]]


def local_path(text: str) -> str:
    """Where to go after signing in: an address of this site, whatever the text says."""
    # Two slashes would begin a host name, and browsers read backslashes as slashes and skip control characters.
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else FIRST_PAGE


def answer_page_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Lead to the sign-in page who is not signed in; tell everything else on a page."""
    problem = problem_of(error)
    log_error(request, error, problem)
    if problem.status == 401 and request.method == "GET":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return Redirect(f"/login?next={quote(here, safe='')}", status_code=303, headers={"Cache-Control": "no-store"})
    page = render_page("problem.html", title=CODES[problem.code], detail=problem.detail, trace_id=current_trace_id())
    headers = {**PAGE_HEADERS, **problem.headers}
    return Response(page, status_code=problem.status, media_type=MediaType.HTML, headers=headers)


class PagesController(Controller):
    include_in_schema = False
    request_max_body_size = SMALL_BODY_BYTES
    exception_handlers = {Exception: answer_page_error, HTTPException: answer_page_error}  # noqa: RUF012

    @get("/")
    async def start(self) -> Redirect:
        return Redirect(FIRST_PAGE, status_code=303)

    @get("/static/pages.css")
    async def stylesheet(self) -> Response[bytes]:
        # Its address carries a hash of its content.
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(STYLESHEET, media_type=MediaType.CSS, headers=headers)

    @get("/login")
    async def show_login(
        self,
        request: Request[Principal | None, Any, Any],
        next_path: Annotated[str, QueryParameter(name="next")] = FIRST_PAGE,
    ) -> Response[Any]:
        if request.user is not None:
            return Redirect(local_path(next_path), status_code=303)
        return _login_page(next_path)

    @post("/login", opt={SIGNS_IN: True}, status_code=200)
    async def log_in(
        self, data: URLEncodedBody[dict[str, str]], request: Request[Any, Any, Any], sign_in: NamedDependency[SignIn]
    ) -> Response[Any]:
        """Begin a session and lead on; what is refused is told on the form."""
        email, next_path = data.get("email", ""), data.get("next", FIRST_PAGE)
        try:
            _, token = await sign_in.log_in(email, data.get("password", ""), client_address(request))
        except Exception as error:
            problem = problem_of(error)
            if problem.code == "internal_error":
                raise
            log_error(request, error, problem)
            return _login_page(
                next_path, email=email, notice=problem.detail, status=problem.status, headers=problem.headers
            )
        cookie = sign_in.cookie.holding(token, sign_in.policy.lifetime_seconds)
        return Redirect(local_path(next_path), status_code=303, cookies=[cookie])

    @post("/logout", status_code=200)
    async def log_out(self, request: Request[Any, str | None, Any], sign_in: NamedDependency[SignIn]) -> Redirect:
        if request.auth is not None:
            await sign_in.log_out(request.auth)
        return Redirect("/login", status_code=303, cookies=[sign_in.cookie.cleared()])

    @get("/pictures", guards=[require(Role.PHOTOGRAPHER)])
    async def pictures(
        self,
        request: SignedInRequest,
        sign_in: NamedDependency[SignIn],
        pages: NamedDependency[Pages],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Recent pictures, newest first: one's own for a photographer, everyone's for an admin."""
        principal = request.user
        uploaded_by = None if principal.may(Role.ADMIN) else principal.user_id
        async with sign_in.database.connection() as connection:
            found = await PictureRepository(connection).recent(id_of(cursor), uploaded_by, PICTURES_PER_PAGE + 1)
        shown = found[:PICTURES_PER_PAGE]
        page = render_page(
            "pictures.html",
            principal=principal,
            pictures=shown,
            addresses={picture.id: _addresses(picture, pages.records) for picture in shown},
            is_first_page=cursor is None,
            next_cursor=encode_cursor(str(shown[-1].id)) if len(found) > len(shown) else None,
            refresh=any_unfinished(shown),
        )
        return Response(page, media_type=MediaType.HTML, headers=pages.headers())


def _addresses(picture: Picture, records: Records) -> dict[str, str]:
    """Where each file of a picture is read, by its name."""
    names = [file.name for file in picture.variants]
    return records.urls(picture.id, picture.revision, names, private=picture.private)


def _login_page(
    next_path: str,
    *,
    email: str = "",
    notice: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response[str]:
    page = render_page("login.html", next_path=local_path(next_path), email=email, notice=notice)
    return Response(page, status_code=status, media_type=MediaType.HTML, headers={**PAGE_HEADERS, **(headers or {})})
