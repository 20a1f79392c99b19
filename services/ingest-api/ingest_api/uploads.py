"""An upload from its first byte to its committed job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ingest_api.bulk_uploads import BulkUploads
from ingest_api.catalogue import Upload
from ingest_api.entity_labels import EntityLabels
from ingest_api.idempotency import FirstUse, check_key, require_same
from ingest_api.intake import Intake, UploadCall, events_of
from ingest_api.multipart_upload import ENVELOPE_BYTES, boundary_of, read_form
from ingest_api.replacements import Replacements
from ingest_api.repositories.uploads import CommitInDoubt, UploadRepository
from ingest_api.request_body import RequestBody
from ingest_api.settings import IngestSettings
from ingest_api.staging_sweep import StagingSweep
from ingest_api.upload_fields import read_fields
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.outbox.outgoing import OutgoingMessage
from shared.outbox.relay import Relay
from shared.settings_feed import SettingsFeed
from shared.storage.staging import Staging
from shared.telemetry import metrics

QUEUE_TYPE: Final = "processing"


@dataclass(frozen=True, slots=True)
class Received:
    """What a caller gets for an upload; `is_repeat` when an Idempotency-Key led to an earlier one."""

    job_id: UUID
    media_id: UUID
    is_repeat: bool


class Uploads:
    """Receives uploads: staged, recorded, commanded. Nothing of one remains unless all of it does."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        staging: Staging,
        sweep: StagingSweep,
        settings: IngestSettings,
        feed: SettingsFeed,
        relay: Relay | None = None,
    ) -> None:
        """`relay` is this process's; None where only others have one."""
        self._relay = relay
        self._unit_of_work = unit_of_work
        self._staging = staging
        self._sweep = sweep
        self.intake = Intake(settings, feed)
        """Gives turns to all that come with a body of files."""
        self.bulk = BulkUploads(unit_of_work, staging, sweep, settings, self.intake)
        """Takes its turns with the single ones."""
        self.replacements = Replacements(unit_of_work, staging, sweep, self.intake)
        self._labels = EntityLabels()

    async def receive(self, call: UploadCall) -> Received:
        """Take one upload in.

        Raises a Problem for what is refused, ClientDisconnected, and InfrastructureUnavailable; no file is left then.
        """
        check_key(call.idempotency_key)
        boundary = boundary_of(call.content_type)
        limit_bytes = self.intake.feed.current().upload_limit_bytes
        most_bytes = limit_bytes + ENVELOPE_BYTES
        return await self.intake.take(
            call,
            lambda body: self._take(body, boundary, call, limit_bytes),
            most_bytes=most_bytes,
            turn_bytes=call.content_length or most_bytes,
        )

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
            strategy = self.intake.strategy(fields)
            assert form.filename is not None
            assert form.picture_type is not None
            staged = await writer.commit()
            upload = self.intake.upload(
                job_id, call.uploader, form.filename, form.picture_type, fields, strategy, staged
            )
            try:
                await self._record(upload, call.idempotency_key)
            except CommitInDoubt as error:
                # Kept out of the block's sight: the job may be committed, and then needs its file.
                doubt = error
        if doubt is not None:
            self._sweep.doubt(upload.staging_key)
            raise doubt
        return upload

    async def _record(self, upload: Upload, idempotency_key: str | None) -> None:
        outgoing = [OutgoingMessage.of(event, self._unit_of_work.source) for event in events_of(upload)]
        async with self._unit_of_work.database.connection() as connection:
            uploads = UploadRepository(connection, self._unit_of_work.schema)
            # The one that leads is woken here. Should it lose the lead just now, the next one finds the row by itself.
            leading = self._relay if self._relay is not None and self._relay.leads else None
            if await uploads.record(upload, outgoing, idempotency_key, notify=leading is None):
                if leading is not None:
                    leading.wake()
                return
            assert idempotency_key is not None
            first = await uploads.first_use(upload.uploader, idempotency_key)
        if first is None:
            raise InfrastructureUnavailable("postgresql", "the Idempotency-Key expired in this very moment")
        require_same(first, upload.sha256)
        raise _KeyUsedBefore(first)


class _KeyUsedBefore(Exception):
    """The same bytes were uploaded under this Idempotency-Key before."""

    def __init__(self, first: FirstUse) -> None:
        super().__init__(first)
        self.first = first
