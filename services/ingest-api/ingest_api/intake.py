"""What single and bulk uploads share: turns, patience, refusals that clients get to read, what is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

from litestar.types import Receive

from ingest_api.admission import Admission
from ingest_api.catalogue import Upload
from ingest_api.errors import storage_refusals
from ingest_api.multipart_upload import ENVELOPE_BYTES
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.request_body import Patience, RequestBody, body_too_large
from ingest_api.settings import IngestSettings
from ingest_api.settings_document import NEEDS_BUCKET
from ingest_api.upload_fields import UploadFields
from shared.events import (
    EntityTypeSettings,
    Event,
    MediaSettings,
    MediaUploadedV1,
    ProcessImageV1,
    StorageStrategy,
)
from shared.identifiers import new_id
from shared.picture_types import PictureType
from shared.settings_feed import SettingsFeed
from shared.storage.staging import StagedFile

T = TypeVar("T")

REFUSED_READ_ON_SECONDS: Final = 3.0


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


class Intake:
    """Gives every upload its turn and sees its body through."""

    def __init__(self, settings: IngestSettings, feed: SettingsFeed) -> None:
        self.feed = feed
        self._private_entity_types = settings.private_entity_types
        self._patience = Patience(settings.upload_idle_seconds, settings.upload_slowest_bytes_per_second)
        self._admission = Admission(
            in_flight=settings.uploads_in_flight,
            in_flight_bytes=settings.uploads_in_flight_bytes,
            waiting=settings.uploads_waiting,
            turn_seconds=settings.upload_turn_seconds,
        )

    async def take(
        self, call: UploadCall, read: Callable[[RequestBody], Awaitable[T]], *, most_bytes: int, turn_bytes: int
    ) -> T:
        """Have the body read when it is its turn; `turn_bytes` is how much of it counts as in flight at once.

        Raises what `read` does, a Problem for what is refused, ClientDisconnected, and InfrastructureUnavailable.
        """
        body = RequestBody(call.receive, self._patience, most_bytes)
        try:
            if call.content_length is not None and call.content_length > most_bytes:
                raise body_too_large(most_bytes)
            async with self._admission.enter(turn_bytes):
                with storage_refusals():
                    return await read(body)
        except Problem as problem:
            if problem.code != "too_many_uploads":
                await self._let_client_finish(body, call, problem, most_bytes)
            raise

    def strategy(self, fields: UploadFields) -> StorageStrategy:
        """Raises InvalidFields where the bucket is wanted and S3 is switched off."""
        settings = self.feed.current()
        strategy = strategy_of(fields, self.feed.entity_type(fields.entity_type), settings)
        if strategy in NEEDS_BUCKET and not settings.s3_enabled:
            detail = f"{strategy} needs S3, which is switched off in the settings: use local_only or local_first"
            raise InvalidFields(FieldError("storageStrategy", detail))
        return strategy

    def upload(
        self,
        job_id: UUID,
        uploader: UUID,
        filename: str,
        picture_type: PictureType,
        fields: UploadFields,
        strategy: StorageStrategy,
        staged: StagedFile,
    ) -> Upload:
        return Upload(
            media_id=new_id(),
            job_id=job_id,
            uploader=uploader,
            filename=filename,
            mime_type=picture_type.value,
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

    async def _let_client_finish(self, body: RequestBody, call: UploadCall, problem: Problem, most_bytes: int) -> None:
        """See to it that a client in the middle of sending gets to read its answer.

        Where the rest is known to be small the server skips it after the answer. Otherwise a part is skipped before,
        and the connection is closed if that did not reach the end.
        """
        if body.ending != "open":
            return
        # A client that asked first may now skip its body; what it sends next would be read as that body.
        nothing_is_sent = call.asks_first and not body.received_bytes
        rest_is_small = call.content_length is not None and call.content_length <= most_bytes
        if rest_is_small and not nothing_is_sent:
            return
        skipped_bytes = most_bytes - ENVELOPE_BYTES
        if nothing_is_sent or not await body.skip_rest(skipped_bytes, REFUSED_READ_ON_SECONDS):
            problem.headers["Connection"] = "close"


def strategy_of(
    fields: UploadFields, entity_type: EntityTypeSettings | None, settings: MediaSettings
) -> StorageStrategy:
    """What the upload says, else its entity type, else the default."""
    of_type = entity_type.strategy if entity_type else None
    return fields.storage_strategy or of_type or settings.default_storage_strategy


def events_of(upload: Upload) -> tuple[Event, ...]:
    """What the world is told of an upload, in this order."""
    return _uploaded(upload), _command(upload)


def _command(upload: Upload) -> ProcessImageV1:
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
