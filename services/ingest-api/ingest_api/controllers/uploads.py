"""Uploads in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from ingest_api.authentication import SignedInRequest
from ingest_api.bulk_uploads import ReceivedBulk
from ingest_api.catalogue import Job, Records
from ingest_api.intake import UploadCall
from ingest_api.outcome_wait import OutcomeWait
from ingest_api.prefer import wait_seconds
from ingest_api.problem_details import Problem
from ingest_api.request_body import ClientDisconnected
from ingest_api.settings import IngestSettings
from ingest_api.upload_operation import BulkUploadOperation, ReplacedFileOperation, UploadOperation
from ingest_api.uploads import Received, Uploads
from shared.settings_feed import SettingsFeed


class UploadAnswer(msgspec.Struct, rename="camel"):
    """202: the picture is safe and will be processed."""

    success: bool
    status: str
    job_id: UUID
    media_id: UUID
    message: str


class FinishedUploadAnswer(msgspec.Struct, rename="camel"):
    """200: the answer waited for the picture."""

    success: bool
    status: str
    job_id: UUID
    media_id: UUID
    message: str
    result: dict[str, Any] | None
    error: dict[str, str | None] | None


class BulkUploadAnswer(msgspec.Struct, rename="camel"):
    """202: the pictures that have a job are safe and will be processed; the others say why they were refused."""

    success: bool
    status: str
    job_id: UUID
    jobs: list[dict[str, Any]]
    message: str


UploadResponse = Response[UploadAnswer | FinishedUploadAnswer]


@dataclass(frozen=True, slots=True)
class UploadDesk:
    """What an upload needs, as one dependency: Litestar starts a task per request for each where there are several."""

    uploads: Uploads
    outcome_wait: OutcomeWait
    records: Records
    settings: IngestSettings
    feed: SettingsFeed

    async def hybrid_applies(self) -> bool:
        """Whether little enough is pending that the answer may wait for the picture."""
        settings = self.feed.current()
        most = settings.hybrid_pending_below
        return settings.hybrid_mode_enabled and await self.uploads.pending(most) < most


class UploadHandlers(Controller):
    """Pictures in; a base of the controller of the path, for Litestar takes one controller per path."""

    @post(
        summary="Upload a picture",
        status_code=202,
        request_max_body_size=None,
        operation_class=UploadOperation,
        responses={
            200: ResponseSpec(
                FinishedUploadAnswer,
                generate_examples=False,
                description="The answer waited for the outcome, as `Prefer` or hybrid mode asked: the finished result, "
                "or with `success` false why the picture could not be processed",
            ),
            202: ResponseSpec(
                UploadAnswer, generate_examples=False, description="The picture is safe and will be processed"
            ),
        },
    )
    async def upload(
        self,
        request: SignedInRequest,
        desk: NamedDependency[UploadDesk],
    ) -> UploadResponse:
        """multipart/form-data: `file`, `entityType`, optional `entityId`, `alt`, `title`, `storageStrategy`.

        With an `Idempotency-Key` the same key and bytes lead to the same job. `Prefer: wait=N` asks for the outcome
        within N seconds: 200 with the finished result, or 202 as without it.
        """
        call = upload_call(request)
        preferred_seconds = wait_seconds(request.headers.get("prefer"))
        hybrid = await desk.hybrid_applies() if preferred_seconds is None else False
        with client_gone():
            received = await desk.uploads.receive(call)
        headers = {"Location": f"/api/admin/media/jobs/{received.job_id}"}
        if preferred_seconds is not None:
            seconds = min(float(preferred_seconds), desk.settings.longest_wait_seconds)
            headers["Preference-Applied"] = f"wait={seconds:g}" if preferred_seconds else "respond-async"
        else:
            seconds = desk.feed.current().hybrid_wait_seconds if hybrid else 0.0
        job = await desk.outcome_wait.wait(received.job_id, seconds)
        return Response(
            _accepted(received) if job is None else _finished(job, desk.records),
            status_code=202 if job is None else 200,
            headers=headers,
        )

    @post(
        "/bulk",
        summary="Upload many pictures",
        status_code=202,
        request_max_body_size=None,
        operation_class=BulkUploadOperation,
    )
    async def upload_many(
        self, request: SignedInRequest, desk: NamedDependency[UploadDesk]
    ) -> Response[BulkUploadAnswer]:
        """multipart/form-data: many `file`, or one that is a ZIP archive; the text fields hold for every picture.

        `jobId` is a parent, read like any job: its progress and counts are those of its pictures. `jobs` has an entry
        per file in the order of their arrival: `jobId`, `mediaId`, `filename`; or, for one that was refused,
        `filename` and `error`. The others go on.
        """
        with client_gone():
            received = await desk.uploads.bulk.receive(upload_call(request))
        headers = {"Location": f"/api/admin/media/jobs/{received.bulk_id}"}
        return Response(_bulk_accepted(received), status_code=202, headers=headers)

    @put(
        "/{media_id:uuid}/file",
        summary="Replace the file of a medium",
        status_code=202,
        request_max_body_size=None,
        operation_class=ReplacedFileOperation,
    )
    async def replace(
        self, request: SignedInRequest, media_id: FromPath[UUID], desk: NamedDependency[UploadDesk]
    ) -> Response[UploadAnswer]:
        """multipart/form-data: `file`. The present one is shown until the new one is rendered, and stays if it can't.

        409 while the first file of the medium is processed; what is deleted is restored first.
        """
        with client_gone():
            upload = await desk.uploads.replacements.receive(media_id, upload_call(request))
        headers = {"Location": f"/api/admin/media/jobs/{upload.job_id}"}
        answer = UploadAnswer(
            True, "processing", upload.job_id, media_id, "The file is queued to take the other's place."
        )
        return Response(answer, status_code=202, headers=headers)


def upload_call(request: SignedInRequest) -> UploadCall:
    """What of a request matters to who reads its body."""
    length = request.headers.get("content-length")
    return UploadCall(
        receive=request.receive,
        content_type=request.headers.get("content-type"),
        content_length=int(length) if length is not None and length.isdecimal() else None,
        idempotency_key=request.headers.get("idempotency-key"),
        uploader=request.user.user_id,
        asks_first=request.headers.get("expect", "").lower() == "100-continue",
    )


@contextmanager
def client_gone() -> Iterator[None]:
    """Name a request that ended before its body did."""
    try:
        yield
    except ClientDisconnected as error:
        raise Problem(400, "bad_request", "The upload ended before its body did.") from error


def _bulk_accepted(received: ReceivedBulk) -> BulkUploadAnswer:
    entries = [item.entry() for item in received.items]
    refused = sum(1 for entry in entries if "error" in entry)
    message = f"{len(entries) - refused} pictures are queued, {refused} were refused."
    return BulkUploadAnswer(True, "processing", received.bulk_id, entries, message)


def _accepted(received: Received) -> UploadAnswer:
    message = "This upload was received before; its job is the same." if received.is_repeat else "The upload is queued."
    return UploadAnswer(True, "processing", received.job_id, received.media_id, message)


def _finished(job: Job, records: Records) -> FinishedUploadAnswer:
    good = job.status == "completed"
    message = "The picture was processed." if good else "The picture could not be processed."
    return FinishedUploadAnswer(good, job.status, job.id, job.media_id, message, records.result(job), job.error)
