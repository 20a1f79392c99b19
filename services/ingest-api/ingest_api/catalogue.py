"""What is known of media and jobs, and how callers read it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ingest_api.media_urls import MediaUrls
from shared.events import StorageStatus, StorageStrategy, StoredFile

ORIGINAL = "original"
"""The name under which the file as it was uploaded is read."""

MediaStatus = Literal["processing", "completed", "failed"]
JobStatus = Literal["waiting", "active", "completed", "failed", "cancelled"]
"""`cancelled`: queued with a selection that was cancelled before the picture was begun."""
JobKind = Literal["upload", "rerender"]
"""What a job works on: a staged upload, or the original of a medium that was rendered before."""
JOB_STATUSES: tuple[JobStatus, ...] = ("waiting", "active", "completed", "failed", "cancelled")
FINISHED: frozenset[JobStatus] = frozenset({"completed", "failed", "cancelled"})


def is_private_file(name: str, *, private: bool) -> bool:
    """Whether a file of a medium, itself `private` or public, is kept from strangers.

    What was uploaded always is: unlike what is made of it, it tells place, time and camera, and has no watermark.
    """
    return private or name == ORIGINAL


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that arrived whole, with the job that is to process it."""

    media_id: UUID
    job_id: UUID
    uploader: UUID
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    entity_type: str
    entity_id: str | None
    alt: str | None
    title: str | None
    private: bool
    storage_strategy: StorageStrategy
    staging_key: str
    received_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Media:
    """One medium of the catalogue. `size_bytes`, `sha256` and `mime_type` are those of the upload."""

    id: UUID
    revision: int
    status: MediaStatus
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    width_px: int | None
    height_px: int | None
    entity_type: str
    entity_id: str | None
    uploaded_by: UUID
    alt: str | None
    title: str | None
    private: bool
    storage_strategy: StorageStrategy
    storage_status: StorageStatus
    on_disk: bool
    in_bucket: bool
    original: StoredFile | None
    variants: tuple[StoredFile, ...]
    placeholder: str | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    last_revision: int
    """The highest revision that was given out; above `revision` while a further one is rendered."""
    content_revision: int
    """Since which revision the uploaded file is the same."""
    replacing_revision: int | None = None
    """Above `revision` while a file is processed that is to take the present one's place."""

    @property
    def is_being_replaced(self) -> bool:
        return self.replacing_revision is not None and self.replacing_revision > self.revision

    def file(self, name: str) -> StoredFile | None:
        """The stored file of a variant, or of `original`."""
        if name == ORIGINAL:
            return self.original
        return next((variant for variant in self.variants if variant.name == name), None)

    def is_private(self, name: str) -> bool:
        """Whether a file is only for signed-in people and for who holds a signed address."""
        return is_private_file(name, private=self.private)

    @property
    def main_file(self) -> StoredFile | None:
        """What stands for the medium where one file must: the original, else the first variant."""
        return self.original or next(iter(self.variants), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a completed job tells, as its row keeps it: JSON without addresses, for those expire."""

    revision: int
    private: bool
    width_px: int
    height_px: int
    storage_status: str
    placeholder: str
    files: tuple[Mapping[str, Any], ...] = field(default=())

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Outcome:
        return cls(**{**stored, "files": tuple(stored["files"])})


@dataclass(frozen=True, slots=True)
class Job:
    """The processing of one upload, or of one stored picture that is rendered anew."""

    id: UUID
    kind: JobKind
    media_id: UUID
    revision: int
    uploader: UUID
    entity_type: str
    status: JobStatus
    progress: int
    attempts: int
    error_code: str | None
    error_detail: str | None
    outcome: Outcome | None
    staging_key: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def error(self) -> dict[str, str | None] | None:
        """Why it failed, or why its last attempt did while another one is due."""
        if self.error_code is None or not (self.status == "failed" or self.next_attempt_at):
            return None
        return {"code": self.error_code, "detail": self.error_detail}


@dataclass(frozen=True, slots=True)
class ChangedJob:
    """A job that a fact has changed, and who is to be told; a storage job concerns no single medium."""

    id: UUID
    media_id: UUID | None
    uploader: UUID
    deletion_id: UUID | None = None
    """Of the medium, if that goes for good."""


class Records:
    """Words media and jobs as JSON; addresses of private files are signed for whoever may read the record."""

    def __init__(self, urls: MediaUrls) -> None:
        self._urls = urls

    def media(self, media: Media) -> dict[str, Any]:
        main, urls = media.main_file, self.urls_of(media)
        return {
            "id": media.id,
            "filename": media.filename,
            "mimeType": media.mime_type,
            "sizeBytes": media.size_bytes,
            "sha256": media.sha256,
            "width": media.width_px,
            "height": media.height_px,
            "entityType": media.entity_type,
            "entityId": media.entity_id,
            "uploadedBy": media.uploaded_by,
            "alt": media.alt,
            "title": media.title,
            "localPath": main.key if main and media.on_disk else None,
            "s3Key": main.key if main and media.in_bucket else None,
            "storageStatus": media.storage_status,
            "variants": [variant_record(variant, urls[variant.name]) for variant in media.variants],
            "urls": urls,
            "createdAt": media.created_at,
            "deletedAt": media.deleted_at,
        }

    def job(self, job: Job) -> dict[str, Any]:
        return {
            "jobId": job.id,
            "status": job.status,
            "progress": job.progress,
            "result": self.result(job),
            "error": job.error,
            "attempts": job.attempts,
        }

    def listed_job(self, job: Job) -> dict[str, Any]:
        """A job in a list: with what tells it from the others."""
        return self.job(job) | {
            "kind": job.kind,
            "mediaId": job.media_id,
            "entityType": job.entity_type,
            "createdAt": job.created_at,
            "nextAttemptAt": job.next_attempt_at,
            "finishedAt": job.finished_at,
        }

    def result(self, job: Job) -> dict[str, Any] | None:
        """What came out of a completed job; None for others."""
        outcome = job.outcome
        if outcome is None:
            return None
        urls = self.urls(
            job.media_id, outcome.revision, [str(file["name"]) for file in outcome.files], private=outcome.private
        )
        return {
            "mediaId": job.media_id,
            "width": outcome.width_px,
            "height": outcome.height_px,
            "storageStatus": outcome.storage_status,
            "placeholder": outcome.placeholder,
            "urls": urls,
            "variants": [
                {**file, "url": urls[str(file["name"])]} for file in outcome.files if file["name"] != ORIGINAL
            ],
        }

    def urls_of(self, media: Media) -> dict[str, str]:
        """Where each file of a medium is read, by its name; those of a deleted one are for admins."""
        files = [*([media.original] if media.original else []), *media.variants]
        urls = self.urls(media.id, media.revision, [file.name for file in files], private=media.private)
        return {name: f"{url}&deleted=true" for name, url in urls.items()} if media.deleted_at is not None else urls

    def urls(self, media_id: UUID, revision: int, names: Sequence[str], *, private: bool) -> dict[str, str]:
        now = time.time()
        return {
            name: self._urls.url(media_id, name, revision, private=is_private_file(name, private=private), now=now)
            for name in names
        }


def variant_record(file: StoredFile, url: str) -> dict[str, Any]:
    return {**file_facts(file), "url": url}


def file_facts(file: StoredFile) -> dict[str, Any]:
    """What callers learn of a stored file."""
    return {
        "name": file.name,
        "mimeType": file.mime_type,
        "sizeBytes": file.size_bytes,
        "sha256": file.sha256,
        "width": file.width_px,
        "height": file.height_px,
    }
