"""A bulk upload from its first byte to its committed jobs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from ingest_api.bulk import BulkItem
from ingest_api.bulk_form import ArrivedFile, BulkParts, PictureShelf
from ingest_api.entity_labels import EntityLabels
from ingest_api.intake import Intake, UploadCall, events_of
from ingest_api.multipart_upload import ENVELOPE_BYTES, FILE_FIELD, MOST_PARTS, boundary_of, read_parts
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.uploads import CommitInDoubt, UploadRepository
from ingest_api.request_body import RequestBody
from ingest_api.settings import IngestSettings
from ingest_api.staging_sweep import StagingSweep
from ingest_api.upload_fields import UploadFields, read_fields
from ingest_api.zip_stream import ZipLimits
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.outbox.outgoing import OutgoingMessage
from shared.storage.staging import Staging
from shared.telemetry import metrics

QUEUE_TYPE = "bulk"


@dataclass(frozen=True, slots=True)
class ReceivedBulk:
    """What a caller gets for a bulk upload."""

    bulk_id: UUID
    items: Sequence[BulkItem]


class BulkUploads:
    """Receives many pictures in one call. Those that are good are recorded together; each bad one fails alone."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        staging: Staging,
        sweep: StagingSweep,
        settings: IngestSettings,
        intake: Intake,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._staging = staging
        self._sweep = sweep
        self._settings = settings
        self._intake = intake
        self._labels = EntityLabels()

    async def receive(self, call: UploadCall) -> ReceivedBulk:
        """Take one bulk upload in.

        Raises a Problem for what is refused as a whole, ClientDisconnected, and InfrastructureUnavailable; no file is
        left then.
        """
        if call.idempotency_key is not None:
            detail = "is not supported here: send pictures one by one where a call may be repeated"
            raise InvalidFields(FieldError("Idempotency-Key", detail))
        boundary = boundary_of(call.content_type)
        file_bytes = self._intake.feed.current().upload_limit_bytes
        most_bytes = self._settings.bulk_limit_bytes + ENVELOPE_BYTES
        return await self._intake.take(
            call,
            lambda body: self._take(body, boundary, call.uploader, file_bytes),
            most_bytes=most_bytes,
            # Its files come one after the other, so no more of it is in flight than of one upload.
            turn_bytes=min(call.content_length or most_bytes, file_bytes + ENVELOPE_BYTES),
        )

    async def _take(self, body: RequestBody, boundary: str, uploader: UUID, file_bytes: int) -> ReceivedBulk:
        doubt: CommitInDoubt | None = None
        async with AsyncExitStack() as stack:
            settings = self._settings
            shelf = PictureShelf(stack, self._staging, file_bytes=file_bytes, most_files=settings.bulk_files)
            limits = ZipLimits(
                settings.bulk_archive_entries, file_bytes, settings.bulk_limit_bytes, settings.bulk_archive_ratio
            )
            parts = BulkParts(shelf, limits)
            # A slow one goes on for hours, and its first files have no job until its last one came.
            await stack.enter_async_context(self._sweep.holding(lambda: staged_keys(shelf.files)))
            await read_parts(body.next_chunk, boundary, parts, MOST_PARTS + settings.bulk_files)
            fields = read_fields(parts.form)
            received = ReceivedBulk(new_id(), self._items(shelf.files, fields, uploader))
            try:
                await self._record(received, uploader)
            except CommitInDoubt as error:
                # Kept out of the block's sight: the jobs may be committed, and then need their files.
                doubt = error
        uploads = [item.upload for item in received.items if item.upload]
        if doubt is not None:
            for upload in uploads:
                self._sweep.doubt(upload.staging_key)
            raise doubt
        metrics.media_jobs_added_total.labels(self._labels.label(fields.entity_type), QUEUE_TYPE).inc(len(uploads))
        return received

    def _items(self, files: Sequence[ArrivedFile], fields: UploadFields, uploader: UUID) -> list[BulkItem]:
        """Raises Problem 422 where not one file can be taken."""
        strategy = self._intake.strategy(fields)
        items = []
        for file in files:
            upload = None
            if file.staged is not None:
                assert file.picture_type is not None
                upload = self._intake.upload(
                    file.job_id, uploader, file.filename, file.picture_type, fields, strategy, file.staged
                )
            items.append(BulkItem(file.filename, upload, file.refusal))
        if not any(item.upload for item in items):
            reasons = [
                FieldError(FILE_FIELD, f"{item.filename}: {item.refusal.detail}") for item in items if item.refusal
            ]
            raise Problem(422, "no_picture", "Send at least one picture that can be taken.", errors=reasons)
        return items

    async def _record(self, received: ReceivedBulk, uploader: UUID) -> None:
        uploads = [item.upload for item in received.items if item.upload]
        outgoing = [
            OutgoingMessage.of(event, self._unit_of_work.source) for upload in uploads for event in events_of(upload)
        ]
        async with self._unit_of_work.database.connection() as connection:
            repository = UploadRepository(connection, self._unit_of_work.schema)
            await repository.record_bulk(received.bulk_id, uploader, received.items, outgoing)


def staged_keys(files: Sequence[ArrivedFile]) -> list[str]:
    return [file.staged.key for file in files if file.staged is not None]
