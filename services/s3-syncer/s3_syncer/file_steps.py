"""What the steps of a file task do, decided from what was found; without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from s3_syncer import errors
from shared.events import SET_ASIDE_PREFIX, FileAt, FileStep, FileStepResult
from shared.messaging.retry import Failure

WAVE_STEPS: Final = 100
"""Most steps that are looked at, written down and then carried out side by side."""


class Intent(StrEnum):
    """What is left to do for a step once its files were looked at."""

    COPY = "copy"
    REPLACE = "replace"
    REMOVE = "remove"
    NOTHING = "nothing"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under a key; `etag` is the store's."""

    size_bytes: int
    etag: str
    sha256: str


class StepRecord(BaseModel):
    """What was found before a step changed anything, so that a task that died knows afterwards what it has made.

    `sha256` is what a copy's target holds in the end; `before_sha256` and `before_etag` are of what the target held
    when it is replaced or removed.
    """

    model_config = ConfigDict(frozen=True)

    intent: Intent
    sha256: str | None = None
    before_sha256: str | None = None
    before_etag: str | None = None
    result: FileStepResult | None = None

    def ended(self, result: FileStepResult) -> StepRecord:
        return self.model_copy(update={"result": result})

    @property
    def has_failed(self) -> bool:
        return self.result is not None and self.result.status == "failed"


def planned_copy(step: FileStep, sha256: str | None, target: Found | None) -> StepRecord:
    """`sha256` is of the step, else of its source; None where the source is gone and the step names none."""
    if target is not None and target.sha256 == sha256:
        return StepRecord(intent=Intent.NOTHING, sha256=sha256, result=_holding("unchanged", target))
    if sha256 is None:
        return without_source(step)
    if target is None:
        return StepRecord(intent=Intent.COPY, sha256=sha256)
    if not step.replaces:
        return refused(Failure.of(errors.conflict(step.target.key, step.target.place), 1))
    return StepRecord(intent=Intent.REPLACE, sha256=sha256, before_sha256=target.sha256, before_etag=target.etag)


def planned_removal(step: FileStep, target: Found | None) -> StepRecord:
    if target is None:
        return StepRecord(intent=Intent.NOTHING, result=FileStepResult(status="unchanged"))
    is_meant = step.sha256 in (None, target.sha256) and step.etag in (None, target.etag)
    if not is_meant:
        return refused(Failure.of(errors.changed(step.target.key, step.target.place), 1))
    return StepRecord(intent=Intent.REMOVE, before_sha256=target.sha256, before_etag=target.etag)


def without_source(step: FileStep) -> StepRecord:
    """For a copy whose source is gone and whose target does not hold the bytes either."""
    assert step.source is not None
    if step.may_lack_source:
        detail = f"{step.source.place} holds no {step.source.key!r}; nothing was copied"
        skipped = FileStepResult(status="unchanged", code="source_missing", detail=detail)
        return StepRecord(intent=Intent.NOTHING, result=skipped)
    return refused(Failure.of(errors.source_missing(step.source.key, step.source.place), 1))


def changed_source(step: FileStep) -> StepRecord:
    """For a copy whose source is no longer the one that was meant."""
    assert step.source is not None
    return refused(Failure.of(errors.changed(step.source.key, step.source.place), 1))


def refused(failure: Failure) -> StepRecord:
    return StepRecord(intent=Intent.REFUSED, result=failed(failure))


def failed(failure: Failure) -> FileStepResult:
    return FileStepResult(status="failed", code=failure.code, detail=failure.detail)


def copied(record: StepRecord, target: Found) -> StepRecord:
    return record.ended(_holding("done", target))


def _holding(status: Literal["done", "unchanged"], target: Found) -> FileStepResult:
    return FileStepResult(status=status, size_bytes=target.size_bytes, sha256=target.sha256, etag=target.etag)


def next_wave(steps: Sequence[FileStep], start: int) -> range:
    """Steps from `start` on that may run side by side: of one kind, none touching a file that another one touches.

    Copies and removals are never side by side: what is removed may be what a copy before it has replaced.
    """
    read: set[FileAt] = set()
    written: set[FileAt] = set()
    end = start
    while end < len(steps) and end - start < WAVE_STEPS and steps[end].kind == steps[start].kind:
        source, target = steps[end].source, steps[end].target
        if target in written or target in read or source in written:
            break
        written.add(target)
        # What several copies only read disturbs none of them.
        if source is not None:
            read.add(source)
        end += 1
    return range(start, end)


def sets_aside(steps: Sequence[FileStep], index: int, *, is_atomic: bool) -> bool:
    """Whether what this step takes away is kept until the task has ended, to be put back if the task fails.

    What the last step removes is gone only if the task has succeeded.
    """
    if not is_atomic:
        return False
    step = steps[index]
    return step.replaces or (step.kind == "remove" and index < len(steps) - 1)


def aside(task_id: UUID, index: int, step: FileStep) -> FileAt:
    """Where a step's former bytes wait, in the store that they lay in."""
    return FileAt(place=step.target.place, key=f"{SET_ASIDE_PREFIX}{task_id}/{index}")


def results_of(steps: Sequence[FileStep], records: Sequence[StepRecord]) -> tuple[FileStepResult, ...]:
    """One result per step; those that were not come to are `not_tried`."""
    told = [record.result or FileStepResult(status="not_tried") for record in records]
    return (*told, *(FileStepResult(status="not_tried") for _ in steps[len(records) :]))


def taken_back(record: StepRecord, problem: Failure | None) -> StepRecord:
    """A step after its undoing; with a problem it stays as it was and says why."""
    changed = record.intent in {Intent.COPY, Intent.REPLACE, Intent.REMOVE}
    if not changed or record.result is None or record.has_failed:
        return record
    if problem is None:
        return record.ended(FileStepResult(status="undone"))
    return record.ended(
        record.result.model_copy(update={"code": "undo_failed", "detail": f"{problem.code}: {problem.detail}"})
    )
