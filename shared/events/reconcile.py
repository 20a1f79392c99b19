"""Questions and commands for reconciler, and the facts it tells of its runs and plans."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events.catalog import ProductImageType
from shared.events.envelope import Event
from shared.messaging.topics import ANSWERS, RECONCILE_EVENTS, RECONCILE_RUNS


class ReconcileScope(BaseModel):
    """What is compared: one product, all products, or everything stored of all media."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["product", "products", "media"]
    product_id: UUID | None = None

    @property
    def name(self) -> str:
        """One name per scope, so that runs of one scope stay in order."""
        return f"product:{self.product_id}" if self.kind == "product" else self.kind


class CheckConsistencyV1(Event, type="reconcile.check.v1", topic=RECONCILE_RUNS):
    """A question: how do bucket, disk and records of a scope compare? Changes nothing; asking twice is harmless.

    Published directly, without outbox and inbox; the answer goes to `answers`. After `answer_by` nobody listens.
    """

    question_id: UUID
    scope: ReconcileScope
    answer_by: datetime

    def key(self) -> str:
        return str(self.question_id)


class AnswerV1(Event, type="answer.v1", topic=ANSWERS):
    """The answer to a question, matched by its id. Exactly one of `body` and `problem` is given."""

    question_id: UUID
    body: dict[str, Any] | None = None
    problem: str | None = None

    def key(self) -> str:
        return str(self.question_id)


class DescribePlanV1(Event, type="reconcile.describe-plan.v1", topic=RECONCILE_RUNS):
    """A question: what does a plan want done, and what became of it? Like `CheckConsistencyV1`.

    Gives at most `limit` items behind the position `after`.
    """

    question_id: UUID
    plan_id: UUID
    after: int = -1
    limit: int = Field(default=100, ge=1, le=1000)
    answer_by: datetime

    def key(self) -> str:
        return str(self.question_id)


class StartReconcileRunV1(Event, type="reconcile.start-run.v1", topic=RECONCILE_RUNS):
    """Compare a scope, make a plan of the repairs, and carry it out unless it has to be approved.

    With `approves` the requester approves what the guard lets pass; otherwise the plan waits to be read.
    """

    run_id: UUID
    scope: ReconcileScope
    remove_orphaned: bool
    recreate_missing: bool
    approves: bool
    requested_by: UUID | None = Field(description="None: the clock")
    requested_at: datetime

    def key(self) -> str:
        return self.scope.name


class DecideOnPlanV1(Event, type="reconcile.decide-on-plan.v1", topic=RECONCILE_RUNS):
    """Carry a waiting plan out, discard it, or bring back what an executed one removed."""

    plan_id: UUID
    scope: ReconcileScope
    decision: Literal["approve", "discard", "undo"]
    decided_by: UUID
    decided_at: datetime

    def key(self) -> str:
        return self.scope.name


class DescribeReportV1(Event, type="reconcile.describe-report.v1", topic=RECONCILE_RUNS):
    """A question: what is in one part of a report that was too long for one message? Like `CheckConsistencyV1`.

    Parts count from 0. Reports of runs are kept as long as the run, those of checks for an hour.
    """

    question_id: UUID
    report_id: UUID
    part: int = Field(default=0, ge=0)
    answer_by: datetime

    def key(self) -> str:
        return str(self.question_id)


class RunStatus(StrEnum):
    """`awaiting_approval` waits for a person; the last five are ends.

    `completed` may be undone, and `partly_undone` again: that tries what could not be brought back.
    """

    COMPARING = "comparing"
    AWAITING_APPROVAL = "awaiting_approval"
    EXECUTING = "executing"
    UNDOING = "undoing"
    COMPLETED = "completed"
    FAILED = "failed"
    DISCARDED = "discarded"
    PARTLY_UNDONE = "partly_undone"
    UNDONE = "undone"


class RunCounts(BaseModel):
    """What a comparison found and its plan changed, in files.

    Of those that are `done` so many were `undone` since, and so many could not be (`undo_failed`).
    """

    model_config = ConfigDict(frozen=True)

    synced: int = 0
    orphaned: int = 0
    missing: int = 0
    differing: int = 0
    errors: int = 0
    removals: int = 0
    removal_bytes: int = 0
    repairs: int = 0
    done: int = 0
    failed: int = 0
    undone: int = 0
    undo_failed: int = 0


class ReconcileRunChangedV1(Event, type="reconcile.run-changed.v1", topic=RECONCILE_EVENTS):
    """How a run stands; `version` counts per run. `result` is the answer of the contract once it has ended."""

    run_id: UUID
    plan_id: UUID | None
    version: int
    scope: ReconcileScope
    status: RunStatus
    remove_orphaned: bool
    recreate_missing: bool
    counts: RunCounts
    result: dict[str, Any] | None = None
    needs_approval_because: str | None = None
    error: str | None = None
    requested_by: UUID | None
    decided_by: UUID | None = None
    requested_at: datetime
    changed_at: datetime

    def key(self) -> str:
        return self.scope.name


class RecordRepair(BaseModel):
    """A wanted change of one image's record.

    `make` records an object that lies in the bucket, `remove` takes away a record whose file is nowhere, `restore`
    brings back the record `image_id` that a repair removed, `refresh` takes over size and checksum of what is stored.
    With `expected_sha256` the record is only changed while it tells of those bytes.
    """

    model_config = ConfigDict(frozen=True)

    item_id: UUID
    action: Literal["make", "remove", "restore", "refresh"]
    object_key: str
    image_id: UUID | None = None
    weight: str | None = None
    image_type: ProductImageType | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    expected_sha256: str | None = None


class RepairRecordsV1(Event, type="reconcile.repair-records.v1", topic=RECONCILE_EVENTS):
    """A plan wants records of one product changed; their owner does it and answers with the result per item."""

    plan_id: UUID
    product_id: UUID
    repairs: tuple[RecordRepair, ...] = Field(min_length=1, max_length=1000)
    wanted_at: datetime

    def key(self) -> str:
        return str(self.product_id)
