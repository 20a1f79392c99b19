"""local_first: what was stored on the disk gets its copy in the bucket, when nothing urgent runs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from s3_syncer import errors
from s3_syncer.deletion_repository import DeletionRepository
from s3_syncer.jobs import Medium, Outcome
from s3_syncer.one_medium import OneMedium
from s3_syncer.repository import SyncRepository
from s3_syncer.settings import S3SyncerSettings
from shared.db.unit_of_work import UnitOfWork
from shared.events import SyncMediaV1, SyncOperation
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, PermanentError, Postponed
from shared.messaging.retry import POSTPONEMENT, Failure, RetryPolicy

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CopyToBucket:
    """The order for one medium; the disk keeps its files."""

    operation: SyncOperation = SyncOperation.UPLOAD_TO_S3
    delete_source: bool = False
    rename_prefix: tuple[str, str] | None = None


class LocalFirst:
    """A queue in PostgreSQL, worked off beside the batches and after them.

    A copy waits there for as long as the bucket is away. Replicas share the queue: each holds the media it works on.
    `is_on` tells None while the settings are not known yet.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        media: OneMedium,
        retries: RetryPolicy,
        settings: S3SyncerSettings,
        *,
        is_on: Callable[[], bool | None],
        is_urgent_work_in_hand: Callable[[], bool],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._media = media
        self._retries = retries
        self._settings = settings
        self._is_on = is_on
        self._is_urgent_work_in_hand = is_urgent_work_in_hand
        self._holder: UUID = new_id()
        self._wanted = asyncio.Event()
        self._postponed = 0

    async def want(self, command: SyncMediaV1, delivery: Delivery) -> None:
        """Queue the copy of one medium and tell that it is pending; while s3AutoSync is off it stays local_only.

        What has its copy already, is gone or deleted, or was rendered anew since needs none by this command. Raises
        Postponed while the settings are not known yet: a copy that is not queued now never is.
        """
        is_on = self._is_on()
        if is_on is None:
            raise errors.settings_unknown()
        async with self._unit_of_work.begin(delivery) as transaction:
            if not is_on:
                return
            if await DeletionRepository(transaction.connection).deleted_among([command.media_id]):
                return
            sync = SyncRepository(transaction.connection)
            # The command may come before the fact that the picture is processed; what it says of the files is the same.
            wanted = Medium(command.media_id, command.revision, command.files, on_disk=True, in_bucket=False)
            known = await sync.lock_medium(command.media_id)
            if known is not None and known.revision >= command.revision:
                wanted = known
            if wanted.revision > command.revision or wanted.in_bucket or not wanted.on_disk:
                return
            await sync.want_copy(command.media_id, command.revision, command.requested_at)
            transaction.publish(wanted.storage_changed(await sync.now(), copy_waits=True))
        self._wanted.set()

    async def work_off(self) -> None:
        """Copy what is due, for as long as the process lives."""
        while True:
            if not self._is_on() or self._is_urgent_work_in_hand() or not await self._copy_some():
                await self._rest()

    async def _rest(self) -> None:
        self._wanted.clear()
        try:
            async with asyncio.timeout(self._settings.local_first_poll_seconds):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _copy_some(self) -> bool:
        """Copy the next few; False when nothing was due or the bucket is away."""
        async with self._unit_of_work.begin() as transaction:
            media = await SyncRepository(transaction.connection).hold_copies(
                self._holder, self._settings.hold_seconds, self._settings.local_first_concurrency
            )
        if not media:
            return False
        try:
            await asyncio.gather(*(self._copy(medium) for medium in media))
        except (Postponed, InfrastructureUnavailable) as error:
            self._postponed += 1
            delay_seconds = POSTPONEMENT.delay_seconds(min(self._postponed, 16), random.uniform(-1, 1))
            log.warning("copies to the bucket wait", extra={"detail": str(error), "delay_seconds": delay_seconds})
            await asyncio.sleep(delay_seconds)
            return False
        else:
            self._postponed = 0
            return True
        finally:
            async with self._unit_of_work.begin() as transaction:
                await SyncRepository(transaction.connection).release_holds(self._holder)

    async def _copy(self, medium: Medium) -> None:
        try:
            outcome = await self._media.attempt(CopyToBucket(), medium)
        except (Postponed, InfrastructureUnavailable):
            raise
        except Exception as error:
            await self._note_failure(medium, error)
        else:
            await self._record(outcome)

    async def _record(self, outcome: Outcome) -> None:
        after = outcome.after
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            # Who lost the hold, or met a newer revision, leaves the queue as it is and the copy is looked at again.
            placed = await sync.place(self._holder, [after])
            if not placed:
                await DeletionRepository(transaction.connection).look_again([after.media_id])
                return
            await sync.release_media(self._holder, [after.media_id])
            if after != outcome.before:
                transaction.publish(after.storage_changed(placed[after.media_id]))

    async def _note_failure(self, medium: Medium, error: Exception) -> None:
        failure = Failure.of(error, 1)
        attempts = 1 if isinstance(error, PermanentError) else self._retries.attempts
        async with self._unit_of_work.begin() as transaction:
            sync = SyncRepository(transaction.connection)
            known = await sync.lock_medium(medium.media_id)
            failed = await sync.fail_copy(
                medium.media_id,
                failure.code,
                failure.detail,
                first_delay_seconds=self._retries.first_delay_seconds,
                attempts=attempts,
            )
            await sync.release_media(self._holder, [medium.media_id])
            if failed is None:
                return
            if failed.is_given_up and known is not None and known.on_disk and not known.in_bucket:
                transaction.publish(known.storage_changed(await sync.now()))
        log.log(
            logging.ERROR if failed.is_given_up else logging.WARNING,
            "a copy to the bucket is given up" if failed.is_given_up else "a copy to the bucket failed",
            extra={
                "media_id": str(medium.media_id),
                "code": failure.code,
                "detail": failure.detail,
                "attempt": failed.attempts,
                "of_attempts": attempts,
            },
        )
