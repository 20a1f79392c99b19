"""Uploads that go to the bucket directly: announced here."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from ingest_api.accounts import Role
from ingest_api.announcement import AnnouncementBody, read_announcement
from ingest_api.authentication import SignedInRequest, require
from ingest_api.direct_uploads import DirectUploads
from ingest_api.upload_operation import AnnouncementOperation


class PresignedRequest(msgspec.Struct, rename="camel"):
    """Send the file like this: the store refuses other headers, another length and another time."""

    url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    expires_at: datetime


class AnnouncedAnswer(msgspec.Struct, rename="camel"):
    """201: the job waits for the file.

    Of an announcement that is repeated under its `Idempotency-Key` the file may have come, or been refused: then
    `upload` is null.
    """

    success: bool
    status: Literal["waiting", "received", "failed"]
    job_id: UUID
    media_id: UUID
    upload: PresignedRequest | None
    message: str


class DirectUploadController(Controller):
    """For admins and API keys of their role, as other uploads are."""

    path = "/api/admin/media/uploads"
    tags = ("Media",)
    guards = (require(Role.ADMIN),)

    @post(summary="Announce a direct upload", status_code=201, operation_class=AnnouncementOperation)
    async def announce(
        self,
        request: SignedInRequest,
        data: JSONBody[AnnouncementBody],
        direct_uploads: NamedDependency[DirectUploads],
    ) -> Response[AnnouncedAnswer]:
        """Send the file to `upload.url` with its method and headers before `expiresAt`: the job starts by itself.

        The file is checked like that of any other upload, and has to have the announced size, and SHA-256 if one was
        announced; otherwise the job fails with the reason. The medium can be read once the file has arrived.

        With an `Idempotency-Key` the same key and announcement lead to the same job.
        """
        announcement = read_announcement(data, direct_uploads.limit_bytes)
        key = request.headers.get("idempotency-key")
        announced = await direct_uploads.announce(announcement, request.user.user_id, key)
        upload, sends = announced.upload, None
        if announced.url is not None:
            sends = PresignedRequest(announced.url, "PUT", announced.headers, upload.expires_at)
        answer = AnnouncedAnswer(
            success=upload.status != "failed",
            status=upload.status,
            job_id=upload.id,
            media_id=upload.media_id,
            upload=sends,
            message="Send the file to the given address." if sends else "No file is awaited any more: read the job.",
        )
        headers = {"Location": f"/api/admin/media/jobs/{upload.id}", "Cache-Control": "no-store"}
        return Response(answer, status_code=201, headers=headers)
