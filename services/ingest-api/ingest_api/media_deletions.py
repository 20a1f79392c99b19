"""Deleting media and bringing them back: softly in one transaction, for good as a saga over everybody's answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ingest_api.catalogue import ChangedJob, Media
from ingest_api.media_deletion import (
    S3_SYNCER,
    Deletion,
    Step,
    next_step,
    restore_conflict,
    stored_size,
)
from ingest_api.problem_details import Problem
from ingest_api.repositories.media_deletions import LockedMedium, MediaDeletionRepository, deleted_at_of
from ingest_api.repositories.notices import NoticeRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    DeletionReason,
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaPurgeTakenV1,
    MediaRestoredV1,
    MediaSettings,
    PurgeMediaV1,
    RemoveMediaFilesV1,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 5.0
ASKED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Begun:
    """A deletion for good that was begun, or joined: one medium has at most one."""

    deletion_id: UUID
    is_new: bool


class MediaDeletions:
    """Deletes, restores, and brings open deletions on with every answer.

    **A deletion for good is never taken back and never given up**: the transaction that begins it hides the medium for
    ever, and it stays open until everybody who holds something of it has answered.
    """

    def __init__(self, unit_of_work: UnitOfWork, settings: Callable[[], MediaSettings]) -> None:
        self._unit_of_work = unit_of_work
        self._settings = settings

    # --- asking -----------------------------------------------------------------------------------------------------

    def is_hard(self, hard: bool | None) -> bool:
        """What a call asks for: what it says, else the mode of the settings."""
        return self._settings().delete_mode == "hard" if hard is None else hard

    async def delete_softly(self, media_id: UUID, deleted_by: UUID) -> Media:
        """Hide a medium; deleting it twice is one deletion. Raises Problem 404, or 409 once it goes for good."""
        async with self._unit_of_work.begin() as tx:
            locked = _found(await MediaDeletionRepository(tx.connection).lock(media_id))
            if locked.deletion_id is not None:
                raise _conflict("deletion_begun", GOES_FOR_GOOD, {"deletionId": locked.deletion_id})
            return await self.hide(tx, locked, deleted_by)

    async def delete_for_good(self, media_id: UUID, requested_by: UUID) -> Begun:
        """Begin the end of a medium, or join it. Raises Problem 404."""
        async with self._unit_of_work.begin() as tx:
            locked = _found(await MediaDeletionRepository(tx.connection).lock(media_id))
            return await self.begin(tx, locked, requested_by, is_told=True)

    async def restore(self, media_id: UUID, restored_by: UUID) -> Media:
        """Bring a softly deleted medium back. Raises Problem 404, and 409 that says why it can't be."""
        async with self._unit_of_work.begin() as tx:
            locked = _found(await MediaDeletionRepository(tx.connection).lock(media_id))
            if (conflict := conflict_of(locked)) is not None:
                raise conflict
            return await self.bring_back(tx, locked, restored_by)

    # --- within a transaction that holds the medium's row -------------------------------------------------------------

    async def hide(self, tx: Transaction, locked: LockedMedium, deleted_by: UUID | None) -> Media:
        if locked.media.deleted_at is not None:
            return locked.media
        hidden = await MediaDeletionRepository(tx.connection).delete_softly(locked.media.id, deleted_by)
        files, size_bytes = stored_size(hidden.media)
        tx.publish(
            MediaDeletedV1(
                media_id=hidden.media.id,
                version=hidden.version,
                revision=hidden.media.revision,
                entity_type=hidden.media.entity_type,
                size_bytes=size_bytes,
                files=files,
                deleted_at=deleted_at_of(hidden),
                deleted_by=deleted_by,
            )
        )
        return hidden.media

    async def bring_back(self, tx: Transaction, locked: LockedMedium, restored_by: UUID) -> Media:
        back = await MediaDeletionRepository(tx.connection).restore(locked.media.id, restored_by)
        tx.publish(
            MediaRestoredV1(
                media_id=back.media.id,
                version=back.version,
                restored_at=back.media.updated_at,
                restored_by=restored_by,
            )
        )
        return back.media

    async def begin(
        self,
        tx: Transaction,
        locked: LockedMedium,
        requested_by: UUID | None,
        *,
        is_told: bool,
        purge_id: UUID | None = None,
    ) -> Begun:
        if locked.deletion_id is not None:
            return Begun(locked.deletion_id, is_new=False)
        deletion = await MediaDeletionRepository(tx.connection).begin(
            locked.media.id,
            new_id(),
            keeps_bucket=not self._settings().s3_delete_with_local,
            reason=DeletionReason.RETENTION if purge_id else DeletionReason.REQUESTED,
            purge_id=purge_id,
            requested_by=requested_by,
            is_told=is_told,
        )
        tx.publish(_begun(deletion))
        return Begun(deletion.id, is_new=True)

    # --- answers ------------------------------------------------------------------------------------------------------

    async def answered(self, deletion_id: UUID, service: str, facts: Mapping[str, Any], delivery: Delivery) -> None:
        """Record what a service told, and go on if that was waited for."""
        async with self._unit_of_work.begin(delivery) as tx:
            deletions = MediaDeletionRepository(tx.connection)
            if await deletions.lock_deletion(deletion_id) is None:
                return
            deletion = await deletions.answer(deletion_id, service, facts, replaces=service == S3_SYNCER)
            if deletion is not None:
                await self._advance(tx, deletion)

    async def delayed(self, deletion_id: UUID, trouble: Mapping[str, Any], delivery: Delivery) -> None:
        async with self._unit_of_work.begin(delivery) as tx:
            await MediaDeletionRepository(tx.connection).note_trouble(deletion_id, trouble)

    async def rendering_ended(self, tx: Transaction, deletion_id: UUID) -> None:
        """Go on with a deletion that may have waited for a rendering, in the transaction that has recorded its end."""
        deletion = await MediaDeletionRepository(tx.connection).lock_deletion(deletion_id)
        if deletion is not None:
            await self._advance(tx, deletion)

    async def purge(self, command: PurgeMediaV1, delivery: Delivery) -> None:
        """Begin the end of those that are deleted since just the moment that is named.

        **What was restored meanwhile, or deleted anew, lives on**: the moments are compared under the medium's lock.
        """
        begun: list[UUID] = []
        passed_over: list[UUID] = []
        async with self._unit_of_work.begin(delivery) as tx:
            deletions = MediaDeletionRepository(tx.connection)
            # In one order, so that transactions that lock several media never wait in a circle.
            for one in sorted(command.media, key=lambda medium: medium.media_id):
                locked = await deletions.lock(one.media_id)
                if locked is None or locked.deletion_id is not None or locked.media.deleted_at != one.deleted_at:
                    passed_over.append(one.media_id)
                    continue
                await self.begin(tx, locked, None, is_told=False, purge_id=command.purge_id)
                begun.append(one.media_id)
            tx.publish(
                MediaPurgeTakenV1(
                    purge_id=command.purge_id,
                    run_id=command.run_id,
                    begun=tuple(begun),
                    passed_over=tuple(passed_over),
                    taken_at=datetime.now(UTC),
                )
            )

    # --- never forgotten ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask again where nobody answers, for as long as the process lives."""
        while True:
            try:
                await self.ask_again()
                async with self._unit_of_work.database.connection() as connection:
                    open_ones = await MediaDeletionRepository(connection).count_open()
                metrics.media_deletions_open.set(open_ones.count)
                metrics.media_deletions_oldest_seconds.set(open_ones.oldest_seconds)
            except InfrastructureUnavailable as error:
                log.warning("open deletions are not looked at", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def ask_again(self) -> None:
        """Tell once more of deletions that somebody still owes an answer to; every answer may be given twice."""
        async with self._unit_of_work.begin() as tx:
            deletions = MediaDeletionRepository(tx.connection)
            for deletion in await deletions.take_silent(ASKED_AT_ONCE):
                await deletions.ask_later(deletion.id)
                if deletion.stage == "removing" and S3_SYNCER in deletion.owing:
                    tx.publish(await self._removal(deletions, deletion))
                if deletion.owing - {S3_SYNCER}:
                    tx.publish(_begun(deletion))
                await self._advance(tx, deletion)

    async def _advance(self, tx: Transaction, deletion: Deletion) -> None:
        deletions = MediaDeletionRepository(tx.connection)
        match next_step(deletion, await deletions.renderings(deletion.media_id)):
            case Step.WAIT:
                return
            case Step.REMOVE_FILES:
                await deletions.begin_removing(deletion.id)
                tx.publish(await self._removal(deletions, deletion))
            case Step.COMPLETE:
                await self._complete(tx, deletions, deletion)

    async def _removal(self, deletions: MediaDeletionRepository, deletion: Deletion) -> RemoveMediaFilesV1:
        return RemoveMediaFilesV1(
            deletion_id=deletion.id,
            media_id=deletion.media_id,
            keys=await deletions.stored_keys(deletion.media_id),
            staging_keys=await deletions.staging_keys(deletion.media_id),
            keeps_bucket=deletion.keeps_bucket,
            requested_at=datetime.now(UTC),
        )

    async def _complete(self, tx: Transaction, deletions: MediaDeletionRepository, deletion: Deletion) -> None:
        completed = await deletions.complete(deletion)
        assert completed.completed_at is not None, "the statement has set it"
        removed_files, removed_bytes = completed.files("removed")
        kept_files, kept_bytes = completed.files("kept")
        tx.publish(
            MediaDeletionCompletedV1(
                deletion_id=completed.id,
                media_id=completed.media_id,
                version=completed.version,
                removed_files=removed_files,
                removed_bytes=removed_bytes,
                kept_files=kept_files,
                kept_bytes=kept_bytes,
                purge_id=completed.purge_id,
                completed_at=completed.completed_at,
            )
        )
        if completed.is_told and completed.requested_by is not None:
            told = ChangedJob(completed.id, None, completed.requested_by)
            body = {"mediaId": str(completed.media_id), "removedFiles": removed_files, "keptFiles": kept_files}
            await NoticeRepository(tx.connection).add("media:deleted", told, body)


GOES_FOR_GOOD: Final = "The medium goes for good; that is not taken back."


def conflict_of(locked: LockedMedium) -> Problem | None:
    """Why a medium can't be restored; None if it can."""
    if locked.deletion_id is not None:
        return _conflict("deletion_begun", GOES_FOR_GOOD, {"deletionId": locked.deletion_id})
    if (conflict := restore_conflict(locked.media)) is not None:
        return _conflict(*conflict)
    return None


def _conflict(code: str, detail: str, members: Mapping[str, Any] | None = None) -> Problem:
    return Problem(409, code, detail, members=members)


def _found(locked: LockedMedium | None) -> LockedMedium:
    if locked is None:
        raise Problem(404, "not_found", "There is no medium with this id.")
    return locked


def _begun(deletion: Deletion) -> MediaDeletionBegunV1:
    return MediaDeletionBegunV1(
        deletion_id=deletion.id,
        media_id=deletion.media_id,
        version=deletion.version,
        revision=deletion.revision,
        keeps_bucket=deletion.keeps_bucket,
        reason=deletion.reason,
        purge_id=deletion.purge_id,
        begun_by=deletion.requested_by,
        begun_at=deletion.begun_at,
    )
