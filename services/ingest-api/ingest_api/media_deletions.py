"""Deleting media and bringing them back: softly in one transaction, for good as a saga over everybody's answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ingest_api.catalogue import ChangedJob, Media
from ingest_api.dead_letter_retention import forget_letters_of
from ingest_api.media_deletion import (
    S3_SYNCER,
    Answer,
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

    async def begin(self, tx: Transaction, locked: LockedMedium, requested_by: UUID, *, is_told: bool) -> Begun:
        begun = await self.begin_many(tx, [locked], requested_by, is_told=is_told)
        return Begun(begun[locked.media.id], is_new=locked.deletion_id is None)

    async def begin_many(
        self,
        tx: Transaction,
        locked: Sequence[LockedMedium],
        requested_by: UUID | None,
        *,
        is_told: bool = False,
        purge_id: UUID | None = None,
    ) -> dict[UUID, UUID]:
        """The deletions by medium, those included that had begun before."""
        wanted = {one.media.id: new_id() for one in locked if one.deletion_id is None}
        if wanted:
            deletions = await MediaDeletionRepository(tx.connection).begin(
                wanted,
                keeps_bucket=not self._settings().s3_delete_with_local,
                reason=DeletionReason.RETENTION if purge_id else DeletionReason.REQUESTED,
                purge_id=purge_id,
                requested_by=requested_by,
                is_told=is_told,
            )
            tx.publish(*(_begun(deletion) for deletion in deletions))
        return {one.media.id: one.deletion_id or wanted[one.media.id] for one in locked}

    # --- answers ------------------------------------------------------------------------------------------------------

    async def answered(self, tx: Transaction, answers: Sequence[Answer]) -> None:
        """Record what services told, and go on where that was waited for."""
        deletions = MediaDeletionRepository(tx.connection)
        known = {one.id: one for one in await deletions.lock_deletions({answer.deletion_id for answer in answers})}
        traces: dict[UUID, Mapping[str, str]] = {}
        for answer in answers:
            if (deletion := known.get(answer.deletion_id)) is not None:
                known[deletion.id] = deletion.answered(answer.service, answer.facts)
                traces[deletion.id] = answer.trace
        await self._advance(tx, list(known.values()), traces)

    async def delayed(self, deletion_id: UUID, trouble: Mapping[str, Any], delivery: Delivery) -> None:
        async with self._unit_of_work.begin(delivery) as tx:
            await MediaDeletionRepository(tx.connection).note_trouble(deletion_id, trouble)

    async def rendering_ended(self, tx: Transaction, deletion_id: UUID) -> None:
        """Go on with a deletion that may have waited for a rendering, in the transaction that has recorded its end."""
        await self._advance(tx, await MediaDeletionRepository(tx.connection).lock_deletions([deletion_id]))

    async def purge(self, command: PurgeMediaV1, delivery: Delivery) -> None:
        """Begin the end of those that are deleted since just the moment that is named.

        **What was restored meanwhile, or deleted anew, lives on**: the moments are compared under the medium's lock.
        """
        deleted_at = {one.media_id: one.deleted_at for one in command.media}
        async with self._unit_of_work.begin(delivery) as tx:
            locked = await MediaDeletionRepository(tx.connection).lock_many(list(deleted_at))
            going = [
                one for one in locked if one.deletion_id is None and one.media.deleted_at == deleted_at[one.media.id]
            ]
            begun = await self.begin_many(tx, going, None, purge_id=command.purge_id)
            tx.publish(
                MediaPurgeTakenV1(
                    purge_id=command.purge_id,
                    run_id=command.run_id,
                    begun=tuple(sorted(begun)),
                    passed_over=tuple(sorted(deleted_at.keys() - begun.keys())),
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
            silent = await deletions.take_silent(ASKED_AT_ONCE)
            await deletions.ask_later([deletion.id for deletion in silent])
            await self._have_removed(
                tx, [one for one in silent if one.stage == "removing" and S3_SYNCER in one.owing], {}
            )
            tx.publish(*(_begun(deletion) for deletion in silent if deletion.owing - {S3_SYNCER}))
            await self._advance(tx, silent)

    async def _advance(
        self, tx: Transaction, deletions: Sequence[Deletion], traces: Mapping[UUID, Mapping[str, str]] | None = None
    ) -> None:
        """Record how deletions stand and take the next step of each; what follows is told under their `traces`."""
        repository = MediaDeletionRepository(tx.connection)
        media_ids = [one.media_id for one in deletions if one.stage == "forgetting"]
        renderings = await repository.renderings(media_ids) if media_ids else {}
        of_step: dict[Step, list[Deletion]] = {step: [] for step in Step}
        for one in deletions:
            of_step[next_step(one, renderings.get(one.media_id, 0))].append(one)
        removing = [replace(one, stage="removing") for one in of_step[Step.REMOVE_FILES]]
        if open_ones := [*of_step[Step.WAIT], *removing]:
            await repository.save(open_ones)
        await self._have_removed(tx, removing, traces or {})
        await self._complete(tx, of_step[Step.COMPLETE], traces or {})

    async def _have_removed(
        self, tx: Transaction, deletions: Sequence[Deletion], traces: Mapping[UUID, Mapping[str, str]]
    ) -> None:
        if not deletions:
            return
        repository = MediaDeletionRepository(tx.connection)
        media_ids = [deletion.media_id for deletion in deletions]
        keys, staging_keys = await repository.stored_keys(media_ids), await repository.staging_keys(media_ids)
        for deletion in deletions:
            command = RemoveMediaFilesV1(
                deletion_id=deletion.id,
                media_id=deletion.media_id,
                keys=keys.get(deletion.media_id, ()),
                staging_keys=staging_keys.get(deletion.media_id, ()),
                keeps_bucket=deletion.keeps_bucket,
                requested_at=datetime.now(UTC),
            )
            tx.publish(command, trace=traces.get(deletion.id))

    async def _complete(
        self, tx: Transaction, deletions: Sequence[Deletion], traces: Mapping[UUID, Mapping[str, str]]
    ) -> None:
        if not deletions:
            return
        completed = await MediaDeletionRepository(tx.connection).complete(deletions)
        await forget_letters_of(tx, [deletion.media_id for deletion in completed])
        for deletion in completed:
            tx.publish(_completed(deletion), trace=traces.get(deletion.id))
        # At the end, and in one order: other notices of a person wait for this one's commit.
        told = [(one.requested_by, one) for one in completed if one.is_told and one.requested_by is not None]
        for requested_by, deletion in sorted(told, key=lambda pair: pair[0]):
            body = {
                "mediaId": str(deletion.media_id),
                "removedFiles": deletion.files("removed")[0],
                "keptFiles": deletion.files("kept")[0],
            }
            changed = ChangedJob(deletion.id, None, requested_by)
            traceparent = traces.get(deletion.id, {}).get("traceparent")
            await NoticeRepository(tx.connection).add("media:deleted", changed, body, traceparent=traceparent)


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


def _completed(deletion: Deletion) -> MediaDeletionCompletedV1:
    assert deletion.completed_at is not None, "the statement has set it"
    removed_files, removed_bytes = deletion.files("removed")
    kept_files, kept_bytes = deletion.files("kept")
    return MediaDeletionCompletedV1(
        deletion_id=deletion.id,
        media_id=deletion.media_id,
        version=deletion.version,
        removed_files=removed_files,
        removed_bytes=removed_bytes,
        kept_files=kept_files,
        kept_bytes=kept_bytes,
        purge_id=deletion.purge_id,
        completed_at=deletion.completed_at,
    )
