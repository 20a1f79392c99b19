"""File tasks: single files copied and removed for others, one task of a scope after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from s3_syncer import errors
from s3_syncer.deletion_repository import DeletionRepository
from s3_syncer.file_moves import FileMoves
from s3_syncer.file_steps import (
    StepRecord,
    aside,
    failed,
    next_wave,
    refused,
    results_of,
    sets_aside,
    taken_back,
)
from s3_syncer.file_task_repository import FileTask, FileTaskRepository, Verdict
from s3_syncer.outages import Outages, in_attempts
from shared.db.unit_of_work import UnitOfWork
from shared.events import FileAt, RunFileTaskV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, decisive
from shared.messaging.retry import Failure, RetryPolicy
from shared.storage.keys import media_of

T = TypeVar("T")

HEAD_SECONDS = 0.05
WAIT_FOR_HEAD_SECONDS = 5.0
"""How long a delivery waits for who works on an earlier task, before it is put off."""


class FileTasks:
    """Carries tasks out in the order of their arrival.

    A delivery works off its scope up to its own task: an earlier one, whose own delivery is put off, goes first. So
    tasks of a scope neither overlap nor overtake each other, whichever of their deliveries comes when.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        moves: FileMoves,
        outages: Outages,
        retries: RetryPolicy,
        *,
        hold_seconds: float,
        files_in_flight: int,
    ) -> None:
        """`hold_seconds` is how long a process that died keeps a scope from others."""
        self._unit_of_work = unit_of_work
        self._moves = moves
        self._outages = outages
        self._retries = retries
        self._hold_seconds = hold_seconds
        self._slots = asyncio.Semaphore(files_in_flight)

    async def run(self, command: RunFileTaskV1, delivery: Delivery) -> None:
        """Carry the task out and answer; a task that has ended is answered again.

        Redelivery goes on where the last one stopped. Raises Postponed while the bucket is away and while another
        process works on the scope.
        """
        if await self._unit_of_work.is_handled(delivery):
            raise AlreadyHandled
        async with self._unit_of_work.begin() as transaction:
            await FileTaskRepository(transaction.connection).arrive(command)
        holder = new_id()
        try:
            await self._work_off(command, holder, delivery)
        finally:
            async with self._unit_of_work.begin() as transaction:
                await FileTaskRepository(transaction.connection).release(holder)

    async def give_up(self, command: RunFileTaskV1, delivery: Delivery, error: Exception) -> None:
        """End a task that failed unexpectedly for the last time: who asked must hear of an end."""
        failure = Failure.of(error, delivery.attempt)
        async with self._unit_of_work.begin(delivery) as transaction:
            tasks = FileTaskRepository(transaction.connection)
            task = await tasks.get(command.task_id)
            done = [record.result for record in task.records]
            results = [result or failed(failure) for result in (*done, *([None] * (len(task.steps) - len(done))))]
            ended_at = datetime.now(UTC)
            if await tasks.end(task.task_id, None, "failed", results, ended_at):
                transaction.publish(task.told("failed", results, ended_at))

    async def _work_off(self, command: RunFileTaskV1, holder: UUID, delivery: Delivery) -> None:
        waits_until = time.monotonic() + WAIT_FOR_HEAD_SECONDS
        while True:
            async with self._unit_of_work.begin() as transaction:
                tasks = FileTaskRepository(transaction.connection)
                head = await tasks.hold(command.scope, holder, self._hold_seconds)
                own = head if head and head.task_id == command.task_id else await tasks.get(command.task_id)
            if own.ended_at is not None:
                return await self._answer_again(own, own.ended_at, delivery)
            if head is not None:
                await self._while_held(head, holder, delivery if head.task_id == command.task_id else None)
                if head.task_id == command.task_id:
                    return None
            elif time.monotonic() > waits_until:
                raise errors.scope_busy(command.scope)
            else:
                await asyncio.sleep(HEAD_SECONDS)

    async def _answer_again(self, task: FileTask, ended_at: datetime, delivery: Delivery) -> None:
        async with self._unit_of_work.begin(delivery) as transaction:
            assert task.verdict is not None
            transaction.publish(task.told(task.verdict, task.results, ended_at))

    async def _while_held(self, task: FileTask, holder: UUID, delivery: Delivery | None) -> None:
        run = _Run(task, holder, self._unit_of_work, self._moves, self._outages, self._retries, self._slots)
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(task, holder))
                await run.work(delivery)
                renewing.cancel()
        except ExceptionGroup as errors_of_both:
            raise decisive(errors_of_both) from errors_of_both

    async def _renew(self, task: FileTask, holder: UUID) -> None:
        """Hold on; raises, which stops the work, once the scope is somebody else's."""
        while True:
            await asyncio.sleep(self._hold_seconds / 4)
            async with self._unit_of_work.begin() as transaction:
                tasks = FileTaskRepository(transaction.connection)
                if not await tasks.renew(task.task_id, holder, self._hold_seconds):
                    raise errors.scope_busy(task.scope)


class _Run:
    """One turn of one task."""

    def __init__(
        self,
        task: FileTask,
        holder: UUID,
        unit_of_work: UnitOfWork,
        moves: FileMoves,
        outages: Outages,
        retries: RetryPolicy,
        slots: asyncio.Semaphore,
    ) -> None:
        self._task = task
        self._holder = holder
        self._unit_of_work = unit_of_work
        self._moves = moves
        self._outages = outages
        self._retries = retries
        self._slots = slots
        self._records = list(task.records)
        self._media = {media_id for step in task.steps if (media_id := media_of(step.target.key)) is not None}
        self._deleted: set[UUID] = set()

    async def work(self, delivery: Delivery | None) -> None:
        """Carry out what is left, take it back or tidy up after it, and tell the end."""
        if self._media:
            async with self._unit_of_work.begin() as transaction:
                deletions = DeletionRepository(transaction.connection)
                self._deleted = await deletions.deleted_among(list(self._media))
        verdict = self._task.verdict or await self._carry_out()
        if self._task.is_atomic and verdict == "failed":
            await self._note(verdict)
            await self._take_back()
        elif any(self._asides()):
            # Written down before what was set aside goes: from here on the task can't fail any more.
            await self._note(verdict)
            await self._side_by_side(range(len(self._records)), self._drop_aside)
        await self._end(verdict, delivery)

    async def _carry_out(self) -> Verdict:
        start = 0
        while start < len(self._task.steps):
            wave = next_wave(self._task.steps, start)
            if wave.stop > len(self._records):
                del self._records[wave.start :]
                self._records += await self._side_by_side(wave, self._look)
                await self._note(None)
            if not (self._task.is_atomic and self._has_failed()):
                self._records[wave.start : wave.stop] = await self._side_by_side(wave, self._carry_out_one)
            if self._task.is_atomic and self._has_failed():
                return "failed"
            start = wave.stop
        return "failed" if self._has_failed() else "succeeded"

    async def _take_back(self) -> None:
        """The last wave first, so that every step finds what it left."""
        waves, start = [], 0
        while start < len(self._records):
            waves.append(next_wave(self._task.steps, start))
            start = waves[-1].stop
        for wave in reversed(waves):
            self._records[wave.start : wave.stop] = await self._side_by_side(wave, self._undo)

    async def _end(self, verdict: Verdict, delivery: Delivery | None) -> None:
        """The end, its answer and the claim of the delivery are one transaction."""
        task, ended_at = self._task, datetime.now(UTC)
        results = results_of(task.steps, self._records)
        async with self._unit_of_work.begin(delivery) as transaction:
            tasks = FileTaskRepository(transaction.connection)
            if not await tasks.end(task.task_id, self._holder, verdict, results, ended_at):
                raise errors.scope_busy(task.scope)
            if self._media:
                # A medium may have gone for good while this task put files of it back.
                await DeletionRepository(transaction.connection).look_again(list(self._media))
            transaction.publish(task.told(verdict, results, ended_at))

    async def _note(self, verdict: Verdict | None) -> None:
        async with self._unit_of_work.begin() as transaction:
            tasks = FileTaskRepository(transaction.connection)
            if not await tasks.note(self._task.task_id, self._holder, self._records, verdict):
                raise errors.scope_busy(self._task.scope)

    # --- single steps -----------------------------------------------------------------------------------------------

    async def _look(self, index: int) -> StepRecord:
        step = self._task.steps[index]
        if step.kind == "copy" and media_of(step.target.key) in self._deleted:
            return refused(Failure.of(errors.medium_deleted(), 1))
        looked = await self._attempts(index, lambda: self._moves.look(step))
        return refused(looked) if isinstance(looked, Failure) else looked

    async def _carry_out_one(self, index: int) -> StepRecord:
        step, record = self._task.steps[index], self._records[index]
        done = await self._attempts(index, lambda: self._moves.carry_out(step, record, self._aside(index)))
        return record.ended(failed(done)) if isinstance(done, Failure) else done

    async def _undo(self, index: int) -> StepRecord:
        step, record = self._task.steps[index], self._records[index]
        problem = await self._attempts(index, lambda: self._moves.undo(step, record, self._aside(index)))
        return taken_back(record, problem)

    async def _drop_aside(self, index: int) -> None:
        if (kept := self._aside(index)) is not None:
            # What can't be removed now stays behind: it is nobody's file, and the task has succeeded.
            await self._attempts(index, lambda: self._moves.drop(kept))

    def _aside(self, index: int) -> FileAt | None:
        task = self._task
        if not sets_aside(task.steps, index, is_atomic=task.is_atomic):
            return None
        return aside(task.task_id, index, task.steps[index])

    def _asides(self) -> list[FileAt | None]:
        return [self._aside(index) for index in range(len(self._records))]

    def _has_failed(self) -> bool:
        return any(record.has_failed for record in self._records)

    async def _attempts(self, index: int, work: Callable[[], Awaitable[T]]) -> T | Failure:
        async def once() -> T:
            async with self._slots, self._outages.told_apart():
                return await work()

        return await in_attempts(once, self._retries, what=self._task.steps[index].target.key)

    async def _side_by_side(self, steps: Sequence[int], work: Callable[[int], Awaitable[T]]) -> list[T]:
        """Raises what concerns every file, once the steps in flight have ended: nothing goes on behind its back."""
        outcomes = await asyncio.gather(*(work(index) for index in steps), return_exceptions=True)
        problems = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if problems:
            raised = [problem for problem in problems if isinstance(problem, Exception)]
            raise decisive(ExceptionGroup("steps", raised)) if raised else problems[0]
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
