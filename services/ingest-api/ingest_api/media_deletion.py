"""What a deletion is, when it goes on, and how callers read it: pure, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from ingest_api.catalogue import Media
from shared.events import DeletionReason

IMAGE_PROCESSOR: Final = "image-processor"
S3_SYNCER: Final = "s3-syncer"
RECONCILER: Final = "reconciler"
ANSWERING: Final = (IMAGE_PROCESSOR, RECONCILER, S3_SYNCER)
"""Who holds something of a medium; face-embedder knows photos of events alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one service told of one deletion; `trace` are the W3C headers of the message that told it."""

    deletion_id: UUID
    service: str
    facts: Mapping[str, Any]
    trace: Mapping[str, str]


class Step(StrEnum):
    """What a deletion needs now."""

    WAIT = "wait"
    REMOVE_FILES = "remove_files"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion for good; completed, it is the receipt."""

    id: UUID
    media_id: UUID
    version: int
    revision: int
    entity_type: str
    entity_id: str | None
    keeps_bucket: bool
    reason: DeletionReason
    purge_id: UUID | None
    requested_by: UUID | None
    is_told: bool
    stage: Literal["forgetting", "removing", "completed"]
    owing: frozenset[str]
    slices: Mapping[str, Mapping[str, Any]]
    trouble: Mapping[str, Any] | None
    begun_at: datetime
    completed_at: datetime | None

    def answered(self, service: str, facts: Mapping[str, Any]) -> Deletion:
        """With what a service told.

        Of what is told twice: of rows the first answer counts, for the second one found none left; of files the last
        one, which has those of the first.
        """
        is_last_word = service == S3_SYNCER
        slices = {**self.slices, service: facts} if is_last_word else {service: facts, **self.slices}
        trouble = None if is_last_word else self.trouble
        return replace(self, owing=self.owing - {service}, slices=slices, trouble=trouble)

    def files(self, which: Literal["removed", "kept"]) -> tuple[int, int]:
        """How many files were removed or kept, and their bytes."""
        told = self.slices.get(S3_SYNCER, {})
        return int(told.get(f"{which}_files", 0)), int(told.get(f"{which}_bytes", 0))


def next_step(deletion: Deletion, renderings: int) -> Step:
    """What follows from the answers so far; `renderings` of the medium have no end yet.

    **Files are removed when nobody writes any more**: image-processor has promised to keep none, and each of its
    renderings has ended. What was removed before would come back.
    """
    if deletion.stage == "completed":
        return Step.WAIT
    if deletion.stage == "removing":
        return Step.WAIT if deletion.owing else Step.COMPLETE
    return Step.WAIT if IMAGE_PROCESSOR in deletion.owing or renderings else Step.REMOVE_FILES


def restore_conflict(media: Media) -> tuple[str, str] | None:
    """Why a medium can't be restored, as code and sentence; None if it can."""
    if media.deleted_at is None:
        return "not_deleted", "The medium is not deleted: there is nothing to restore."
    if media.status == "completed" and not media.on_disk and not media.in_bucket:
        return "files_gone", "The files of the medium are in no store any more: upload the picture again."
    return None


def stored_size(media: Media) -> tuple[int, int]:
    """How many files the record names, and their bytes; what shares a key is one file."""
    files = {file.key: file.size_bytes for file in (*([media.original] if media.original else []), *media.variants)}
    return len(files), sum(files.values())


def deletion_record(deletion: Deletion, renderings: int) -> dict[str, Any]:
    """A deletion as its caller reads it."""
    return {
        "deletionId": deletion.id,
        "mediaId": deletion.media_id,
        "status": "completed" if deletion.completed_at else "processing",
        "entityType": deletion.entity_type,
        "entityId": deletion.entity_id,
        "reason": deletion.reason.value,
        "purgeId": deletion.purge_id,
        "requestedBy": deletion.requested_by,
        "begunAt": deletion.begun_at,
        "completedAt": deletion.completed_at,
        "waitsFor": waits_for(deletion, renderings),
        "receipt": receipt(deletion),
    }


def waits_for(deletion: Deletion, renderings: int) -> list[dict[str, Any]]:
    """Who has not answered, and what is known of why."""
    if deletion.completed_at is not None:
        return []
    waits: list[dict[str, Any]] = []
    for service in sorted(deletion.owing | ({IMAGE_PROCESSOR} if renderings else set())):
        waits.append({"service": service, "because": _because(service, deletion, renderings)})
    return waits


def _because(service: str, deletion: Deletion, renderings: int) -> dict[str, Any] | None:
    if service == IMAGE_PROCESSOR and renderings:
        detail = f"{renderings} renderings of the medium have to end first."
        return {"code": "renderings_open", "detail": detail}
    if service == S3_SYNCER and deletion.stage == "forgetting":
        return {"code": "not_asked_yet", "detail": "Files go when nobody renders the medium any more."}
    if service == S3_SYNCER and deletion.trouble is not None:
        told = deletion.trouble
        return {
            "code": told["code"],
            "detail": told["detail"],
            "place": told["place"],
            "attempts": told["attempts"],
            "nextAttemptAt": told["next_attempt_at"],
        }
    return None


def receipt(deletion: Deletion) -> dict[str, Any]:
    """What went where, as far as it was told."""
    told = deletion.slices.get(S3_SYNCER, {})
    return {
        "removed": _files("removed", told),
        "kept": _files("kept", told) | {"because": told.get("kept_because")},
        "records": {service: facts["records"] for service, facts in sorted(deletion.slices.items())},
    }


def _files(which: str, told: Mapping[str, Any]) -> dict[str, Any]:
    listed: Sequence[Mapping[str, Any]] = told.get(which, ())
    return {
        "files": told.get(f"{which}_files", 0),
        "bytes": told.get(f"{which}_bytes", 0),
        "list": [{"place": file["place"], "key": file["key"], "sizeBytes": file["size_bytes"]} for file in listed],
    }
