"""A new file for a medium that is there: received as an upload is, shown once it is rendered."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from ingest_api.catalogue import Media, Upload
from ingest_api.intake import Intake, UploadCall, events_of
from ingest_api.multipart_upload import ENVELOPE_BYTES, boundary_of, missing_fields, read_form
from ingest_api.problem_details import Conflict, FieldError, InvalidFields, Problem
from ingest_api.repositories.media_deletions import LockedMedium, MediaDeletionRepository
from ingest_api.repositories.replacements import ReplacementRepository
from ingest_api.request_body import RequestBody
from ingest_api.staging_sweep import StagingSweep
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.picture_types import PictureType
from shared.storage.staging import StagedFile, Staging


class Replacements:
    """Receives files for media that are there.

    **The present file is shown until the new one can be**: it takes a further revision, and the transaction that
    handles its outcome changes the record whole. Whatever fails before leaves the medium as it was.
    """

    def __init__(self, unit_of_work: UnitOfWork, staging: Staging, sweep: StagingSweep, intake: Intake) -> None:
        self._unit_of_work = unit_of_work
        self._staging = staging
        self._sweep = sweep
        self._intake = intake

    async def receive(self, media_id: UUID, call: UploadCall) -> Upload:
        """Take a file in.

        Raises like an upload, and Problem 404 without such a medium, 409 while its first file is processed.
        """
        if call.idempotency_key is not None:
            detail = "is not supported here: the same file twice is shown once"
            raise InvalidFields(FieldError("Idempotency-Key", detail))
        boundary = boundary_of(call.content_type)
        limit_bytes = self._intake.feed.current().upload_limit_bytes
        async with self._unit_of_work.begin() as tx:
            replaceable(await MediaDeletionRepository(tx.connection).lock(media_id))
        return await self._intake.take(
            call,
            lambda body: self._take(media_id, body, boundary, call.uploader, limit_bytes),
            most_bytes=limit_bytes + ENVELOPE_BYTES,
            turn_bytes=call.content_length or limit_bytes + ENVELOPE_BYTES,
        )

    async def _take(self, media_id: UUID, body: RequestBody, boundary: str, uploader: UUID, limit_bytes: int) -> Upload:
        doubt: InfrastructureUnavailable | None = None
        job_id = new_id()
        async with self._staging.receive(job_id, limit_bytes=limit_bytes) as writer:
            form = await read_form(body.next_chunk, boundary, writer)
            errors = missing_fields(form, {})
            errors += [FieldError(name, "stays what it is: send the file alone") for name in sorted(form.texts)]
            if errors:
                raise InvalidFields(*errors)
            assert form.filename is not None
            assert form.picture_type is not None
            staged = await writer.commit()
            try:
                return await self._record(media_id, job_id, uploader, form.filename, form.picture_type, staged)
            except InfrastructureUnavailable as error:
                # Kept out of the block's sight: the job may be committed, and then needs its file.
                doubt = error
        self._sweep.doubt(staged.key)
        raise doubt

    async def _record(
        self,
        media_id: UUID,
        job_id: UUID,
        uploader: UUID,
        filename: str,
        picture_type: PictureType,
        staged: StagedFile,
    ) -> Upload:
        async with self._unit_of_work.begin() as tx:
            media = replaceable(await MediaDeletionRepository(tx.connection).lock(media_id))
            upload = Upload(
                media_id=media_id,
                job_id=job_id,
                uploader=uploader,
                filename=filename,
                mime_type=picture_type.value,
                size_bytes=staged.size_bytes,
                sha256=staged.sha256,
                entity_type=media.entity_type,
                entity_id=media.entity_id,
                alt=media.alt,
                title=media.title,
                private=media.private,
                storage_strategy=media.storage_strategy,
                staging_key=staged.key,
                received_at=datetime.now(UTC),
                revision=max(media.revision, media.last_revision) + 1,
            )
            await ReplacementRepository(tx.connection).begin(upload)
            tx.publish(*events_of(upload))
        return upload


def replaceable(locked: LockedMedium | None) -> Media:
    """The medium, if a file may take its file's place; raises Problem. What is deleted is restored first."""
    if locked is None or locked.deletion_id is not None or locked.media.deleted_at is not None:
        raise Problem(404, "not_found", "There is no medium with this id.")
    if locked.media.status == "processing":
        raise Conflict("medium_processing", "The upload is still being processed: replace its file when it is done.")
    return locked.media
