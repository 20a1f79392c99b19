"""The bytes of media: from disk, or by redirect from the bucket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from litestar import HttpMethod, Request, route
from litestar.controller import Controller
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send

from ingest_api.accounts import Principal, Role
from ingest_api.byte_ranges import ByteRange, RangeNotSatisfiable, etag_matches, requested_range
from ingest_api.catalogue import Media
from ingest_api.media_urls import MediaUrls, Signature
from ingest_api.problem_details import Problem
from ingest_api.repositories.media import MediaRepository
from shared.db.pool import Database
from shared.events import StoredFile
from shared.storage.errors import ObjectNotFound
from shared.storage.local_disk import LocalDiskStore
from shared.storage.stores import Stores

FOR_EVER: Final = "public, max-age=31536000, immutable"
FOR_A_MINUTE: Final = "public, max-age=60"
FOR_THE_READER: Final = "private, max-age=600"
PRESIGNED_SECONDS: Final = 900
SEND_SECONDS: Final = 60.0
"""A reader that takes longer for one chunk is disconnected."""

AnyRequest = Request[Principal | None, Any, Any]


class MediaBytesController(Controller):
    """Files for everyone; private ones and originals for who has a signed address, a session or an API key."""

    path = "/media/{media_id:uuid}/{variant:str}"
    tags = ("Files",)

    @route(
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        status_code=200,
        media_type="image/*",
        summary="Read a file",
        security=[{}],
    )
    async def read(
        self,
        request: AnyRequest,
        media_id: FromPath[UUID],
        variant: FromPath[str],
        database: NamedDependency[Database],
        stores: NamedDependency[Stores],
        media_urls: NamedDependency[MediaUrls],
    ) -> ASGIApp:
        """A variant, or `original`, which is never for everyone.

        Knows Range, If-Range and If-None-Match; what `urls` name may be kept for ever.
        """
        async with database.connection() as connection:
            media = await MediaRepository(connection).get(media_id)
        file = media.file(variant) if media is not None and may_read(request, media, variant, media_urls) else None
        if media is None or file is None:
            raise Problem(404, "not_found", "There is no such file, or it is not there yet.")
        elsewhere = FileElsewhere(media, file, stores)
        if not media.on_disk:
            return elsewhere
        return _answer(request, media, file, stores.disk, elsewhere)


def may_read(request: AnyRequest, media: Media, variant: str, urls: MediaUrls) -> bool:
    """Deleted media are for admins who ask for them; private files for the signed in and who holds a signed address."""
    principal = request.user
    if media.deleted_at is not None:
        is_asked_for = request.query_params.get("deleted") == "true"
        return is_asked_for and principal is not None and principal.may(Role.ADMIN)
    if not media.is_private(variant):
        return True
    if principal is not None and principal.may(Role.PHOTOGRAPHER):
        return True
    expires_at, value = request.query_params.get("expires", ""), request.query_params.get("signature", "")
    if not expires_at.isdecimal() or len(expires_at) > 12:
        return False
    signature = Signature(int(expires_at), value)
    return urls.is_valid(media.id, variant, _asked_revision(request, media), signature, now=time.time())


def _asked_revision(request: AnyRequest, media: Media) -> int:
    """The one that the address names, if the picture was the same then; what is read is always the present one."""
    asked = request.query_params.get("v", "")
    is_known = asked.isdecimal() and len(asked) < 10 and media.content_revision <= int(asked) <= media.revision
    return int(asked) if is_known else media.revision


def _answer(request: AnyRequest, media: Media, file: StoredFile, disk: LocalDiskStore, elsewhere: ASGIApp) -> ASGIApp:
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Cache-Control": _caching(request, media, file),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if etag_matches(request.headers.get("if-none-match"), etag):
        return FileAnswer(304, headers)
    # A range of bytes that were replaced since makes no sense: If-Range then asks for the whole.
    # Ranges are defined for GET alone.
    may_be_part = request.method == HttpMethod.GET and request.headers.get("if-range") in (None, etag)
    wanted = request.headers.get("range") if may_be_part else None
    try:
        part = requested_range(wanted, file.size_bytes)
    except RangeNotSatisfiable as error:
        detail = f"The file has {file.size_bytes} bytes; the range begins behind them."
        content_range = {"Content-Range": f"bytes */{file.size_bytes}"}
        raise Problem(416, "range_not_satisfiable", detail, content_range) from error
    headers["Content-Type"] = file.mime_type
    if part is not None:
        headers["Content-Range"] = part.content_range(file.size_bytes)
    read = FileRead(disk, file.key, part or ByteRange(0, file.size_bytes), elsewhere)
    return FileAnswer(200 if part is None else 206, headers, read)


def _caching(request: AnyRequest, media: Media, file: StoredFile) -> str:
    if media.is_private(file.name) or media.deleted_at is not None:
        return FOR_THE_READER
    return FOR_EVER if request.query_params.get("v") == str(media.revision) else FOR_A_MINUTE


class FileElsewhere:
    """The answer for a file that is not on disk: a redirect to the bucket, or that it is missing."""

    def __init__(self, media: Media, file: StoredFile, stores: Stores) -> None:
        self._media = media
        self._file = file
        self._stores = stores

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bucket = self._stores.bucket
        if not self._media.in_bucket or bucket is None:
            detail = "The file is missing where it should be; it will come back when it is restored."
            raise Problem(404, "not_found", detail)
        is_private = self._media.is_private(self._file.name)
        url = None if is_private else bucket.public_url(self._file.key)
        caching = FOR_A_MINUTE
        if url is None:
            # A presigned address opens the file for whoever has it, so no shared cache may hand it on.
            url, caching = (
                bucket.presigned_get(self._file.key, expires_in_seconds=PRESIGNED_SECONDS),
                FOR_THE_READER,
            )
        await FileAnswer(HTTPStatus.FOUND, {"Location": url, "Cache-Control": caching})(scope, receive, send)


@dataclass(frozen=True, slots=True)
class FileRead:
    """A part of a file on disk, and what to answer if it is not there."""

    disk: LocalDiskStore
    key: str
    part: ByteRange
    elsewhere: ASGIApp


class FileAnswer:
    """An ASGI response that sends a file chunk by chunk, in bounded memory."""

    def __init__(self, status: int, headers: Mapping[str, str], read: FileRead | None = None) -> None:
        self._status = status
        self._headers = headers
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._read is None:
            body_allowed = self._status not in (204, 304)
            await self._start(send, 0 if body_allowed else None)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        read = self._read
        try:
            async with read.disk.open(read.key, start_byte=read.part.start, end_byte=read.part.end) as opened:
                await self._start(send, read.part.end - read.part.start)
                if scope["method"] != "HEAD":  # type: ignore[typeddict-item]
                    async for chunk in opened.chunks:
                        async with asyncio.timeout(SEND_SECONDS):
                            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except ObjectNotFound:
            await read.elsewhere(scope, receive, send)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send, length_bytes: int | None) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
        if length_bytes is not None:
            headers.append((b"content-length", str(length_bytes).encode()))
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
