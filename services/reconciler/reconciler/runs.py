"""A run as it is kept, and what may follow which stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from shared.events import ReconcileRunChangedV1, ReconcileScope, RunCounts, RunStatus


class Stage(StrEnum):
    """Where a run is. Of runs that touch the same files one at a time is `comparing`, `executing` or `undoing`."""

    QUEUED = "queued"
    COMPARING = "comparing"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    EXECUTING = "executing"
    UNDO_WANTED = "undo_wanted"
    UNDOING = "undoing"
    COMPLETED = "completed"
    FAILED = "failed"
    DISCARDED = "discarded"
    PARTLY_UNDONE = "partly_undone"
    UNDONE = "undone"


_STATUS = {Stage.QUEUED: Stage.COMPARING, Stage.APPROVED: Stage.EXECUTING, Stage.UNDO_WANTED: Stage.UNDOING}
_DECISIONS: dict[str, tuple[frozenset[Stage], Stage]] = {
    "approve": (frozenset({Stage.AWAITING_APPROVAL}), Stage.APPROVED),
    "discard": (frozenset({Stage.AWAITING_APPROVAL}), Stage.DISCARDED),
    # A plan that failed may have been carried out in part; what an undo could not bring back may be tried again.
    "undo": (frozenset({Stage.COMPLETED, Stage.FAILED, Stage.PARTLY_UNDONE}), Stage.UNDO_WANTED),
}
_GIVEN_UP = {
    Stage.COMPARING: Stage.FAILED,
    Stage.EXECUTING: Stage.FAILED,
    # So that it can be undone again.
    Stage.UNDOING: Stage.PARTLY_UNDONE,
}


@dataclass(frozen=True, slots=True)
class Run:
    run_id: UUID
    scope: ReconcileScope
    stage: Stage
    version: int
    remove_orphaned: bool
    recreate_missing: bool
    approves: bool
    counts: RunCounts
    result: dict[str, Any] | None
    needs_approval_because: str | None
    error: str | None
    requested_by: UUID | None
    decided_by: UUID | None
    requested_at: datetime
    changed_at: datetime
    step: int

    def told(self) -> ReconcileRunChangedV1:
        """What others hear of it."""
        return ReconcileRunChangedV1(
            run_id=self.run_id,
            plan_id=None if self.stage in (Stage.QUEUED, Stage.COMPARING) else self.run_id,
            version=self.version,
            scope=self.scope,
            status=RunStatus(_STATUS.get(self.stage, self.stage).value),
            remove_orphaned=self.remove_orphaned,
            recreate_missing=self.recreate_missing,
            counts=self.counts,
            result=self.result,
            needs_approval_because=self.needs_approval_because,
            error=self.error,
            requested_by=self.requested_by,
            decided_by=self.decided_by,
            requested_at=self.requested_at,
            changed_at=self.changed_at,
        )


def given_up(stage: Stage) -> Stage | None:
    """The stage of a run that can't be worked on; None where nobody is at it."""
    return _GIVEN_UP.get(stage)


def decided(stage: Stage, decision: Literal["approve", "discard", "undo"]) -> Stage | None:
    """The stage that follows a decision; None where there is nothing to decide so."""
    needed, following = _DECISIONS[decision]
    return following if stage in needed else None
