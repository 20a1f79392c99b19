"""Photos that are uploaded to events: received as any upload is, put into the event's folder, told to face-embedder."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from ingest_api.accounts import Principal
from ingest_api.idempotency import KeyClaim, check_key, require_same
from ingest_api.intake import Intake, UploadCall
from ingest_api.multipart_upload import ENVELOPE_BYTES, ReceivedForm, boundary_of, missing_fields, read_form
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_events import usable
from ingest_api.photo_upload import PhotoName, PhotoUpload, names, stem_of
from ingest_api.problem_details import RETRY_AFTER_SECONDS, Conflict, FieldError, InvalidFields, Problem, retry_after
from ingest_api.repositories.event_photos import EventPhoto, EventPhotoRepository
from ingest_api.repositories.photo_events import PhotoEventRepository
from ingest_api.repositories.photo_uploads import KnownPhotos, PhotoUploadRepository
from ingest_api.repositories.uploads import UploadRepository
from ingest_api.request_body import RequestBody
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.picture_types import PictureType
from shared.storage.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.object_store import digest
from shared.storage.s3 import S3Store
from shared.storage.staging import StagedFile, Staging
from shared.telemetry import metrics

log = logging.getLogger(__name__)

SHA256_FIELD: Final = "sha256"
SHA256_PATTERN: Final = "^[0-9a-fA-F]{64}$"
_SHA256: Final = re.compile(SHA256_PATTERN)

UNFINISHED_SECONDS: Final = 3600.0
"""Longer than any file takes on its way from staging into the bucket."""
OVERDUE_SECONDS: Final = 3600.0
"""Longer than many thousands of photos wait for each other."""
AGAIN_SECONDS: Final = 120.0
LOOK_EVERY_SECONDS: Final = 30.0
SETTLED_AT_ONCE: Final = 10
SETTLE_SECONDS: Final = 10.0
"""Whoever is at some uploads has ended before they come up again, and keeps no others from being looked at."""
BATCHES: Final = 10


@dataclass(frozen=True, slots=True)
class ReceivedPhoto:
    """What a caller gets for a photo; `is_repeat` when the event had its content before."""

    upload: PhotoUpload
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class KnownUpload:
    """An upload to an event, and its photo; None while nobody has looked at it."""

    event: PhotoEvent
    upload: PhotoUpload
    photo: EventPhoto | None

    def is_overdue(self, now: datetime) -> bool:
        """Whether it has been no photo for so long that it should be sent again, by which it is looked at once more."""
        return self.photo is None and (now - self.upload.created_at).total_seconds() >= OVERDUE_SECONDS


@dataclass(frozen=True, slots=True)
class _Sent:
    """A file that has arrived, and whose it is."""

    filename: str
    picture_type: PictureType
    staged: StagedFile
    by: Principal


class PhotoUploads:
    """A photo is answered for once its original lies in the bucket and the command about it is committed.

    Of its name no other upload makes use: names are given by rows, and one that anything in the bucket has, original or
    preview, is not given. A call that fails anywhere is safe to repeat: the content leads to what came of it.
    """

    def __init__(self, unit_of_work: UnitOfWork, staging: Staging, bucket: S3Store | None, intake: Intake) -> None:
        self._unit_of_work = unit_of_work
        self._staging = staging
        self._bucket = bucket
        self._intake = intake

    @property
    def limit_bytes(self) -> int:
        """Of one file, as of any upload."""
        return self._intake.feed.current().upload_limit_bytes

    async def receive(self, event_id: UUID, call: UploadCall, by: Principal) -> ReceivedPhoto:
        """Take one photo in.

        Raises Problem 404 without such an event, 409 where its faces may not be kept any more, S3 is switched off or
        the Idempotency-Key stands for other content, and what uploads raise.
        """
        check_key(call.idempotency_key)
        boundary = boundary_of(call.content_type)
        bucket = self._open_bucket()
        async with self._unit_of_work.database.connection() as connection:
            taking(await PhotoEventRepository(connection).get(event_id), by)
        most_bytes = self.limit_bytes + ENVELOPE_BYTES
        received = await self._intake.take(
            call,
            lambda body: self._take(bucket, event_id, body, boundary, call, by),
            most_bytes=most_bytes,
            turn_bytes=call.content_length or most_bytes,
        )
        metrics.photo_uploads_total.labels("duplicate" if received.is_repeat else "stored").inc()
        return received

    async def known(self, event_id: UUID, sha256: str, by: Principal) -> KnownUpload:
        """The upload that brought an event this content; `sha256` matches SHA256_PATTERN.

        Raises Problem 404 where none did, or its photo is gone, and 503 where the bucket refuses to tell.
        """
        bucket = self._open_bucket()
        async with self._unit_of_work.database.connection() as connection:
            event = usable(await PhotoEventRepository(connection).get(event_id), by)
            upload = await PhotoUploadRepository(connection).of_content(event_id, sha256.lower())
        try:
            is_known = upload is not None and upload.status == "stored" and await self._is_there(bucket, event, upload)
        except StoreRefused as error:
            detail = "The bucket refuses to tell whether it has the file. Tell the operator, then ask again."
            raise Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS)) from error
        if upload is None or not is_known:
            raise Problem(404, "not_found", "Nobody has uploaded a file with this SHA-256 to the event.")
        async with self._unit_of_work.database.connection() as connection:
            photo_id = await _photo_id(connection, event, upload)
            photos = await EventPhotoRepository(connection).by_ids(event_id, [photo_id] if photo_id else [])
        return KnownUpload(event, upload, photos[0] if photos else None)

    async def run(self) -> None:
        """Finish or take back what broke off; returns only by cancellation."""
        while True:
            try:
                await self.sweep_once()
            except InfrastructureUnavailable as error:
                log.warning("could not look for photos that broke off", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def sweep_once(self) -> None:
        if self._bucket is None:
            return
        for _ in range(BATCHES):
            async with self._unit_of_work.database.connection() as connection:
                due = await PhotoUploadRepository(connection).claim_unfinished(AGAIN_SECONDS, SETTLED_AT_ONCE)
            for upload in due:
                if not await self._settled(self._bucket, upload):
                    return
            if len(due) < SETTLED_AT_ONCE:
                return

    async def _settled(self, bucket: S3Store, upload: PhotoUpload) -> bool:
        """False while the bucket is away: the others would wait for it as long."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settle(bucket, upload)
        except (StoreUnavailable, StoreRefused, TimeoutError) as error:
            facts = {"key": upload.image_key, "detail": repr(error)}
            log.warning("a photo that broke off can't be looked at", extra=facts)
            return isinstance(error, StoreRefused)
        return True

    def _open_bucket(self) -> S3Store:
        if self._bucket is None or not self._intake.feed.current().s3_enabled:
            raise Conflict("s3_off", "Photos are kept in the bucket, and S3 is switched off in the settings.")
        return self._bucket

    async def _take(
        self, bucket: S3Store, event_id: UUID, body: RequestBody, boundary: str, call: UploadCall, by: Principal
    ) -> ReceivedPhoto:
        async with self._staging.receive(new_id(), limit_bytes=self.limit_bytes) as writer:
            form = await read_form(body.next_chunk, boundary, writer)
            wanted_sha256 = _sha256_of(form)
            assert form.filename is not None
            assert form.picture_type is not None
            staged = await writer.commit()
            if wanted_sha256 not in (None, staged.sha256):
                raise InvalidFields(FieldError(SHA256_FIELD, f"is not that of the file, which has {staged.sha256}"))
            sent = _Sent(form.filename, form.picture_type, staged, by)
            await self._claim_key(call.idempotency_key, event_id, sent)
            received = await self._keep(bucket, event_id, sent)
        await self._clear(staged.key)
        return received

    async def _claim_key(self, key: str | None, event_id: UUID, sent: _Sent) -> None:
        """Raises Problem 409 where the key stands for other content, or for another event."""
        if key is None:
            return
        said = hashlib.sha256(f"{event_id} {sent.staged.sha256}".encode()).hexdigest()
        async with self._unit_of_work.database.connection() as connection:
            if await PhotoUploadRepository(connection).claim_key(sent.by.user_id, KeyClaim(key, said), new_id()):
                return
            first = await UploadRepository(connection, self._unit_of_work.schema).first_use(sent.by.user_id, key)
        if first is not None:
            require_same(first, said)

    async def _keep(self, bucket: S3Store, event_id: UUID, sent: _Sent) -> ReceivedPhoto:
        upload = await self._placed(bucket, event_id, sent)
        if upload.status == "stored":
            return ReceivedPhoto(upload, is_repeat=True)
        async with self._staging.open(sent.staged) as path:
            await bucket.put_file(
                upload.image_key, path, sha256=sent.staged.sha256, content_type=sent.picture_type.value
            )
        return await self._finished(bucket, upload, sent.by)

    async def _placed(self, bucket: S3Store, event_id: UUID, sent: _Sent) -> PhotoUpload:
        """The upload that has this content: a new one under a name that was free, or one that was there."""
        async with self._unit_of_work.database.connection() as connection:
            event = taking(await PhotoEventRepository(connection).get(event_id), sent.by)
        for name in names(sent.filename, sent.picture_type, sent.staged.sha256):
            if (known := await self._of_content(bucket, event, sent)) is not None:
                return known
            occupied = await self._occupied(bucket, event, name, sent.staged)
            if occupied == "by_another":
                continue
            upload = PhotoUpload(
                id=new_id(),
                event_id=event_id,
                image_key=f"{event.originals_prefix}{name}",
                stem=name.stem,
                sha256=sent.staged.sha256,
                mime_type=sent.picture_type.value,
                size_bytes=sent.staged.size_bytes,
                uploader=sent.by.user_id,
                status="stored" if occupied == "by_the_same" else "storing",
                created_at=datetime.now(UTC),
            )
            async with self._unit_of_work.begin() as tx:
                taking(await PhotoEventRepository(tx.connection).held(event_id), sent.by)
                # Whoever deletes a photo of this name from now on deletes this one.
                if (await _known_photos(tx.connection, event, name.stem)).is_hidden:
                    continue
                is_ours = await PhotoUploadRepository(tx.connection).add(upload, UNFINISHED_SECONDS)
                if is_ours and upload.status == "stored":
                    # It came by other ways, and perhaps nobody has looked at it yet.
                    tx.publish(upload.added(event))
            if is_ours:
                return upload
        if (known := await self._of_content(bucket, event, sent)) is not None:
            return known
        detail = "The event has many files of this name already. Give this one another name, and send it again."
        raise Conflict("name_taken", detail)

    async def _of_content(self, bucket: S3Store, event: PhotoEvent, sent: _Sent) -> PhotoUpload | None:
        """The upload with this content, unless its photo is gone: then the content is free again, and its name not."""
        async with self._unit_of_work.database.connection() as connection:
            known = await PhotoUploadRepository(connection).of_content(event.id, sent.staged.sha256)
        if known is None:
            return None
        if await self._is_there(bucket, event, known):
            if known.status == "stored":
                await self._have_looked_at(known, sent.by)
            return known
        async with self._unit_of_work.database.connection() as connection:
            await PhotoUploadRepository(connection).forget_content(known.id)
        return None

    async def _have_looked_at(self, upload: PhotoUpload, by: Principal) -> None:
        """Have a photo made of an original that is none: its preview was lost, or it was told while its event was over.

        Where that is under way already, the command changes nothing.
        """
        async with self._unit_of_work.begin() as tx:
            event = taking(await PhotoEventRepository(tx.connection).held(upload.event_id), by)
            if await _photo_id(tx.connection, event, upload) is None:
                tx.publish(upload.added(event))

    async def _is_there(self, bucket: S3Store, event: PhotoEvent, upload: PhotoUpload) -> bool:
        """Whether its original lies in the bucket, or may still come there, and nobody has deleted its photo."""
        async with self._unit_of_work.database.connection() as connection:
            if (await _known_photos(connection, event, upload.stem)).is_hidden:
                return False
        found = await bucket.stat(upload.image_key)
        if found is None:
            return upload.status == "storing"
        return found.size_bytes == upload.size_bytes and found.sha256 in (None, upload.sha256)

    async def _occupied(
        self, bucket: S3Store, event: PhotoEvent, name: PhotoName, staged: StagedFile
    ) -> Literal["by_nobody", "by_the_same", "by_another"]:
        """Whether anything has this name, whatever its ending: two originals of one name would share a preview."""
        async with self._unit_of_work.database.connection() as connection:
            photos = await _known_photos(connection, event, name.stem)
        if photos.is_hidden:
            return "by_another"
        originals = await _with_stem(bucket, event.originals_prefix, name.stem)
        if originals == [f"{event.originals_prefix}{name}"] and await _holds(bucket, originals[0], staged):
            return "by_the_same"
        is_free = not originals and not photos.photos and not await _with_stem(bucket, event.previews_prefix, name.stem)
        return "by_nobody" if is_free else "by_another"

    async def _finished(self, bucket: S3Store, upload: PhotoUpload, by: Principal) -> ReceivedPhoto:
        """Record that it is stored, and have it indexed, in one transaction; where the event has gone take it back."""
        try:
            async with self._unit_of_work.begin() as tx:
                event = taking(await PhotoEventRepository(tx.connection).held(upload.event_id), by)
                uploads = PhotoUploadRepository(tx.connection)
                is_first = await uploads.finish(upload.id)
                is_lost = not is_first and not await uploads.is_stored(upload.id)
                if is_first:
                    tx.publish(upload.added(event))
        except Problem:
            await self._take_back(bucket, upload)
            raise
        if is_lost:
            detail = "The file took too long on its way into the bucket, and was given up. Send it again."
            raise Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS))
        return ReceivedPhoto(upload, is_repeat=not is_first)

    async def _settle(self, bucket: S3Store, upload: PhotoUpload) -> None:
        """Nobody is at it any more: what lies in the bucket becomes a photo, what does not frees its name.

        An event that is deleted or over meanwhile keeps nothing of it.
        """
        found = await bucket.stat(upload.image_key)
        async with self._unit_of_work.begin() as tx:
            event = await PhotoEventRepository(tx.connection).held(upload.event_id)
            is_there = found is not None and found.sha256 == upload.sha256
            if event is not None and not event.is_deleted and not event.is_over(datetime.now(UTC)):
                uploads = PhotoUploadRepository(tx.connection)
                if not is_there:
                    await uploads.remove_unfinished(upload.id)
                elif await uploads.finish(upload.id):
                    tx.publish(upload.added(event))
                metrics.photo_uploads_total.labels("settled" if is_there else "given_up").inc()
                return
        await self._take_back(bucket, upload)

    async def _take_back(self, bucket: S3Store, upload: PhotoUpload) -> None:
        """Nobody was told of it, and its event takes no photos: the file goes, then the row that knows of it."""
        async with self._unit_of_work.database.connection() as connection:
            if await PhotoUploadRepository(connection).is_stored(upload.id):
                # By somebody who sent the same file a moment before.
                return
        found = await bucket.stat(upload.image_key)
        if found is not None and found.sha256 == upload.sha256:
            await bucket.delete(upload.image_key)
        async with self._unit_of_work.database.connection() as connection:
            await PhotoUploadRepository(connection).remove_unfinished(upload.id)
        metrics.photo_uploads_total.labels("given_up").inc()

    async def _clear(self, staging_key: str) -> None:
        """What can't be removed now, the sweep of the staging area does."""
        try:
            await self._staging.delete(staging_key)
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("a staged photo stays for now", extra={"key": staging_key, "detail": str(error)})


def taking(event: PhotoEvent | None, by: Principal) -> PhotoEvent:
    """The event, if it takes photos of this principal; raises Problem 404 or 409."""
    found = usable(event, by)
    if found.is_over(datetime.now(UTC)):
        detail = "The time for which faces of this event may be kept is over: nobody would find its photos. Move it."
        raise Conflict("event_over", detail)
    return found


def _sha256_of(form: ReceivedForm) -> str | None:
    """What the file has to have, if that was said. Raises InvalidFields."""
    errors = missing_fields(form, {})
    known = {SHA256_FIELD}
    errors += [FieldError(name, "is no field of this form") for name in sorted(form.texts) if name not in known]
    text = form.texts.get(SHA256_FIELD)
    if text is not None and not _SHA256.fullmatch(text):
        errors.append(FieldError(SHA256_FIELD, "must be 64 hexadecimal digits"))
    if errors:
        raise InvalidFields(*errors)
    return None if text is None else text.lower()


async def _known_photos(connection: PooledConnection[Any], event: PhotoEvent, stem: str) -> KnownPhotos:
    """The photos of the event that have this name, whatever their endings."""
    uploads = PhotoUploadRepository(connection)
    return await uploads.known_photos(event.id, f"{event.previews_prefix}{stem}", f"{event.originals_prefix}{stem}")


async def _photo_id(connection: PooledConnection[Any], event: PhotoEvent, upload: PhotoUpload) -> UUID | None:
    """The photo of an upload; None while there is none."""
    preview = f"{event.previews_prefix}{upload.stem}"
    return await PhotoUploadRepository(connection).photo_id(event.id, preview, upload.image_key)


async def _with_stem(bucket: S3Store, folder: str, stem: str) -> list[str]:
    """The files of a folder that have this name, whatever their endings."""
    return [info.key async for info in bucket.list(f"{folder}{stem}.") if stem_of(info.key) == stem]


async def _holds(bucket: S3Store, key: str, staged: StagedFile) -> bool:
    """Whether the object is the file; it is read only where nothing else tells them apart."""
    found = await bucket.stat(key)
    if found is None or found.size_bytes != staged.size_bytes or found.sha256 not in (None, staged.sha256):
        return False
    try:
        return (await digest(bucket, key)).sha256 == staged.sha256
    except ObjectNotFound:
        return False
