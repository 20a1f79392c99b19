"""The way of a change of files through its stages, forwards and back again, without I/O.

Files are copied, then the records switch to the copies, then the old files go. What fails is taken back to where both
sides were before: old files that went are made again, the records switch back, the copies go. A removal that is too
large for one task copies too: its files are set aside, and what is set aside goes when all the others have gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.events import MAX_FILE_STEPS, FileAt, FileStep, FileStepResult

Part = tuple[FileStep, ...]


class Stage(StrEnum):
    """The last two are ways back."""

    COPYING = "copying"
    REMOVING = "removing"
    RESTORING = "restoring"
    WITHDRAWING = "withdrawing"


class Work(BaseModel):
    """The steps of a change in parts, each a file task.

    `withdrawals` undo the parts of `copies` that are done, `restorations` those of `removals`. With `sets_aside` the
    copies are there for the way back alone, and the records name none of them.
    """

    model_config = ConfigDict(frozen=True)

    copies: tuple[Part, ...] = ()
    removals: tuple[Part, ...] = ()
    withdrawals: tuple[Part, ...] = ()
    restorations: tuple[Part, ...] = ()
    sets_aside: bool = False

    def with_copied(self, part: int, results: Sequence[FileStepResult]) -> Work:
        """Remember what undoes a part: the copies that were made, not those that were there."""
        made = tuple(
            FileStep(kind="remove", target=step.target, sha256=result.sha256)
            for step, result in zip(self.copies[part], results, strict=True)
            if result.status == "done"
        )
        return self.model_copy(update={"withdrawals": (*self.withdrawals, made) if made else self.withdrawals})

    def with_removed(self, part: int, results: Sequence[FileStepResult]) -> Work:
        """Remember what restores a part, whether or not it failed: files that it took away and that copies hold."""
        copies = self._copies_by_source()
        gone = tuple(
            _reversed(copies[step.target])
            for step, result in zip(self.removals[part], results, strict=True)
            if step.target in copies and not _was_left_alone(result)
        )
        return self.model_copy(update={"restorations": (*self.restorations, gone) if gone else self.restorations})

    def without_withdrawals(self) -> Work:
        """For a way back that failed: what is set aside is all there is of some files."""
        return self.model_copy(update={"withdrawals": ()})

    def is_atomic(self, at: Position) -> bool:
        """Whether the task of a position has to put back what it did if it fails.

        What copies hold is restored from them, which costs less than that every task keeps its own; and on the way back
        as much as possible is done.
        """
        if at.stage is Stage.REMOVING:
            copies = self._copies_by_source()
            return any(step.target not in copies for step in self.removals[at.part])
        return at.stage is Stage.COPYING

    def steps(self, at: Position) -> Part:
        """What the task of a position does."""
        match at.stage:
            case Stage.COPYING:
                return self.copies[at.part]
            case Stage.REMOVING:
                return self.removals[at.part]
            case Stage.WITHDRAWING:
                return self.withdrawals[at.part]
            case Stage.RESTORING:
                return self.restorations[at.part]

    def _copies_by_source(self) -> dict[FileAt, FileStep]:
        return {step.source: step for part in self.copies for step in part if step.source is not None}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a change is: its task is part `part` of a stage."""

    stage: Stage
    part: int


@dataclass(frozen=True, slots=True)
class Move:
    """What follows: the records switch (to the copies) or switch back, then another task runs or the change ends."""

    switch: Literal["forth", "back"] | None
    next: Position | None
    ending: Literal["completed", "failed"] | None


def first(work: Work) -> Move:
    return _go_on(work, Position(Stage.COPYING, 0))


def after(work: Work, at: Position, *, succeeded: bool) -> Move:
    """What follows the end of the task at a position; `work` knows what it and those before it copied and removed."""
    following = replace(at, part=at.part + 1)
    match at.stage:
        case Stage.COPYING | Stage.REMOVING if succeeded:
            return _go_on(work, following)
        case Stage.COPYING:
            return _go_on(work, Position(Stage.WITHDRAWING, 0))
        case Stage.REMOVING if not work.copies:
            return Move(None, None, "failed")
        case Stage.REMOVING:
            return _go_on(work, Position(Stage.RESTORING, 0))
        case Stage.RESTORING if not succeeded and not work.sets_aside:
            # The records name the copies, and those are there: left like this nothing is missing.
            return Move(None, None, "failed")
        case Stage.RESTORING | Stage.WITHDRAWING:
            return _go_on(work, following)


def _go_on(work: Work, at: Position) -> Move:
    """Skip to the next position that has a task."""
    if at.stage is Stage.COPYING:
        if at.part < len(work.copies):
            return Move(None, at, None)
        removing = _go_on(work, Position(Stage.REMOVING, 0))
        return replace(removing, switch="forth")
    if at.stage is Stage.REMOVING:
        return Move(None, at, None) if at.part < len(work.removals) else Move(None, None, "completed")
    if at.stage is Stage.RESTORING:
        if at.part < len(work.restorations):
            return Move(None, at, None)
        withdrawing = _go_on(work, Position(Stage.WITHDRAWING, 0))
        return replace(withdrawing, switch="back")
    return Move(None, at, None) if at.part < len(work.withdrawals) else Move(None, None, "failed")


def parts_of(groups: Iterable[Part], most_steps: int = MAX_FILE_STEPS) -> tuple[Part, ...]:
    """Put the steps of many images into as few tasks as possible; those of one image stay together."""
    parts: list[list[FileStep]] = []
    for group in groups:
        if not group:
            continue
        if not parts or len(parts[-1]) + len(group) > most_steps:
            parts.append([])
        parts[-1].extend(group)
    return tuple(tuple(part) for part in parts)


def _reversed(step: FileStep) -> FileStep:
    assert step.source is not None
    return step.model_copy(update={"source": step.target, "target": step.source, "may_lack_source": False})


def _was_left_alone(result: FileStepResult) -> bool:
    """Whether a removal has surely not removed its file: it was gone before, not come to, or another one."""
    return result.status in {"unchanged", "not_tried"} or result.code == "changed"


@dataclass(frozen=True, slots=True)
class StepFailure:
    """The step that ended a task, in the words that callers get to read."""

    step: str
    code: str
    detail: str


def failure_of(steps: Part, results: Sequence[FileStepResult]) -> StepFailure:
    """Why a task failed: its first failed step."""
    for step, result in zip(steps, results, strict=True):
        if result.status == "failed":
            name = f"copy_to_{step.target.place}" if step.kind == "copy" else f"remove_from_{step.target.place}"
            return StepFailure(name, result.code or "unknown", result.detail or f"{step.target.key!r} failed")
    return StepFailure("file_task", "unknown", "the task failed and names no step")
