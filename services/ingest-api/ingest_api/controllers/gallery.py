"""What guests see with a link: the photos of an event, theirs among them, and the originals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, URLEncodedBody
from litestar.response import Redirect
from litestar.types import ASGIApp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingest_api.archive_answer import ArchiveAnswer
from ingest_api.authentication import OWN_TOKEN
from ingest_api.controllers.accounts import SMALL_BODY_BYTES, client_address
from ingest_api.controllers.faces import MatchLimit, SearchAnswer, position_of
from ingest_api.controllers.pages.gallery import (
    answer_gallery_error,
    answer_guest_error,
    gallery_page,
    wants_page,
)
from ingest_api.controllers.uploads import client_gone
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.galleries import OpenGallery
from ingest_api.intake import UploadCall
from ingest_api.pages.page import Pages
from ingest_api.photo_desk import PhotoDesk
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.event_photos import EventPhoto
from ingest_api.selfie_form import DEFAULT_MATCHES, GallerySearchOperation, search_wish
from ingest_api.sign_in import SignIn
from ingest_api.zip_writer import zipped

AnyRequest = Request[Any, Any, Any]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]

PASS_COOKIE = "mediabus_gallery"
PASS_HEADER = "x-gallery-pass"
MOST_ARCHIVED = 1000


class GalleryPage(msgspec.Struct):
    """While `is_locked` the PIN is wanted, and nothing else is told. `consent_version` goes with a search, once the
    guest has agreed to `consent_text`."""

    name: str
    is_locked: bool
    event_name: str | None = None
    may_list: bool = False
    may_search: bool = False
    may_download: bool = False
    consent_text: str | None = None
    consent_version: int | None = None
    expires_at: datetime | None = None


class GuestPhoto(msgspec.Struct):
    """`has_original`: it can be downloaded by its `id`."""

    id: UUID
    preview_url: str | None
    has_original: bool


class GuestPhotoList(msgspec.Struct):
    photos: list[GuestPhoto]
    next_cursor: str | None


class RequestedErasure(msgspec.Struct):
    """`secret` is shown this once: with it, in the header X-Erasure-Secret, /api/v1/faces/erasure-requests/{id} says
    how the request stands, and has the receipt. What nobody decides on until `expires_at` is over."""

    id: UUID
    secret: str
    expires_at: datetime


class PinBody(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    pin: str = Field(min_length=1, max_length=64)


class GalleryPass(msgspec.Struct):
    """Goes into the header X-Gallery-Pass of later calls; browsers hold it in a cookie too."""

    gallery_pass: str
    seconds: int


class ArchiveBody(BaseModel):
    """Which originals: those of `photo_ids`, or all that the search found, or all of the event.

    Of an event with many photos all come in parts: `cursor` is empty for the first, later that of a list of photos.
    """

    model_config = ConfigDict(extra="forbid")

    photo_ids: list[UUID] | None = Field(default=None, min_length=1, max_length=MOST_ARCHIVED)
    search_id: UUID | None = None
    cursor: str | None = Field(default=None, max_length=100)


_PAGE_TOO = ResponseSpec(GalleryPage, generate_examples=False, description="The gallery; a page for who asks for one.")


class GalleryController(Controller):
    """For whoever has the link, within what it allows and until it ends."""

    path = "/gallery/{token:str}"
    tags = ("Galleries",)
    security = ({},)
    opt = {OWN_TOKEN: True}  # noqa: RUF012
    # The address is the secret: neither other sites nor caches may learn it.
    response_headers = {  # noqa: RUF012
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
        "X-Robots-Tag": "noindex",
    }

    @get(summary="Open a gallery", responses={200: _PAGE_TOO})
    async def read(
        self,
        request: AnyRequest,
        token: FromPath[str],
        photo_desk: NamedDependency[PhotoDesk],
        pages: NamedDependency[Pages],
    ) -> Response[Any]:
        """What the link lets its holders do; a page for who accepts HTML first. 404 once it has expired or was
        revoked."""
        if wants_page(request):
            return await gallery_page(request, token, _pass(request), pages, photo_desk)
        opened = await photo_desk.galleries.look(token)
        gallery, event = opened.gallery, opened.event
        if not photo_desk.galleries.is_unlocked(opened, _pass(request)):
            return Response(GalleryPage(gallery.name, is_locked=True), headers={"Vary": "Accept"})
        told = GalleryPage(
            name=gallery.name,
            is_locked=False,
            event_name=event.name,
            may_list=gallery.may_list,
            may_search=gallery.may_search and photo_desk.search.is_open_to_guests(event),
            may_download=gallery.may_download,
            consent_text=event.consent_text,
            consent_version=event.consent_version,
            expires_at=gallery.expires_at,
        )
        return Response(told, headers={"Vary": "Accept"})

    @post("/unlock", summary="Give the PIN of a gallery", status_code=200, request_max_body_size=SMALL_BODY_BYTES)
    async def unlock(
        self,
        request: AnyRequest,
        token: FromPath[str],
        data: JSONBody[PinBody],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
    ) -> Response[GalleryPass]:
        """A pass that stands for the PIN. 403 for a wrong one, 429 after too many."""
        _, text = await photo_desk.galleries.unlock(token, data.pin, client_address(request))
        seconds = int(photo_desk.galleries.pass_seconds)
        cookie = Cookie(
            key=PASS_COOKIE,
            value=text,
            path=f"/gallery/{token}",
            max_age=seconds,
            httponly=True,
            secure=sign_in.cookie.secure,
            samesite="lax",
        )
        return Response(GalleryPass(text, seconds), cookies=[cookie])

    @get("/photos", summary="List the photos of a gallery")
    async def list_photos(
        self,
        request: AnyRequest,
        token: FromPath[str],
        photo_desk: NamedDependency[PhotoDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> GuestPhotoList:
        """In the order in which they were found; `next_cursor` is null on the last page."""
        opened = await photo_desk.galleries.enter(token, _pass(request))
        opened.require(opened.gallery.may_list, "see all photos: search for yours")
        found = await photo_desk.photos.page(opened.event, None, id_of(cursor), limit + 1)
        page = found[:limit]
        photos = [
            GuestPhoto(
                photo.id,
                photo_desk.urls.of(opened.event, photo.s3_key),
                opened.gallery.may_download and photo.image_key is not None,
            )
            for photo in page
        ]
        return GuestPhotoList(photos, cursor_behind(found, limit))

    @post(
        "/search",
        summary="Find one's own photos in a gallery",
        status_code=200,
        request_max_body_size=None,
        operation_class=GallerySearchOperation,
    )
    async def search(
        self, request: AnyRequest, token: FromPath[str], photo_desk: NamedDependency[PhotoDesk]
    ) -> SearchAnswer:
        """multipart/form-data: `file`, `consent_version`, optional `threshold`, `limit`, `choose`. The picture is kept
        nowhere; that there was a search is recorded, with the text that was agreed to."""
        opened = await photo_desk.galleries.enter(token, _pass(request))
        await photo_desk.galleries.admit_search(opened)
        with client_gone():
            selfie = await photo_desk.selfies.receive(_call(request, opened), {})
        page = await photo_desk.search.search(opened.event, selfie, search_wish(selfie.texts), opened.seeker)
        return SearchAnswer.of(page, with_originals=opened.gallery.may_download)

    @get("/searches/{search_id:uuid}", summary="Read further matches of a guest's search")
    async def read_search(
        self,
        request: AnyRequest,
        token: FromPath[str],
        search_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        limit: MatchLimit = DEFAULT_MATCHES,
        cursor: FromQuery[str | None] = None,
    ) -> SearchAnswer:
        opened = await photo_desk.galleries.enter(token, _pass(request))
        page = await photo_desk.search.page(search_id, opened.seeker, position_of(cursor), limit)
        return SearchAnswer.of(page, with_originals=opened.gallery.may_download)

    @post(
        "/erasure-requests",
        summary="Ask to have one's faces erased from an event",
        status_code=201,
        request_max_body_size=None,
        operation_class=GallerySearchOperation,
    )
    async def request_erasure(
        self, request: AnyRequest, token: FromPath[str], photo_desk: NamedDependency[PhotoDesk]
    ) -> RequestedErasure:
        """multipart/form-data as for a search; `consent_version` where the event has a text. Also where the link lets
        nobody search. Who holds the event decides; the picture is kept nowhere, but on which photos faces look like
        it."""
        opened = await photo_desk.galleries.enter(token, _pass(request))
        await photo_desk.galleries.admit_selfie(opened)
        await photo_desk.erasures.admit(opened)
        with client_gone():
            selfie = await photo_desk.selfies.receive(_call(request, opened), {})
        erasure, secret = await photo_desk.erasures.request(opened, selfie, search_wish(selfie.texts))
        return RequestedErasure(erasure.id, secret, erasure.expires_at)

    @get(
        "/photos/{photo_id:uuid}/original",
        summary="Download an original",
        status_code=302,
        exception_handlers={Exception: answer_guest_error, HTTPException: answer_guest_error},
    )
    async def original(
        self,
        request: AnyRequest,
        token: FromPath[str],
        photo_id: FromPath[UUID],
        photo_desk: NamedDependency[PhotoDesk],
        search_id: FromQuery[UUID | None] = None,
    ) -> Redirect:
        """A redirect to the file, which browsers save. Where the link does not list all photos, `search_id` names the
        search that found it."""
        opened = await photo_desk.galleries.enter(token, _pass(request))
        photos = await _granted(photo_desk, opened, [photo_id], search_id)
        address = photo_desk.urls.saved_from(opened.event, photos[0].image_key) if photos else None
        if address is None:
            raise Problem(404, "not_found", "There is no original of this photo.")
        return Redirect(address)

    @post("/download", summary="Download originals as a ZIP archive", status_code=200, media_type="application/zip")
    async def download(
        self,
        request: AnyRequest,
        token: FromPath[str],
        data: JSONBody[ArchiveBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> ASGIApp:
        """`photo_ids`, what `search_id` found, or with neither all photos where the link lists them. More than
        1000 photos are refused with 413: with `cursor`, at first an empty one, the 1000 behind it come. What has no
        original is left out."""
        opened = await photo_desk.galleries.enter(token, _pass(request))
        return await _archive(photo_desk, opened, data)

    @post(
        "/archive",
        status_code=200,
        media_type="application/zip",
        include_in_schema=False,
        exception_handlers={Exception: answer_gallery_error, HTTPException: answer_gallery_error},
    )
    async def archive(
        self,
        request: AnyRequest,
        token: FromPath[str],
        data: URLEncodedBody[dict[str, str]],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> ASGIApp:
        """As `download`, for a form of the page: browsers save what a form leads to without holding it in memory."""
        opened = await photo_desk.galleries.enter(token, _pass(request))
        return await _archive(photo_desk, opened, _wanted(data))


async def _archive(desk: PhotoDesk, opened: OpenGallery, wanted: ArchiveBody) -> ASGIApp:
    if wanted.photo_ids is None and wanted.search_id is None:
        photos = await _part_of_all(desk, opened, wanted.cursor)
    elif wanted.cursor is None:
        photos = await _granted(desk, opened, wanted.photo_ids, wanted.search_id)
    else:
        raise InvalidFields(FieldError("cursor", "goes with neither photo_ids nor search_id"))
    bucket, folder = desk.urls.bucket, opened.event.folder
    keys = [photo.image_key for photo in photos if photo.image_key and photo.image_key.startswith(folder)]
    if bucket is None or not keys:
        raise Problem(404, "not_found", "None of these photos has an original.")
    return ArchiveAnswer(f"event-{opened.event.number}.zip", lambda: zipped(bucket, keys), desk.galleries.download)


def _wanted(form: dict[str, str]) -> ArchiveBody:
    """`photo_ids` by commas. Raises InvalidFields."""
    fields: dict[str, Any] = {"search_id": form.get("search_id") or None, "cursor": form.get("cursor")}
    if photo_ids := form.get("photo_ids"):
        fields["photo_ids"] = photo_ids.split(",")
    try:
        return ArchiveBody.model_validate(fields)
    except ValidationError as error:
        names = {str(one["loc"][0]) for one in error.errors()}
        raise InvalidFields(*(FieldError(name, "is not valid") for name in sorted(names))) from None


async def _granted(
    desk: PhotoDesk, opened: OpenGallery, photo_ids: list[UUID] | None, search_id: UUID | None
) -> list[EventPhoto]:
    """The photos whose originals are asked for; raises Problem 403 for what the link does not show."""
    opened.require(opened.gallery.may_download, "download originals")
    if search_id is not None:
        found = await desk.search.found(search_id, opened.seeker)
        if not found.issuperset(photo_ids or ()):
            raise InvalidFields(FieldError("photo_ids", "must be among what the search found"))
        return await desk.photos.by_ids(opened.event, photo_ids or sorted(found))
    opened.require(opened.gallery.may_list, "download what they did not find: name the search that found it")
    return await desk.photos.by_ids(opened.event, photo_ids or [])


async def _part_of_all(desk: PhotoDesk, opened: OpenGallery, cursor: str | None) -> list[EventPhoto]:
    """Those behind the cursor; without one, all. Raises Problem 403, and 413 for all of too many."""
    opened.require(opened.gallery.may_download, "download originals")
    opened.require(opened.gallery.may_list, "download what they did not find: name the search that found it")
    most = desk.galleries.archive_photos
    photos = await desk.photos.page(opened.event, None, id_of(cursor or None), most + 1)
    if cursor is None and len(photos) > most:
        raise Problem(413, "too_large", f"An archive has {most} photos at most: name some of them, or ask for parts.")
    return photos[:most]


def _pass(request: AnyRequest) -> str | None:
    return request.headers.get(PASS_HEADER) or request.cookies.get(PASS_COOKIE)


def _call(request: AnyRequest, opened: OpenGallery) -> UploadCall:
    length = request.headers.get("content-length")
    return UploadCall(
        receive=request.receive,
        content_type=request.headers.get("content-type"),
        content_length=int(length) if length is not None and length.isdecimal() else None,
        idempotency_key=None,
        uploader=opened.gallery.id,
        asks_first=request.headers.get("expect", "").lower() == "100-continue",
    )
