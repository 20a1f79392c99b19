"""Direct uploads: announced here, sent to the bucket by their sender, taken into staging as any upload is."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ingest_api.announcement import (
    UPLOADS_PREFIX,
    Announcement,
    DirectUpload,
    Refused,
    check_sha256,
    check_size,
    size_differs,
    type_of,
    upload_id_of,
)
from ingest_api.catalogue import ChangedJob
from ingest_api.entity_labels import EntityLabels
from ingest_api.idempotency import KeyClaim, check_key, require_same
from ingest_api.intake import Intake, events_of
from ingest_api.problem_details import Conflict, Problem, retry_after
from ingest_api.repositories.direct_uploads import DirectUploadRepository
from ingest_api.repositories.notices import NoticeRepository
from ingest_api.repositories.uploads import UploadRepository
from ingest_api.settings import IngestSettings
from ingest_api.staging_sweep import StagingSweep
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import UnitOfWork
from shared.events import BucketObjectV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, InfrastructureUnavailable, Postponed
from shared.outbox.outgoing import OutgoingMessage
from shared.picture_types import SNIFF_BYTES, PictureType
from shared.storage.errors import LimitExceeded, ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.s3 import S3Store
from shared.storage.staging import StagedFile, Staging, StagingWriter
from shared.telemetry import metrics
from shared.telemetry.tracing import span

log = logging.getLogger(__name__)

QUEUE_TYPE: Final = "processing"


@dataclass(frozen=True, slots=True)
class Announced:
    """Where and how the sender puts the file; the store takes exactly these headers.

    Without a `url` no file is awaited any more: it has come, or its time is over.
    """

    upload: DirectUpload
    url: str | None
    headers: dict[str, str]


class DirectUploads:
    """Every step is safe to repeat: an upload leaves `waiting` once, in the transaction that makes its job."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        staging: Staging,
        bucket: S3Store | None,
        sweep: StagingSweep,
        intake: Intake,
        settings: IngestSettings,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._staging = staging
        self._bucket = bucket
        self._sweep = sweep
        self._intake = intake
        self._settings = settings
        self._labels = EntityLabels()

    @property
    def limit_bytes(self) -> int:
        """Of one file, as of any upload."""
        return self._intake.feed.current().upload_limit_bytes

    async def announce(self, announcement: Announcement, uploader: UUID, idempotency_key: str | None) -> Announced:
        """Have a file awaited; with a key that was used before, the same file as then.

        Raises Problem 409 where there is no bucket to send to, or the key stands for other content, and 429 while too
        many files still have to come.
        """
        check_key(idempotency_key)
        claim = None if idempotency_key is None else KeyClaim(idempotency_key, announcement.content_sha256())
        bucket = self._bucket
        if bucket is None or not self._intake.feed.current().s3_enabled:
            detail = "Files are sent to the bucket, and S3 is switched off: send this one to POST /api/admin/media."
            raise Conflict("s3_off", detail)
        now = datetime.now(UTC)
        seconds = self._settings.direct_upload_seconds
        fields = announcement.fields
        upload = DirectUpload(
            id=new_id(),
            media_id=new_id(),
            uploader=uploader,
            filename=announcement.filename,
            mime_type=announcement.picture_type.value,
            size_bytes=announcement.size_bytes,
            sha256=announcement.sha256,
            entity_type=fields.entity_type,
            entity_id=fields.entity_id,
            alt=fields.alt,
            title=fields.title,
            storage_strategy=self._intake.strategy(fields),
            status="waiting",
            error_code=None,
            error_detail=None,
            traceparent=None,
            created_at=now,
            expires_at=now + timedelta(seconds=seconds),
            finished_at=None,
        )
        async with self._unit_of_work.database.connection() as connection:
            if await DirectUploadRepository(connection).add(upload, self._settings.direct_uploads_waiting, claim):
                metrics.direct_uploads_total.labels("announced").inc()
            else:
                upload = await self._announced_before(connection, uploader, claim)
        return _announced(upload, bucket)

    async def _announced_before(
        self, connection: PooledConnection[Any], uploader: UUID, claim: KeyClaim | None
    ) -> DirectUpload:
        """What the key stands for. Raises a Problem where it is other content, or the key is not what is in the way."""
        if claim is not None:
            first = await UploadRepository(connection, self._unit_of_work.schema).first_use(uploader, claim.key)
            if first is not None:
                require_same(first, claim.sha256)
                upload = await DirectUploadRepository(connection).get(first.job_id)
                if upload is None:
                    detail = "What this Idempotency-Key stands for is long over: use a new key for each new upload."
                    raise Problem(409, "idempotency_conflict", detail)
                return upload
        detail = "Too many announced files have not been sent yet. Send those, or wait until they expire."
        raise Problem(429, "too_many_uploads", detail, retry_after(60))

    async def hear_of(self, event: BucketObjectV1, delivery: Delivery) -> None:
        """Something was put under `uploads/`.

        Raises Postponed while the bucket is away, InfrastructureUnavailable while staging or PostgreSQL is,
        StoreRefused when the bucket says no, AlreadyHandled.
        """
        if await self._unit_of_work.is_handled(delivery):
            raise AlreadyHandled
        upload_id = upload_id_of(event.object_key)
        upload = None if upload_id is None else await self._find(upload_id)
        if upload is None:
            await self._report_unknown(event, delivery)
            return
        with _bucket_may_be_away():
            await self.take(upload, delivery)

    async def take(self, upload: DirectUpload, delivery: Delivery | None) -> bool:
        """Make a job of the object if it is there and what was announced, and take it out of the bucket.

        False when there is no object: the hint came late, or the file has yet to come. Raises StoreUnavailable,
        StoreRefused, InfrastructureUnavailable, AlreadyHandled.
        """
        if upload.status == "waiting":
            info = None if self._bucket is None else await self._bucket.stat(upload.key)
            if self._bucket is None or info is None:
                return False
            with span("receive", parent_headers={"traceparent": upload.traceparent} if upload.traceparent else None):
                try:
                    check_size(upload, info.size_bytes)
                    await self._receive(self._bucket, upload, delivery)
                except Refused as refused:
                    await self.refuse(upload, refused, delivery)
                except ObjectNotFound:
                    return False
                except _TakenMeanwhile:
                    return True
        await self.remove_object(upload)
        return True

    async def refuse(self, upload: DirectUpload, refused: Refused, delivery: Delivery | None = None) -> None:
        """The job has failed, and its uploader is told why."""
        async with self._unit_of_work.begin(delivery) as tx:
            uploads = DirectUploadRepository(tx.connection)
            if not await uploads.finish(upload.id, "failed", refused.code, refused.detail):
                return
            error = {"code": refused.code, "detail": refused.detail}
            changed = ChangedJob(upload.id, upload.media_id, upload.uploader)
            await NoticeRepository(tx.connection).add("media:processed", changed, {"success": False, "error": error})
        metrics.direct_uploads_total.labels("refused").inc()
        log.info("a direct upload was refused", extra={"job_id": str(upload.id), "code": refused.code})

    async def remove_object(self, upload: DirectUpload) -> None:
        """Take a finished upload's object out of the bucket; what fails is tried again by the sweep.

        The address stays valid for a while, so an object that is sent once more is removed likewise.
        """
        if self._bucket is None:
            return
        try:
            await self._bucket.delete(upload.key)
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("an upload stays in the bucket for now", extra={"key": upload.key, "detail": str(error)})
            return
        async with self._unit_of_work.database.connection() as connection:
            await DirectUploadRepository(connection).object_removed(upload.id)

    async def _find(self, upload_id: UUID) -> DirectUpload | None:
        async with self._unit_of_work.database.connection() as connection:
            return await DirectUploadRepository(connection).get(upload_id)

    async def _report_unknown(self, event: BucketObjectV1, delivery: Delivery) -> None:
        """Nobody announced it: it is left to the reconciler, which plans before it removes anything."""
        async with self._unit_of_work.begin(delivery):
            pass
        metrics.bucket_objects_unknown_total.labels(UPLOADS_PREFIX).inc()
        log.warning("nobody announced this upload", extra={"bucket": event.bucket, "key": event.object_key})

    async def _receive(self, bucket: S3Store, upload: DirectUpload, delivery: Delivery | None) -> None:
        """Stage, check and record.

        Under a key of this attempt alone: of two that receive the same object at once, the loser removes its own file.
        """
        doubt: InfrastructureUnavailable | None = None
        async with self._staging.receive(new_id(), limit_bytes=upload.size_bytes) as writer:
            try:
                picture_type = await _copy(bucket, upload.key, writer)
            except LimitExceeded as error:
                raise size_differs(upload, f"more than {upload.size_bytes}") from error
            staged = await writer.commit()
            check_size(upload, staged.size_bytes)
            check_sha256(upload, staged.sha256)
            try:
                await self._record(upload, picture_type, staged, delivery)
            except InfrastructureUnavailable as error:
                # Kept out of the block's sight: the job may be committed, and then needs its file.
                doubt = error
        if doubt is not None:
            self._sweep.doubt(staged.key)
            raise doubt
        metrics.media_jobs_added_total.labels(self._labels.label(upload.entity_type), QUEUE_TYPE).inc()
        metrics.direct_uploads_total.labels("received").inc()

    async def _record(
        self, upload: DirectUpload, picture_type: PictureType, staged: StagedFile, delivery: Delivery | None
    ) -> None:
        """Medium, job, command and the end of the wait in one transaction. Raises _TakenMeanwhile, AlreadyHandled."""
        made = self._intake.upload(
            upload.id, upload.uploader, upload.filename, picture_type, upload.fields, upload.storage_strategy, staged
        )
        made = replace(made, media_id=upload.media_id)
        work = self._unit_of_work
        outgoing = [OutgoingMessage.of(event, work.source) for event in events_of(made)]
        async with work.begin(delivery) as tx:
            if not await DirectUploadRepository(tx.connection).finish(upload.id, "received"):
                raise _TakenMeanwhile
            await UploadRepository(tx.connection, work.schema).record(made, outgoing, None)


def _announced(upload: DirectUpload, bucket: S3Store) -> Announced:
    seconds_left = math.ceil(upload.seconds_left(datetime.now(UTC)))
    url = None
    if seconds_left:
        url = bucket.presigned_put(
            upload.key, content_type=upload.mime_type, size_bytes=upload.size_bytes, expires_in_seconds=seconds_left
        )
    return Announced(upload, url, {"Content-Type": upload.mime_type, "Content-Length": str(upload.size_bytes)})


class _TakenMeanwhile(Exception):
    """Somebody else has received, refused or given up the upload since it was read."""


async def _copy(bucket: S3Store, key: str, writer: StagingWriter) -> PictureType:
    """Stream the object into staging; raises Refused for bytes that no accepted picture begins with."""
    picture_type = None
    head = b""
    async with bucket.open(key) as opened:
        async for chunk in opened.chunks:
            if picture_type is None:
                head += chunk
                if len(head) < SNIFF_BYTES:
                    continue
                picture_type, chunk = type_of(head), head
            await writer.write(chunk)
    if picture_type is None:
        picture_type = type_of(head)
        await writer.write(head)
    return picture_type


@contextmanager
def _bucket_may_be_away() -> Iterator[None]:
    """Only what lies in the bucket waits for it: the other messages of the topic and of the retries go on."""
    try:
        yield
    except StoreUnavailable as error:
        if error.dependency != "s3":
            raise
        raise Postponed("bucket_away", error.detail) from error
