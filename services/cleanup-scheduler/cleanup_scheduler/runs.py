"""A run from its due time to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from cleanup_scheduler.catalogue import Definition
from shared.events import Event, ScheduleDueV1, ScheduleRunChangedV1, ScheduleRunStatus, WorkAnswer
from shared.identifiers import new_id
from shared.scheduling import add_counts


@dataclass(frozen=True, slots=True)
class Run:
    run_id: UUID
    name: str
    trigger: Literal["clock", "person"]
    status: ScheduleRunStatus
    version: int
    due_at: datetime
    missed: int
    started_at: datetime | None
    ended_at: datetime | None
    answer_by: datetime | None
    owing: tuple[str, ...]
    needs_approval_because: str | None
    detail: str | None
    requested_by: UUID | None
    decided_by: UUID | None
    changed_at: datetime

    @property
    def takes_answers(self) -> bool:
        """Late ones too: what is done is done, and the run says so."""
        return self.status in (ScheduleRunStatus.RUNNING, ScheduleRunStatus.OPEN)

    def skipped(self, detail: str, now: datetime) -> Run:
        """Recorded without having begun; `detail` is `code: sentence`."""
        return replace(
            self,
            status=ScheduleRunStatus.SKIPPED,
            started_at=None,
            ended_at=now,
            answer_by=None,
            owing=(),
            detail=detail,
            changed_at=now,
        )

    def waiting(self, because: str, now: datetime) -> Run:
        """Until a person approves or refuses it."""
        return replace(
            self,
            status=ScheduleRunStatus.WAITING_FOR_APPROVAL,
            answer_by=None,
            needs_approval_because=because,
            changed_at=now,
        )

    def approved(self, now: datetime, answer_by: datetime) -> Run:
        return replace(self, status=ScheduleRunStatus.RUNNING, answer_by=answer_by, changed_at=now)

    def refused(self, now: datetime) -> Run:
        return replace(self, status=ScheduleRunStatus.REFUSED, ended_at=now, owing=(), changed_at=now)

    def answered(self, answers: Sequence[WorkAnswer], now: datetime) -> Run:
        """With these answers, which are all there are; ended when nobody owes one."""
        owing = tuple(service for service in self.owing if service not in {answer.service for answer in answers})
        if owing:
            return replace(self, owing=owing, changed_at=now)
        has_failed = any(answer.error for answer in answers)
        status = ScheduleRunStatus.FAILED if has_failed else ScheduleRunStatus.DONE
        return replace(self, owing=(), status=status, ended_at=now, changed_at=now)

    def left_open(self, now: datetime) -> Run:
        """Not answered by all in time."""
        return replace(self, status=ScheduleRunStatus.OPEN, ended_at=now, changed_at=now)

    def beginning(self) -> tuple[Event, ...]:
        """What a run that was just recorded has told: that its time has come, unless it is skipped."""
        if self.status is not ScheduleRunStatus.RUNNING:
            return (self.told(),)
        due = ScheduleDueV1(name=self.name, due_at=self.due_at, run_id=self.run_id, answer_by=self.answer_by)
        return (self.told(), due)

    def told(self, answers: Sequence[WorkAnswer] = ()) -> ScheduleRunChangedV1:
        """What others hear of it."""
        counts: dict[str, int] = {}
        for answer in answers:
            add_counts(counts, answer.counts)
        return ScheduleRunChangedV1(
            run_id=self.run_id,
            name=self.name,
            version=self.version,
            trigger=self.trigger,
            status=self.status,
            due_at=self.due_at,
            missed=self.missed,
            started_at=self.started_at,
            ended_at=self.ended_at,
            answer_by=self.answer_by,
            counts=counts,
            answers=tuple(answers),
            owing=self.owing,
            needs_approval_because=self.needs_approval_because,
            detail=self.detail,
            requested_by=self.requested_by,
            decided_by=self.decided_by,
            changed_at=self.changed_at,
        )


def new_run(
    definition: Definition,
    due_at: datetime,
    now: datetime,
    absent: frozenset[str],
    *,
    missed: int = 0,
    run_id: UUID | None = None,
    requested_by: UUID | None = None,
) -> Run:
    """The run of a due time, or of a person's wish; `absent` services owe nothing."""
    owing = tuple(service for service in definition.workers if service not in absent)
    run = Run(
        run_id=run_id or new_id(),
        name=definition.name,
        trigger="clock" if requested_by is None else "person",
        status=ScheduleRunStatus.RUNNING,
        version=1,
        due_at=due_at,
        missed=missed,
        started_at=now,
        ended_at=None,
        answer_by=now + definition.answer_within,
        owing=owing,
        needs_approval_because=None,
        detail=None,
        requested_by=requested_by,
        decided_by=None,
        changed_at=now,
    )
    return run if owing else run.skipped("services_absent: none of those that do it is part of this system", now)
