"""A run as it is kept, and what may follow which stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from shared.events import Event, ReconcileRunChangedV1, ReconcileScope, RunCounts, RunStatus, ScheduledWorkDoneV1
from shared.scheduling import RECONCILE_NIGHTLY


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


_ENDS_OF_NIGHTS = frozenset({Stage.COMPLETED, Stage.FAILED, Stage.DISCARDED})
"""An undo comes after the end."""


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
    """`code: sentence`, as all that is told of failures in one piece."""
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

    def news(self) -> tuple[Event, ...]:
        """What is told when it has moved on: of a nightly run that has ended, also the answer to the clock."""
        if not self.is_nightly or self.stage not in _ENDS_OF_NIGHTS:
            return (self.told(),)
        counts = {name: count for name, count in self.counts.model_dump().items() if count}
        answer = ScheduledWorkDoneV1(
            run_id=self.run_id,
            name=RECONCILE_NIGHTLY,
            service="reconciler",
            counts=counts,
            error=self.error,
            ended_at=self.changed_at,
        )
        return (self.told(), answer)

    @property
    def is_nightly(self) -> bool:
        """Nobody asked for it, and it removes: what heals rot by itself only copies."""
        return self.requested_by is None and self.remove_orphaned


def given_up(stage: Stage) -> Stage | None:
    """The stage of a run that can't be worked on; None where nobody is at it."""
    return _GIVEN_UP.get(stage)


def decided(stage: Stage, decision: Literal["approve", "discard", "undo"]) -> Stage | None:
    """The stage that follows a decision; None where there is nothing to decide so."""
    needed, following = _DECISIONS[decision]
    return following if stage in needed else None
