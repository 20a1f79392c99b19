"""Turning a selection into jobs, child by child."""

from __future__ import annotations

from uuid import UUID

from s3_syncer import errors
from s3_syncer.ending import end_job, end_parent_if_done
from s3_syncer.jobs import Job
from s3_syncer.planning import has_children, ordered, page_after
from s3_syncer.repository import Selected, SyncRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import RunSyncBatchV1, SelectSyncMediaV1, StartSyncJobV1, SyncJobStatus, SyncResult
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled

CANCELLED_AT_ONCE = 50
"""Jobs that a cancelled parent's children end in one transaction."""
FORGOTTEN_AT_ONCE = 5000
"""Selected media of a planned job that go in one transaction."""


class Planner:
    """Plans jobs in bounded memory: one page of the selection, one child, one transaction at a time.

    A crash resumes at the parent's cursor, which moves with each child.
    """

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def plan(self, command: StartSyncJobV1, delivery: Delivery, *, is_last_attempt: bool) -> None:
        """Raises TransientError while ids are unknown; on the last attempt those files fail."""
        if await self._unit_of_work.is_handled(delivery):
            raise AlreadyHandled
        if command.is_cancelled:
            await self._end_unbegun(command, delivery, SyncJobStatus.CANCELLED, None)
            return
        selection = _Selection(command)
        parent = await self._begin(command, selection, delivery, is_last_attempt)
        if parent is None:
            return
        while await self._make_child(parent.job_id, selection, command.batch_size):
            pass
        await self._forget_selected(command)
        async with self._unit_of_work.begin(delivery) as transaction:
            sync = SyncRepository(transaction.connection)
            await sync.locked_job(parent.job_id)
            planned = await sync.end_plan(parent.job_id)
            transaction.publish(planned.changed())
            await end_parent_if_done(transaction, sync, planned)

    async def select(self, command: SelectSyncMediaV1, delivery: Delivery) -> None:
        """Note a part of the selection of a job that begins later."""
        async with self._unit_of_work.begin(delivery) as transaction:
            await SyncRepository(transaction.connection).select_media(command.job_id, command.media_ids)

    async def cancel(self, job_id: UUID, delivery: Delivery) -> None:
        """A batch in hand sees it before its next file and ends by itself; the others end here, without their turn.

        A job that has ended stays as it is.
        """
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            if await sync.job(job_id) is None:
                raise errors.unknown_job(job_id)
            # First and alone: once this is committed no child is added, and the children are locked before the parent.
            await sync.cancel_job(job_id)
        async with self._unit_of_work.begin() as transaction:
            await SyncRepository(transaction.connection).cancel_children(job_id)
        cursor: UUID | None = None
        while True:
            async with self._unit_of_work.begin() as transaction:
                sync = SyncRepository(transaction.connection)
                cancelled = await sync.lock_cancelled(job_id, cursor, CANCELLED_AT_ONCE)
                # Asked under the rows' locks: a batch takes its media under the lock of its job.
                in_hand = await sync.holders([job.job_id for job in cancelled])
                for job in cancelled:
                    if job.job_id not in in_hand:
                        await end_job(transaction, sync, job)
            if len(cancelled) < CANCELLED_AT_ONCE:
                break
            cursor = cancelled[-1].job_id
        async with self._unit_of_work.begin(delivery):
            pass

    async def _begin(
        self, command: StartSyncJobV1, selection: _Selection, delivery: Delivery, is_last_attempt: bool
    ) -> Job | None:
        """The parent to be planned; None when the job has no children and is planned already."""
        if await selection.is_incomplete(self._unit_of_work, is_last_attempt):
            await self._end_unbegun(command, delivery, SyncJobStatus.FAILED, errors.INCOMPLETE_SELECTION)
            return None
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            if (begun := await sync.job(command.job_id)) is not None:
                return begun if begun.is_parent else None
            await selection.require_known(sync, is_last_attempt)
            total_files = await selection.count(sync)
            if total_files and has_children(total_files, command.min_files_for_batching):
                parent = await self._make_job(sync, command, total_files, is_parent=True)
                transaction.publish(parent.changed())
                return parent
        async with self._unit_of_work.begin(delivery) as transaction:
            sync = SyncRepository(transaction.connection)
            page = await selection.page(sync, None, command.min_files_for_batching)
            await self._make_small_job(transaction, sync, command, page)
            if command.selected_files is not None:
                await sync.forget_selected(command.job_id, command.min_files_for_batching)
        return None

    async def _end_unbegun(
        self, command: StartSyncJobV1, delivery: Delivery, status: SyncJobStatus, error: str | None
    ) -> None:
        """Have a job that nothing is done for told as ended."""
        await self._forget_selected(command)
        async with self._unit_of_work.begin(delivery) as transaction:
            sync = SyncRepository(transaction.connection)
            job = await sync.make_job(
                command.job_id,
                operation=command.operation,
                status=status,
                requested_by=command.requested_by,
                total_files=command.selected_files or 0,
                retry_of=command.retry_of,
                error=error,
            )
            transaction.publish(job.changed())

    async def _forget_selected(self, command: StartSyncJobV1) -> None:
        """What a crash leaves goes when the command comes again."""
        if command.selected_files is None:
            return
        forgotten = FORGOTTEN_AT_ONCE
        while forgotten == FORGOTTEN_AT_ONCE:
            async with self._unit_of_work.begin() as transaction:
                sync = SyncRepository(transaction.connection)
                forgotten = await sync.forget_selected(command.job_id, FORGOTTEN_AT_ONCE)

    async def _make_small_job(
        self, transaction: Transaction, sync: SyncRepository, command: StartSyncJobV1, page: list[Selected]
    ) -> None:
        if not page:
            job = await sync.make_job(
                command.job_id,
                operation=command.operation,
                status=SyncJobStatus.FAILED,
                requested_by=command.requested_by,
                total_files=0,
                retry_of=command.retry_of,
                error=errors.EMPTY_SELECTION,
            )
            transaction.publish(job.changed())
            return
        pending, failed = _split(page)
        job = await self._make_job(sync, command, len(page), failed_files=len(failed), total_bytes=_known_bytes(page))
        await sync.make_items(job.job_id, pending, failed)
        transaction.publish(job.changed(failed), RunSyncBatchV1(job_id=job.job_id))

    async def _make_job(
        self,
        sync: SyncRepository,
        command: StartSyncJobV1,
        total_files: int,
        *,
        is_parent: bool = False,
        failed_files: int = 0,
        total_bytes: int = 0,
    ) -> Job:
        return await sync.make_job(
            command.job_id,
            operation=command.operation,
            status=SyncJobStatus.WAITING,
            requested_by=command.requested_by,
            total_files=total_files,
            failed_files=failed_files,
            total_bytes=total_bytes,
            is_parent=is_parent,
            batch_size=command.batch_size if is_parent else None,
            delete_source=command.delete_source,
            rename_prefix=command.rename_prefix,
            retry_of=command.retry_of,
            planned=not is_parent,
        )

    async def _make_child(self, parent_id: UUID, selection: _Selection, batch_size: int) -> bool:
        """Make the next child and move the cursor; False at the end of the selection, or when the job is cancelled."""
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            parent = await sync.locked_job(parent_id)
            assert parent is not None
            if parent.planned or parent.cancel_requested:
                return False
            page = await selection.page(sync, parent.plan_cursor, batch_size)
            if not page:
                return False
            pending, failed = _split(page)
            child = await sync.make_job(
                new_id(),
                parent_job_id=parent.job_id,
                batch_index=parent.children,
                batch_size=batch_size,
                operation=parent.operation,
                status=SyncJobStatus.WAITING,
                requested_by=parent.requested_by,
                delete_source=parent.delete_source,
                rename_prefix=parent.rename_prefix,
                total_files=len(page),
                failed_files=len(failed),
                total_bytes=_known_bytes(page),
            )
            await sync.make_items(child.job_id, pending, failed)
            parent = await sync.note_child(
                parent, page[-1].media_id, files=len(page), failed=len(failed), total_bytes=child.total_bytes
            )
            transaction.publish(child.changed(failed), parent.changed(), RunSyncBatchV1(job_id=child.job_id))
            return True


class _Selection:
    """The media a command asks for, in the order of their ids."""

    def __init__(self, command: StartSyncJobV1) -> None:
        self._ids = ordered(command.media_ids or ())
        self._filter = command.filter
        self._retry_of = command.retry_of
        self._job_id = command.job_id
        self._selected = command.selected_files

    async def is_incomplete(self, unit_of_work: UnitOfWork, is_last_attempt: bool) -> bool:
        """Whether media that were selected before are not here, and are waited for no longer.

        Raises TransientError while they are: a part that failed at first comes again later.
        """
        if self._selected is None:
            return False
        async with unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            if await sync.job(self._job_id) is not None:
                return False
            missing = self._selected - await sync.count_selected(self._job_id)
        if missing > 0 and not is_last_attempt:
            raise errors.incomplete_selection(missing)
        return missing > 0

    async def require_known(self, sync: SyncRepository, is_last_attempt: bool) -> None:
        unknown = sum(one.size_bytes is None for one in await sync.select_ids(self._ids))
        if unknown and not is_last_attempt:
            raise errors.unknown_media(unknown)

    async def count(self, sync: SyncRepository) -> int:
        if self._retry_of is not None:
            return await sync.count_failed(self._retry_of)
        if self._filter is not None:
            return await sync.count_filtered(self._filter)
        if self._selected is not None:
            return self._selected
        return len(self._ids)

    async def page(self, sync: SyncRepository, cursor: UUID | None, size: int) -> list[Selected]:
        if self._retry_of is not None:
            return await sync.failed_page(self._retry_of, cursor, size)
        if self._filter is not None:
            return await sync.filtered_page(self._filter, cursor, size)
        if self._selected is not None:
            return await sync.selected_page(self._job_id, cursor, size)
        return await sync.select_ids(page_after(self._ids, cursor, size))


def _split(page: list[Selected]) -> tuple[list[UUID], list[SyncResult]]:
    """What is to be worked on, and the results of what nobody knows."""
    pending = [one.media_id for one in page if one.size_bytes is not None]
    failed = [
        SyncResult(
            media_id=one.media_id,
            status="failed",
            bytes_moved=0,
            code=errors.UNKNOWN_MEDIA,
            detail=errors.UNKNOWN_MEDIA_DETAIL,
        )
        for one in page
        if one.size_bytes is None
    ]
    return pending, failed


def _known_bytes(page: list[Selected]) -> int:
    return sum(one.size_bytes or 0 for one in page)
