"""Uploads that are announced and then sent to the bucket: what is announced, and what of it is checked."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from ingest_api.catalogue import Job
from ingest_api.multipart_upload import ReceivedForm, display_name
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.upload_fields import UploadFields, read_fields
from shared.events import StorageStrategy
from shared.picture_types import PictureType, sniff

UPLOADS_PREFIX: Final = "uploads/"

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


class AnnouncementBody(BaseModel):
    """What a sender says of the file before it is sent; the texts are those of any upload."""

    filename: str
    size: Annotated[int, Field(description="of the file in bytes")]
    contentType: str
    sha256: str | None = None
    entityType: str
    entityId: str | None = None
    alt: str | None = None
    title: str | None = None
    storageStrategy: str | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A file that may be sent."""

    filename: str
    size_bytes: int
    picture_type: PictureType
    sha256: str | None
    fields: UploadFields

    def content_sha256(self) -> str:
        """Of all that it says: what has to be the same where an Idempotency-Key is used again."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class DirectUpload:
    """An announced upload; `status` says whether its file still has to come, is a job, or will never be one."""

    id: UUID
    media_id: UUID
    uploader: UUID
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None
    entity_type: str
    entity_id: str | None
    alt: str | None
    title: str | None
    storage_strategy: StorageStrategy
    status: Literal["waiting", "received", "failed"]
    error_code: str | None
    error_detail: str | None
    traceparent: str | None
    created_at: datetime
    expires_at: datetime
    finished_at: datetime | None

    def seconds_left(self, now: datetime) -> float:
        """How long its file may still be sent; 0 once that is over, or it has come."""
        return max((self.expires_at - now).total_seconds(), 0.0) if self.status == "waiting" else 0.0

    @property
    def key(self) -> str:
        """Where its sender puts it."""
        return f"{UPLOADS_PREFIX}{self.id}"

    @property
    def fields(self) -> UploadFields:
        return UploadFields(self.entity_type, self.entity_id, self.alt, self.title, self.storage_strategy)

    def as_job(self) -> Job:
        """As callers read it while it is no job yet, or never was one."""
        return Job(
            id=self.id,
            media_id=self.media_id,
            revision=1,
            kind="upload",
            uploader=self.uploader,
            entity_type=self.entity_type,
            status="failed" if self.status == "failed" else "waiting",
            progress=0,
            attempts=0,
            error_code=self.error_code,
            error_detail=self.error_detail,
            outcome=None,
            staging_key=None,
            created_at=self.created_at,
            next_attempt_at=None,
            started_at=None,
            finished_at=self.finished_at,
        )


class Refused(Exception):
    """What was sent is not what may be sent: the job fails with this code and sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def read_announcement(body: AnnouncementBody, limit_bytes: int) -> Announcement:
    """Raises InvalidFields naming every wrong field, Problem 413 for a file too large and 415 for no picture type."""
    texts = {
        "entityType": body.entityType,
        "entityId": body.entityId,
        "alt": body.alt,
        "title": body.title,
        "storageStrategy": body.storageStrategy,
    }
    errors = []
    if body.size < 1:
        errors.append(FieldError("size", "must be at least 1: an empty file is no picture"))
    if body.sha256 is not None and not _SHA256.fullmatch(body.sha256):
        errors.append(FieldError("sha256", "must be 64 hexadecimal digits"))
    if not body.filename.strip():
        errors.append(FieldError("filename", "is empty"))
    filename = display_name(body.filename)
    fields = None
    try:
        given = {name: text for name, text in texts.items() if text is not None}
        fields = read_fields(ReceivedForm(texts=given, filename=filename))
    except InvalidFields as invalid:
        errors += invalid.errors
    if errors or fields is None:
        raise InvalidFields(*errors)
    if body.size > limit_bytes:
        detail = f"A file may have {limit_bytes} bytes at most; this one has {body.size}. Send a smaller one."
        raise Problem(413, "too_large", detail)
    return Announcement(filename, body.size, _picture_type(body.contentType), _lower(body.sha256), fields)


def _picture_type(content_type: str) -> PictureType:
    try:
        return PictureType(content_type.strip().lower())
    except ValueError:
        known = ", ".join(sorted(kind.value for kind in PictureType))
        raise Problem(415, "unsupported_media_type", f"contentType must be one of {known}.") from None


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def upload_id_of(object_key: str) -> UUID | None:
    """Which upload's object this is; None for a key that we never gave out."""
    if not object_key.startswith(UPLOADS_PREFIX):
        return None
    name = object_key.removeprefix(UPLOADS_PREFIX)
    try:
        upload_id = UUID(name)
    except ValueError:
        return None
    return upload_id if str(upload_id) == name else None


# --- what is checked of the file ------------------------------------------------------------------------------------


def check_size(upload: DirectUpload, size_bytes: int) -> None:
    """Raises Refused."""
    if size_bytes != upload.size_bytes:
        raise size_differs(upload, str(size_bytes))


def size_differs(upload: DirectUpload, found: str) -> Refused:
    detail = f"The file has {found} bytes; announced were {upload.size_bytes}. Announce it anew and send it whole."
    return Refused("upload_size_differs", detail)


def check_sha256(upload: DirectUpload, sha256: str) -> None:
    """Raises Refused."""
    if upload.sha256 not in (None, sha256):
        detail = f"The bytes have the SHA-256 {sha256}; announced was {upload.sha256}. Announce it anew and send it."
        raise Refused("upload_checksum_differs", detail)


def type_of(head: bytes) -> PictureType:
    """The type that the first bytes tell, as of any upload: name and declared type don't count. Raises Refused."""
    picture_type = sniff(head)
    if picture_type is None:
        known = ", ".join(sorted(kind.name for kind in PictureType))
        raise Refused("upload_no_picture", f"The bytes of the file are none of {known}.")
    return picture_type


def expired(upload: DirectUpload) -> Refused:
    at = upload.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Refused("upload_expired", f"The file was not sent before {at}. Announce it anew.")
