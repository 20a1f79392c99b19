"""The gallery as guests see it in a browser; what they do there is the API of controllers/gallery.py."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect

from ingest_api.controllers.pages.entrance import language_cookie
from ingest_api.cursors import cursor_behind, cursor_of
from ingest_api.galleries import OpenGallery
from ingest_api.pages.page import Pages, page_answer
from ingest_api.pages.policy import PAGE_HEADERS
from ingest_api.pages.texts import LANGUAGES
from ingest_api.photo_desk import PhotoDesk
from ingest_api.problem_details import answer_error, log_error, problem_of

PHOTOS_SHOWN_FIRST: Final = 48
PRIVATE_HEADERS: Final[Mapping[str, str]] = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
    "X-Robots-Tag": "noindex",
    "Vary": "Accept",
}
"""The address is the secret: neither other sites nor caches may learn it."""

AnyRequest = Request[Any, Any, Any]


def wants_page(request: AnyRequest) -> bool:
    """Browsers name HTML before all else; whoever names nothing gets JSON."""
    return request.accept.best_match([MediaType.JSON, MediaType.HTML], MediaType.JSON) == MediaType.HTML


async def gallery_page(
    request: AnyRequest, token: str, pass_text: str | None, pages: Pages, desk: PhotoDesk
) -> Response[Any]:
    """What the link lets its holders do; the form for the PIN; or, kindly, that it is over."""
    if (language := request.query_params.get("language")) is not None:
        # By a link, since a form's origin is not told where no referrer is.
        cookies: list[Cookie] = [language_cookie(language)] if language in LANGUAGES else []
        return Redirect(request.url.path, status_code=303, cookies=cookies, headers=dict(PRIVATE_HEADERS))
    try:
        opened = await desk.galleries.look(token)
        if not desk.galleries.is_unlocked(opened, pass_text):
            return pages.answer(request, "gallery/locked.html", headers=PRIVATE_HEADERS, name=opened.gallery.name)
        return await _open_page(request, opened, pages, desk)
    except Exception as error:
        return answer_gallery_error(request, error)


async def _open_page(request: AnyRequest, opened: OpenGallery, pages: Pages, desk: PhotoDesk) -> Response[str]:
    gallery, event = opened.gallery, opened.event
    found = await desk.photos.page(event, None, None, PHOTOS_SHOWN_FIRST + 1) if gallery.may_list else []
    shown = found[:PHOTOS_SHOWN_FIRST]
    in_parts = gallery.may_download and len(found) > PHOTOS_SHOWN_FIRST
    parts = await desk.photos.parts(event, desk.galleries.archive_photos) if in_parts else []
    return pages.answer(
        request,
        "gallery/gallery.html",
        headers=PRIVATE_HEADERS,
        gallery=gallery,
        event=event,
        may_search=gallery.may_search and desk.search.is_open_to_guests(event),
        photos=[
            (photo.id, desk.urls.of(event, photo.s3_key), gallery.may_download and photo.image_key is not None)
            for photo in shown
        ],
        next_cursor=cursor_behind(found, PHOTOS_SHOWN_FIRST) or "",
        archive_parts=[(cursor_of(part.after), part.first, part.last) for part in parts],
        now=datetime.now(UTC),
    )


def answer_guest_error(request: AnyRequest, error: Exception) -> Response[Any]:
    """For what pages lead to and other clients call: a page for who wants one, a problem for all others."""
    return answer_gallery_error(request, error) if wants_page(request) else answer_error(request, error)


def answer_gallery_error(request: AnyRequest, error: Exception) -> Response[str]:
    """Tell on a page what went wrong, and lead back to the gallery; the same page for all links that are over."""
    problem = problem_of(error)
    log_error(request, error, problem)
    headers = {**PAGE_HEADERS, **PRIVATE_HEADERS, **problem.headers}
    path = request.url.path
    gallery = "/".join(path.split("/")[:3])
    if problem.status == 404 and path == gallery:
        return page_answer(request, "gallery/over.html", headers, problem.status)
    return page_answer(request, "gallery/problem.html", headers, problem.status, problem=problem, gallery=gallery)
