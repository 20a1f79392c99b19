"""Moving single files: a task of a few steps for s3-syncer, and what became of it.

Products, repairs and direct uploads change files by tasks; whole media move by sync jobs.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.events.envelope import Event
from shared.messaging.topics import SYNC_BATCHES, SYNC_EVENTS

MAX_FILE_STEPS = 500
"""Most steps of one task; more files are several tasks of one scope, which run in order."""

SET_ASIDE_PREFIX = "set-aside/"
"""Where files wait, in the store that they lay in, while what took them away may still be taken back."""


class FilePlace(StrEnum):
    """A store that keys are looked up in."""

    STAGING = "staging"
    DISK = "disk"
    BUCKET = "bucket"


class FileAt(BaseModel):
    """One file: a key in a store."""

    model_config = ConfigDict(frozen=True)

    place: FilePlace
    key: str


class FileStep(BaseModel):
    """Copy `source` to `target`, or remove `target`.

    With `sha256`, a copy's source must hold those bytes and a removal's target is only removed while it does; with
    `etag`, the same is asked of the store's own tag. A copy whose target holds other bytes is a conflict, unless it
    `replaces`; one whose target holds the same bytes is done already. Removing what is not there is done already.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["copy", "remove"]
    source: FileAt | None = None
    target: FileAt
    sha256: str | None = None
    etag: str | None = None
    replaces: bool = False
    may_lack_source: bool = Field(default=False, description="copy only: a source that is gone skips the step")
    is_nobodys: bool = Field(
        default=False,
        description="copy within the bucket only: marks the copy, so that what is told of it makes no record",
    )

    @model_validator(mode="after")
    def _has_a_source_when_it_copies(self) -> FileStep:
        if (self.kind == "copy") != (self.source is not None):
            raise ValueError("a copy has a source, a removal has none")
        return self


class RunFileTaskV1(Event, type="sync.run-file-task.v1", topic=SYNC_BATCHES):
    """Carry out steps in order; keyed by scope, so that tasks of one scope never overlap.

    The first step that fails ends the task, and the copies that this task made are taken back where it `is_atomic`.
    Otherwise the other steps are still tried, each failing alone.
    """

    task_id: UUID
    scope: str = Field(description="what the files belong to, such as a product's id")
    steps: tuple[FileStep, ...] = Field(min_length=1, max_length=MAX_FILE_STEPS)
    is_atomic: bool = True
    requested_at: datetime

    def key(self) -> str:
        return self.scope


class FileStepResult(BaseModel):
    """What became of one step; what the target holds afterwards, where it holds anything."""

    model_config = ConfigDict(frozen=True)

    status: Literal["done", "unchanged", "failed", "undone", "not_tried"]
    size_bytes: int | None = None
    sha256: str | None = None
    etag: str | None = None
    code: str | None = None
    detail: str | None = None


class FileTaskEndedV1(Event, type="sync.file-task-ended.v1", topic=SYNC_EVENTS):
    """A task has ended, one result per step in their order. Whoever asked knows it by its id."""

    task_id: UUID
    scope: str
    succeeded: bool
    results: tuple[FileStepResult, ...]
    ended_at: datetime

    def key(self) -> str:
        return self.scope
