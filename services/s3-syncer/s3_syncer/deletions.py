"""Files of media that go for good: fenced off with the fact, removed with the command, answered once they are gone."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from s3_syncer import errors
from s3_syncer.deletion_repository import Deletion, DeletionRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    MAX_LISTED_FILES,
    FileOfMedium,
    FilePlace,
    MediaDeletionBegunV1,
    MediaFilesRemovedV1,
    MediaRemovalDelayedV1,
    RemoveMediaFilesV1,
)
from shared.messaging.batching import Batching, Joined
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, decisive
from shared.messaging.retry import Failure, RetryPolicy
from shared.storage.keys import media_prefix
from shared.storage.object_store import ObjectStore
from shared.work_list import work_off

log = logging.getLogger(__name__)

PAGE_MEDIA: Final = 50
HELD_SECONDS: Final = 1.0
REMOVAL_RETRIES: Final = RetryPolicy(first_delay_seconds=1.0, longest_delay_seconds=60.0)
KEPT_BECAUSE: Final = "s3_delete_with_local_off"


class Trouble(Exception):
    """Why files of a place are still there."""

    def __init__(self, place: FilePlace, cause: Exception) -> None:
        super().__init__(place, cause)
        self.place = place
        self.cause = cause


class MediaDeletions:
    """A list in PostgreSQL, worked off until every place is empty, however long a store is away.

    **What is told as gone was looked for afterwards**: every place is listed once more before the answer. What wrote
    behind the fence's back, because it had begun before, has the list worked off again.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        disk: ObjectStore,
        bucket: ObjectStore | None,
        staging: ObjectStore,
        *,
        hold_seconds: float,
        at_once: int,
    ) -> None:
        """`hold_seconds` is how long a process that died keeps a deletion from others."""
        self._unit_of_work = unit_of_work
        self._disk = disk
        self._bucket = bucket
        self._staging = staging
        self._hold_seconds = hold_seconds
        self._begun = Batching(unit_of_work, _fence)
        self._commands = Batching(unit_of_work, _command)
        self._slots = asyncio.Semaphore(at_once)
        self._wanted = asyncio.Event()

    async def fence(self, event: MediaDeletionBegunV1, delivery: Delivery) -> None:
        """Let nobody begin anything with the files any more; they go with the command."""
        await self._begun.join(event, delivery)

    async def remove(self, command: RemoveMediaFilesV1, delivery: Delivery) -> None:
        """Note what is to go; a command that comes twice is answered twice."""
        await self._commands.join(command, delivery)
        self._wanted.set()

    async def look_again(self, media_id: UUID, delivery: Delivery) -> None:
        """Empty a medium's places once more, if it goes for good."""
        async with self._unit_of_work.begin(delivery) as transaction:
            await DeletionRepository(transaction.connection).look_again([media_id])
        self._wanted.set()

    async def work_off(self) -> None:
        """Remove what is due, for as long as the process lives; several replicas share the list."""
        await work_off(self.remove_some, self._wanted, log, "deletions wait")

    async def remove_some(self) -> bool:
        """Empty the places of the next few media; False when none was due.

        Raises InfrastructureUnavailable when PostgreSQL is away.
        """
        async with self._unit_of_work.begin() as transaction:
            page = await DeletionRepository(transaction.connection).take_due(PAGE_MEDIA, self._hold_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                for deletion in page:
                    group.create_task(self._one(deletion))
        except ExceptionGroup as problems:
            raise decisive(problems) from problems
        return bool(page)

    async def _one(self, deletion: Deletion) -> None:
        async with self._slots:
            try:
                kept = await self._empty(deletion)
            except Trouble as trouble:
                await self._put_off(deletion, trouble)
            else:
                await self._end(deletion, kept)

    async def _empty(self, deletion: Deletion) -> Sequence[FileOfMedium]:
        """Remove everything that is found, and give what stays.

        Raises Trouble after all places were tried: what one of them refuses does not keep the others' files.
        """
        async with self._unit_of_work.begin() as transaction:
            deletions = DeletionRepository(transaction.connection)
            keys = await deletions.known_keys(deletion.media_id) | set(deletion.keys)
            is_in_bucket = await deletions.is_in_bucket(deletion.media_id)
        problems: list[Trouble] = []
        kept: list[FileOfMedium] = []
        for place, store, removes in self._places(deletion):
            try:
                found = [file async for file in self._found(place, store, deletion, keys)]
                if not removes:
                    kept += found
                    continue
                await self._note(deletion, found)
                for file in found:
                    await store.delete(file.key)
                if left := [file async for file in self._found(place, store, deletion, keys)]:
                    raise errors.still_there(left[0].key, place)
            except Exception as error:
                # Whatever it is, the deletion stays open and says so.
                problems.append(Trouble(place, error))
        if self._bucket is None and is_in_bucket and not deletion.keeps_bucket:
            problems.append(Trouble(FilePlace.BUCKET, errors.not_configured()))
        if problems:
            raise problems[0]
        return kept

    def _places(self, deletion: Deletion) -> list[tuple[FilePlace, ObjectStore, bool]]:
        """Every place with whether its files go."""
        places: list[tuple[FilePlace, ObjectStore, bool]] = [
            (FilePlace.DISK, self._disk, True),
            (FilePlace.STAGING, self._staging, True),
        ]
        if self._bucket is not None:
            places.append((FilePlace.BUCKET, self._bucket, not deletion.keeps_bucket))
        return places

    async def _found(
        self, place: FilePlace, store: ObjectStore, deletion: Deletion, keys: set[str]
    ) -> AsyncIterator[FileOfMedium]:
        """What a place has of the medium: all of its folders, in every revision, and what is named elsewhere."""
        named = set(deletion.staging_keys) if place is FilePlace.STAGING else keys
        if place is not FilePlace.STAGING:
            prefix = media_prefix(deletion.media_id)
            named = {key for key in named if not key.startswith(prefix)}
            async for info in store.list(prefix):
                yield FileOfMedium(place=place, key=info.key, size_bytes=info.size_bytes)
        for key in sorted(named):
            if (stat := await store.stat(key)) is not None:
                yield FileOfMedium(place=place, key=key, size_bytes=stat.size_bytes)

    async def _note(self, deletion: Deletion, found: Sequence[FileOfMedium]) -> None:
        """Written before the files go: after a crash nobody could tell any more what was there."""
        if set(found) - set(deletion.files):
            async with self._unit_of_work.begin() as transaction:
                await DeletionRepository(transaction.connection).note_files(deletion.media_id, found)

    async def _end(self, deletion: Deletion, kept: Sequence[FileOfMedium]) -> None:
        async with self._unit_of_work.begin() as transaction:
            deletions = DeletionRepository(transaction.connection)
            # Who took the medium in hand in the moment of the fence may write yet.
            if await deletions.is_held(deletion.media_id):
                await deletions.put_off(deletion, HELD_SECONDS, deletion.told_trouble)
                return
            ended = await deletions.end(deletion)
            transaction.publish(
                MediaFilesRemovedV1(
                    deletion_id=deletion.deletion_id,
                    media_id=deletion.media_id,
                    removed=ended.files[:MAX_LISTED_FILES],
                    removed_files=len(ended.files),
                    removed_bytes=sum(file.size_bytes for file in ended.files),
                    kept=tuple(kept[:MAX_LISTED_FILES]),
                    kept_files=len(kept),
                    kept_bytes=sum(file.size_bytes for file in kept),
                    kept_because=KEPT_BECAUSE if kept else None,
                    records=ended.records,
                    removed_at=ended.ended_at,
                )
            )

    async def _put_off(self, deletion: Deletion, trouble: Trouble) -> None:
        """Try again later, for ever; who asked is told of each new reason once."""
        failure = Failure.of(trouble.cause, deletion.attempts + 1)
        if isinstance(trouble.cause, InfrastructureUnavailable):
            failure = Failure("store_away", str(trouble.cause), failure.attempt)
        told = f"{trouble.place}: {failure.code}"
        delay_seconds = REMOVAL_RETRIES.delay_seconds(deletion.attempts + 1, random.uniform(-1, 1))
        async with self._unit_of_work.begin() as transaction:
            put_off = await DeletionRepository(transaction.connection).put_off(deletion, delay_seconds, told)
            if told != deletion.told_trouble:
                transaction.publish(
                    MediaRemovalDelayedV1(
                        deletion_id=deletion.deletion_id,
                        media_id=deletion.media_id,
                        place=trouble.place,
                        code=failure.code,
                        detail=failure.detail,
                        attempts=put_off.attempts,
                        next_attempt_at=put_off.due_at,
                        delayed_at=put_off.now,
                    )
                )
        log.warning(
            "files of a deleted medium are still there",
            extra={"media_id": str(deletion.media_id), "detail": failure.detail, "delay_seconds": delay_seconds},
        )


async def _fence(transaction: Transaction, batch: Sequence[Joined[MediaDeletionBegunV1]]) -> None:
    await DeletionRepository(transaction.connection).fence([joined.event for joined in batch])


async def _command(transaction: Transaction, batch: Sequence[Joined[RemoveMediaFilesV1]]) -> None:
    await DeletionRepository(transaction.connection).command([joined.event for joined in batch])
