"""What the clock tells, what becomes of its runs, and what it is asked for."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events.envelope import Event
from shared.messaging.topics import MEDIA_PURGE, SCHEDULE_COMMANDS, SCHEDULE_EVENTS

MAX_PURGED_AT_ONCE = 100


class ScheduleDueV1(Event, type="schedule.due.v1", topic=SCHEDULE_EVENTS):
    """The time for something has come; told once per moment, and late where the clock was stopped meanwhile.

    Whoever does the work answers with `ScheduledWorkDoneV1`, by `answer_by` or later.
    """

    name: str
    due_at: datetime
    run_id: UUID | None = None
    answer_by: datetime | None = None

    def key(self) -> str:
        return self.name


class ScheduledWorkDoneV1(Event, type="schedule.work-done.v1", topic=SCHEDULE_EVENTS):
    """One service has done its part of a run, or failed with `error`; told by the service."""

    run_id: UUID
    name: str
    service: str
    counts: dict[str, int] = Field(description="what was done, by names of the service's own")
    error: str | None = None
    ended_at: datetime

    def key(self) -> str:
        return self.name


class MissedFirings(StrEnum):
    """What becomes of due times that passed while no clock ran: the latest is made up for, or none is."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


class ScheduleChangedV1(Event, type="schedule.changed.v1", topic=SCHEDULE_EVENTS):
    """How a schedule stands, and when it is due next; told at each change and at each firing."""

    name: str
    version: int
    cron: str
    time_zone: str
    missed: MissedFirings
    is_paused: bool
    next_due_at: datetime
    changed_at: datetime

    def key(self) -> str:
        return self.name


class ScheduleRunStatus(StrEnum):
    """The last five are ends; in `open` the answers of some did not come in time, and are still counted."""

    WAITING_FOR_APPROVAL = "waiting_for_approval"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    OPEN = "open"
    SKIPPED = "skipped"
    REFUSED = "refused"


class WorkAnswer(BaseModel):
    """What one service told of its part of a run."""

    model_config = ConfigDict(frozen=True)

    service: str
    counts: dict[str, int]
    error: str | None = None
    ended_at: datetime


class ScheduleRunChangedV1(Event, type="schedule.run-changed.v1", topic=SCHEDULE_EVENTS):
    """How a run stands; `version` counts per run.

    `missed` due times before `due_at` were not fired by themselves. `counts` is the sum of what the `answers` count.
    """

    run_id: UUID
    name: str
    version: int
    trigger: Literal["clock", "person"]
    status: ScheduleRunStatus
    due_at: datetime
    missed: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    answer_by: datetime | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    answers: tuple[WorkAnswer, ...] = ()
    owing: tuple[str, ...] = Field(default=(), description="the services that have not answered")
    needs_approval_because: str | None = None
    detail: str | None = Field(default=None, description="why nothing was done, where that is so")
    requested_by: UUID | None = Field(default=None, description="None: the clock")
    decided_by: UUID | None = None
    changed_at: datetime

    def key(self) -> str:
        return self.name


class RunScheduleV1(Event, type="schedule.run.v1", topic=SCHEDULE_COMMANDS):
    """Do what a schedule does now, beside its due times and though it is paused."""

    run_id: UUID
    name: str
    requested_by: UUID
    requested_at: datetime

    def key(self) -> str:
        return self.name


class ChangeScheduleV1(Event, type="schedule.change.v1", topic=SCHEDULE_COMMANDS):
    """Change what is given of a schedule; None leaves as it is."""

    change_id: UUID
    name: str
    cron: str | None = None
    time_zone: str | None = None
    missed: MissedFirings | None = None
    is_paused: bool | None = None
    requested_by: UUID
    requested_at: datetime

    def key(self) -> str:
        return self.name


class DecideOnScheduleRunV1(Event, type="schedule.decide-on-run.v1", topic=SCHEDULE_COMMANDS):
    """Have a run that waits for approval begin, or end without having begun."""

    run_id: UUID
    name: str
    decision: Literal["approve", "refuse"]
    decided_by: UUID
    decided_at: datetime

    def key(self) -> str:
        return self.name


class DescribeDueMediaV1(Event, type="schedule.describe-due-media.v1", topic=SCHEDULE_COMMANDS):
    """A question: which softly deleted media would the purge at a moment take? Changes nothing.

    Published directly, without outbox and inbox; the answer goes to `answers`. After `answer_by` nobody listens.
    Without `retention_days` those of the settings hold. Lists at most `limit` media; counts and bytes are of all.
    """

    question_id: UUID
    at: datetime
    retention_days: Annotated[int, Field(ge=0, le=3650)] | None = None
    limit: int = Field(default=100, ge=0, le=1000)
    answer_by: datetime

    def key(self) -> str:
        return str(self.question_id)


class MediumToPurge(BaseModel):
    """A medium that was softly deleted at this moment; restored or deleted again since, it is another matter."""

    model_config = ConfigDict(frozen=True)

    media_id: UUID
    deleted_at: datetime


class PurgeMediaV1(Event, type="media.purge.v1", topic=MEDIA_PURGE):
    """Delete for good those that are still softly deleted since exactly `deleted_at`; others are passed over."""

    purge_id: UUID
    run_id: UUID
    media: tuple[MediumToPurge, ...] = Field(min_length=1, max_length=MAX_PURGED_AT_ONCE)
    requested_at: datetime

    def key(self) -> str:
        return str(self.purge_id)
