"""Signing in and out by page, one's account, and the language."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter, URLEncodedBody
from litestar.response import Redirect

from ingest_api.accounts import Principal, Role
from ingest_api.authentication import SIGNS_IN, SignedInRequest, require
from ingest_api.controllers.accounts import SMALL_BODY_BYTES, client_address
from ingest_api.pages.navigation import first_page
from ingest_api.pages.page import LANGUAGE_COOKIE, PageController, page_answer
from ingest_api.pages.policy import PAGE_HEADERS
from ingest_api.pages.texts import LANGUAGES
from ingest_api.problem_details import Problem, log_error, problem_of
from ingest_api.sign_in import SignIn

START_PAGE = "/"
LANGUAGE_SECONDS = 365 * 24 * 3600


def local_path(text: str) -> str:
    """Where to go on: an address of this site, whatever the text says."""
    # Two slashes would begin a host name, and browsers read backslashes as slashes and skip control characters.
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else START_PAGE


class EntranceController(PageController):
    request_max_body_size = SMALL_BODY_BYTES

    @get("/")
    async def start(self, request: Request[Principal | None, Any, Any]) -> Redirect:
        """Lead to where somebody of the role begins."""
        return Redirect(first_page(request.user.role) if request.user else "/login", status_code=303)

    @get("/login")
    async def show_login(
        self,
        request: Request[Principal | None, Any, Any],
        next_path: Annotated[str, QueryParameter(name="next")] = START_PAGE,
    ) -> Response[Any]:
        if request.user is not None:
            return Redirect(local_path(next_path), status_code=303)
        return _login_page(request, next_path)

    @post("/login", opt={SIGNS_IN: True}, status_code=200)
    async def log_in(
        self, data: URLEncodedBody[dict[str, str]], request: Request[Any, Any, Any], sign_in: NamedDependency[SignIn]
    ) -> Response[Any]:
        """Begin a session and lead on; what is refused is told on the form."""
        email, next_path = data.get("email", ""), data.get("next", START_PAGE)
        try:
            _, token = await sign_in.log_in(email, data.get("password", ""), client_address(request))
        except Exception as error:
            problem = problem_of(error)
            if problem.code == "internal_error":
                raise
            log_error(request, error, problem)
            return _login_page(request, next_path, email=email, problem=problem)
        cookie = sign_in.cookie.holding(token, sign_in.policy.lifetime_seconds)
        return Redirect(local_path(next_path), status_code=303, cookies=[cookie])

    @post("/logout", status_code=200)
    async def log_out(self, request: Request[Any, str | None, Any], sign_in: NamedDependency[SignIn]) -> Redirect:
        if request.auth is not None:
            await sign_in.log_out(request.auth)
        return Redirect("/login", status_code=303, cookies=[sign_in.cookie.cleared()])

    @post("/logout/everywhere", guards=[require(Role.GUEST)], status_code=200)
    async def log_out_everywhere(self, request: SignedInRequest, sign_in: NamedDependency[SignIn]) -> Redirect:
        await sign_in.log_out_everywhere(request.user)
        return Redirect("/login", status_code=303, cookies=[sign_in.cookie.cleared()])

    @get("/account", guards=[require(Role.GUEST)])
    async def account(self, request: SignedInRequest) -> Response[str]:
        return page_answer(request, "account.html")

    @post("/language", status_code=200)
    async def choose_language(
        self,
        data: URLEncodedBody[dict[str, str]],
        request: Request[Any, Any, Any],
        referer: Annotated[str, HeaderParameter(name="referer")] = START_PAGE,
    ) -> Redirect:
        """Keep the language in a cookie, and lead back to the page on which it was chosen."""
        came_from = urlsplit(referer)
        back = came_from.path + (f"?{came_from.query}" if came_from.query else "")
        language = data.get("language", "")
        cookies = [language_cookie(language)] if language in LANGUAGES else []
        return Redirect(local_path(back), status_code=303, cookies=cookies)


def language_cookie(language: str) -> Cookie:
    return Cookie(
        key=LANGUAGE_COOKIE, value=language, path="/", max_age=LANGUAGE_SECONDS, httponly=True, samesite="lax"
    )


def _login_page(
    request: Request[Any, Any, Any], next_path: str, *, email: str = "", problem: Problem | None = None
) -> Response[str]:
    headers = {**PAGE_HEADERS, **(problem.headers if problem else {})}
    status = problem.status if problem else 200
    where = local_path(next_path)
    return page_answer(request, "login.html", headers, status, next_path=where, email=email, problem=problem)
