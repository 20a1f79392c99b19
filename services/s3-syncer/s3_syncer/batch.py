"""The work of one batch: its media side by side, their results in groups, its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from s3_syncer import errors
from s3_syncer.deletion_repository import DeletionRepository
from s3_syncer.ending import end_job
from s3_syncer.jobs import Job, Medium, Outcome, Removal
from s3_syncer.one_medium import NotRemoved, OneMedium
from s3_syncer.outages import Stopped
from s3_syncer.repository import SyncRepository
from s3_syncer.settings import S3SyncerSettings
from shared.db.unit_of_work import UnitOfWork
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled, InfrastructureUnavailable, Postponed

log = logging.getLogger(__name__)

GROUP_RESULTS = 50
GROUP_SECONDS = 0.5
WRITE_AGAIN_SECONDS = (0.05, 0.05)
"""Waits before each further try at writing progress while PostgreSQL hiccups; after the last the batch is held."""
HELD_MEDIA_SECONDS = 0.5
LOOK_SECONDS = 1.0
"""How long a batch without results works on before it asks whether its job is cancelled."""


class Batches:
    """Runs the batches of this process; `in_hand` counts them."""

    def __init__(self, unit_of_work: UnitOfWork, media: OneMedium, settings: S3SyncerSettings) -> None:
        self._unit_of_work = unit_of_work
        self._media = media
        self._settings = settings
        self.in_hand = 0

    async def run(self, job_id: UUID, delivery: Delivery) -> None:
        """Work on what is left of a job and end it.

        Redelivery goes on where the last one stopped: results are committed as they come, and the inbox is claimed with
        the job's end. Raises Postponed while the bucket is away, while another job holds the remaining media, and when
        the batch's turn is over.
        """
        if await self._unit_of_work.is_handled(delivery):
            raise AlreadyHandled
        self.in_hand += 1
        try:
            job = await self._start(job_id)
            if job is not None and job.finished_at is None:
                await self._work_on(job)
            await self._end(job_id, delivery)
        finally:
            self.in_hand -= 1

    async def _work_on(self, job: Job) -> None:
        try:
            await _Run(job, self._unit_of_work, self._media, self._settings).work()
        except Postponed:
            # Asked once its media are free: who cancelled the job before left its end to this batch, and who does so
            # from now on ends it without waiting for the batch to come back. Open removals are the sweep's then.
            async with self._unit_of_work.begin() as transaction:
                now = await SyncRepository(transaction.connection).job(job.job_id)
            if now is None or not now.cancel_requested:
                raise

    async def give_up(self, job_id: UUID, delivery: Delivery, error: Exception) -> None:
        """End a batch that failed unexpectedly for the last time: its remaining files fail with the reason."""
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            if (job := await sync.locked_job(job_id)) is None:
                return
            results = await sync.fail_pending(job_id, "batch_failed", f"{type(error).__name__}: {error}")
            for start in range(0, len(results), GROUP_RESULTS):
                group = results[start : start + GROUP_RESULTS]
                transaction.publish((await sync.add_results(job_id, group)).changed(group))
                if job.parent_job_id is not None:
                    transaction.publish((await sync.add_results(job.parent_job_id, group)).changed())
            await sync.release_holds(job_id)
        await self._end(job_id, delivery)

    async def sweep(self) -> None:
        """Finish the removals that ended jobs have left, for as long as the process lives.

        Those are of files that a store did not let go, and of jobs that were given up; while there are some, no other
        job gets these media.
        """
        while True:
            await asyncio.sleep(self._settings.removal_sweep_seconds)
            async with self._unit_of_work.begin() as transaction:
                jobs = await SyncRepository(transaction.connection).ended_jobs_with_removals()
            try:
                for job in jobs:
                    await _Run(job, self._unit_of_work, self._media, self._settings).finish_removals()
            except (Postponed, InfrastructureUnavailable) as error:
                log.warning("removals wait", extra={"detail": str(error)})

    async def _start(self, job_id: UUID) -> Job | None:
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            if (started := await sync.start_job(job_id)) is not None:
                transaction.publish(started.changed())
                if started.parent_job_id is not None:
                    parent = await sync.start_job(started.parent_job_id)
                    if parent is not None:
                        transaction.publish(parent.changed())
            return await sync.job(job_id)

    async def _end(self, job_id: UUID, delivery: Delivery) -> None:
        async with self._unit_of_work.begin(delivery) as transaction:
            sync = SyncRepository(transaction.connection)
            job = await sync.locked_job(job_id)
            if job is not None and job.finished_at is None:
                await end_job(transaction, sync, job)


class _Run:
    """One turn of one batch."""

    def __init__(self, job: Job, unit_of_work: UnitOfWork, media: OneMedium, settings: S3SyncerSettings) -> None:
        self._job = job
        self._unit_of_work = unit_of_work
        self._media = media
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.files_in_flight)
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._stopped: Exception | None = None
        self._cancel = asyncio.Event()
        self._note_cancel(job)
        self._ends_at = time.monotonic() + settings.turn_seconds
        self._renewed_at = time.monotonic()

    @property
    def _cancelled(self) -> bool:
        return self._cancel.is_set()

    def _note_cancel(self, job: Job | None) -> None:
        """A job that is gone wants nothing any more, as a cancelled one."""
        if job is None or job.cancel_requested:
            self._cancel.set()

    async def work(self) -> None:
        """Return when nothing is left to do, or the job is cancelled."""
        try:
            await self.finish_removals()
            while not self._cancelled:
                await self._fail_deleted()
                media = await self._hold()
                if media:
                    await self._round(media)
                elif await self._count_pending() == 0:
                    return
                else:
                    await self._wait_for_held_media()
        finally:
            await self._release()

    async def _fail_deleted(self) -> None:
        """Count the media as failed that went for good before this job came to them."""
        while not self._cancelled:
            async with self._unit_of_work.begin() as transaction:
                deletions = DeletionRepository(transaction.connection)
                gone = await deletions.pending_deleted(self._job.job_id, GROUP_RESULTS)
            if not gone:
                return
            media = [Medium(media_id, 0, (), on_disk=False, in_bucket=False) for media_id in gone]
            await self._write(
                [Outcome.failed(medium, errors.MEDIUM_DELETED, errors.MEDIUM_DELETED_DETAIL) for medium in media]
            )

    async def _round(self, media: Sequence[Medium]) -> None:
        """Work on held media; raises what stopped it, after the results so far are committed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write_results())
                async with asyncio.TaskGroup() as workers:
                    for medium in media:
                        workers.create_task(self._one(medium))
                self._outcomes.put_nowait(None)
        except* InfrastructureUnavailable as away:
            raise away.exceptions[0] from None
        if self._stopped is not None:
            raise self._stopped
        if not self._cancelled and time.monotonic() > self._ends_at:
            raise errors.turn_over()

    async def _one(self, medium: Medium) -> None:
        async with self._slots:
            if self._stopped is not None or self._cancelled or time.monotonic() > self._ends_at:
                return
            try:
                outcome = await self._media.work(self._job, medium, self._cancel)
            except Stopped:
                return
            except Exception as error:
                # What concerns every file stops the batch; the others in flight end first.
                self._stopped = self._stopped or error
                return
            self._outcomes.put_nowait(outcome)

    async def _write_results(self) -> None:
        is_open = True
        while is_open:
            group: list[Outcome] = []
            closes_at = time.monotonic() + min(LOOK_SECONDS, self._settings.hold_seconds / 4)
            while is_open and len(group) < GROUP_RESULTS and (left := closes_at - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        outcome = await self._outcomes.get()
                    is_open = outcome is not None
                    if outcome is not None:
                        group.append(outcome)
                    if len(group) == 1:
                        closes_at = min(closes_at, time.monotonic() + GROUP_SECONDS)
            if group:
                await self._write(group)
            else:
                await self._look()
            if time.monotonic() - self._renewed_at > self._settings.hold_seconds / 4:
                await self._renew()

    async def _write(self, group: Sequence[Outcome]) -> None:
        for delay_seconds in WRITE_AGAIN_SECONDS:
            try:
                counted = await self._commit(group)
                break
            except InfrastructureUnavailable as error:
                log.warning("progress was not written, trying again", extra={"detail": str(error)})
                await asyncio.sleep(delay_seconds)
        else:
            counted = await self._commit(group)
        await self._remove({outcome.before.media_id: outcome.removals for outcome in counted if outcome.removals})

    async def _commit(self, group: Sequence[Outcome]) -> list[Outcome]:
        """Record a group: places, items, counters, removals and facts in one transaction; returns what counted.

        What is no longer held in the revision that was worked on stays pending and is worked on again.
        """
        job_id = self._job.job_id
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            # The row's lock first: a process that was taken for dead must not count in a job that others have ended.
            locked = await sync.locked_job(job_id)
            if locked is None or locked.finished_at is not None:
                self._cancel.set()
                return []
            placed = await sync.place(job_id, [one.after for one in group])
            worked_on = [one.before.media_id for one in group if one.before.revision]
            if unplaced := [media_id for media_id in worked_on if media_id not in placed]:
                # The hold had run out: what was written since may have come after the medium's places were emptied.
                await DeletionRepository(transaction.connection).look_again(unplaced)
            valid = [one for one in group if one.before.media_id in placed or one.code is not None]
            ended = await sync.end_items(job_id, [one.result for one in valid])
            counted = [one for one in valid if one.before.media_id in ended]
            if not counted:
                return []
            results = [one.result for one in counted]
            job = await sync.add_results(job_id, results)
            self._note_cancel(job)
            transaction.publish(job.changed(results))
            if job.parent_job_id is not None:
                transaction.publish((await sync.add_results(job.parent_job_id, results)).changed())
            moved = [one.after for one in counted if one.after != one.before]
            waiting = await sync.waiting_copies([medium for medium in moved if medium.on_disk and not medium.in_bucket])
            transaction.publish(
                *(
                    medium.storage_changed(placed[medium.media_id], copy_waits=medium.media_id in waiting)
                    for medium in moved
                )
            )
            await sync.note_removals(job_id, counted)
            await sync.release_media(job_id, [one.before.media_id for one in counted if not one.removals])
            return counted

    async def finish_removals(self) -> None:
        """Remove what an earlier turn decided on and did not get to; raises what stopped it."""
        async with self._unit_of_work.begin() as transaction:
            left = await SyncRepository(transaction.connection).removals_left(self._job.job_id)
        await self._remove(left)
        if self._stopped is not None:
            raise self._stopped

    async def _remove(self, removals: Mapping[UUID, Sequence[Removal]]) -> None:
        """Remove files whose record is committed, then let go of their media."""
        if not removals:
            return
        done: list[UUID] = []
        for media_id, files in removals.items():
            try:
                await self._media.remove(files)
            except NotRemoved as error:
                # Nothing names the file any more, so the job goes on; its medium stays held until the file is gone.
                log.error("a file could not be removed, it is tried again later", extra={"detail": str(error)})
            except Exception as error:
                self._stopped = self._stopped or error
            else:
                done.append(media_id)
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            await sync.forget_removals(self._job.job_id, done)
            await sync.release_media(self._job.job_id, done)

    async def _hold(self) -> list[Medium]:
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            # Locked: who cancels the job either sees what is held here, or is seen.
            job = await sync.locked_job(self._job.job_id)
            self._note_cancel(job)
            if self._cancelled:
                return []
            return await sync.hold_pending(self._job.job_id, self._settings.hold_seconds)

    async def _count_pending(self) -> int:
        async with self._unit_of_work.begin() as transaction:
            return await SyncRepository(transaction.connection).count_pending(self._job.job_id)

    async def _wait_for_held_media(self) -> None:
        if time.monotonic() > self._ends_at:
            raise errors.media_held()
        await asyncio.sleep(HELD_MEDIA_SECONDS)

    async def _look(self) -> None:
        try:
            async with self._unit_of_work.begin() as transaction:
                job = await SyncRepository(transaction.connection).job(self._job.job_id)
        except InfrastructureUnavailable as error:
            # Nothing is lost by not knowing: what has to be written decides whether the batch goes on.
            log.warning("could not ask whether the job is cancelled", extra={"detail": str(error)})
        else:
            self._note_cancel(job)

    async def _renew(self) -> None:
        self._renewed_at = time.monotonic()
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            await sync.renew_holds(self._job.job_id, self._settings.hold_seconds)
            job = await sync.job(self._job.job_id)
            self._note_cancel(job)

    async def _release(self) -> None:
        try:
            async with self._unit_of_work.begin() as transaction:
                await SyncRepository(transaction.connection).release_holds(self._job.job_id)
        except InfrastructureUnavailable as error:
            log.warning("media stay held until their time runs out", extra={"detail": str(error)})
