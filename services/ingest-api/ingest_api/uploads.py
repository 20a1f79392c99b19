"""An upload from its first byte to its committed job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from litestar.types import Receive

from ingest_api.admission import Admission
from ingest_api.catalogue import Upload
from ingest_api.entity_labels import EntityLabels
from ingest_api.errors import storage_refusals
from ingest_api.multipart_upload import ENVELOPE_BYTES, ReceivedForm, boundary_of, read_form
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.repositories.uploads import CommitInDoubt, FirstUse, UploadRepository
from ingest_api.request_body import Patience, RequestBody, body_too_large
from ingest_api.settings import IngestSettings
from ingest_api.settings_document import NEEDS_BUCKET
from ingest_api.staging_sweep import StagingSweep
from ingest_api.upload_fields import UploadFields, read_fields
from shared.db.unit_of_work import UnitOfWork
from shared.events import EntityTypeSettings, MediaSettings, MediaUploadedV1, ProcessImageV1, StorageStrategy
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.outbox.outgoing import OutgoingMessage
from shared.settings_feed import SettingsFeed
from shared.storage.staging import StagedFile, Staging
from shared.telemetry import metrics

IDEMPOTENCY_KEY_MAX_CHARACTERS: Final = 255
QUEUE_TYPE: Final = "processing"
REFUSED_READ_ON_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Received:
    """What a caller gets for an upload; `is_repeat` when an Idempotency-Key led to an earlier one."""

    job_id: UUID
    media_id: UUID
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class UploadCall:
    """What of a request matters here. `content_length` is what the client claims, None for a chunked body."""

    receive: Receive
    content_type: str | None
    content_length: int | None
    idempotency_key: str | None
    uploader: UUID
    asks_first: bool = False
    """The client sent `Expect: 100-continue` and holds its body back until it is told to go on."""


class Uploads:
    """Receives uploads: staged, recorded, commanded. Nothing of one remains unless all of it does."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        staging: Staging,
        sweep: StagingSweep,
        settings: IngestSettings,
        feed: SettingsFeed,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._feed = feed
        self._staging = staging
        self._sweep = sweep
        self._private_entity_types = settings.private_entity_types
        self._patience = Patience(settings.upload_idle_seconds, settings.upload_slowest_bytes_per_second)
        self._labels = EntityLabels()
        self._admission = Admission(
            in_flight=settings.uploads_in_flight,
            in_flight_bytes=settings.uploads_in_flight_bytes,
            waiting=settings.uploads_waiting,
            turn_seconds=settings.upload_turn_seconds,
        )

    async def receive(self, call: UploadCall) -> Received:
        """Take one upload in.

        Raises a Problem for what is refused, ClientDisconnected, and InfrastructureUnavailable; no file is left then.
        """
        _check_idempotency_key(call.idempotency_key)
        boundary = boundary_of(call.content_type)
        limit_bytes = self._feed.current().upload_limit_bytes
        most_bytes = limit_bytes + ENVELOPE_BYTES
        body = RequestBody(call.receive, self._patience, most_bytes)
        try:
            if call.content_length is not None and call.content_length > most_bytes:
                raise body_too_large(most_bytes)
            async with self._admission.enter(call.content_length or most_bytes):
                with storage_refusals():
                    return await self._take(body, boundary, call, limit_bytes)
        except Problem as problem:
            if problem.code != "too_many_uploads":
                await self._let_client_finish(body, call, problem, limit_bytes)
            raise

    async def pending(self, most: int) -> int:
        """How many uploads have no outcome yet, counted up to `most`."""
        async with self._unit_of_work.database.connection() as connection:
            return await UploadRepository(connection, self._unit_of_work.schema).pending(most)

    async def _take(self, body: RequestBody, boundary: str, call: UploadCall, limit_bytes: int) -> Received:
        try:
            upload = await self._stage_and_record(body, boundary, call, limit_bytes)
        except _KeyUsedBefore as used:
            # Its staged file is gone: the exception went through the block of the writer.
            return Received(used.first.job_id, used.first.media_id, is_repeat=True)
        metrics.media_jobs_added_total.labels(self._labels.label(upload.entity_type), QUEUE_TYPE).inc()
        return Received(upload.job_id, upload.media_id, is_repeat=False)

    async def _stage_and_record(self, body: RequestBody, boundary: str, call: UploadCall, limit_bytes: int) -> Upload:
        doubt: CommitInDoubt | None = None
        job_id = new_id()
        async with self._staging.receive(job_id, limit_bytes=limit_bytes) as writer:
            form = await read_form(body.next_chunk, boundary, writer)
            fields = read_fields(form)
            strategy = self._strategy(fields)
            upload = self._upload(job_id, call.uploader, form, fields, strategy, await writer.commit())
            try:
                await self._record(upload, call.idempotency_key)
            except CommitInDoubt as error:
                # Kept out of the block's sight: the job may be committed, and then needs its file.
                doubt = error
        if doubt is not None:
            self._sweep.doubt(upload.staging_key)
            raise doubt
        return upload

    def _strategy(self, fields: UploadFields) -> StorageStrategy:
        """Raises InvalidFields where the bucket is wanted and S3 is switched off."""
        settings = self._feed.current()
        strategy = strategy_of(fields, self._feed.entity_type(fields.entity_type), settings)
        if strategy in NEEDS_BUCKET and not settings.s3_enabled:
            detail = f"{strategy} needs S3, which is switched off in the settings: use local_only or local_first"
            raise InvalidFields(FieldError("storageStrategy", detail))
        return strategy

    def _upload(
        self,
        job_id: UUID,
        uploader: UUID,
        form: ReceivedForm,
        fields: UploadFields,
        strategy: StorageStrategy,
        staged: StagedFile,
    ) -> Upload:
        assert form.filename is not None
        assert form.picture_type is not None
        return Upload(
            media_id=new_id(),
            job_id=job_id,
            uploader=uploader,
            filename=form.filename,
            mime_type=form.picture_type.value,
            size_bytes=staged.size_bytes,
            sha256=staged.sha256,
            entity_type=fields.entity_type,
            entity_id=fields.entity_id,
            alt=fields.alt,
            title=fields.title,
            private=fields.entity_type in self._private_entity_types,
            storage_strategy=strategy,
            staging_key=staged.key,
            received_at=datetime.now(UTC),
        )

    async def _record(self, upload: Upload, idempotency_key: str | None) -> None:
        events = (_uploaded(upload), process_command(upload))
        outgoing = [OutgoingMessage.of(event, self._unit_of_work.source) for event in events]
        async with self._unit_of_work.database.connection() as connection:
            uploads = UploadRepository(connection, self._unit_of_work.schema)
            if await uploads.record(upload, outgoing, idempotency_key):
                return
            assert idempotency_key is not None
            first = await uploads.first_use(upload.uploader, idempotency_key)
        if first is None:
            raise InfrastructureUnavailable("postgresql", "the Idempotency-Key expired in this very moment")
        if first.sha256 != upload.sha256:
            detail = "This Idempotency-Key stands for a file with other bytes: use a new key for each new upload."
            raise Problem(409, "idempotency_conflict", detail)
        raise _KeyUsedBefore(first)

    async def _let_client_finish(self, body: RequestBody, call: UploadCall, problem: Problem, limit_bytes: int) -> None:
        """See to it that a client in the middle of sending gets to read its answer.

        Where the rest is known to be small the server skips it after the answer. Otherwise a part is skipped before,
        and the connection is closed if that did not reach the end.
        """
        allowed_bytes = limit_bytes + ENVELOPE_BYTES
        if body.ending != "open" or (call.content_length is not None and call.content_length <= allowed_bytes):
            return
        nothing_is_sent = call.asks_first and not body.received_bytes
        if nothing_is_sent or not await body.skip_rest(limit_bytes, REFUSED_READ_ON_SECONDS):
            problem.headers["Connection"] = "close"


class _KeyUsedBefore(Exception):
    """The same bytes were uploaded under this Idempotency-Key before."""

    def __init__(self, first: FirstUse) -> None:
        super().__init__(first)
        self.first = first


def strategy_of(
    fields: UploadFields, entity_type: EntityTypeSettings | None, settings: MediaSettings
) -> StorageStrategy:
    """What the upload says, else its entity type, else the default."""
    of_type = entity_type.strategy if entity_type else None
    return fields.storage_strategy or of_type or settings.default_storage_strategy


def process_command(upload: Upload) -> ProcessImageV1:
    return ProcessImageV1(
        job_id=upload.job_id,
        media_id=upload.media_id,
        revision=upload.revision,
        staging_key=upload.staging_key,
        filename=upload.filename,
        mime_type=upload.mime_type,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        entity_type=upload.entity_type,
        entity_id=upload.entity_id,
        storage_strategy=upload.storage_strategy,
        requested_at=upload.received_at,
    )


def _uploaded(upload: Upload) -> MediaUploadedV1:
    return MediaUploadedV1(
        media_id=upload.media_id,
        job_id=upload.job_id,
        revision=upload.revision,
        filename=upload.filename,
        mime_type=upload.mime_type,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        entity_type=upload.entity_type,
        entity_id=upload.entity_id,
        storage_strategy=upload.storage_strategy,
        uploaded_by=upload.uploader,
        uploaded_at=upload.received_at,
    )


def _check_idempotency_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_MAX_CHARACTERS and key.isprintable()):
        detail = f"must have 1 to {IDEMPOTENCY_KEY_MAX_CHARACTERS} printable characters"
        raise InvalidFields(FieldError("Idempotency-Key", detail))
